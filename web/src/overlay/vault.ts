import type { Vault } from "./bookmark";

const DATABASE = "tapedeck";
const TABLE = "bookmarks";

/**
 * IndexedDB, asked to have each entry on disk before it goes on. A failure to write is no failure
 * of the overlay: the shelf has the entry too.
 */
export class DiskVault implements Vault {
  readonly #database: Promise<IDBDatabase>;
  /** What waits to be written; only the last text of an entry matters. */
  readonly #waiting = new Map<string, string>();
  #isWriting = false;

  constructor() {
    this.#database = openDatabase();
    this.#database.catch(() => undefined);
  }

  async get(entry: string): Promise<string | null> {
    const database = await this.#database;
    const found: unknown = await settled(database.transaction(TABLE).objectStore(TABLE).get(entry));
    return typeof found === "string" ? found : null;
  }

  put(entry: string, text: string): void {
    this.#waiting.set(entry, text);
    if (this.#isWriting) return;
    this.#isWriting = true;
    void this.#write()
      .catch(() => this.#waiting.clear())
      .finally(() => {
        this.#isWriting = false;
      });
  }

  async #write(): Promise<void> {
    const database = await this.#database;
    while (this.#waiting.size > 0) {
      const entries = [...this.#waiting];
      this.#waiting.clear();
      const writing = database.transaction(TABLE, "readwrite", { durability: "strict" });
      for (const [entry, text] of entries) writing.objectStore(TABLE).put(text, entry);
      await new Promise((resolve, reject) => {
        writing.oncomplete = resolve;
        writing.onabort = reject;
      });
    }
  }
}

function openDatabase(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const opening = window.indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

function settled<T>(asked: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}
