import type { Bookmark, Shelf } from "../src/overlay/bookmark";

/** Storage that can be looked into, and that can refuse to work. */
export class MemoryShelf implements Shelf {
  readonly entries = new Map<string, string>();
  broken = false;

  getItem(name: string): string | null {
    if (this.broken) throw new Error("no storage");
    return this.entries.get(name) ?? null;
  }

  setItem(name: string, value: string): void {
    if (this.broken) throw new Error("no storage");
    this.entries.set(name, value);
  }

  saved(name = "main"): Bookmark {
    return JSON.parse(this.entries.get(`tapedeck.overlay.${name}`) ?? "null");
  }
}
