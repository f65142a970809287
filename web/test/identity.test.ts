import { describe, expect, it, vi } from "vitest";
import { Identity, type Locks, type Shelf } from "../src/overlay/identity";

/** Storage that can refuse to work. */
class MemoryShelf implements Shelf {
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
}

/** Locks as a browser keeps them for its pages: each page gives its own back when it is gone. */
class Page {
  static taken = new Map<string, Page>();
  static waiting: { name: string; grant: () => void }[] = [];

  static reset(): void {
    Page.taken.clear();
    Page.waiting = [];
  }

  readonly locks = {
    request: async (name: string, options: LockOptions, work: (lock: unknown) => unknown) => {
      if (Page.taken.has(name) && options.ifAvailable) return work(null);
      if (Page.taken.has(name)) {
        await new Promise<void>((grant, refuse) => {
          Page.waiting.push({ name, grant });
          options.signal?.addEventListener("abort", () => refuse(new Error("aborted")));
        });
      }
      Page.taken.set(name, this);
      return work({ name });
    },
  } as unknown as Locks;

  close(): void {
    for (const [name, page] of Page.taken) {
      if (page !== this) continue;
      Page.taken.delete(name);
      Page.waiting.find((one) => one.name === name)?.grant();
    }
  }
}

describe("who an overlay is", () => {
  it("stays the same over reloads and is another for every other source", async () => {
    Page.reset();
    const shelf = new MemoryShelf();
    const pages = [new Page(), new Page(), new Page()];
    const tabs = pages.map(() => new MemoryShelf());
    const load = (source: string, n: number) =>
      Identity.take(source, shelf, tabs[n] ?? null, pages[n]?.locks ?? null);
    const first = await load("main.all", 0);
    const second = await load("main.all", 1);
    const other = await load("main.screen", 2);
    const ids = [first.id, second.id, other.id];
    expect(new Set(ids).size).toBe(3);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);

    // Both are loaded anew, in the other order: each tab knows its place.
    pages.forEach((page) => page.close());
    expect((await load("main.all", 1)).id).toBe(second.id);
    expect((await load("main.all", 0)).id).toBe(first.id);

    // OBS starts again: the tabs are new, the places are not.
    pages.forEach((page) => page.close());
    tabs.forEach((tab) => tab.entries.clear());
    expect((await load("main.all", 1)).id).toBe(first.id);
  });

  it("is the one before it, if that is gone in a moment", async () => {
    Page.reset();
    const shelf = new MemoryShelf();
    const [old, young] = [new Page(), new Page()];
    const first = await Identity.take("main", shelf, new MemoryShelf(), old.locks);
    first.painted = { alert: "a", attempt: 1 };
    const taking = Identity.take("main", shelf, new MemoryShelf(), young.locks);
    old.close();
    const second = await taking;
    expect(second.id).toBe(first.id);
    expect(second.painted).toEqual({ alert: "a", attempt: 1 });
  });

  it("is the one before it where that is gone, however slowly the browser says so", async () => {
    const shelf = new MemoryShelf();
    const first = await Identity.take("main", shelf, new MemoryShelf(), null);
    // It gives at once, and the page hears of it ten seconds later.
    const hears = () =>
      new Promise<void>((resolve) => {
        setTimeout(resolve, 10_000);
      });
    for (const goneAfterMs of [0, 100, 10_500]) {
      const given = new Set<string>(["tapedeck.overlay.main.1"]);
      const waiting: (() => void)[] = [];
      const grant = async (name: string, { ifAvailable }: LockOptions) => {
        const isFree = !given.has(name);
        if (!isFree && !ifAvailable) await new Promise<void>((resolve) => waiting.push(resolve));
        given.add(name);
        await hears();
        return isFree || !ifAvailable ? { name } : null;
      };
      const slow = {
        request: async (name: string, options: LockOptions, work: (lock: unknown) => unknown) => {
          const aborted = new Promise<null>((_, refuse) => {
            options.signal?.addEventListener("abort", () => refuse(new Error("aborted")));
          });
          return work(await Promise.race([grant(name, options), aborted]));
        },
      } as unknown as Locks;
      vi.useFakeTimers();
      setTimeout(() => {
        given.clear();
        for (const free of waiting) free();
      }, goneAfterMs);
      await vi.advanceTimersByTimeAsync(0);
      const taking = Identity.take("main", shelf, new MemoryShelf(), slow);
      await vi.advanceTimersByTimeAsync(90_000);
      vi.useRealTimers();
      expect((await taking).id, `gone after ${goneAfterMs} ms`).toBe(first.id);
    }
  });

  it("keeps what was painted last", async () => {
    const shelf = new MemoryShelf();
    const one = await Identity.take("main", shelf, null, null);
    expect(one.painted).toBeNull();
    one.painted = { alert: "a", attempt: 2 };
    const again = await Identity.take("main", shelf, null, null);
    expect(again.id).toBe(one.id);
    expect(again.painted).toEqual({ alert: "a", attempt: 2 });
  });

  it("is somebody even without storage, and with nonsense in it", async () => {
    const shelf = new MemoryShelf();
    shelf.broken = true;
    const one = await Identity.take("main", shelf, shelf, null);
    one.painted = { alert: "a", attempt: 1 };
    expect(one.painted).toEqual({ alert: "a", attempt: 1 });
    shelf.broken = false;
    for (const nonsense of ["{", "7", '{"id":7,"painted":[]}', '{"id":"<b>"}']) {
      shelf.entries.set("tapedeck.overlay.main", nonsense);
      const other = await Identity.take("main", shelf, null, null);
      expect(other.id).toHaveLength(36);
      expect(other.painted).toBeNull();
    }
  });
});
