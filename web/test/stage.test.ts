import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { findChromium, openProfile, openWindow } from "./chromium";
import { SAMPLES, sample } from "./samples";
import { StageServer } from "./stage_server";
import { Witness } from "./witness";

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
  });

  afterAll(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 50, retryDelay: 200 });
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
    await expect.poll(() => server.overlays.length).toBe(before + 1);
    return page;
  }

  async function close(page: Page): Promise<void> {
    const before = server.overlays.length;
    pages = pages.filter((other) => other !== page);
    await page.close();
    await expect.poll(() => server.overlays.length).toBe(before - 1);
  }

  it("splits a ghost between the two layers, in the same place", async () => {
    server.holds = true;
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
    await screen.locator(".alert-ghost").waitFor({ state: "detached" });
    expect(await screen.locator(".alert").count()).toBe(0);
  });

  it("says again what it has painted when nobody may have heard it", async () => {
    server.holds = true;
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
    await expect.poll(() => server.painted.length).toBeGreaterThan(1);
    server.skip();
    expect(server.deeds.map(({ deed }) => deed)).toEqual(["started", "shown", "skipped"]);
  });

  it("pauses, skips and replays while it plays", async () => {
    server.holds = true;
    const page = await open();
    const [first, second] = [server.give(sample(0)), server.give(sample(1))];
    await expect.poll(() => witness.begun).toEqual([first]);
    server.pause();
    server.skip();
    await page.locator(".alert").waitFor({ state: "detached" });
    server.gapMs = 0;
    server.resume();
    await expect.poll(() => witness.begun).toEqual([first, second]);
    server.replay(first);
    server.skip();
    await expect.poll(() => witness.begun).toEqual([first, second, first]);
    const last = witness.seen.at(-1);
    expect(last?.attempt).toBe(2);
    await expect.poll(() => server.deeds.at(-1)).toEqual({ deed: "shown", id: first, attempt: 2 });
  });

  it("lets the queue wait while there is no overlay for it", async () => {
    server.gapMs = 0;
    server.speed = 4;
    const ids = [server.give(sample(1)), server.give(sample(5))];
    const raids = await open("&types=raid");
    expect(server.count("started")).toBe(0);
    await open("&types=cheer");
    await expect.poll(() => server.count("shown")).toBe(2);
    await expect.poll(() => witness.begun).toEqual(ids);
    expect(await raids.locator(".alert-cheer").count()).toBe(0);
  });

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
    await expect.poll(() => server.overlays.length).toBe(0);
    const id = server.give(sample(0));
    expect(server.count("started")).toBe(0);
    await page.evaluate(() => (window as unknown as { paintAgain(): void }).paintAgain());
    await expect.poll(() => witness.begun).toEqual([id]);
  });
});

/** Runs in the page: where an element is when nothing moves any more. */
function placeOf(selector: string) {
  const element = document.querySelector(selector);
  const { x, y, width, height } = element?.getBoundingClientRect() ?? new DOMRect();
  return [x, y, width, height].map(Math.round);
}
