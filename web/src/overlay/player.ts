import type { Playlist } from "./playlist";
import type { Stage } from "./stage";

/**
 * Puts on the stage what the playlist says, when it says so. It uses timers and the wall clock
 * only: OBS may stop the animation frames of a hidden source, and what it says of a page's
 * visibility cannot be relied on.
 */
export class Player {
  readonly #playlist: Playlist;
  readonly #stage: Stage;
  readonly #onMoved: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onMoved` is called after each step: the queue may have become shorter, or the page idle. */
  constructor(playlist: Playlist, stage: Stage, onMoved: () => void) {
    this.#playlist = playlist;
    this.#stage = stage;
    this.#onMoved = onMoved;
  }

  /** Brings the screen up to date; to be called whenever the playlist was given something. */
  play(): void {
    clearTimeout(this.#timer);
    const now = Date.now();
    const cue = this.#playlist.advance(now);
    if (cue.wakeAt !== null) {
      this.#timer = setTimeout(() => this.play(), Math.max(1, cue.wakeAt - now));
    }
    try {
      this.#stage.show(cue, now);
    } catch (error) {
      console.error("an alert could not be drawn; the next one follows", error);
    }
    this.#onMoved();
  }
}
