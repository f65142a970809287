import { existsSync } from "node:fs";
import { type BrowserContext, chromium, type Page } from "playwright-core";

const PATH = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** What keeps the browser to itself: no sandbox for root, no graphics card, no calls home. */
export const OPTIONS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // As OBS has it: sounds need no click.
  "--autoplay-policy=no-user-gesture-required",
];

/** The browser of the tests; null, said in one clear line, when there is none on this machine. */
export function findChromium(): string | null {
  if (existsSync(PATH)) return PATH;
  console.warn(`SKIPPED: the browser tests, because there is no ${PATH} (set CHROMIUM to another)`);
  return null;
}

/** A real Chromium with a profile of its own, which outlives its pages as that of OBS does. */
export async function openProfile(
  executablePath: string,
  folder: string,
  size: { width: number; height: number },
  more: string[] = [],
): Promise<BrowserContext> {
  const context = await chromium.launchPersistentContext(folder, {
    executablePath,
    headless: true,
    viewport: size,
    args: [...OPTIONS, ...more],
  });
  // As for the tests: longer than anything takes.
  context.setDefaultTimeout(180_000);
  return context;
}

/**
 * A page in a window of its own, as each source of OBS has one: the browser makes no frames for the
 * tabs behind the first.
 */
export async function openWindow(browser: BrowserContext): Promise<Page> {
  const opened = browser.waitForEvent("page");
  const session = await browser.browser()?.newBrowserCDPSession();
  if (!session) throw new Error("a profile of its own has a browser");
  await session.send("Target.createTarget", { url: "about:blank", newWindow: true });
  await session.detach();
  return opened;
}
