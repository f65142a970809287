const TICK_MS = 1_000;
/** So many seconds without a frame mean that nobody sees this page. */
const BLIND_TICKS = 5;

/**
 * Whether the browser paints this page. OBS stops the frames of a source that is in no scene on the
 * screen, and an alert that is started there would be seen by nobody: such a page leaves the stage,
 * and comes back with its first frame. What a page is told of its visibility cannot be relied on.
 */
export class Presence {
  readonly #onChange: (isPainting: boolean) => void;
  #isPainting = false;
  #ticksWithout = 0;

  constructor(onChange: (isPainting: boolean) => void) {
    this.#onChange = onChange;
  }

  watch(): void {
    this.#ask();
    setInterval(() => {
      this.#ticksWithout += 1;
      if (this.#isPainting && this.#ticksWithout > BLIND_TICKS) this.#change(false);
    }, TICK_MS);
  }

  /** One frame each second is enough to know. */
  #ask(): void {
    requestAnimationFrame(() => {
      this.#ticksWithout = 0;
      if (!this.#isPainting) this.#change(true);
      setTimeout(() => this.#ask(), TICK_MS);
    });
  }

  #change(isPainting: boolean): void {
    this.#isPainting = isPainting;
    this.#onChange(isPainting);
  }
}
