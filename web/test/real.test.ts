import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { findChromium, openProfile, openWindow } from "./chromium";
import { findTapedeck, type Listed, RealServer } from "./real_server";
import { type Appearance, Witness } from "./witness";

const executable = findChromium();
const program = findTapedeck();

/** Short alerts, so that hundreds fit into a test. */
const SETTINGS = `
[stage]
lead_ms = 150
gap_ms = 0
painted_within_ms = 1000
unknown_after_ms = 60000
[stage.seconds]
cheer = 0.25
ghost = 0.4
`;

describe.skipIf(!executable || !program)("real pages and a real server", () => {
  const profile = mkdtempSync(join(tmpdir(), "tapedeck-pages-"));
  const witness = new Witness();
  let server: RealServer;
  let browser: BrowserContext;
  let pages: Page[] = [];
  let given = 0;

  beforeAll(async () => {
    server = new RealServer(program ?? "");
    await server.start(SETTINGS);
    browser = await openProfile(executable ?? "", profile, { width: 640, height: 360 });
    await witness.attend(browser);
  });

  afterAll(async () => {
    await browser?.close();
    await server.stop();
    rmSync(profile, { recursive: true, force: true, maxRetries: 50, retryDelay: 200 });
  });

  afterEach(async () => {
    await Promise.all(pages.map((page) => page.close()));
    pages = [];
    await presence(0);
    expect(witness.complaints).toEqual([]);
    witness.forget();
  });

  /** Waits until the stage has so many overlays. */
  async function presence(count: number): Promise<void> {
    await expect
      .poll(async () => (await server.overlays()).length)
      .toBe(count);
  }

  async function open(fragment = ""): Promise<Page> {
    const page = witness.listen(await openWindow(browser));
    pages.push(page);
    await page.goto(server.page(fragment));
    return page;
  }

  /** Has viewers cheer so many times, and waits until the stage has their alerts. */
  async function cheer(count: number): Promise<string[]> {
    for (let bits = 1; bits <= count; bits += 1) await server.cheer(bits);
    return newest(count);
  }

  /** The alerts that came last, in their order, once the stage has all. */
  async function newest(count: number): Promise<string[]> {
    given += count;
    const listed = async () => (await server.alerts()).length;
    await expect.poll(listed).toBe(given);
    return (await server.alerts()).slice(-count).map(({ alert }) => alert.id);
  }

  /** What became of the alerts of this test. */
  async function outcome(ids: string[]): Promise<Listed[]> {
    return (await server.alerts()).filter(({ alert }) => ids.includes(alert.id));
  }

  async function allAreShown(ids: string[]): Promise<void> {
    const waiting = async () =>
      (await outcome(ids)).filter(({ state }) => state !== "shown").map(({ state }) => state);
    await expect.poll(waiting, { interval: 100, timeout: 240_000 }).toEqual([]);
  }

  it("keep two layers within 50 ms of each other over 50 alerts", async () => {
    const layers = [await open("&layer=normal"), await open("&layer=screen")];
    await presence(2);
    const trips = () => Promise.all(layers.map((page) => Witness.trips(page)));
    const shortest = async () => (await trips()).map((all) => Math.min(...all));
    await expect.poll(async () => Math.max(...(await shortest()))).toBeLessThan(40);
    let asked = 0;
    // What one page was too busy to show, or to have before it began, is no pair: another one is given for it.
    for (let lack = 50; lack > 0; lack = 50 - witness.together.length) {
      expect((asked += lack), "too few are shown by both").toBeLessThanOrEqual(120);
      for (let ghost = 0; ghost < lack; ghost += 1) await server.test("ghost");
      await allAreShown(await newest(lack));
    }
    const pairs = witness.together.map((both) => {
      expect(both.map(({ layer }) => layer).sort()).toEqual(["normal", "screen"]);
      return both as [Appearance, Appearance];
    });
    const began = sorted(pairs.map(([one, other]) => Math.abs(one.began - other.began)));
    const frames = sorted(pairs.map(([one, other]) => Math.abs(one.at - other.at)));
    const say = (all: number[]) => `${all[25]?.toFixed(1)} ms, at most ${all.at(-1)?.toFixed(1)} ms`;
    const alerts = `${pairs.length} of ${asked} alerts on two layers`;
    console.info(`${alerts} begin ${say(began)} apart; first frames ${say(frames)}`);
    expect(began.at(-1)).toBeLessThanOrEqual(50);
    // A machine that is busy with other things leaves frames out; but none is made without it, more than 50 ms after the other layer
    // had one with it.
    for (const [one, other] of pairs) {
      expect(one.before - other.at).toBeLessThanOrEqual(50);
      expect(other.before - one.at).toBeLessThanOrEqual(50);
    }
  });

  it("lose none of 200 alerts and double none while a page dies 50 times", async () => {
    // A page that comes while the browser still has the one before it is another overlay, after a moment; and what became of an
    // alert that only the first was told of is not known for a minute.
    const onlooker = await openWindow(browser);
    await onlooker.goto(server.home);
    const held = () => onlooker.evaluate(async () => (await navigator.locks.query()).held?.length);
    const ids = await cheer(200);
    const random = randomFrom(11);
    const begun = () => new Set(witness.seen.map(({ id }) => id)).size;
    const kept = async (page: Page) => {
      const all = await page.evaluate(() => localStorage.getItem("witness") ?? "[]");
      return (JSON.parse(all) as Appearance[]).filter(({ id }) => ids.includes(id));
    };
    for (let death = 1; death <= 50; death += 1) {
      const page = await open();
      // The one before may have died before it could tell.
      const told = new Set(witness.seen.map(({ id }) => id));
      witness.seen.unshift(...(await kept(page)).filter(({ id }) => !told.has(id)));
      const until = Math.min(ids.length - 1, death * 4 - 2);
      await expect
        .poll(begun, { interval: 5 })
        .toBeGreaterThanOrEqual(until);
      // While an alert is on the screen, or when the next one was sent and is not on it yet.
      const seen = witness.seen.at(-1)?.id;
      if (random() < 0.5) {
        await expect.poll(() => server.playing(), { interval: 3 }).not.toBe(seen);
      }
      pages = [];
      await page.close();
      await expect.poll(held, { interval: 5 }).toBe(0);
    }
    await onlooker.close();
    const page = await open();
    await allAreShown(ids);
    await page.locator(".alert").waitFor({ state: "detached" });
    const all = await kept(page);
    const attempts = new Map<string, Set<number>>();
    for (const { id, attempt } of all) {
      attempts.set(id, (attempts.get(id) ?? new Set()).add(attempt));
    }
    const became = await outcome(ids);
    const started = became.reduce((sum, { attempts }) => sum + attempts, 0);
    const lost = ids.filter((id) => !attempts.has(id)).length;
    const doubled = ids.filter((id) => (attempts.get(id)?.size ?? 0) > 1).length;
    const again = started - ids.length;
    const counts = `${started} started, ${again} of them again, ${lost} lost, ${doubled} doubled`;
    console.info(`50 deaths, 200 alerts: ${counts}`);
    expect({ lost, doubled }).toEqual({ lost: 0, doubled: 0 });
    const first = new Map<string, number>();
    for (const { id, at } of all) if (!first.has(id)) first.set(id, at);
    const order = [...first].sort(([, one], [, other]) => one - other).map(([id]) => id);
    expect(order).toEqual(ids);
  });

  it("reach seven overlays of one browser on one plain host, each by its own name", async () => {
    for (let overlay = 0; overlay < 7; overlay += 1) await open();
    await presence(7);
    const overlays = new Set(await server.overlays());
    expect(overlays.size).toBe(7);
    await server.test("raid");
    const [id] = await newest(1);
    // A page that was too busy has it started again, for those that had it too.
    const showing = () => new Set(witness.seen.map(({ page }) => page)).size;
    await expect.poll(showing).toBe(7);
    expect(witness.seen.filter((one) => one.id !== id)).toEqual([]);
    await allAreShown([id ?? ""]);
    // All seven are loaded anew, and each is who it was.
    await Promise.all(pages.map((page) => page.reload()));
    const present = async () => new Set(await server.overlays());
    await expect.poll(present).toEqual(overlays);
  });
});

function sorted(values: number[]): number[] {
  return [...values].sort((one, other) => one - other);
}

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
