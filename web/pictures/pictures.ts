import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inflateSync } from "node:zlib";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ChatServer } from "../test/chat_server";
import { findChromium, openProfile } from "../test/chromium";
import { type Given, StageServer } from "../test/stage_server";
import { BACKDROP } from "./backdrop";
import { CHAT } from "./talk";
import { EDGES, FRIEND, GHOST, PICTURES, THUMBNAIL } from "./subjects";
import { THUMBNAIL_DRAWING } from "./thumbnail";

const executable = findChromium();
const folder = fileURLToPath(new URL("../../docs/overlay/", import.meta.url));

/** How long the alerts last, as the server has it when nobody configured it. */
const LENGTHS_MS: Record<string, number> = {
  follow: 6_000,
  cheer: 6_000,
  sub: 10_000,
  resub: 6_000,
  gift: 10_000,
  raid: 12_000,
  hype_train: 11_000,
  ghost: 13_000,
  friend: 12_000,
  static: 6_000,
  notice: 6_000,
  tape: 10_000,
};
/** Where the first of the three frames is taken, in milliseconds; half a second where not said. */
const BEGINNINGS_MS: Record<string, number> = {
  ghost: 1_150,
  friend: 1_180,
  hype_train: 620,
  static: 800,
  tape: 590,
};
const MIDDLE_MS = 2_900;
/** So long before its end an alert is leaving. */
const LEAVING_MS = 190;
const FRAME = { width: 960, height: 540 };
const STRIP = { width: 1_812, height: 338 };

describe.skipIf(executable === null)("pictures of the overlay", () => {
  const profile = mkdtempSync(join(tmpdir(), "tapedeck-pictures-"));
  const server = new StageServer();
  let browser: BrowserContext;

  beforeAll(async () => {
    server.lengthsMs = LENGTHS_MS;
    server.gapMs = 0;
    await server.listen();
    server.pictures.set(GHOST, readFileSync(new URL("ghost.png", import.meta.url)));
    server.pictures.set(FRIEND, readFileSync(new URL("friend.png", import.meta.url)));
    browser = await openProfile(executable ?? "", profile, FRAME);
    server.pictures.set(THUMBNAIL, await drawThumbnail());
  }, 60_000);

  afterAll(async () => {
    await browser.close();
    await server.close();
    rmSync(profile, { recursive: true, force: true });
  });

  async function drawThumbnail(): Promise<Buffer> {
    const page = await browser.newPage();
    await page.setContent(THUMBNAIL_DRAWING);
    const drawn = await page.locator("svg").screenshot();
    await page.close();
    return drawn;
  }

  async function show(given: Given, width: number, height: number): Promise<Page> {
    const page = await browser.newPage();
    await page.setViewportSize({ width, height });
    await page.goto(server.page("&sound=off"));
    await expect.poll(() => server.overlays.length).toBe(1);
    server.give(given);
    const name = given.data.picture ?? given.data.thumbnail;
    await page.locator(typeof name === "string" ? ".alert-pictured" : ".alert").waitFor();
    return page;
  }

  async function leave(page: Page): Promise<void> {
    await page.close();
    server.skip();
    await expect.poll(() => server.overlays.length).toBe(0);
  }

  for (const [name, given] of Object.entries(PICTURES)) {
    it(`shows ${name} in motion`, async () => {
      mkdirSync(folder, { recursive: true });
      const page = await show(given, FRAME.width, FRAME.height);
      const { type } = given;
      const moments = [
        BEGINNINGS_MS[type] ?? 560,
        MIDDLE_MS,
        (LENGTHS_MS[type] ?? 6_000) - LEAVING_MS,
      ];
      await page.evaluate(holdAt, MIDDLE_MS);
      expect(firstPixelAlpha(await page.screenshot({ omitBackground: true }))).toBe(0);
      await page.evaluate(putBackdrop, BACKDROP);
      const frames: string[] = [];
      for (const moment of moments) {
        await page.evaluate(holdAt, moment);
        frames.push((await page.screenshot()).toString("base64"));
      }
      await leave(page);
      const path = join(folder, `${name}.png`);
      writeFileSync(path, await strip(frames));
      expect(statSync(path).size).toBeLessThan(600_000);
    }, 60_000);
  }

  it("shows the chat", async () => {
    const chat = new ChatServer();
    chat.last.push(...CHAT);
    await chat.listen();
    const page = await browser.newPage();
    await page.setViewportSize(FRAME);
    await page.goto(chat.page("", "chat"));
    await page.locator(".line").nth(CHAT.length - 1).waitFor();
    await page.evaluate(putBackdrop, BACKDROP);
    await page.evaluate(() => document.getAnimations().map((one) => one.finish()));
    writeFileSync(join(folder, "chat.png"), await page.screenshot());
    await page.close();
    await chat.close();
  }, 60_000);

  /** Three frames side by side. */
  async function strip(frames: string[]): Promise<Buffer> {
    const page = await browser.newPage();
    await page.setViewportSize(STRIP);
    const images = frames.map((frame) => `<img src="data:image/png;base64,${frame}">`).join("");
    await page.setContent(`<style>
      body { display: flex; gap: 6px; margin: 0; }
      img { width: 600px; height: 338px; border-radius: 6px; }
    </style>${images}`);
    const picture = await page.screenshot({ omitBackground: true });
    await page.close();
    return picture;
  }

  const edges = process.env.EDGES;
  for (const [name, { given, width, height }] of Object.entries(edges ? EDGES : {})) {
    it(`shows the edge ${name}`, async () => {
      const page = await show(given, width, height);
      await page.evaluate(putBackdrop, BACKDROP);
      await page.evaluate(holdAt, MIDDLE_MS);
      writeFileSync(join(edges ?? "", `${name}.png`), await page.screenshot());
      await leave(page);
    }, 60_000);
  }
});

/** Runs in the page: stops every movement at one moment of the alert. */
function holdAt(ms: number): void {
  const page = window as unknown as { held?: Animation[] };
  // One that is over is not among the page's movements any more, and may be wanted again.
  page.held ??= document.getAnimations();
  for (const animation of page.held) {
    const { target } = animation.effect as KeyframeEffect;
    if (!target) continue;
    const elapsed = Number(getComputedStyle(target).getPropertyValue("--elapsed"));
    animation.pause();
    animation.currentTime = ms - elapsed;
  }
}

/** Runs in the page: puts a picture of a game behind it, by a sheet that the policy allows. */
function putBackdrop(svg: string): void {
  const sheet = new CSSStyleSheet();
  const image = `url("data:image/svg+xml,${encodeURIComponent(svg)}")`;
  sheet.replaceSync(`html { background: ${image} center / cover !important; }`);
  document.adoptedStyleSheets = [sheet];
}

/** The opacity of the top left pixel of an RGBA picture, which no PNG filter alters. */
function firstPixelAlpha(png: Buffer): number | undefined {
  const data: Buffer[] = [];
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    if (png.toString("latin1", at + 4, at + 8) === "IDAT") {
      data.push(png.subarray(at + 8, at + 8 + length));
    }
    at += length + 12;
  }
  const isRgba = png[25] === 6;
  return isRgba ? inflateSync(Buffer.concat(data))[4] : undefined;
}
