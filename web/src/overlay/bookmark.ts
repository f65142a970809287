import { isRecord } from "../feed/envelope";
import { type Alert, restoreAlert } from "./alert";

/** An alert on the screen, and when it came there. */
export interface Showing {
  alert: Alert;
  startedAt: number;
}

/** Everything that must outlive a reload or a crash of the page. */
export interface Bookmark {
  epoch: string | null;
  /** The position up to which everything has been shown; null before the first hello. */
  after: number | null;
  showing: Showing | null;
  /** The ids of the last alerts that were shown, oldest first. */
  shown: string[];
  /** How often it was saved, by which the newer of two copies is known. */
  saves: number;
}

export const SHOWN_MAX = 500;

/** The part of the Web Storage interface that is needed; a test brings its own. */
export type Shelf = Pick<Storage, "getItem" | "setItem">;

/** A slower place that survives what the shelf does not. */
export interface Vault {
  get(entry: string): Promise<string | null>;
  put(entry: string, text: string): void;
}

const VAULT_MS_MAX = 2_000;

/**
 * Keeps the bookmark of one overlay source, twice. The shelf (localStorage) takes it at once, so
 * that it survives a reload and a crash of the page; but Chromium writes it to disk only once in a
 * while, and a crash of OBS itself would bring back the alerts of the last minute. The vault
 * (IndexedDB) has it on disk some milliseconds later.
 *
 * OBS gives all its browser sources one storage, so each source has its own name. Without any
 * storage the page works on, and starts from now after a reload.
 */
export class BookmarkStore {
  readonly #shelf: Shelf | null;
  readonly #vault: Vault | null;
  readonly #entry: string;
  #hasWarned = false;

  constructor(shelf: Shelf | null, vault: Vault | null, name: string) {
    this.#shelf = shelf;
    this.#vault = vault;
    this.#entry = `tapedeck.overlay.${name}`;
  }

  /** The newer of the two copies. */
  async load(): Promise<Bookmark> {
    const quick = this.loadShelf();
    const late = new Promise<null>((resolve) => setTimeout(resolve, VAULT_MS_MAX, null));
    const text = this.#vault?.get(this.#entry).catch(() => null) ?? null;
    const safe = restoreBookmark(await Promise.race([text, late]));
    return safe.saves > quick.saves ? safe : quick;
  }

  loadShelf(): Bookmark {
    try {
      return restoreBookmark(this.#shelf?.getItem(this.#entry) ?? null);
    } catch {
      return restoreBookmark(null);
    }
  }

  save(bookmark: Bookmark): void {
    bookmark.saves += 1;
    const text = JSON.stringify(bookmark);
    this.#vault?.put(this.#entry, text);
    try {
      this.#shelf?.setItem(this.#entry, text);
    } catch (error) {
      if (!this.#hasWarned) console.warn("the place in the feed could not be saved", error);
      this.#hasWarned = true;
    }
  }
}

/** The page's own storage; null where the browser refuses it. */
export function pageStorage(): Shelf | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

/** Reads what was stored, field by field, so that no stored nonsense can stop the overlay. */
function restoreBookmark(text: string | null): Bookmark {
  const { epoch, after, showing, shown, saves } = parseRecord(text);
  const ids = Array.isArray(shown) ? shown.filter((id) => typeof id === "string") : [];
  return {
    epoch: typeof epoch === "string" ? epoch : null,
    after: typeof after === "number" && Number.isSafeInteger(after) ? after : null,
    showing: restoreShowing(showing),
    shown: ids.slice(-SHOWN_MAX),
    saves: typeof saves === "number" && Number.isSafeInteger(saves) ? saves : 0,
  };
}

function parseRecord(text: string | null): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}

function restoreShowing(value: unknown): Showing | null {
  if (!isRecord(value) || typeof value.startedAt !== "number") return null;
  const alert = restoreAlert(value.alert);
  return alert && { alert, startedAt: value.startedAt };
}
