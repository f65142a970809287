import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ALERT_TYPES } from "../src/overlay/alert";
import { findChromium, openProfile } from "./chromium";
import { FeedServer, type Given } from "./feed_server";

const executable = findChromium();
const viewer = { id: "5001", name: "ReelDeal" };
const SAMPLES: Record<string, Record<string, unknown>> = {
  follow: { viewer },
  cheer: { viewer, bits: 100, message: "Cheer100 nice" },
  sub: { viewer, tier: "1000" },
  resub: { viewer, tier: "1000", months: 3, streak: null, message: "" },
  gift: { viewer: null, count: 5, tier: "1000" },
  raid: { viewer, viewers: 12 },
  hype_train: { level: 1, total: 100, goal: 500, kind: "regular" },
  ghost: { viewer, subject: "a toaster", picture: null, background: "#10101e" },
  friend: { viewer, subject: "a heron", colour: "blue", name: "Waldo", picture: null },
};

const GHOST = "a".repeat(64);
const PIXEL = readFileSync(new URL("../../gateways/tests/data/pixel.png", import.meta.url));

/** One appearance of an alert on the screen; `elapsed` is above 0 when it was taken up again. */
interface Appearance {
  id: string;
  elapsed: number;
}

describe.skipIf(executable === null)("the overlay in a real Chromium", () => {
  const profile = mkdtempSync(join(tmpdir(), "tapedeck-overlay-"));
  let browser: BrowserContext;
  let server: FeedServer;
  let page: Page;
  let seen: Appearance[];
  let complaints: string[];

  beforeAll(async () => {
    browser = await openProfile(executable ?? "", profile, { width: 960, height: 540 });
    await browser.exposeFunction("noteAppearance", (one: Appearance) => seen.push(one));
    await browser.exposeFunction("noteComplaint", (text: string) => complaints.push(text));
    await browser.addInitScript(watchTheScreen);
  }, 60_000);

  afterAll(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  });

  beforeEach(async () => {
    seen = [];
    complaints = [];
    server = new FeedServer();
    await server.listen();
    page = await openPage();
  });

  afterEach(async () => {
    await page.close();
    await server.close();
    expect(complaints).toEqual([]);
  });

  async function openPage(): Promise<Page> {
    const opened = await browser.newPage();
    opened.on("pageerror", (error) => complaints.push(String(error)));
    return opened;
  }

  async function open(fragment: string): Promise<void> {
    const before = server.requests.length;
    await page.goto(server.page(fragment));
    await expect.poll(() => server.requests.length, { timeout: 15_000 }).toBeGreaterThan(before);
  }

  function sample(index: number): Given {
    const type = ALERT_TYPES[index % ALERT_TYPES.length] ?? "follow";
    return { type, data: SAMPLES[type] ?? {} };
  }

  function begun(): string[] {
    return seen.filter(({ elapsed }) => elapsed === 0).map(({ id }) => id);
  }

  it("shows each alert once, in order, through ten disconnections and five reloads", async () => {
    await open("&name=night&speed=20");
    const ids: string[] = [];
    const random = randomFrom(7);
    for (let round = 0; round < 15; round += 1) {
      for (let burst = 0; burst < 3; burst += 1) {
        ids.push(server.give(sample(ids.length), 1 + (round % 3)));
      }
      const known = ids[Math.floor(random() * ids.length)] ?? "";
      server.give({ ...sample(0), id: known });
      const moment = Math.floor(ids.length * random());
      await expect.poll(() => begun().length, { timeout: 60_000 }).toBeGreaterThanOrEqual(moment);
      if (round === 8) await page.locator(".alert-raid").waitFor();
      if (round % 3 === 2) await page.reload();
      else if (random() < 0.5) server.cut();
      else ids.push(server.cutInside(sample(ids.length)));
    }
    await expect.poll(() => begun().length, { timeout: 60_000 }).toBe(ids.length);
    await page.locator(".alert").waitFor({ state: "detached" });
    expect(begun()).toEqual(ids);
    const resumed = seen.filter(({ elapsed }) => elapsed > 0);
    expect(resumed.length).toBeLessThanOrEqual(5);
    for (const one of resumed) {
      expect(seen[seen.indexOf(one) - 1]?.id).toBe(one.id);
    }
  }, 180_000);

  it("takes an alert up again after a reload, for the rest of its time", async () => {
    await open("&name=middle&speed=2");
    const raid = server.give({ type: "raid", data: SAMPLES.raid ?? {} });
    await page.locator(".alert-raid").waitFor();
    const startedAt = Date.now();
    await page.reload();
    await page.locator(".alert-raid").waitFor();
    expect(seen.map(({ id }) => id)).toEqual([raid, raid]);
    expect(seen[1]?.elapsed).toBeGreaterThan(0);
    await page.locator(".alert-raid").waitFor({ state: "detached" });
    const tookMs = Date.now() - startedAt;
    expect(tookMs).toBeGreaterThan(5_500);
    expect(tookMs).toBeLessThan(8_000);
  }, 30_000);

  it("goes on after a crash of the page", async () => {
    await open("&name=crash&speed=4");
    const ids = [0, 1, 2].map((index) => server.give(sample(index)));
    await page.locator(".alert-follow").waitFor();
    const crashed = page.waitForEvent("crash");
    await page.goto("chrome://crash").catch(() => undefined);
    await crashed;
    await page.close();
    page = await openPage();
    await open("&name=crash&speed=4");
    await expect.poll(() => begun(), { timeout: 20_000 }).toEqual(ids);
  }, 40_000);

  it("goes on when the server was restored and counts its positions anew", async () => {
    await open("&name=restored&speed=20");
    const ids = [0, 1, 2, 3].map((index) => server.give(sample(index), 10));
    await expect.poll(() => begun().length).toBe(2);
    server.restore("epoch-2", -7);
    ids.push(server.give(sample(4)));
    await expect.poll(() => begun(), { timeout: 20_000 }).toEqual(ids);
    await page.locator(".alert").waitFor({ state: "detached" });
    expect(begun()).toEqual(ids);
  }, 40_000);

  it("holds at most 500 waiting alerts, and asks for the rest when there is room", async () => {
    await open("&name=flood&speed=1000");
    server.pieceBytes = 65_536;
    const ids = Array.from({ length: 640 }, () => server.give(sample(0)));
    await expect.poll(() => server.clients).toBe(0);
    await expect.poll(() => begun().length, { timeout: 100_000 }).toBe(ids.length);
    expect(begun()).toEqual(ids);
    expect(server.requests.length).toBe(2);
  }, 120_000);

  it("shows a picture when it is loaded and decoded, and not before", async () => {
    await open("&name=picture&speed=2");
    let arrive: (bytes: Buffer) => void = () => undefined;
    server.pictures.set(GHOST, new Promise((resolve) => (arrive = resolve)));
    const first = server.give(sample(0));
    const ghost = server.give({ type: "ghost", data: { ...SAMPLES.ghost, picture: GHOST } });
    // It is asked for while the alert before it is on the screen.
    await expect.poll(() => server.pictureRequests).toEqual([GHOST]);
    expect(begun()).toEqual([first]);
    await page.locator(".alert-follow").waitFor({ state: "detached" });
    expect(begun()).toEqual([first]);
    arrive(PIXEL);
    await page.locator(".alert-ghost.alert-pictured img").waitFor({ state: "attached" });
    expect(begun()).toEqual([first, ghost]);
    const width = await page.locator(".portrait img").evaluate(widthOf);
    expect(width).toBe(1);
    // Taken up again, it has its picture again.
    await page.reload();
    await page.locator(".alert-ghost.alert-pictured img").waitFor({ state: "attached" });
  }, 30_000);

  it("shows the words alone when there is no picture, or one that cannot be shown", async () => {
    await open("&name=no-picture&speed=20");
    const broken = "b".repeat(64);
    server.pictures.set(broken, Buffer.from("<html>502</html>"));
    const ids = [GHOST, broken, "../../secret", null].map((picture) =>
      server.give({ type: "friend", data: { ...SAMPLES.friend, picture } }),
    );
    await expect.poll(begun, { timeout: 20_000 }).toEqual(ids);
    expect(await page.locator(".alert img").count()).toBe(0);
    expect(server.pictureRequests).toEqual([GHOST, broken]);
  }, 30_000);

  it("shows a picture that the server was too busy for at first", async () => {
    await open("&name=busy-picture&speed=2");
    server.pictures.set(GHOST, Promise.resolve(PIXEL));
    server.pictureRefusals.push(429, 503);
    server.give({ type: "ghost", data: { ...SAMPLES.ghost, picture: GHOST } });
    await page.locator(".alert-ghost.alert-pictured img").waitFor({ state: "attached" });
    expect(server.pictureRequests).toEqual([GHOST, GHOST, GHOST]);
  }, 30_000);

  it("waits for a picture that never comes only so long", async () => {
    await open("&name=slow-picture&speed=20");
    server.pictures.set(GHOST, new Promise(() => undefined));
    const ghost = server.give({ type: "ghost", data: { ...SAMPLES.ghost, picture: GHOST } });
    await page.locator(".alert-ghost").waitFor();
    expect(begun()).toEqual([ghost]);
    expect(await page.locator(".alert img").count()).toBe(0);
  }, 30_000);

  it("shows what a viewer wrote as text, whatever it is", async () => {
    await open("&name=text");
    const message = "<img src=x onerror=alert(1)> & <b>bold</b>";
    const name = "<script>alert(2)</script>";
    server.give({ type: "cheer", data: { viewer: { id: "1", name }, bits: 1, message } });
    await page.locator(".alert-cheer").waitFor();
    expect(await page.locator(".words").textContent()).toBe(message);
    expect(await page.locator(".title").textContent()).toBe(name);
    expect(await page.locator(".alert img, .alert script, .alert .words *").count()).toBe(0);
    expect(await page.getByRole("status").textContent()).toContain(message);
  });

  it("is transparent where there is no alert, and does not scroll", async () => {
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
    }
  }, 30_000);

  it("keeps still for those who asked for less motion", async () => {
    await page.emulateMedia({ reducedMotion: "reduce" });
    await open("&name=still");
    server.give(sample(5));
    await page.locator(".alert-raid").waitFor();
    const names = await page.evaluate(() =>
      document.getAnimations().map((one) => (one as CSSAnimation).animationName),
    );
    expect(new Set(names)).toEqual(new Set(["fade-in", "fade-out"]));
  });

  it("says in words that its key is refused, but only after ten seconds", async () => {
    server.status = 401;
    await page.clock.install();
    await page.goto(server.page("&name=refused"));
    // The page knows of the refusal, and says nothing yet.
    await page.locator('#lamp[data-kind="refused"]').waitFor({ state: "attached" });
    expect(await page.locator("#lamp").isVisible()).toBe(false);
    await page.clock.runFor(10_100);
    await page.locator("#lamp").waitFor();
    expect(await page.locator("#lamp").textContent()).toContain("tapedeck key issue");
    server.status = null;
    await page.clock.runFor(6_000);
    await page.locator("#lamp").waitFor({ state: "hidden" });
  }, 30_000);

  it("loads itself anew for another build, once nothing is on the screen", async () => {
    await open("&name=build&speed=100");
    server.build = "0.2.0";
    const id = server.give(sample(0));
    await expect.poll(begun).toEqual([id]);
    const loaded = page.waitForEvent("load");
    server.cut();
    await expect.poll(() => server.clients).toBe(1);
    await expect
      .poll(() => {
        server.ping();
        return server.requests.length;
      }, { timeout: 10_000 })
      .toBe(3);
    await loaded;
    expect(begun()).toEqual([id]);
  }, 30_000);
});

/** Runs in the page before its own script: tells the test of each appearance and each complaint. */
function watchTheScreen(): void {
  const told = window as unknown as {
    noteAppearance(one: Appearance): void;
    noteComplaint(text: string): void;
  };
  document.addEventListener("securitypolicyviolation", (violation) => {
    told.noteComplaint(`${violation.violatedDirective}: ${violation.blockedURI}`);
  });
  const watch = new MutationObserver((changes) => {
    for (const node of changes.flatMap((change) => Array.from(change.addedNodes))) {
      if (!(node instanceof HTMLElement) || !node.classList.contains("alert")) continue;
      const { id, elapsed } = node.dataset;
      told.noteAppearance({ id: id ?? "", elapsed: Number(elapsed) });
    }
  });
  watch.observe(document, { childList: true, subtree: true });
}

/** Runs in the page: how wide a picture is in itself; 0 until it is loaded. */
function widthOf(image: Element): number {
  return (image as HTMLImageElement).naturalWidth;
}

/** Runs in the page: where the alert's parts are at rest, and what is behind them. */
function measure() {
  for (const animation of document.getAnimations()) {
    animation.pause();
    animation.currentTime = 2_600;
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
