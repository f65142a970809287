import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium, OPTIONS } from "./chromium";
import { StageServer } from "./stage_server";

const executable = findChromium();
const follow = { type: "follow", data: { viewer: { id: "5001", name: "ReelDeal" } } };

/** A browser as a process of our own, so that it can be killed as a crash of OBS kills it. */
class Killable {
  readonly #process: ChildProcess;
  readonly #browser: Browser;

  private constructor(process: ChildProcess, browser: Browser) {
    this.#process = process;
    this.#browser = browser;
  }

  static async start(path: string, folder: string): Promise<Killable> {
    const wanted = ["--headless", "--remote-debugging-port=0", `--user-data-dir=${folder}`];
    const child = spawn(path, [...wanted, ...OPTIONS, "about:blank"], { detached: true });
    const address = await new Promise<string>((resolve, reject) => {
      child.once("exit", () => reject(new Error("the browser ended before it could be used")));
      let said = "";
      child.stderr?.on("data", (bytes) => {
        const found = /(ws:\/\/\S+)\n/.exec((said += String(bytes)));
        if (found?.[1]) resolve(found[1]);
      });
    });
    return new Killable(child, await chromium.connectOverCDP(address));
  }

  async open(address: string): Promise<Page> {
    const context = this.#browser.contexts()[0] ?? (await this.#browser.newContext());
    const page = await context.newPage();
    page.setDefaultTimeout(180_000);
    await page.goto(address);
    return page;
  }

  async kill(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#process;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    process.kill(-pid, "SIGKILL");
    await ended;
    await this.#browser.close().catch(() => undefined);
  }
}

describe.skipIf(executable === null)("a browser that is killed with -9", () => {
  const folder = mkdtempSync(join(tmpdir(), "tapedeck-killed-"));
  const server = new StageServer();
  let browser: Killable;

  beforeAll(() => server.listen());

  afterAll(async () => {
    await browser.kill();
    await server.close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });

  it("shows none of the old alerts again, and goes on with the next", async () => {
    server.speed = 4;
    server.paintMs = 3_000;
    server.graceMs = 5_000;
    browser = await Killable.start(executable ?? "", folder);
    const page = await browser.open(server.page());
    await expect.poll(() => server.clients).toBe(1);
    const ids = [0, 1, 2, 3].map(() => server.give(follow));
    await expect.poll(() => server.count("shown")).toBe(4);
    await expect.poll(() => server.isIdle).toBe(true);
    // What begins now stays until it was looked at.
    server.holds = true;
    ids.push(...[4, 5, 6, 7].map(() => server.give(follow)));
    await page.locator(`.alert[data-id="${ids[4]}"]`).waitFor();
    await browser.kill();
    await expect.poll(() => server.clients).toBe(0);

    browser = await Killable.start(executable ?? "", folder);
    const again = await browser.open(server.page());
    const alert = again.locator(".alert").first();
    const first = await alert.getAttribute("data-id");
    // The fifth was on the screen: it is taken up again, or nobody knows whether it was seen and the next follows.
    expect([ids[4], ids[5]]).toContain(first);
    server.release();
    await expect.poll(() => server.isIdle).toBe(true);
    const shown = server.deeds.filter(({ deed }) => deed === "shown").map(({ id }) => id);
    // A browser writes who the page is to disk within seconds; before that nobody can know whether
    // the page that came was the one that was killed, and the server calls the fifth unknown.
    const others = ids.filter((id) => id !== ids[4]);
    expect(shown.filter((id) => id !== ids[4])).toEqual(others);
    expect(server.count("unknown") + shown.length).toBe(8);
  });
});
