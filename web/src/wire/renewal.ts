/** A page is not loaded anew before it is this old, whatever two servers may say. */
const AGE_MS_MIN = 30_000;

/** Loads the page anew when the server has another build of it, once nothing is on the screen. */
export class Renewal {
  readonly #isIdle: () => boolean;
  readonly #bornAt = performance.now();
  #build: string | null = null;
  #isWanted = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(isIdle: () => boolean) {
    this.#isIdle = isIdle;
  }

  greet(build: string): void {
    this.#build ??= build;
    this.#isWanted ||= build !== this.#build;
    this.consider();
  }

  /** To be called when the page may have become idle. */
  consider(): void {
    if (!this.#isWanted) return;
    clearTimeout(this.#timer);
    const youngMs = this.#bornAt + AGE_MS_MIN - performance.now();
    if (youngMs > 0) this.#timer = setTimeout(() => this.consider(), youngMs);
    else if (this.#isIdle()) window.location.reload();
  }
}
