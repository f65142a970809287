import { PageServer } from "./page_server";
import type { Socket } from "./socket";

/** An alert as a test gives it to the server. */
export interface Given {
  type: string;
  data: Record<string, unknown>;
}

interface Waiting extends Given {
  id: string;
  position: number;
  attempt: number;
}

interface Playing extends Waiting {
  startsMs: number;
  endsMs: number;
  isPainted: boolean;
  /** The overlays that were told of it, present or gone. */
  toldTo: Set<string>;
}

interface Overlay {
  id: string;
  layer: string;
  types: string[];
  socket: Socket;
}

export type Deed = "started" | "shown" | "requeued" | "unknown" | "skipped";

const ATTEMPTS_MAX = 5;

/**
 * Stands in for the stage of `tapedeck serve`, with a director that follows the rules that the real
 * one follows, on a clock of its own that is hours off the browser's.
 */
export class StageServer extends PageServer {
  epoch = "epoch-1";
  /** Divides how long alerts and the gaps between them last. */
  speed = 1;
  /** While true, an alert lasts until it is skipped, however slowly a test looks at it. */
  holds = false;
  /** How long alerts last, three seconds when nothing is said: half of what the real ones do. */
  lengthsMs: Record<string, number> = { sub: 5_000, gift: 5_000, raid: 6_000, ghost: 6_500 };
  leadMs = 300;
  gapMs = 1_000;
  /** How long a director waits for the first overlay to have painted; the real one less than a busy machine may need. */
  paintMs = 30_000;
  /** How long it waits for one that was told and has gone. */
  graceMs = 120_000;
  readonly skewMs = 5_000_000;
  readonly deeds: { deed: Deed; id: string; attempt: number }[] = [];
  /** Who said that it painted what, in order. */
  readonly painted: { overlay: string; id: string; attempt: number }[] = [];
  /** While true, it hears nothing of what was painted. */
  isDeaf = false;
  paused = false;
  muted = { sound: false, speech: false };
  #overlays = new Map<Socket, Overlay>();
  #waiting: Waiting[] = [];
  #playing: Playing | null = null;
  #all = new Map<string, Waiting>();
  #revision = 0;
  #restUntil = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    super(/^\/api\/v1\/stages\/[a-z]+\/ws$/);
  }

  get now(): number {
    return Date.now() + this.skewMs;
  }

  get overlays(): Overlay[] {
    return [...this.#overlays.values()];
  }

  get isIdle(): boolean {
    return this.#playing === null && this.#waiting.length === 0;
  }

  count(deed: Deed): number {
    return this.deeds.filter((one) => one.deed === deed).length;
  }

  /** Queues an alert, and returns its id. */
  give(given: Given): string {
    const position = this.#all.size + 1;
    const id = `00000000-0000-4000-8000-${String(position).padStart(12, "0")}`;
    const waiting = { ...given, id, position, attempt: 1 };
    this.#all.set(id, waiting);
    this.#waiting.push(waiting);
    this.tell();
    this.#direct();
    return id;
  }

  pause(): void {
    this.paused = true;
    this.tell();
  }

  resume(): void {
    this.paused = false;
    this.tell();
    this.#direct();
  }

  skip(): void {
    if (!this.#playing) return;
    this.#end("skipped");
    this.#direct();
  }

  /** Holds no alert any more: the one that was is over. */
  release(): void {
    this.holds = false;
    if (this.#playing) this.#playing.endsMs = Math.min(this.#playing.endsMs, this.now);
    this.#direct();
  }

  replay(id: string): void {
    const old = this.#all.get(id);
    if (old) this.#waiting.unshift({ ...old, attempt: (old.attempt += 1) });
    this.tell();
    this.#direct();
  }

  mute(sound: boolean): void {
    this.muted.sound = sound;
    this.tell();
  }

  /** Restores the server from a copy: another epoch, and revisions that were used before. */
  restore(epoch: string): void {
    this.epoch = epoch;
    this.#revision = 0;
    this.broadcast({ type: "bye", reason: "restored" });
    this.cut();
  }

  /** Sends everybody the present snapshot, as a new one. */
  tell(): void {
    this.#revision += 1;
    for (const overlay of this.#overlays.values()) this.#tell(overlay);
  }

  /** Sends an older snapshot that would clear the screen; nobody may believe it. */
  tellOld(): void {
    const old = { ...this.#snapshot(), revision: this.#revision - 1, playing: null };
    this.broadcast(old);
  }

  override async close(): Promise<void> {
    clearTimeout(this.#timer);
    await super.close();
  }

  protected welcome(socket: Socket, url: URL): void {
    const overlay: Overlay = {
      id: url.searchParams.get("overlay") ?? "",
      layer: url.searchParams.get("layer") ?? "all",
      types: (url.searchParams.get("types") ?? "").split(",").filter((type) => type !== ""),
      socket,
    };
    const forget = socket.onClose;
    socket.onText = (text) => this.#hear(overlay, JSON.parse(text));
    socket.onClose = () => {
      forget();
      this.#overlays.delete(socket);
    };
    const { epoch, build, pingMs: ping_ms, now: server_ms } = this;
    const stage = "main";
    socket.send(JSON.stringify({ type: "hello", stage, epoch, build, server_ms, ping_ms }));
    this.#overlays.set(socket, overlay);
    this.#tell(overlay);
    this.#direct();
  }

  #hear(overlay: Overlay, frame: Record<string, unknown>): void {
    if (frame.type === "clock") {
      const { sent_ms } = frame;
      if (!Number.isInteger(sent_ms)) throw new Error("times are whole milliseconds");
      overlay.socket.send(JSON.stringify({ type: "clock", sent_ms, server_ms: this.now }));
    } else if (frame.type === "painted") {
      if (this.isDeaf) return;
      const { alert: id, attempt } = frame as { alert: string; attempt: number };
      this.painted.push({ overlay: overlay.id, id, attempt });
      const playing = this.#playing;
      if (playing?.id === id && playing.attempt === attempt && !playing.isPainted) {
        playing.isPainted = true;
        this.deeds.push({ deed: "shown", id, attempt });
        this.#direct();
      }
    } else if (frame.type === "missed") {
      const playing = this.#playing;
      const isPlaying = playing?.id === frame.alert && playing?.attempt === frame.attempt;
      if (isPlaying) playing?.toldTo.delete(overlay.id);
    } else {
      throw new Error(`the stage does not know ${String(frame.type)}`);
    }
  }

  /** Does what is to be done now, and comes back when the next thing is. */
  #direct(): void {
    clearTimeout(this.#timer);
    const wakeAt = this.#playing ? this.#watch(this.#playing) : this.#start();
    if (wakeAt === null) return;
    this.#timer = setTimeout(() => this.#direct(), Math.max(1, wakeAt - this.now));
  }

  /** Starts the next alert if it may be; says when to ask again. */
  #start(): number | null {
    const next = this.#waiting[0];
    if (!next || this.paused) return null;
    if (this.now < this.#restUntil) return this.#restUntil;
    if (!this.overlays.some((overlay) => shows(overlay, next))) return null;
    this.#waiting.shift();
    const startsMs = this.now + this.leadMs;
    const lengthMs = this.holds ? 600_000 : (this.lengthsMs[next.type] ?? 3_000);
    const endsMs = startsMs + Math.round(lengthMs / this.speed);
    const fresh = { startsMs, endsMs, isPainted: false };
    this.#playing = { ...next, ...fresh, toldTo: new Set() };
    this.deeds.push({ deed: "started", id: next.id, attempt: next.attempt });
    this.tell();
    return Math.min(endsMs, startsMs + this.paintMs);
  }

  /** Looks after the alert that plays. */
  #watch(playing: Playing): number | null {
    const { now } = this;
    if (playing.isPainted && now >= playing.endsMs) {
      this.#end(null);
      return this.#restUntil;
    }
    if (playing.isPainted) return playing.endsMs;
    const decideAt = playing.startsMs + this.paintMs;
    if (now < decideAt) return decideAt;
    const isBack = this.overlays.some(({ id }) => playing.toldTo.has(id));
    const isGone = playing.toldTo.size > 0 && !isBack;
    const unknownAt = playing.startsMs + this.graceMs;
    if (isGone && now < unknownAt) return Math.min(unknownAt, now + 100);
    this.#end(isGone || playing.attempt >= ATTEMPTS_MAX ? "unknown" : "requeued");
    return this.#restUntil;
  }

  #end(deed: Deed | null): void {
    const playing = this.#playing;
    if (!playing) return;
    const { id, attempt } = playing;
    if (deed) this.deeds.push({ deed, id, attempt });
    const known = this.#all.get(id);
    if (deed === "requeued" && known) {
      known.attempt = attempt + 1;
      this.#waiting.unshift({ ...known });
    }
    this.#playing = null;
    this.#restUntil = this.now + this.gapMs / this.speed;
    this.tell();
  }

  #tell(overlay: Overlay): void {
    if (this.#playing && shows(overlay, this.#playing)) this.#playing.toldTo.add(overlay.id);
    overlay.socket.send(JSON.stringify(this.#snapshot()));
  }

  #snapshot() {
    const playing = this.#playing;
    return {
      type: "state",
      revision: this.#revision,
      paused: this.paused,
      muted: this.muted,
      waiting: this.#waiting.length,
      playing: playing && {
        alert: alertOf(playing),
        attempt: playing.attempt,
        starts_ms: playing.startsMs,
        ends_ms: playing.endsMs,
      },
      next: this.#waiting[0] ? alertOf(this.#waiting[0]) : null,
    };
  }
}

function shows({ layer, types }: Overlay, { type }: Given): boolean {
  return layer !== "screen" && (types.length === 0 || types.includes(type));
}

function alertOf({ id, position, type, data }: Waiting) {
  return { id, position, type, at: "2026-11-20T20:00:00Z", data };
}
