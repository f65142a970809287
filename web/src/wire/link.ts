import { parseRecord } from "./record";

/** Why the server is not there. `status` is null when no answer came at all. */
export interface Failure {
  status: number | null;
  words: string;
}

export interface LinkOptions {
  /** Where to connect, as an `http:` or `https:` address; asked before each attempt. */
  url: () => string;
  key: string;
  /** Called when the socket is open, before anything was heard: what is said now comes first. */
  onOpen: () => void;
  /** Every frame but `ping` and `bye`, `hello` included. */
  onFrame: (frame: Record<string, unknown>) => void;
  /** Said each time a `hello` has come, and after each failure with its reason. */
  onUp: () => void;
  onDown: (reason: Failure) => void;
}

const DELAY_MS_MIN = 250;
const DELAY_MS_MAX = 5_000;
const ANSWER_MS_MAX = 10_000;
/** A connection that lived this long was good: the delay starts anew. */
const GOOD_MS = 5_000;
/** A frame longer than this is dropped, so that a broken server cannot stop the page. */
const FRAME_CHARACTERS_MAX = 1_048_576;
const PROTOCOL = "tapedeck.v1";

/** How long to wait before attempt number `failures` + 1: doubling, with a random half. */
export function delayMs(failures: number, random: number): number {
  const whole = Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** Math.min(failures, 10));
  return whole / 2 + (whole / 2) * random;
}

/**
 * A WebSocket to the server that comes back for ever, whatever the failure. It is a WebSocket
 * because a browser opens only six requests to one host at a time, and each overlay of an OBS would
 * hold one of them.
 */
export class Link {
  readonly #options: LinkOptions;
  #socket: WebSocket | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  /** How long it may be silent; null when the server never said that it pings. */
  #allowedMs: number | null = ANSWER_MS_MAX;
  #openedAt = Infinity;
  #isUp = false;
  #failures = 0;
  #wanted = false;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** Connects, and goes on connecting until `leave`. */
  open(): void {
    this.#wanted = true;
    if (this.#socket) return;
    clearTimeout(this.#retry);
    this.#openedAt = Infinity;
    this.#isUp = false;
    try {
      this.#socket = this.#connect();
    } catch {
      // A key that cannot be written into a request at all.
      this.#fail({ status: 401, words: "the key in the address is not one" });
    }
  }

  /** Hangs up until `open` is called, without counting as a failure. */
  leave(): void {
    this.#wanted = false;
    this.#hangUp();
  }

  /** Says something; false when nobody listens. */
  send(frame: Record<string, unknown>): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #connect(): WebSocket {
    const { url, key } = this.#options;
    const protocols = key === "" ? [PROTOCOL] : [PROTOCOL, `bearer.${key}`];
    const socket = new WebSocket(url().replace(/^http/, "ws"), protocols);
    this.#allow(ANSWER_MS_MAX);
    socket.onopen = () => {
      if (this.#socket !== socket) return;
      this.#openedAt = Date.now();
      this.#options.onOpen();
    };
    socket.onmessage = ({ data }) => {
      if (this.#socket === socket) this.#hear(data);
    };
    const end = () => {
      socket.onclose = null;
      socket.onerror = null;
      if (this.#socket === socket) this.#lose();
    };
    socket.onclose = end;
    socket.onerror = end;
    return socket;
  }

  #hear(data: unknown): void {
    this.#expect();
    if (typeof data !== "string" || data.length > FRAME_CHARACTERS_MAX) return;
    const frame = parseRecord(data);
    if (!frame || frame.type === "ping") return;
    if (frame.type === "bye") {
      this.#fail(farewell(frame.reason));
      return;
    }
    if (frame.type === "hello") {
      const { ping_ms } = frame;
      this.#allow(typeof ping_ms === "number" && ping_ms > 0 ? 3 * ping_ms : null);
      this.#isUp = true;
      this.#options.onUp();
    }
    this.#options.onFrame(frame);
  }

  /** A connection has ended by itself. One that never began may be asked for the reason. */
  #lose(): void {
    const wasOpen = this.#openedAt !== Infinity;
    if (wasOpen) this.#fail({ status: null, words: "the connection was cut" });
    else void this.#askWhy();
  }

  /** A WebSocket does not say why it was refused; the same request without the upgrade does. */
  async #askWhy(): Promise<void> {
    const socket = this.#socket;
    const headers = new Headers();
    if (this.#options.key !== "") headers.set("Authorization", `Bearer ${this.#options.key}`);
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), ANSWER_MS_MAX / 2);
    const answer = await fetch(this.#options.url(), { headers, signal: limit.signal }).catch(
      () => null,
    );
    clearTimeout(timer);
    if (this.#socket !== socket) return;
    const status = answer?.status ?? null;
    const words = status === null ? "no connection to the server" : `the server answered ${status}`;
    this.#fail({ status, words });
  }

  #fail(failure: Failure): void {
    if (this.#isUp && Date.now() - this.#openedAt > GOOD_MS) this.#failures = 0;
    this.#hangUp();
    this.#options.onDown(failure);
    if (!this.#wanted) return;
    this.#retry = setTimeout(() => this.open(), delayMs(this.#failures, Math.random()));
    this.#failures += 1;
  }

  #hangUp(): void {
    clearTimeout(this.#retry);
    clearTimeout(this.#silence);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #allow(ms: number | null): void {
    this.#allowedMs = ms;
    this.#expect();
  }

  /** Ends a connection that brought nothing for longer than allowed. */
  #expect(): void {
    clearTimeout(this.#silence);
    if (this.#allowedMs === null) return;
    this.#silence = setTimeout(
      () => this.#fail({ status: null, words: "the server fell silent" }),
      this.#allowedMs,
    );
  }
}

function farewell(reason: unknown): Failure {
  if (reason === "revoked") return { status: 401, words: "the key was revoked" };
  return { status: null, words: `the server said bye: ${String(reason ?? "no reason")}` };
}
