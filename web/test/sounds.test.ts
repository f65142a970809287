import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ALERT_TYPES, MOVEMENT_MS } from "../src/overlay/alert";
import { SCORES } from "../src/overlay/scores";
import { findChromium, openProfile } from "./chromium";
import { SAMPLES, sample } from "./samples";
import { StageServer } from "./stage_server";

const executable = findChromium();

describe("the scores of the alerts", () => {
  it("are over before their alerts are, and can be played", () => {
    for (const type of ALERT_TYPES) {
      for (const note of SCORES[type]) {
        expect(note.at, type).toBeGreaterThanOrEqual(0);
        expect((note.at + note.lasts) * 1_000, type).toBeLessThanOrEqual(MOVEMENT_MS[type]);
        expect(Math.min(note.from, note.to), type).toBeGreaterThan(20);
        expect(note.loud, type).toBeGreaterThan(0);
        expect(note.loud, type).toBeLessThan(0.6);
      }
    }
  });
});

describe.skipIf(executable === null)("the sounds in a real Chromium", () => {
  const profile = mkdtempSync(join(tmpdir(), "tapedeck-sounds-"));
  let browser: BrowserContext;
  let server: StageServer;
  let page: Page;

  beforeAll(async () => {
    browser = await openProfile(executable ?? "", profile, { width: 640, height: 360 });
    await browser.addInitScript(listenToThePage);
  });

  afterAll(async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 50, retryDelay: 200 });
  });

  beforeEach(async () => {
    server = new StageServer();
    server.gapMs = 0;
    await server.listen();
    page = await browser.newPage();
  });

  afterEach(async () => {
    await page.close();
    await server.close();
  });

  async function open(fragment = ""): Promise<void> {
    await page.goto(server.page(fragment));
    await expect.poll(() => server.overlays.length).toBe(1);
  }

  const loudest = () => page.evaluate(() => (window as unknown as Ears).loudest());
  const contexts = () => page.evaluate(() => (window as unknown as Ears).contexts);

  it("are heard with every alert that has one, and never too loud", async () => {
    await open();
    // The first wakes the loudspeaker, and may be too early for it.
    server.give(sample(0));
    await expect.poll(() => server.count("shown")).toBe(1);
    for (const type of ALERT_TYPES.filter((type) => SCORES[type].length > 0)) {
      server.give({ type, data: SAMPLES[type] ?? {} });
      server.skip();
      await page.locator(`.alert-${type}`).waitFor();
      await expect.poll(loudest, { interval: 20 }).toBeGreaterThan(0.02);
      expect(await loudest(), type).toBeLessThan(1);
    }
    expect(await contexts()).toBe(1);
  });

  it("end with their alert, and are silent while the stage is muted", async () => {
    await open();
    server.give(sample(0));
    await expect.poll(() => server.count("shown")).toBe(1);
    server.give({ type: "ghost", data: SAMPLES.ghost ?? {} });
    server.skip();
    await expect.poll(loudest, { interval: 20 }).toBeGreaterThan(0.02);
    server.mute(true);
    await expect.poll(loudest, { interval: 20 }).toBeLessThan(0.001);
    server.mute(false);
    await expect.poll(loudest, { interval: 20 }).toBeGreaterThan(0.02);
    server.skip();
    await expect.poll(loudest, { interval: 20 }).toBeLessThan(0.001);
  });

  it("of a voice are what viewers wrote, once, where that is wanted and speech is not muted", async () => {
    await page.addInitScript(() => {
      const spoken: string[] = [];
      const voice = {
        speak: ({ text }: SpeechSynthesisUtterance) => spoken.push(text),
        cancel: () => spoken.push("(cancelled)"),
      };
      Object.defineProperty(window, "speechSynthesis", { value: voice });
      Object.assign(window, { spoken });
    });
    const spoken = () => page.evaluate(() => (window as unknown as { spoken: string[] }).spoken);
    await open("&speech=on&sound=off");
    const cheer = { type: "cheer", data: { ...SAMPLES.cheer, message: "hello tape" } };
    server.give(cheer);
    await expect.poll(spoken).toEqual(["hello tape"]);
    server.tell();
    server.muted.speech = true;
    server.tell();
    await expect.poll(spoken).toEqual(["hello tape", "(cancelled)"]);
    server.skip();
    server.give(cheer);
    await expect.poll(() => server.count("shown")).toBe(2);
    expect(await spoken()).toHaveLength(2);
  });

  it("are not made where they are not wanted, and their lack holds nothing up", async () => {
    await open("&sound=off");
    server.give(sample(1));
    await page.locator(".alert-cheer").waitFor();
    await expect.poll(() => server.count("shown")).toBe(1);
    expect(await contexts()).toBe(0);
    await page.goto("about:blank");
    await expect.poll(() => server.overlays.length).toBe(0);
    server.skip();
    await page.addInitScript(() => {
      window.AudioContext = class {
        constructor() {
          throw new Error("no loudspeaker");
        }
      } as unknown as typeof AudioContext;
    });
    await open("&speech=on");
    server.give(sample(1));
    await page.locator(".alert-cheer").waitFor();
    await expect.poll(() => server.count("shown")).toBe(2);
    expect(await contexts()).toBe(0);
  });
});

/** What the page's ears are asked. */
interface Ears {
  contexts: number;
  loudest(): number;
}

/** Runs in the page before its own script: listens to what reaches the loudspeaker. */
function listenToThePage(): void {
  let analyser: AnalyserNode | null = null;
  const samples = new Float32Array(2_048);
  const ears: Ears = {
    contexts: 0,
    loudest() {
      if (!analyser) return 0;
      analyser.getFloatTimeDomainData(samples);
      return samples.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
    },
  };
  Object.assign(window, ears);
  const make = AudioContext.prototype.createDynamicsCompressor;
  AudioContext.prototype.createDynamicsCompressor = function createAndListen(this: AudioContext) {
    (window as unknown as Ears).contexts += 1;
    const limiter = make.call(this);
    analyser = this.createAnalyser();
    limiter.connect(analyser);
    return limiter;
  };
}
