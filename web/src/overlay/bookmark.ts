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
}

export const SHOWN_MAX = 500;

/** The part of the Web Storage interface that is needed; a test brings its own. */
export type Shelf = Pick<Storage, "getItem" | "setItem">;

/**
 * Keeps the bookmark of one overlay source. OBS gives all its browser sources one storage, so each
 * source has its own name. Without storage the page works on, and starts from now after a reload.
 */
export class BookmarkStore {
  readonly #shelf: Shelf | null;
  readonly #entry: string;
  #hasWarned = false;

  constructor(shelf: Shelf | null, name: string) {
    this.#shelf = shelf;
    this.#entry = `tapedeck.overlay.${name}`;
  }

  load(): Bookmark {
    try {
      return restoreBookmark(JSON.parse(this.#shelf?.getItem(this.#entry) ?? "null"));
    } catch {
      return restoreBookmark(null);
    }
  }

  save(bookmark: Bookmark): void {
    try {
      this.#shelf?.setItem(this.#entry, JSON.stringify(bookmark));
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
function restoreBookmark(value: unknown): Bookmark {
  const stored = isRecord(value) ? value : {};
  const { epoch, after, showing, shown } = stored;
  const ids = Array.isArray(shown) ? shown.filter((id) => typeof id === "string") : [];
  return {
    epoch: typeof epoch === "string" ? epoch : null,
    after: typeof after === "number" && Number.isSafeInteger(after) ? after : null,
    showing: restoreShowing(showing),
    shown: ids.slice(-SHOWN_MAX),
  };
}

function restoreShowing(value: unknown): Showing | null {
  if (!isRecord(value) || typeof value.startedAt !== "number") return null;
  const alert = restoreAlert(value.alert);
  return alert && { alert, startedAt: value.startedAt };
}
