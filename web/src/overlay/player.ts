import type { ServerClock } from "../wire/clock";
import type { Gallery } from "./gallery";
import type { Program } from "./program";
import type { Screen } from "./screen";
import type { Playing } from "./snapshot";
import type { Sounds } from "./sounds";
import type { Voice } from "./voice";

/** What a player brings together. */
export interface Parts {
  clock: ServerClock;
  program: Program;
  gallery: Gallery;
  screen: Screen;
  sounds: Sounds;
  voice: Voice;
}

/**
 * Puts on the screen what the program says, when it says so. It uses timers only: OBS may stop the
 * animation frames of a hidden source, and what it says of a page's visibility cannot be relied on.
 */
export class Player {
  readonly #parts: Parts;
  readonly #onMoved: (over: Playing | null) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onMoved` is called after each step, with what is over: the page may have become idle. */
  constructor(parts: Parts, onMoved: (over: Playing | null) => void) {
    this.#parts = parts;
    this.#onMoved = onMoved;
  }

  /** Brings the screen up to date; to be called whenever the program was given something. */
  play(): void {
    clearTimeout(this.#timer);
    const { clock, program, gallery, screen, sounds, voice } = this.#parts;
    const localMs = performance.now();
    const now = clock.at(localMs);
    if (now === null) return;
    const cue = program.at(now);
    if (cue.wakeAtMs !== null) {
      this.#timer = setTimeout(() => this.play(), Math.max(1, cue.wakeAtMs - now));
    }
    if (program.next) gallery.prepare(program.next);
    const muted = program.snapshot?.muted ?? { sound: false, speech: false };
    try {
      screen.show(cue, localMs);
      sounds.follow(cue, now, muted.sound);
      voice.follow(cue, now, muted.speech);
    } catch (error) {
      console.error("an alert could not be drawn; the next one follows", error);
    }
    this.#onMoved(program.over(now));
  }
}
