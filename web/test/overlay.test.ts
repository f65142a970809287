import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ALERT_TYPES } from "../src/overlay/alert";
import { findChromium, openProfile } from "./chromium";
import { SAMPLES, sample } from "./samples";
import { StageServer } from "./stage_server";
import { Witness } from "./witness";

const executable = findChromium();
const GHOST = "a".repeat(64);
const PIXEL = readFileSync(new URL("../../gateways/tests/data/pixel.png", import.meta.url));

describe.skipIf(executable === null)("the overlay in a real Chromium", () => {
  const profile = mkdtempSync(join(tmpdir(), "tapedeck-overlay-"));
  const witness = new Witness();
  let browser: BrowserContext;
  let server: StageServer;
  let page: Page;

  beforeAll(async () => {
    browser = await openProfile(executable ?? "", profile, { width: 960, height: 540 });
    await witness.attend(browser);
  });

  afterAll(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 50, retryDelay: 200 });
  });

  beforeEach(async () => {
    witness.forget();
    server = new StageServer();
    await server.listen();
    page = witness.listen(await browser.newPage());
  });

  afterEach(async () => {
    await page.close();
    await server.close();
    expect(witness.complaints).toEqual([]);
  });

  async function open(fragment = ""): Promise<void> {
    const before = server.requests.length;
    await page.goto(server.page(fragment));
    await expect.poll(() => server.requests.length).toBeGreaterThan(before);
  }

  it("shows each alert once, in order, through ten disconnections and five reloads", async () => {
    server.speed = 10;
    server.paintMs = 5_000;
    await open();
    const ids: string[] = [];
    const random = randomFrom(7);
    for (let round = 0; round < 15; round += 1) {
      for (let burst = 0; burst < 3; burst += 1) ids.push(server.give(sample(ids.length)));
      const moment = Math.floor(ids.length * random());
      const begun = () => server.count("shown");
      await expect.poll(begun).toBeGreaterThanOrEqual(moment);
      if (round % 3 === 2) await page.reload();
      else server.cut(random() < 0.5 ? '{"type":"state","revision":9999}' : "");
    }
    await expect.poll(() => server.count("shown"), { timeout: 180_000 }).toBe(ids.length);
    await page.locator(".alert").waitFor({ state: "detached" });
    const shown = server.deeds.filter(({ deed }) => deed === "shown").map(({ id }) => id);
    expect(shown).toEqual(ids);
    await expect.poll(() => [...new Set(witness.seen.map(({ id }) => id))]).toEqual(ids);
    expect(server.count("unknown")).toBe(0);
    expect(witness.begun.length).toBe(new Set(witness.begun).size);
    expect(new Set(server.requests.map((url) => url.searchParams.get("overlay"))).size).toBe(1);
  });

  it("takes an alert up again after a reload, in step with the server", async () => {
    server.holds = true;
    await open();
    const shortest = async () => Math.min(...(await Witness.trips(page)));
    await expect.poll(shortest).toBeLessThan(40);
    const raid = server.give({ type: "raid", data: SAMPLES.raid ?? {} });
    const shows = () => witness.seen.map(({ id }) => id);
    await expect.poll(shows).toEqual([raid]);
    await page.reload();
    await expect.poll(shows).toEqual([raid, raid]);
    const [first, second] = witness.seen;
    await expect.poll(shortest).toBeLessThan(Infinity);
    const error = 50 + Math.max(...(await Witness.trips(page))) / 2;
    expect(Math.abs((second?.began ?? 0) - (first?.began ?? 0))).toBeLessThan(error);
    expect(second?.elapsed).toBeGreaterThan(0);
    expect(server.count("started")).toBe(1);
    server.skip();
    await page.locator(".alert-raid").waitFor({ state: "detached" });
  });

  it("goes on after a crash of the page, as the same overlay", async () => {
    server.speed = 4;
    await open();
    const ids = [0, 1, 2].map((index) => server.give(sample(index)));
    await page.locator(".alert-follow").waitFor();
    const crashed = page.waitForEvent("crash");
    await page.goto("chrome://crash").catch(() => undefined);
    await crashed;
    await page.close();
    page = witness.listen(await browser.newPage());
    await open();
    await expect.poll(() => server.count("shown")).toBe(3);
    await expect.poll(() => [...new Set(witness.seen.map(({ id }) => id))]).toEqual(ids);
    expect(new Set(server.requests.map((url) => url.searchParams.get("overlay"))).size).toBe(1);
  });

  it("believes a restored server, and no snapshot that is older than the last", async () => {
    server.holds = true;
    await open();
    const id = server.give(sample(5));
    await expect.poll(() => server.count("shown")).toBe(1);
    server.tellOld();
    server.restore("epoch-2");
    await expect.poll(() => server.requests.length).toBe(2);
    await expect.poll(() => server.painted.length).toBeGreaterThanOrEqual(2);
    expect(witness.seen.map((one) => one.id)).toEqual([id]);
    server.skip();
    await page.locator(".alert").waitFor({ state: "detached" });
  });

  it("has the picture of the next alert before it begins", async () => {
    server.holds = true;
    await open();
    server.pictures.set(GHOST, Promise.resolve(PIXEL));
    server.give(sample(0));
    server.give({ type: "ghost", data: { ...SAMPLES.ghost, picture: GHOST } });
    await expect.poll(() => server.pictureRequests).toEqual([GHOST]);
    expect(server.count("started")).toBe(1);
    server.skip();
    const image = page.locator(".alert-ghost.alert-pictured img");
    await image.waitFor({ state: "attached" });
    expect(await image.evaluate((one) => (one as HTMLImageElement).naturalWidth)).toBe(1);
    // Taken up again, it has its picture again.
    await page.reload();
    await image.waitFor({ state: "attached" });
  });

  it("shows the words alone, and on time, when a picture cannot be shown or never comes", async () => {
    server.holds = true;
    await open();
    const broken = "b".repeat(64);
    const endless = "c".repeat(64);
    server.pictures.set(broken, Buffer.from("<html>502</html>"));
    server.pictures.set(endless, new Promise(() => undefined));
    const pictures = [GHOST, broken, "../../secret", null, endless];
    const ids = pictures.map((picture) =>
      server.give({ type: "friend", data: { ...SAMPLES.friend, picture } }),
    );
    for (let begun = 1; begun <= ids.length; begun += 1) {
      await expect.poll(() => witness.begun).toEqual(ids.slice(0, begun));
      expect(await page.locator(".alert img").count()).toBe(0);
      server.skip();
    }
    expect(new Set(server.pictureRequests)).toEqual(new Set([GHOST, broken, endless]));
    expect(server.count("requeued")).toBe(0);
  });

  it("shows a picture that the server was too busy for at first", async () => {
    server.holds = true;
    await open();
    server.pictures.set(GHOST, Promise.resolve(PIXEL));
    server.pictureRefusals.push(429, 503);
    server.give({ type: "ghost", data: { ...SAMPLES.ghost, picture: GHOST } });
    await page.locator(".alert-ghost.alert-pictured img").waitFor({ state: "attached" });
    expect(server.pictureRequests).toEqual([GHOST, GHOST, GHOST]);
  });

  it("shows what anybody wrote as text, whatever it is", async () => {
    server.holds = true;
    server.leadMs = 20;
    server.gapMs = 10;
    await open();
    const evil = '<img src=x onerror="alert(1)"> & <b>bold</b>';
    const hostile = { viewer: { id: "1", name: evil }, message: evil, words: evil, subject: evil };
    const more = { name: evil, title: evil, tags: [evil, evil], id: evil, colour: evil, kind: evil };
    for (const type of ALERT_TYPES) {
      server.give({ type, data: { ...hostile, ...more, thumbnail: evil, background: evil } });
      await page.locator(`.alert-${type}`).waitFor();
      const card = page.locator(".alert");
      expect(await card.locator("img, script, b > *, .words *, bdi *, li *").count()).toBe(0);
      expect(await card.textContent()).toContain(type === "hype_train" ? "Hype Train" : evil);
      server.skip();
      await card.waitFor({ state: "detached" });
    }
  });

  it("is transparent where there is no alert, and does not scroll", async () => {
    server.holds = true;
    for (const [width, height] of [[800, 600], [1920, 1080], [640, 360]] as const) {
      await page.setViewportSize({ width, height });
      await open(`&name=size-${width}`);
      const message = "W".repeat(500);
      const name = "W".repeat(25);
      server.give({ type: "cheer", data: { viewer: { id: "1", name }, bits: 1_000_000, message } });
      await page.locator(".alert").waitFor();
      const box = await page.evaluate(measure);
      expect(box.background).toBe("rgba(0, 0, 0, 0)");
      expect(box.left).toBeGreaterThanOrEqual(0);
      expect(box.right).toBeLessThanOrEqual(width);
      expect(box.top).toBeGreaterThan(height * 0.3);
      expect(box.bottom).toBeLessThanOrEqual(height);
      expect(box.scrollWidth).toBe(width);
      expect(box.scrollHeight).toBe(height);
      server.skip();
    }
  });

  it("keeps still for those who asked for less motion", async () => {
    server.holds = true;
    await page.emulateMedia({ reducedMotion: "reduce" });
    await open("&name=still");
    for (const type of ["raid", "static", "tape"]) {
      server.give({ type, data: SAMPLES[type] ?? {} });
      await page.locator(`.alert-${type}`).waitFor();
      // As the styles have it: an animation that is over is not listed any more.
      const names = await page.evaluate(() => {
        const parts = [...document.querySelectorAll("*")].flatMap((one) =>
          [null, "::before", "::after"].map((part) => getComputedStyle(one, part)),
        );
        return parts.flatMap((style) => style.animationName.split(", "));
      });
      expect(new Set(names)).toEqual(new Set(["none", "fade-in", "fade-out"]));
      // And nothing else is begun by a script.
      const playing = await page.evaluate(() =>
        document.getAnimations().map((one) => (one as CSSAnimation).animationName),
      );
      expect(["fade-in", "fade-out"]).toEqual(expect.arrayContaining(playing));
      server.skip();
    }
  });

  it("says in words that its key is refused, but only after ten seconds", async () => {
    server.status = 401;
    await page.clock.install();
    await page.goto(server.page("&name=refused"));
    await page.clock.runFor(100);
    // The page knows of the refusal, and says nothing yet.
    await page.locator('#lamp[data-kind="refused"]').waitFor({ state: "attached" });
    expect(await page.locator("#lamp").isVisible()).toBe(false);
    await page.clock.runFor(10_100);
    await page.locator("#lamp").waitFor();
    // A page whose clock runs ahead of its network may have met no answer in between.
    const words = () => page.locator("#lamp").textContent();
    await expect.poll(words).toContain("tapedeck key issue");
    server.status = null;
    await page.clock.runFor(6_000);
    await page.locator("#lamp").waitFor({ state: "hidden" });
  });

  it("loads itself anew for another build, once it is old enough and nothing plays", async () => {
    await page.clock.install();
    await open("&name=build");
    await page.clock.runFor(1_000);
    server.build = "0.2.0";
    server.cut();
    await page.clock.runFor(6_000);
    await expect.poll(() => server.requests.length).toBe(2);
    const loaded = page.waitForEvent("load");
    await page.clock.runFor(25_000);
    await loaded;
    await page.clock.runFor(100);
    await expect.poll(() => server.requests.length).toBe(3);
  });

  it("shows that the stage is paused in a preview, and nowhere else", async () => {
    server.pause();
    await open("&preview=on");
    await page.locator("#paused").waitFor();
    server.resume();
    await page.locator("#paused").waitFor({ state: "hidden" });
    await open("&name=on-air");
    server.pause();
    server.give(sample(0));
    server.tell();
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve)));
    expect(await page.locator("#paused").isVisible()).toBe(false);
  });
});

/** Runs in the page: where the alert's parts are at rest, and what is behind them. */
function measure() {
  for (const animation of document.getAnimations()) {
    animation.pause();
    animation.currentTime = 2_900;
  }
  const parts = [".panel", ".art", ".note"].map((part) => document.querySelector(part));
  const boxes = parts.flatMap((part) => (part ? [part.getBoundingClientRect()] : []));
  return {
    background: getComputedStyle(document.documentElement).backgroundColor,
    left: Math.min(...boxes.map(({ left }) => left)),
    right: Math.max(...boxes.map(({ right }) => right)),
    top: Math.min(...boxes.map(({ top }) => top)),
    bottom: Math.max(...boxes.map(({ bottom }) => bottom)),
    scrollWidth: document.documentElement.scrollWidth,
    scrollHeight: document.documentElement.scrollHeight,
  };
}

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
