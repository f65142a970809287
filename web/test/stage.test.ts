import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { findChromium, openProfile, openWindow } from "./chromium";
import { SAMPLES, sample } from "./samples";
import { StageServer } from "./stage_server";
import { type Appearance, Witness } from "./witness";

const executable = findChromium();
const GHOST = "a".repeat(64);
const PIXEL = readFileSync(new URL("../../gateways/tests/data/pixel.png", import.meta.url));
const ghost = { type: "ghost", data: { ...SAMPLES.ghost, picture: GHOST } };

describe.skipIf(executable === null)("a stage and its overlays in a real Chromium", () => {
  const profile = mkdtempSync(join(tmpdir(), "tapedeck-stage-"));
  const witness = new Witness();
  let browser: BrowserContext;
  let server: StageServer;
  let pages: Page[];

  beforeAll(async () => {
    browser = await openProfile(executable ?? "", profile, { width: 640, height: 360 });
    await witness.attend(browser);
  }, 60_000);

  afterAll(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  });

  beforeEach(async () => {
    witness.forget();
    pages = [];
    server = new StageServer();
    server.pictures.set(GHOST, Promise.resolve(PIXEL));
    await server.listen();
  });

  afterEach(async () => {
    await Promise.all(pages.map((page) => page.close()));
    await server.close();
    expect(witness.complaints).toEqual([]);
  });

  /** Opens an overlay, and waits until the stage has it. */
  async function open(fragment = ""): Promise<Page> {
    const page = witness.listen(await openWindow(browser));
    pages.push(page);
    const before = server.overlays.length;
    await page.goto(server.page(fragment));
    await expect.poll(() => server.overlays.length, { timeout: 15_000 }).toBe(before + 1);
    return page;
  }

  async function close(page: Page): Promise<void> {
    const before = server.overlays.length;
    pages = pages.filter((other) => other !== page);
    await page.close();
    await expect.poll(() => server.overlays.length).toBe(before - 1);
  }

  it("keeps two layers within 50 ms of each other over 50 alerts", async () => {
    server.speed = 16;
    server.leadMs = 200;
    await open("&layer=normal");
    await open("&layer=screen");
    const ids = Array.from({ length: 50 }, () => server.give(ghost));
    await expect.poll(() => witness.seen.length, { timeout: 90_000 }).toBe(100);
    const pairs = ids.map((id) => {
      const [one, other, ...more] = witness.seen.filter((appearance) => appearance.id === id);
      expect([one?.layer, other?.layer].sort()).toEqual(["normal", "screen"]);
      expect(more).toEqual([]);
      return [one as Appearance, other as Appearance] as const;
    });
    const began = sorted(pairs.map(([one, other]) => Math.abs(one.began - other.began)));
    const frames = sorted(pairs.map(([one, other]) => Math.abs(one.at - other.at)));
    const say = (all: number[]) => `${all[25]?.toFixed(1)} ms, at most ${all[49]?.toFixed(1)} ms`;
    console.info(`50 alerts on two layers begin ${say(began)} apart; first frames ${say(frames)}`);
    expect(began[49]).toBeLessThanOrEqual(50);
    // A machine that is busy with other things leaves frames out; what follows is in step again.
    expect(frames[44]).toBeLessThanOrEqual(50);
  }, 120_000);

  it("splits a ghost between the two layers, in the same place", async () => {
    const normal = await open("&layer=normal");
    const screen = await open("&layer=screen");
    server.give(ghost);
    const image = screen.locator(".alert-ghost.alert-pictured img");
    await image.waitFor();
    await normal.locator(".alert-ghost.alert-pictured").waitFor();
    expect(await normal.locator("img").count()).toBe(0);
    expect(await screen.locator(".panel").isVisible()).toBe(false);
    expect(await normal.locator(".panel").isVisible()).toBe(true);
    const place = async (page: Page) => JSON.stringify(await page.evaluate(placeOf, ".portrait"));
    await expect.poll(async () => (await place(screen)) === (await place(normal))).toBe(true);
    const painters = () => server.painted.map(({ overlay }) => overlay);
    const normals = server.overlays.filter(({ layer }) => layer === "normal");
    await expect.poll(painters).toEqual(normals.map(({ id }) => id));
    server.skip();
    server.give(sample(0));
    await normal.locator(".alert-follow").waitFor();
    expect(await screen.locator(".alert").count()).toBe(0);
  }, 30_000);

  it("loses none of 200 alerts and doubles none while a page dies 50 times", async () => {
    server.speed = 20;
    server.leadMs = 100;
    server.paintMs = 600;
    const ids = Array.from({ length: 200 }, (_, index) => server.give(sample(index)));
    const random = randomFrom(11);
    for (let death = 1; death <= 50; death += 1) {
      const page = await open();
      const until = Math.min(ids.length - 1, death * 4 - 2);
      const played = () => server.count("shown") + server.count("unknown");
      await expect.poll(played, { timeout: 30_000, interval: 10 }).toBeGreaterThanOrEqual(until);
      await expect.poll(() => server.deeds.at(-1)?.deed, { interval: 3 }).toMatch(
        random() < 0.5 ? /started/ : /shown|started/,
      );
      await close(page);
    }
    const page = await open();
    await expect.poll(() => server.count("shown"), { timeout: 30_000 }).toBe(ids.length);
    await page.locator(".alert").waitFor({ state: "detached" });
    const seen = JSON.parse(await page.evaluate(() => localStorage.getItem("witness") ?? "[]"));
    const attempts = new Map<string, Set<number>>();
    for (const { id, attempt } of seen as Appearance[]) {
      attempts.set(id, (attempts.get(id) ?? new Set()).add(attempt));
    }
    const lost = ids.filter((id) => !attempts.has(id)).length;
    const doubled = ids.filter((id) => (attempts.get(id)?.size ?? 0) > 1).length;
    const counts = ["started", "shown", "requeued", "unknown"] as const;
    const said = counts.map((deed) => `${server.count(deed)} ${deed}`).join(", ");
    console.info(`50 deaths, 200 alerts: ${said}, ${lost} lost, ${doubled} doubled`);
    expect({ lost, doubled, unknown: server.count("unknown") }).toEqual({
      lost: 0,
      doubled: 0,
      unknown: 0,
    });
    const shown = server.deeds.filter(({ deed }) => deed === "shown").map(({ id }) => id);
    expect(shown).toEqual(ids);
    expect(new Set(server.requests.map((url) => url.searchParams.get("overlay"))).size).toBe(1);
  }, 240_000);

  it("says again what it has painted when nobody may have heard it", async () => {
    const page = await open();
    server.isDeaf = true;
    const id = server.give(sample(0));
    await expect.poll(() => witness.begun).toEqual([id]);
    await close(page);
    server.isDeaf = false;
    // It says so before the server could decide anything, and shows the rest.
    await open();
    await expect.poll(() => server.count("shown")).toBe(1);
    expect(server.painted[0]).toMatchObject({ id, attempt: 1 });
    server.cut();
    await expect.poll(() => server.painted.length, { timeout: 5_000 }).toBeGreaterThan(1);
    await expect.poll(() => server.isIdle, { timeout: 10_000 }).toBe(true);
    expect(server.deeds.map(({ deed }) => deed)).toEqual(["started", "shown"]);
  }, 30_000);

  it("pauses, skips and replays while it plays", async () => {
    const page = await open();
    const [first, second] = [server.give(sample(0)), server.give(sample(1))];
    await expect.poll(() => witness.begun).toEqual([first]);
    server.pause();
    server.skip();
    await page.locator(".alert").waitFor({ state: "detached" });
    server.gapMs = 0;
    server.resume();
    await expect.poll(() => witness.begun, { timeout: 5_000 }).toEqual([first, second]);
    server.replay(first);
    server.skip();
    await expect.poll(() => witness.begun, { timeout: 5_000 }).toEqual([first, second, first]);
    const last = witness.seen.at(-1);
    expect(last?.attempt).toBe(2);
    await expect.poll(() => server.deeds.at(-1)).toEqual({ deed: "shown", id: first, attempt: 2 });
  }, 30_000);

  it("lets the queue wait while there is no overlay for it", async () => {
    server.gapMs = 0;
    server.speed = 4;
    const ids = [server.give(sample(1)), server.give(sample(5))];
    const raids = await open("&types=raid");
    expect(server.count("started")).toBe(0);
    await open("&types=cheer");
    await expect.poll(() => server.count("shown"), { timeout: 10_000 }).toBe(2);
    await expect.poll(() => witness.begun, { timeout: 10_000 }).toEqual(ids);
    expect(await raids.locator(".alert-cheer").count()).toBe(0);
  }, 30_000);

  it("leaves the stage while the browser paints no frames, and comes back", async () => {
    const page = await open();
    await page.evaluate(() => {
      const real = window.requestAnimationFrame;
      const waiting: FrameRequestCallback[] = [];
      window.requestAnimationFrame = (work) => waiting.push(work);
      Object.assign(window, {
        paintAgain() {
          window.requestAnimationFrame = real;
          for (const work of waiting) real(work);
        },
      });
    });
    await expect.poll(() => server.overlays.length, { timeout: 15_000 }).toBe(0);
    const id = server.give(sample(0));
    expect(server.count("started")).toBe(0);
    await page.evaluate(() => (window as unknown as { paintAgain(): void }).paintAgain());
    await expect.poll(() => witness.begun, { timeout: 10_000 }).toEqual([id]);
  }, 40_000);

  it("reaches seven overlays of one browser on one plain host, each by its own name", async () => {
    for (let overlay = 0; overlay < 7; overlay += 1) await open();
    expect(new Set(server.overlays.map(({ id }) => id)).size).toBe(7);
    const id = server.give(sample(5));
    await expect.poll(() => witness.begun, { timeout: 10_000 }).toEqual(Array(7).fill(id));
    const painters = () => new Set(server.painted.map(({ overlay }) => overlay));
    await expect.poll(() => painters().size).toBe(7);
    expect(server.count("shown")).toBe(1);
    // All seven are loaded anew, and each is who it was.
    await Promise.all(pages.map((page) => page.reload()));
    await expect.poll(() => server.overlays.length, { timeout: 15_000 }).toBe(7);
    expect(new Set(server.overlays.map((overlay) => overlay.id))).toEqual(painters());
  }, 60_000);
});

/** Runs in the page: where an element is when nothing moves any more. */
function placeOf(selector: string) {
  const element = document.querySelector(selector);
  const { x, y, width, height } = element?.getBoundingClientRect() ?? new DOMRect();
  return [x, y, width, height].map(Math.round);
}

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
