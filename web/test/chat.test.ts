import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { nameColour } from "../src/chat/colour";
import { readLine } from "../src/chat/line";
import { ChatServer } from "./chat_server";
import { findChromium, openProfile } from "./chromium";
import { Witness } from "./witness";

const executable = findChromium();
const PIXEL = readFileSync(new URL("../../gateways/tests/data/pixel.png", import.meta.url));
const text = (words: string) => [{ text: words }];

describe("the colour of a name", () => {
  it("is the chosen one where it can be read, and a lighter one where it cannot", () => {
    expect(nameColour("#ff9d76", "1")).toBe("#ff9d76");
    for (const dark of ["#000000", "#0000ff", "#8b0000", "#2e0854", "#00ff00"]) {
      const shown = nameColour(dark, "1");
      expect(readable(shown), `${dark} as ${shown}`).toBeGreaterThanOrEqual(4.5);
    }
  });

  it("is always the same one for a viewer who never chose", () => {
    expect(nameColour(null, "5001")).toBe(nameColour(undefined, "5001"));
    for (const wrong of [null, 7, "red", "#fff", "url(x)", "#12345g"]) {
      expect(nameColour(wrong, "5002")).toMatch(/^#[0-9a-f]{6}$/);
    }
  });
});

describe("a line", () => {
  it("is read, whatever is missing in it or wrong", () => {
    expect(readLine({})).toBeNull();
    expect(readLine({ id: "" })).toBeNull();
    expect(readLine({ id: "a", viewer: 7, badges: 7, parts: "x" })).toEqual({
      id: "a",
      viewer: "",
      name: "A viewer",
      colour: undefined,
      badges: [],
      parts: [],
      isBot: false,
      isRequest: false,
    });
    const parts = [{ text: "a\u202e\nb" }, { emote: "1", name: "" }, { mention: "@Bo" }, {}, 7, null];
    expect(readLine({ id: "a", badges: ["subscriber/12", "<b>", 7], parts })).toMatchObject({
      badges: ["subscriber"],
      parts: [
        { kind: "text", text: "a b" },
        { kind: "emote", text: "emote", picture: null },
        { kind: "mention", text: "@Bo" },
      ],
    });
    const long = readLine({ id: "a", parts: Array(9_999).fill({ text: "🎉".repeat(9_999) }) });
    expect(long?.parts).toHaveLength(120);
    expect(Array.from(long?.parts[0]?.text ?? "")).toHaveLength(601);
  });
});

describe.skipIf(executable === null)("the chat in a real Chromium", () => {
  const profile = mkdtempSync(join(tmpdir(), "tapedeck-chat-"));
  const witness = new Witness();
  let browser: BrowserContext;
  let server: ChatServer;
  let page: Page;

  beforeAll(async () => {
    browser = await openProfile(executable ?? "", profile, { width: 480, height: 640 });
    await witness.attend(browser);
  });

  afterAll(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 50, retryDelay: 200 });
  });

  beforeEach(async () => {
    witness.forget();
    server = new ChatServer();
    await server.listen();
    page = witness.listen(await browser.newPage());
    await page.goto(server.page("", "chat"));
    await expect.poll(() => server.clients).toBe(1);
  });

  afterEach(async () => {
    await page.close();
    await server.close();
    expect(witness.complaints).toEqual([]);
  });

  async function said(): Promise<string[]> {
    return page.locator(".said").allTextContents();
  }

  it("shows the last fifty lines, the newest at the bottom", async () => {
    for (let n = 1; n <= 70; n += 1) server.say({ id: `l${n}`, parts: text(`line ${n}`) });
    server.say({ id: "l70", parts: text("a line that comes twice") });
    const expected = Array.from({ length: 50 }, (_, n) => `line ${n + 21}`);
    await expect.poll(said).toEqual(expected);
    const newest = await page.locator(".line").last().boundingBox();
    expect((newest?.y ?? 0) + (newest?.height ?? 0)).toBeGreaterThan(600);
    const size = await page.locator(".line").last().evaluate((one) => getComputedStyle(one).fontSize);
    expect(size).toBe("22px");
  });

  it("takes back at once what is deleted, even before it comes", async () => {
    const mallory = { id: "666", name: "Mallory" };
    server.say({ id: "a", parts: text("a") });
    server.say({ id: "b", viewer: mallory, parts: text("b") });
    server.say({ id: "c", viewer: mallory, parts: text("c") });
    server.say({ id: "d", parts: text("d") });
    server.broadcast({ type: "deleted", id: "a" });
    server.broadcast({ type: "deleted", id: "e" });
    server.say({ id: "e", parts: text("e") });
    await expect.poll(said).toEqual(["b", "c", "d"]);
    server.broadcast({ type: "cleared_viewer", viewer: "666" });
    await expect.poll(said).toEqual(["d"]);
    server.broadcast({ type: "cleared" });
    await expect.poll(said).toEqual([]);
  });

  it("comes back for ever, and without what was deleted meanwhile", async () => {
    server.say({ id: "a", parts: text("kept") });
    server.say({ id: "b", parts: text("deleted while nobody listened") });
    await expect.poll(said).toHaveLength(2);
    server.last.push({ id: "a", parts: text("kept") });
    for (const cut of [() => server.cut(), () => server.cut('{"type":"line"}')]) {
      const before = server.requests.length;
      cut();
      await expect.poll(() => server.requests.length).toBe(before + 1);
      await expect.poll(said).toEqual(["kept"]);
    }
  });

  it("shows what anybody wrote as text, and loads nothing from elsewhere", async () => {
    const evil = '<img src="https://example.com/x.png" onerror="alert(1)"><script>alert(2)</script>';
    server.say({
      id: evil,
      viewer: { id: evil, name: evil },
      colour: 'red" onload="alert(3)',
      badges: [evil, "moderator"],
      parts: [{ text: evil }, { emote: evil, name: evil, picture: evil }, { mention: evil }],
    });
    await page.locator(".line").waitFor();
    expect(await page.locator(".name").textContent()).toBe(evil);
    expect(await page.locator(".said").textContent()).toBe(`${evil}${evil}@${evil}`);
    expect(await page.locator(".line img, .line script").count()).toBe(0);
    expect(await page.locator(".badge").count()).toBe(1);
    expect(server.pictureRequests).toEqual([]);
    server.broadcast({ type: "cleared_viewer", viewer: { id: evil, name: evil } });
    await page.locator(".line").waitFor({ state: "detached" });
  });

  it("gives each name its own colour, and marks what the bot says and is asked", async () => {
    server.say({ id: "a", colour: "#57d9b4", parts: text("a"), request: true });
    server.say({ id: "b", colour: "#57d9b4", parts: text("b"), bot: true, badges: ["vip"] });
    await expect.poll(said).toEqual(["a", "b"]);
    const colours = await page.locator(".name").evaluateAll((names) =>
      names.map((name) => getComputedStyle(name).color),
    );
    expect(colours).toEqual(["rgb(87, 217, 180)", "rgb(255, 212, 121)"]);
    expect(await page.locator(".line-request .badge").count()).toBe(0);
    expect(await page.locator(".line-bot .badge").getAttribute("aria-label")).toBe("bot");
  });

  it("shows an emote as its picture from here, or as its name", async () => {
    const [there, gone] = ["a".repeat(64), "b".repeat(64)];
    server.pictures.set(there, PIXEL);
    server.say({
      id: "a",
      parts: [
        { emote: "1", name: "tapeHeart", picture: there },
        { text: " and " },
        { emote: "2", name: "tapeSad", picture: gone },
        { emote: "3", name: "tapeWow" },
      ],
    });
    await page.locator(".emote").nth(1).waitFor();
    expect(await page.locator("img").getAttribute("alt")).toBe("tapeHeart");
    expect(await page.locator(".emote").allTextContents()).toEqual(["tapeSad", "tapeWow"]);
  });

  it("keeps long words and a thousand of them inside the page", async () => {
    server.say({ id: "a", parts: text("W".repeat(500)) });
    server.say({ id: "b", viewer: { id: "1", name: "W".repeat(25) }, parts: text("w ".repeat(300)) });
    await expect.poll(said).toHaveLength(2);
    const [width, height] = await page.evaluate(() => {
      const { scrollWidth, scrollHeight } = document.documentElement;
      return [scrollWidth, scrollHeight];
    });
    expect([width, height]).toEqual([480, 640]);
    expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe(
      "rgba(0, 0, 0, 0)",
    );
  });
});

/** The contrast with the strip over the brightest picture there can be. */
function readable(colour: string): number {
  const strip = [16, 12, 22].map((part) => part * 0.82 + 255 * 0.18);
  const parts = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  return (luminance(parts) + 0.05) / (luminance(strip) + 0.05);
}

function luminance(parts: number[]): number {
  const [red = 0, green = 0, blue = 0] = parts.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
