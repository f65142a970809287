import { type Envelope, type Hello, PING_MS_DEFAULT, readEnvelope, readHello } from "./envelope";
import { FrameReader } from "./sse";

/** Where to go on: the last position that was received, in the epoch that gave it. */
export interface Resume {
  epoch: string | null;
  after: number | null;
}

export interface ConnectionOptions {
  url: string;
  key: string;
  /** Asked before each attempt. */
  resume: () => Resume;
  onHello: (envelope: Envelope, hello: Hello) => void;
  onPing: (envelope: Envelope) => void;
  onAlert: (envelope: Envelope) => void;
  /** Said once each time the feed is up, and after each failure with its reason. */
  onUp: () => void;
  onDown: (reason: Failure) => void;
}

/** Why the feed is not there. `status` is null when no answer came at all. */
export interface Failure {
  status: number | null;
  words: string;
}

const DELAY_MS_MIN = 250;
const DELAY_MS_MAX = 5_000;
const ANSWER_MS_MAX = 10_000;
/** A connection that lived this long, or brought an alert, was good: the delay starts anew. */
const GOOD_MS = 5_000;
const CONTROL_TYPES = new Set(["hello", "ping", "bye"]);

/** How long to wait before attempt number `failures` + 1: doubling, with a random half. */
export function delayMs(failures: number, random: number): number {
  const whole = Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** Math.min(failures, 10));
  return whole / 2 + (whole / 2) * random;
}

/**
 * Reads the feed over `fetch`, because an EventSource cannot send a key and gives up for good on
 * any answer that is not 200. This one never gives up, whatever the failure.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  #attempt: AbortController | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #paused = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  open(): void {
    this.#paused = false;
    if (this.#attempt) return;
    clearTimeout(this.#retry);
    const attempt = new AbortController();
    this.#attempt = attempt;
    void this.#run(attempt);
  }

  /** Hangs up until `open` is called, without counting as a failure. */
  pause(): void {
    this.#paused = true;
    this.#hangUp();
  }

  /** Hangs up and asks again at once, from wherever `resume` now says. */
  reopen(): void {
    this.#hangUp();
    this.open();
  }

  get paused(): boolean {
    return this.#paused;
  }

  #hangUp(): void {
    clearTimeout(this.#retry);
    const attempt = this.#attempt;
    this.#attempt = null;
    attempt?.abort();
  }

  async #run(attempt: AbortController): Promise<void> {
    const failure = await this.#read(attempt).catch(describe);
    attempt.abort();
    if (this.#attempt !== attempt) return;
    this.#attempt = null;
    this.#options.onDown(failure);
    this.#retry = setTimeout(() => this.open(), delayMs(this.#failures, Math.random()));
    this.#failures += 1;
  }

  /** Reads until the connection ends, and returns why it ended. */
  async #read(attempt: AbortController): Promise<Failure> {
    const silence = new Silence(attempt);
    let openedAt = Infinity;
    try {
      silence.allow(ANSWER_MS_MAX);
      const answer = await this.#ask(attempt.signal);
      const refusal = refused(answer);
      if (refusal || !answer.body) return refusal ?? { status: answer.status, words: "no body" };
      silence.allow(3 * PING_MS_DEFAULT);
      const frames = new FrameReader();
      const body = answer.body.getReader();
      openedAt = Date.now();
      for (;;) {
        const { done, value } = await body.read();
        if (done) return { status: null, words: "the server closed the feed" };
        silence.heard();
        for (const frame of frames.read(value)) {
          const envelope = readEnvelope(frame.data);
          if (this.#attempt !== attempt) return { status: null, words: "left" };
          if (envelope?.type === "bye") return { status: null, words: "the server said bye" };
          if (envelope) this.#deliver(envelope, silence);
        }
      }
    } finally {
      if (Date.now() - openedAt > GOOD_MS) this.#failures = 0;
      silence.end();
    }
  }

  #ask(signal: AbortSignal): Promise<Response> {
    const { epoch, after } = this.#options.resume();
    const url = new URL(this.#options.url);
    if (epoch !== null) url.searchParams.set("epoch", epoch);
    const headers = new Headers({ Accept: "text/event-stream" });
    if (this.#options.key !== "") headers.set("Authorization", `Bearer ${this.#options.key}`);
    if (after !== null) headers.set("Last-Event-ID", String(after));
    return fetch(url, { headers, signal, cache: "no-store", credentials: "omit" });
  }

  #deliver(envelope: Envelope, silence: Silence): void {
    if (envelope.type === "hello") {
      const hello = readHello(envelope);
      silence.allow(3 * hello.ping_ms);
      this.#options.onUp();
      this.#options.onHello(envelope, hello);
    } else if (envelope.type === "ping") {
      this.#options.onPing(envelope);
    } else if (envelope.mode !== "control" && !CONTROL_TYPES.has(envelope.type)) {
      this.#failures = 0;
      this.#options.onAlert(envelope);
    }
  }
}

/** Ends an attempt that brought no byte for longer than allowed. */
class Silence {
  readonly #attempt: AbortController;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #allowedMs = ANSWER_MS_MAX;

  constructor(attempt: AbortController) {
    this.#attempt = attempt;
  }

  allow(ms: number): void {
    this.#allowedMs = ms;
    this.heard();
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#attempt.abort(), this.#allowedMs);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

function refused(answer: Response): Failure | null {
  const { status } = answer;
  if (status !== 200) return { status, words: `the server answered ${status}` };
  const kind = answer.headers.get("Content-Type") ?? "";
  if (kind.startsWith("text/event-stream")) return null;
  return { status: null, words: "the answer is not a feed" };
}

function describe(error: unknown): Failure {
  const silent = error instanceof DOMException && error.name === "AbortError";
  return { status: null, words: silent ? "the feed fell silent" : "no connection to the server" };
}
