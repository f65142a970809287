import { describe, expect, it, vi } from "vitest";
import type { Envelope } from "../src/feed/envelope";
import {
  BookmarkStore,
  type Shelf,
  type Showing,
  SHOWN_MAX,
  type Vault,
} from "../src/overlay/bookmark";
import { Playlist, QUEUE_MAX } from "../src/overlay/playlist";
import { MemoryShelf } from "./memory_shelf";

const START = 1_700_000_000_000;

/** One page of an overlay: the playlist, with a clock in the test's hand. */
class PageUnderTest {
  readonly playlist: Playlist;
  now: number;
  readonly begun: string[] = [];
  #seen: Showing | null;

  constructor(shelf: Shelf | null, now = START, name = "main") {
    const store = new BookmarkStore(shelf, null, name);
    const bookmark = store.loadShelf();
    this.#seen = bookmark.showing && { ...bookmark.showing };
    this.playlist = new Playlist(store, bookmark);
    this.now = now;
  }

  hello(position: number, epoch = "e1", after: number | null = null, resumed = false): boolean {
    const hello = { build: "1", after, resumed, ping_ms: 10_000 };
    return this.playlist.hello(envelope("hello", position, epoch), hello);
  }

  add(position: number, id = `id-${position}`, type = "follow", epoch = "e1"): void {
    this.playlist.add({ ...envelope(type, position, epoch), id });
  }

  /** What is on the screen now; whatever was not there before is noted in `begun`. */
  onScreen(): string | null {
    const { showing } = this.playlist.advance(this.now);
    const seen = this.#seen;
    if (showing && (showing.alert.id !== seen?.alert.id || showing.startedAt !== seen.startedAt)) {
      this.begun.push(showing.alert.id ?? "");
    }
    this.#seen = showing && { ...showing };
    return showing?.alert.id ?? null;
  }

  /** Lets time pass, waking whenever the playlist asks for it. */
  pass(ms: number): void {
    const until = this.now + ms;
    for (let turn = 0; turn < 10_000; turn += 1) {
      this.onScreen();
      const { wakeAt } = this.playlist.advance(this.now);
      if (wakeAt === null || wakeAt > until) break;
      this.now = wakeAt;
    }
    this.now = until;
  }
}

function envelope(type: string, position: number, epoch = "e1"): Envelope {
  return { epoch, position, id: null, type, at: "", mode: "live", data: {} };
}

describe("the playlist", () => {
  it("shows one alert at a time, in order, with a pause between", () => {
    const page = new PageUnderTest(new MemoryShelf());
    page.hello(0);
    page.add(1);
    page.add(2, "id-2", "raid");
    page.add(3);
    expect(page.onScreen()).toBe("id-1");
    page.now += 5_999;
    expect(page.onScreen()).toBe("id-1");
    page.now += 1;
    expect(page.onScreen()).toBeNull();
    page.now += 999;
    expect(page.onScreen()).toBeNull();
    page.now += 1;
    expect(page.onScreen()).toBe("id-2");
    page.now += 13_000;
    expect(page.onScreen()).toBe("id-3");
  });

  it("starts from the position of the first hello, and saves it at once", () => {
    const shelf = new MemoryShelf();
    const page = new PageUnderTest(shelf);
    expect(page.playlist.resume).toEqual({ epoch: null, after: null });
    page.hello(41);
    expect(shelf.saved()).toMatchObject({ epoch: "e1", after: 41, showing: null });
    expect(page.playlist.resume).toEqual({ epoch: "e1", after: 41 });
  });

  it("keeps the same alert on the screen over a reload, from where it was", () => {
    const shelf = new MemoryShelf();
    const page = new PageUnderTest(shelf);
    page.hello(0);
    page.add(1);
    page.add(2);
    page.onScreen();

    const again = new PageUnderTest(shelf, START + 2_500);
    const { showing } = again.playlist.advance(again.now);
    expect(showing).toMatchObject({ startedAt: START, alert: { id: "id-1" } });
    expect(again.playlist.resume.after).toBe(1);
    again.hello(2, "e1", 1);
    again.add(2);
    again.pass(20_000);
    expect(again.begun).toEqual(["id-2"]);
  });

  it("counts an alert as shown when its time was over before the page came back", () => {
    const shelf = new MemoryShelf();
    const page = new PageUnderTest(shelf);
    page.hello(0);
    page.add(1);
    page.onScreen();

    const again = new PageUnderTest(shelf, START + 60_000);
    expect(again.onScreen()).toBeNull();
    expect(shelf.saved()).toMatchObject({ after: 1, showing: null, shown: ["id-1"] });
    again.add(1);
    expect(again.onScreen()).toBeNull();
  });

  it("asks again for what waited when the page was reloaded", () => {
    const shelf = new MemoryShelf();
    const page = new PageUnderTest(shelf);
    page.hello(0);
    for (const position of [3, 6, 9]) page.add(position);
    page.pass(6_500);
    expect(page.begun).toEqual(["id-3"]);

    const again = new PageUnderTest(shelf, page.now);
    expect(again.playlist.resume.after).toBe(3);
  });

  it("shows nothing twice, neither by position nor by id", () => {
    const page = new PageUnderTest(new MemoryShelf());
    page.hello(0);
    page.add(1);
    page.add(1);
    page.add(2);
    page.add(3, "id-1");
    page.add(4, "id-2");
    page.pass(60_000);
    page.add(2);
    page.add(5, "id-1");
    page.playlist.add(envelope("follow", 6));
    page.playlist.add(envelope("follow", 6));
    page.pass(60_000);
    expect(page.begun).toEqual(["id-1", "id-2", ""]);
  });

  it("passes over types that it does not know", () => {
    const page = new PageUnderTest(new MemoryShelf());
    page.hello(0);
    page.add(1, "id-1", "confetti");
    page.add(2);
    page.pass(20_000);
    expect(page.begun).toEqual(["id-2"]);
    expect(page.playlist.resume.after).toBe(2);
  });

  it("moves up to a ping only when everything before it has been shown", () => {
    const shelf = new MemoryShelf();
    const page = new PageUnderTest(shelf);
    page.hello(0);
    page.add(1);
    page.onScreen();
    page.playlist.ping(envelope("ping", 50));
    expect(shelf.saved().after).toBe(0);
    page.pass(10_000);
    page.playlist.ping(envelope("ping", 50));
    expect(shelf.saved().after).toBe(50);
    expect(page.playlist.resume.after).toBe(50);
  });

  it("keeps what it has shown when the server's positions are new ones", () => {
    const shelf = new MemoryShelf();
    const page = new PageUnderTest(shelf);
    page.hello(100);
    page.add(101);
    page.add(102);
    page.add(103);
    page.pass(7_500);
    expect(page.begun).toEqual(["id-101", "id-102"]);

    expect(page.hello(60, "e2", 103)).toBe(true);
    expect(page.playlist.resume).toEqual({ epoch: "e2", after: 60 });
    expect(page.hello(60, "e2", 60)).toBe(false);
    page.add(61, "id-101", "follow", "e2");
    page.add(62, "id-102", "follow", "e2");
    page.add(63, "id-103", "follow", "e2");
    page.pass(60_000);
    expect(page.begun).toEqual(["id-101", "id-102", "id-103"]);
    expect(shelf.saved()).toMatchObject({ epoch: "e2", after: 63 });
  });

  it("moves back to a server that ends before its place in the same epoch", () => {
    const page = new PageUnderTest(new MemoryShelf());
    page.hello(100);
    page.add(101);
    page.add(102);
    page.pass(20_000);

    expect(page.hello(101, "e1", 101)).toBe(true);
    expect(page.playlist.resume).toEqual({ epoch: "e1", after: 101 });
    expect(page.hello(101, "e1", 101, true)).toBe(false);
    page.add(102, "id-new");
    page.add(103, "id-102");
    page.pass(20_000);
    expect(page.begun).toEqual(["id-101", "id-102", "id-new"]);
  });

  it("goes back to where the server says that the two histories parted", () => {
    const page = new PageUnderTest(new MemoryShelf());
    page.hello(100);
    page.add(101);
    page.pass(20_000);
    expect(page.hello(120, "e2", 60)).toBe(true);
    expect(page.playlist.resume).toEqual({ epoch: "e2", after: 60 });
  });

  it("stays where it is when a resumed feed is behind it for a moment", () => {
    const page = new PageUnderTest(new MemoryShelf());
    page.hello(100);
    page.add(101);
    expect(page.hello(101, "e1", 101, true)).toBe(false);
    expect(page.playlist.length).toBe(1);
  });

  it("goes on from the new position when reloaded in the middle of an old alert", () => {
    const shelf = new MemoryShelf();
    const page = new PageUnderTest(shelf);
    page.hello(100);
    page.add(101);
    page.onScreen();
    page.hello(60, "e2", 101);
    const again = new PageUnderTest(shelf, START + 1_000);
    expect(again.playlist.resume).toEqual({ epoch: "e2", after: 60 });
    expect(again.onScreen()).toBe("id-101");
  });

  it("says when it is full, takes no more, and asks for the rest later", () => {
    const page = new PageUnderTest(new MemoryShelf());
    page.hello(0);
    for (let position = 1; position <= QUEUE_MAX + 50; position += 1) page.add(position);
    expect(page.playlist.full).toBe(true);
    expect(page.playlist.length).toBe(QUEUE_MAX);
    expect(page.playlist.resume.after).toBe(QUEUE_MAX);
  });

  it("remembers a bounded number of ids", () => {
    const shelf = new MemoryShelf();
    const page = new PageUnderTest(shelf);
    page.hello(0);
    for (let position = 1; position <= SHOWN_MAX + 20; position += 1) {
      page.add(position);
      page.pass(8_000);
    }
    expect(page.begun).toHaveLength(SHOWN_MAX + 20);
    expect(shelf.saved().shown).toHaveLength(SHOWN_MAX);
    expect(shelf.saved().shown[0]).toBe("id-21");
  });

  it("is not held up by a clock that is set back", () => {
    const page = new PageUnderTest(new MemoryShelf());
    page.hello(0);
    page.add(1);
    page.add(2);
    page.onScreen();
    page.now -= 3_600_000;
    page.pass(8_000);
    expect(page.onScreen()).toBe("id-2");
    page.pass(6_000);
    page.add(3);
    page.now -= 3_600_000;
    page.onScreen();
    page.now += 1_000;
    expect(page.onScreen()).toBe("id-3");
  });

  it("works without storage, and over stored nonsense", () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    const broken = new MemoryShelf();
    broken.broken = true;
    const nonsense = new MemoryShelf();
    const stored = { after: "x", showing: { alert: 7 }, shown: [1] };
    nonsense.entries.set("tapedeck.overlay.main", JSON.stringify(stored));
    const garbage = new MemoryShelf();
    garbage.entries.set("tapedeck.overlay.main", "{");
    for (const shelf of [null, broken, nonsense, garbage]) {
      const page = new PageUnderTest(shelf);
      page.hello(0);
      page.add(1);
      page.add(2);
      page.pass(20_000);
      expect(page.begun).toEqual(["id-1", "id-2"]);
    }
    expect(warn).toHaveBeenCalledTimes(1);
    warn.mockRestore();
  });

  it("keeps the places of two sources apart", () => {
    const shelf = new MemoryShelf();
    const main = new PageUnderTest(shelf, START, "main");
    const side = new PageUnderTest(shelf, START, "side");
    main.hello(5);
    side.hello(9);
    expect(shelf.saved("main").after).toBe(5);
    expect(shelf.saved("side").after).toBe(9);
  });
});

describe("the two copies of the bookmark", () => {
  const copy = (after: number, saves: number) => JSON.stringify({ epoch: "e1", after, saves });
  const vault = (text: string | null): Vault => ({
    get: () => Promise.resolve(text),
    put: () => undefined,
  });

  it("are compared, and the newer one is taken", async () => {
    const shelf = new MemoryShelf();
    shelf.entries.set("tapedeck.overlay.main", copy(7, 30));
    const load = (text: string | null) => new BookmarkStore(shelf, vault(text), "main").load();
    expect((await load(copy(9, 31))).after).toBe(9);
    expect((await load(copy(5, 29))).after).toBe(7);
    expect((await load(null)).after).toBe(7);
    expect((await load("{")).after).toBe(7);
  });

  it("do without one that fails or never answers", async () => {
    const shelf = new MemoryShelf();
    shelf.entries.set("tapedeck.overlay.main", copy(7, 30));
    const failing = { ...vault(null), get: () => Promise.reject(new Error("no database")) };
    const silent = { ...vault(null), get: () => new Promise<never>(() => undefined) };
    for (const one of [failing, silent]) {
      expect((await new BookmarkStore(shelf, one, "main").load()).after).toBe(7);
    }
  });
});

describe("a long night", () => {
  it("shows every alert once and in order, whenever the page or the feed is interrupted", () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      const random = randomFrom(seed);
      const shelf = new MemoryShelf();
      let page = new PageUnderTest(shelf);
      page.hello(0);
      const begun: string[] = [];
      const ids = Array.from({ length: 30 }, (_, index) => `id-${(index + 1) * 2}`);
      let known = 0;
      for (let step = 0; step < 2_000; step += 1) {
        known = Math.min(ids.length, known + (random() < 0.1 ? 1 : 0));
        if (random() < 0.05) {
          begun.push(...page.begun);
          page = new PageUnderTest(shelf, page.now);
        }
        // The server sends what it has after the position that the page asks for, up to a cut.
        const from = (page.playlist.resume.after ?? 0) / 2;
        const to = from + Math.floor(random() * (known - from + 1));
        for (let index = Math.floor(from); index < to; index += 1) {
          page.add((index + 1) * 2, ids[index]);
        }
        page.pass(Math.floor(random() * 3_000));
      }
      begun.push(...page.begun);
      expect(begun, `seed ${seed}`).toEqual(ids);
    }
  });
});

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
