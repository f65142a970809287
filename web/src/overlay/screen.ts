import { MOVEMENT_MS } from "./alert";
import { drawCard } from "./card";
import type { ServerClock } from "../wire/clock";
import type { Gallery } from "./gallery";
import type { Painted } from "./identity";
import type { Cue } from "./program";
import type { Layer } from "./settings";
import type { Playing } from "./snapshot";
import { sayAlert, wordAlert } from "./wording";

/** Draws the alert that a cue names, and clears the screen when it names none. */
export class Screen {
  readonly #root: HTMLElement;
  readonly #said: HTMLElement;
  readonly #layer: Layer;
  readonly #gallery: Gallery;
  readonly #clock: ServerClock;
  readonly #onPainted: (painted: Painted) => void;
  #drawn: Playing | null = null;
  #card: HTMLElement | null = null;

  /** `onPainted` is called in the first frame in which an alert is there to be seen. */
  constructor(
    root: HTMLElement,
    said: HTMLElement,
    layer: Layer,
    gallery: Gallery,
    clock: ServerClock,
    onPainted: (painted: Painted) => void,
  ) {
    this.#root = root;
    this.#said = said;
    this.#layer = layer;
    this.#gallery = gallery;
    this.#clock = clock;
    this.#onPainted = onPainted;
    root.dataset.layer = layer;
  }

  /** `localMs` is the moment by the page's own clock, as that of frames is. */
  show({ playing }: Cue, localMs: number): void {
    const now = this.#clock.at(localMs) ?? 0;
    if (!isSame(playing, this.#drawn)) {
      this.#clear();
      this.#drawn = playing;
      if (playing) this.#draw(playing, now, localMs);
    }
    if (playing && this.#card) this.#hang(playing, this.#card, now, localMs);
  }

  /**
   * An alert is drawn a little before it starts, invisible until then: the browser's own timeline
   * lets its movements begin, at the same moment in every overlay.
   */
  #draw(playing: Playing, now: number, localMs: number): void {
    const { alert, startsMs, endsMs } = playing;
    const wording = wordAlert(alert);
    const card = drawCard(wording, alert);
    const lengthMs = endsMs - startsMs;
    const speed = speedOf(playing);
    const elapsed = (now - startsMs) * speed;
    card.dataset.id = alert.id;
    card.dataset.attempt = String(playing.attempt);
    card.dataset.elapsed = String(Math.round(Math.max(0, elapsed)));
    // The style sheet counts in the alert's own milliseconds, so that one that is taken up in its
    // middle goes on from where it is.
    card.style.setProperty("--elapsed", String(elapsed));
    card.style.setProperty("--length", String(lengthMs * speed));
    card.style.setProperty("--t", `${1 / speed}ms`);
    this.#card = card;
    this.#root.append(card);
    begin(card, localMs);
    this.#gallery.insist(alert);
    this.#waitForFrame(playing, localMs + startsMs - now);
    // The layer of the pictures leaves the words to the other one.
    if (this.#layer !== "screen") this.#said.textContent = sayAlert(wording);
  }

  #clear(): void {
    this.#root.replaceChildren();
    this.#said.textContent = "";
    this.#card = null;
  }

  /** Frames have the time that the movements go by: the first one after the start shows them. */
  #waitForFrame(playing: Playing, startsLocalMs: number): void {
    requestAnimationFrame((frameMs) => {
      if (!isSame(playing, this.#drawn)) return;
      // By the clock as it was when they began, though it is known better by now.
      if (frameMs <= startsLocalMs) this.#waitForFrame(playing, startsLocalMs);
      else this.#onPainted({ alert: playing.alert.id, attempt: playing.attempt });
    });
  }

  /** Puts the alert's picture into its frame, once it is loaded. */
  #hang(playing: Playing, card: HTMLElement, now: number, localMs: number): void {
    const { alert, startsMs } = playing;
    const frame = card.querySelector<HTMLElement>(".portrait");
    if (!frame || card.classList.contains("alert-pictured")) return;
    const image = this.#gallery.picture(alert);
    if (!image) return;
    image.alt = "";
    // One that came late moves in step with the rest.
    frame.style.setProperty("--elapsed", String((now - startsMs) * speedOf(playing)));
    // The normal layer leaves the picture of a ghost to the screen layer, and makes room for it.
    if (this.#layer !== "normal" || alert.type !== "ghost") frame.append(image);
    card.classList.add("alert-pictured");
    const { background } = alert.data;
    if (typeof background === "string" && /^#[0-9a-f]{6}$/i.test(background)) {
      frame.style.setProperty("--behind", background);
    }
    begin(frame, localMs);
  }
}

/**
 * Lets the movements begin at `localMs`, and not whenever the browser comes to the first frame of
 * them, which on a busy machine may be much later.
 */
function begin(element: HTMLElement, localMs: number): void {
  for (const movement of element.getAnimations({ subtree: true })) movement.startTime = localMs;
}

/** How much faster than usual an alert moves that is given little time. */
function speedOf({ alert, startsMs, endsMs }: Playing): number {
  return Math.max(1, MOVEMENT_MS[alert.type] / (endsMs - startsMs));
}

function isSame(one: Playing | null, other: Playing | null): boolean {
  if (!one || !other) return one === other;
  const isAlert = one.alert.id === other.alert.id && one.attempt === other.attempt;
  return isAlert && one.startsMs === other.startsMs && one.endsMs === other.endsMs;
}
