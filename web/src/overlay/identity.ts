import { isRecord, parseRecord } from "../wire/record";

/** The part of the Web Storage interface that is needed; a test brings its own. */
export type Shelf = Pick<Storage, "getItem" | "setItem">;

/** The part of the Web Locks interface that is needed; null where the browser has none. */
export type Locks = Pick<LockManager, "request"> | null;

/** An alert that came on the screen, and at which attempt. */
export interface Painted {
  alert: string;
  attempt: number;
}

/** So many sources with the same settings in one browser are told apart. */
const PLACES_MAX = 32;
/** How long a page waits for the one that it replaces to be gone. */
const REPLACED_MS_MAX = 1_500;

/**
 * Who this source is, for the server: the same after a reload and after a crash, and different from
 * every other source of the browser. OBS gives all its sources one storage, so sources that look
 * alike take places 1, 2, 3, …, and each holds its place by a lock while it lives.
 *
 * It also keeps what the source has painted last, so that a page that died between painting an
 * alert and saying so still says so when it comes back.
 */
export class Identity {
  readonly #shelf: Shelf | null;
  readonly #entry: string;
  #painted: Painted | null;
  readonly id: string;

  private constructor(shelf: Shelf | null, entry: string) {
    this.#shelf = shelf;
    this.#entry = entry;
    const { id, painted } = parseRecord(attempt(() => shelf?.getItem(entry)) ?? null) ?? {};
    this.id = typeof id === "string" && /^[0-9a-f-]{36}$/.test(id) ? id : randomId();
    this.#painted = readPainted(painted);
    this.#write();
  }

  static async take(
    source: string,
    shelf: Shelf | null,
    tab: Shelf | null,
    locks: Locks,
  ): Promise<Identity> {
    const entry = `tapedeck.overlay.${source}`;
    const before = Number(attempt(() => tab?.getItem(entry)) ?? 0);
    const place = await takePlace(entry, Number.isInteger(before) ? before : 0, locks);
    attempt(() => tab?.setItem(entry, String(place)));
    return new Identity(shelf, place === 1 ? entry : `${entry}.${place}`);
  }

  get painted(): Painted | null {
    return this.#painted;
  }

  set painted(painted: Painted | null) {
    this.#painted = painted;
    this.#write();
  }

  #write(): void {
    const kept = JSON.stringify({ id: this.id, painted: this.#painted });
    attempt(() => this.#shelf?.setItem(this.#entry, kept));
  }
}

function readPainted(value: unknown): Painted | null {
  if (!isRecord(value)) return null;
  const { alert, attempt } = value;
  return typeof alert === "string" && typeof attempt === "number" ? { alert, attempt } : null;
}

/** The page's own storage; null where the browser refuses it. */
export function pageStorage(kind: "localStorage" | "sessionStorage"): Shelf | null {
  return attempt(() => window[kind]) ?? null;
}

/**
 * The place from before, or the first free one; the lock is held as long as the page lives. The
 * first is waited for a moment: a source that is removed and added again has a new page, and the
 * browser may not have done with the old one.
 */
async function takePlace(entry: string, before: number, locks: Locks): Promise<number> {
  if (!locks) return 1;
  const wanted = before >= 1 && before <= PLACES_MAX ? before : 1;
  // Where it is free no clock decides: on a busy machine the answer alone may take longer than the limit.
  if (await hold(locks, `${entry}.${wanted}`, { ifAvailable: true })) return wanted;
  const limit = new AbortController();
  const waited = hold(locks, `${entry}.${wanted}`, { signal: limit.signal });
  // Asked once more at the end: what the browser gave until then is heard before that answer.
  const asked = new Promise<boolean>((resolve) => {
    const ask = () => resolve(hold(locks, `${entry}.${wanted}`, { ifAvailable: true }));
    setTimeout(ask, REPLACED_MS_MAX);
  });
  const isTaken = await Promise.race([waited, asked]);
  limit.abort();
  if (isTaken) return wanted;
  for (let place = 1; place < PLACES_MAX; place += 1) {
    if (await hold(locks, `${entry}.${place}`, { ifAvailable: true })) return place;
  }
  return PLACES_MAX;
}

function hold(locks: NonNullable<Locks>, name: string, options: LockOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const forLife = (lock: Lock | null) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise(() => undefined);
    };
    locks.request(name, options, forLife).catch(() => resolve(false));
  });
}

/** `crypto.randomUUID` is not there on a plain-http page of another machine. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Storage may be missing, full or forbidden; the overlay works without. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
