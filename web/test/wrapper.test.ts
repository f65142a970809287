import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { findChromium, openProfile } from "./chromium";
import { sample } from "./samples";
import { StageServer } from "./stage_server";

const executable = findChromium();
const FILE = readFileSync(new URL("../../deploy/obs/overlay.html", import.meta.url), "utf8");
const EXAMPLE = /content="http[^"]*"/;

describe.skipIf(executable === null)("the file that OBS is pointed at", () => {
  const folder = mkdtempSync(join(tmpdir(), "tapedeck-wrapper-"));
  const file = join(folder, "overlay.html");
  let browser: BrowserContext;
  let server: StageServer;
  let page: Page;

  beforeAll(async () => {
    // The Chromium of OBS (103 to 127) knows nothing of local networks; later ones would ask the
    // user before http://absolute may talk to this machine, and take it for a place far away.
    const size = { width: 960, height: 540 };
    const profile = join(folder, "profile");
    browser = await openProfile(executable ?? "", profile, size, [
      "--disable-features=LocalNetworkAccessChecks",
    ]);
  });

  afterAll(async () => {
    await browser.close();
    rmSync(folder, { recursive: true, force: true });
  });

  beforeEach(async () => {
    server = new StageServer();
    await server.listen();
    writeFileSync(file, FILE.replace(EXAMPLE, `content="${server.page()}"`));
    page = await browser.newPage();
  });

  afterEach(async () => {
    await page.close();
    await server.close();
  });

  async function isShown(): Promise<void> {
    await expect.poll(() => server.overlays.length).toBe(1);
    await page.locator("iframe.answered").waitFor();
    const id = server.give(sample(0));
    const alert = page.frameLocator("iframe").locator(`.alert[data-id="${id}"]`);
    await alert.waitFor();
    server.skip();
    await alert.waitFor({ state: "detached" });
  }

  it("waits for the server, and shows the page without anybody's help", async () => {
    const { port } = server;
    await server.close();
    const failed = page.waitForEvent("requestfailed");
    await page.goto(pathToFileURL(file).href);
    // It has tried once in vain, and hides what the browser says about it.
    await failed;
    expect(await page.locator("iframe").evaluate((one) => getComputedStyle(one).opacity)).toBe("0");
    await server.listen(port);
    await isShown();
  });

  it("loads the page anew when it does not answer any more", async () => {
    await page.goto(pathToFileURL(file).href);
    await isShown();
    const { port } = server;
    await server.close();
    // The page is lost too, as when OBS refreshes the source while the server is away.
    const failed = page.waitForEvent("requestfailed");
    await page.evaluate(() => {
      const frame = document.querySelector("iframe");
      if (frame) frame.src = frame.src.replace("#", "?gone#");
    });
    await failed;
    await server.listen(port);
    await isShown();
  });

  it("is let in as OBS names local files, and nobody else's page is", async () => {
    const html = FILE.replace(EXAMPLE, `content="${server.page()}"`);
    const answer = { contentType: "text/html", body: html };
    await page.route("http://absolute/**", (route) => route.fulfill(answer));
    await page.goto("http://absolute/C:/overlay.html");
    await isShown();
    const before = server.requests.length;
    const refused = page.waitForEvent("console", (one) => /frame-ancestors/.test(one.text()));
    await page.route("http://elsewhere.test/**", (route) => route.fulfill(answer));
    await page.goto("http://elsewhere.test/");
    await refused;
    expect(server.requests.length).toBe(before);
  });

  it("says what to do while nobody has put an address in", async () => {
    writeFileSync(file, FILE);
    await page.goto(pathToFileURL(file).href);
    expect(await page.locator("p").textContent()).toContain("put your overlay's address in");
    expect(await page.locator("iframe").count()).toBe(0);
  });
});
