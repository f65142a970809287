interface Sample {
  offsetMs: number;
  roundTripMs: number;
}

/** The last so many answers are compared; at one each half minute that is five minutes. */
const SAMPLES_MAX = 10;

/**
 * What time it is at the server, from what the page's own clock says. An answer that was quick says
 * it best: the error of each is at most half its round trip. The page's own clock is
 * `performance.now()`, which nobody sets back; this class reads none itself.
 */
export class ServerClock {
  #samples: Sample[] = [];
  #guessMs: number | null = null;

  /** Whether an answer has come; before that, only the greeting's time is known. */
  get isKnown(): boolean {
    return this.#samples.length > 0;
  }

  /** The server's time in its greeting, which is late by the way here. */
  greet(serverMs: number, receivedMs: number): void {
    this.#guessMs = serverMs - receivedMs;
  }

  /** An answer: asked at `sentMs`, received at `receivedMs`, and at the server `serverMs` between. */
  answer(sentMs: number, serverMs: number, receivedMs: number): void {
    const roundTripMs = receivedMs - sentMs;
    if (roundTripMs < 0) return;
    this.#samples.push({ offsetMs: serverMs - (sentMs + receivedMs) / 2, roundTripMs });
    this.#samples = this.#samples.slice(-SAMPLES_MAX);
  }

  /** Forgets what another connection learnt: this machine may have slept, or the server moved. */
  forget(): void {
    this.#samples = [];
  }

  /** The server's time at `localMs`; null while nothing is known. */
  at(localMs: number): number | null {
    let best: Sample | null = null;
    for (const sample of this.#samples) {
      if (!best || sample.roundTripMs <= best.roundTripMs) best = sample;
    }
    const offsetMs = best?.offsetMs ?? this.#guessMs;
    return offsetMs === null ? null : localMs + offsetMs;
  }
}
