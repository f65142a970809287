import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inflateSync } from "node:zlib";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium, openProfile } from "../test/chromium";
import { FeedServer, type Given } from "../test/feed_server";
import { BACKDROP } from "./backdrop";

const executable = findChromium();
const folder = fileURLToPath(new URL("../../docs/overlay/", import.meta.url));
const viewer = (name: string) => ({ id: "5001", name });

const GHOST = "0".repeat(64);
const FRIEND = "1".repeat(64);

const PICTURES: Record<string, Given> = {
  follow: { type: "follow", data: { viewer: viewer("ReelDeal") } },
  cheer: {
    type: "cheer",
    data: {
      viewer: viewer("MagnetoMary"),
      bits: 2500,
      message: "Cheer2500 that ending was worth the rewind!",
    },
  },
  sub: { type: "sub", data: { viewer: viewer("SideBSally"), tier: "2000" } },
  resub: {
    type: "resub",
    data: {
      viewer: viewer("hiss_and_flutter"),
      tier: "1000",
      months: 24,
      streak: 9,
      message: "Two years of tapes and not one of them was boring.",
    },
  },
  gift: { type: "gift", data: { viewer: viewer("DolbyDan"), count: 10, tier: "1000" } },
  raid: { type: "raid", data: { viewer: viewer("WalkmanWanda"), viewers: 1284 } },
  hype_train: {
    type: "hype_train",
    data: { level: 2, total: 1150, goal: 1800, kind: "regular" },
  },
  ghost: {
    type: "ghost",
    data: {
      viewer: viewer("MothByTheTV"),
      subject: "a lighthouse",
      picture: GHOST,
      background: "#10101e",
    },
  },
  friend: {
    type: "friend",
    data: {
      viewer: viewer("BetaMaxine"),
      subject: "a heron",
      colour: "sky-blue",
      name: "Captain Waldo",
      picture: FRIEND,
      background: "#fb8b24",
    },
  },
};

/** Other looks, kept out of the README: the edges of names, texts, sizes and kinds. */
const EDGES: Record<string, { given: Given; width: number; height: number }> = {
  long: {
    given: {
      type: "cheer",
      data: {
        viewer: viewer("TheVeryLongestNameOnTwitch_"),
        bits: 100000,
        message: "春の夜の夢ばかりなる手枕にかひなく立たむ名こそ惜しけれ。".repeat(9),
      },
    },
    width: 800,
    height: 600,
  },
  rtl: {
    given: {
      type: "resub",
      data: {
        viewer: viewer("كاسيت_عربي"),
        tier: "3000",
        months: 101,
        streak: null,
        message: "شكراً على كل هذه الأشرطة الجميلة، نراكم الأسبوع القادم! 100%",
      },
    },
    width: 1280,
    height: 720,
  },
  cjk: {
    given: { type: "follow", data: { viewer: viewer("カセットテープ愛好会の会長です") } },
    width: 800,
    height: 600,
  },
  emoji: {
    given: {
      type: "cheer",
      data: { viewer: null, bits: 1, message: "<b>not bold</b> & 🎉🎉🎉 ".repeat(3) },
    },
    width: 1920,
    height: 1080,
  },
  treasure: {
    given: { type: "hype_train", data: { level: 1, total: 500, goal: null, kind: "treasure" } },
    width: 960,
    height: 540,
  },
  golden: {
    given: { type: "hype_train", data: { level: 5, total: 900, goal: 1000, kind: "golden_kappa" } },
    width: 960,
    height: 540,
  },
  biggest: {
    given: { type: "gift", data: { viewer: viewer("W".repeat(25)), count: 1000, tier: "3000" } },
    width: 800,
    height: 600,
  },
  huge: {
    given: { type: "raid", data: { viewer: viewer("i".repeat(25)), viewers: 1234567 } },
    width: 640,
    height: 360,
  },
};

describe.skipIf(executable === null)("pictures of the overlay", () => {
  const profile = mkdtempSync(join(tmpdir(), "tapedeck-pictures-"));
  const server = new FeedServer();
  let browser: BrowserContext;

  beforeAll(async () => {
    await server.listen();
    server.pictures.set(GHOST, readFileSync(new URL("ghost.png", import.meta.url)));
    server.pictures.set(FRIEND, readFileSync(new URL("friend.png", import.meta.url)));
    browser = await openProfile(executable ?? "", profile, { width: 960, height: 540 });
  }, 60_000);

  afterAll(async () => {
    await browser.close();
    await server.close();
    rmSync(profile, { recursive: true, force: true });
  });

  async function show(name: string, given: Given, width: number, height: number): Promise<Page> {
    const page = await browser.newPage();
    await page.setViewportSize({ width, height });
    const before = server.requests.length;
    await page.goto(server.page(`&name=${name}`));
    await expect.poll(() => server.requests.length).toBeGreaterThan(before);
    server.give(given);
    await page.locator(".alert").waitFor();
    await page.evaluate(holdAt, 2600);
    return page;
  }

  for (const [name, given] of Object.entries(PICTURES)) {
    it(`shows ${name}`, async () => {
      mkdirSync(folder, { recursive: true });
      const page = await show(name, given, 960, 540);
      expect(firstPixelAlpha(await page.screenshot({ omitBackground: true }))).toBe(0);
      await page.evaluate(putBackdrop, BACKDROP);
      const path = join(folder, `${name}.png`);
      await page.screenshot({ path });
      expect(statSync(path).size).toBeLessThan(180_000);
      await page.close();
    }, 60_000);
  }

  const edges = process.env.EDGES;
  for (const [name, { given, width, height }] of Object.entries(edges ? EDGES : {})) {
    it(`shows the edge ${name}`, async () => {
      const page = await show(name, given, width, height);
      await page.evaluate(putBackdrop, BACKDROP);
      writeFileSync(join(edges ?? "", `${name}.png`), await page.screenshot());
      await page.close();
    }, 60_000);
  }
});

/** Runs in the page: stops every movement at one moment of the alert. */
function holdAt(ms: number): void {
  for (const animation of document.getAnimations()) {
    animation.pause();
    animation.currentTime = ms;
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
