import type { Alert } from "./alert";
import type { Playing, Snapshot } from "./snapshot";

/** What the screen should show now, and when to ask again: null when only the server can tell. */
export interface Cue {
  /** Given a little before it starts too, so that it can be drawn in time. */
  playing: Playing | null;
  hasStarted: boolean;
  wakeAtMs: number | null;
}

const NOTHING: Cue = { playing: null, hasStarted: false, wakeAtMs: null };

/**
 * What the server wants on the screen: its last snapshot, and what follows from it at a moment of
 * its time. It decides nothing, holds no timer and reads no clock.
 */
export class Program {
  readonly #shows: (alert: Alert) => boolean;
  #epoch: string | null = null;
  #snapshot: Snapshot | null = null;

  /** `shows` says whether an alert is for this overlay, by its layer and its types. */
  constructor(shows: (alert: Alert) => boolean) {
    this.#shows = shows;
  }

  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }

  /** Takes a greeting: a server that was restored counts its revisions anew. */
  greet(epoch: string): void {
    if (this.#epoch !== null && this.#epoch !== epoch) this.#snapshot = null;
    this.#epoch = epoch;
  }

  /** Takes a snapshot; one that is not newer than the last is dropped. */
  take(snapshot: Snapshot): void {
    if (this.#snapshot && snapshot.revision <= this.#snapshot.revision) return;
    this.#snapshot = snapshot;
  }

  /** The alert whose picture may be needed soon. */
  get next(): Alert | null {
    const next = this.#snapshot?.next ?? null;
    return next && this.#shows(next) ? next : null;
  }

  /** What played until now, for this overlay, and is over. */
  over(serverMs: number): Playing | null {
    const playing = this.#snapshot?.playing ?? null;
    return playing && serverMs >= playing.endsMs && this.#shows(playing.alert) ? playing : null;
  }

  at(serverMs: number): Cue {
    const playing = this.#snapshot?.playing ?? null;
    if (!playing || serverMs >= playing.endsMs || !this.#shows(playing.alert)) return NOTHING;
    const hasStarted = serverMs >= playing.startsMs;
    return { playing, hasStarted, wakeAtMs: hasStarted ? playing.endsMs : playing.startsMs };
  }
}
