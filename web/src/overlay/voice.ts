import type { Cue } from "./program";
import { wordAlert } from "./wording";

/** An alert that is older than this is not read any more: another page or the same has read it. */
const LATE_MS_MAX = 1_500;

/** Reads aloud what viewers wrote, where the source asks for it and the browser has a voice. */
export class Voice {
  readonly #voice: SpeechSynthesis | null;
  #read: string | null = null;

  constructor(isWanted: boolean) {
    this.#voice = isWanted ? (window.speechSynthesis ?? null) : null;
  }

  follow({ playing, hasStarted }: Cue, now: number, isMuted: boolean): void {
    if (!this.#voice) return;
    const key = playing && `${playing.alert.id}/${playing.attempt}`;
    if (this.#read !== null && (isMuted || key !== this.#read)) {
      this.#voice.cancel();
      this.#read = null;
    }
    if (!playing || !hasStarted || isMuted || key === this.#read) return;
    if (now - playing.startsMs > LATE_MS_MAX) return;
    this.#read = key;
    const { words } = wordAlert(playing.alert);
    if (words !== "") this.#voice.speak(new SpeechSynthesisUtterance(words));
  }
}
