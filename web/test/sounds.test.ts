import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ALERT_TYPES, type AlertType, MOVEMENT_MS } from "../src/overlay/alert";
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
    server.holds = true;
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

  const listen = () => page.evaluate(() => (window as unknown as Ears).listen());
  const heard = (forMs: number) => page.evaluate((ms) => (window as unknown as Ears).heard(ms), forMs);
  const silence = () => page.evaluate(() => (window as unknown as Ears).silence());
  const loudest = () => page.evaluate(() => (window as unknown as Ears).loudest());
  const contexts = () => page.evaluate(() => (window as unknown as Ears).contexts());

  /**
   * Gives alerts of a type until one is heard, and returns when that began by the server's clock: the first wakes the loudspeaker,
   * and one that a busy machine begins late is silent.
   */
  async function hear(type: AlertType): Promise<number> {
    let began = 0;
    const give = async () => {
      server.skip();
      // Nothing of the one before is taken for this one.
      if ((await contexts()) > 0) await silence();
      await listen();
      began = server.now + server.leadMs;
      server.give({ type, data: SAMPLES[type] ?? {} });
      return heard(3_000);
    };
    await expect.poll(give, { interval: 0 }).toBe(true);
    return began;
  }

  it("are heard with every alert that has one, and never too loud", async () => {
    await open();
    for (const type of ALERT_TYPES.filter((type) => SCORES[type].length > 0)) await hear(type);
    expect(await loudest()).toBeLessThan(1);
    expect(await contexts()).toBe(1);
  });

  it("end with their alert, and are silent while the stage is muted", async () => {
    await open();
    // A ghost is to be heard for more than two seconds. A busy machine may need longer than that for what is asked here, and then
    // another one is asked for.
    const endedAfter = async () => {
      const began = await hear("ghost");
      server.skip();
      await silence();
      return server.now - began;
    };
    await expect.poll(endedAfter, { interval: 0 }).toBeLessThan(2_000);
    const isHeardAgain = async () => {
      await hear("ghost");
      server.mute(true);
      await silence();
      await listen();
      server.mute(false);
      return heard(1_000);
    };
    await expect.poll(isHeardAgain, { interval: 0 }).toBe(true);
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
    // It begins to speak before it says that it painted.
    await expect.poll(() => server.count("shown")).toBe(1);
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
  /** How many ways to a loudspeaker were made. */
  contexts(): number;
  /** Forgets what was heard. */
  listen(): void;
  /** Whether anything was heard since then, or is in the next `ms`. */
  heard(ms: number): Promise<boolean>;
  /** Waits until nothing is heard. */
  silence(): Promise<void>;
  /** The loudest of all. */
  loudest(): number;
}

/** Runs in the page before its own script: listens to all that reaches the loudspeaker. */
function listenToThePage(): void {
  let [contexts, now, since, ever] = [0, 0, 0, 0];
  let onSound: (() => void)[] = [];
  const sound = () =>
    new Promise<void>((resolve) => {
      onSound.push(resolve);
    });
  const ears: Ears = {
    contexts: () => contexts,
    listen: () => {
      since = 0;
    },
    async heard(ms) {
      let isOver = false;
      const over = new Promise<void>((resolve) => {
        setTimeout(resolve, ms);
      }).then(() => {
        isOver = true;
      });
      while (since < 0.02 && !isOver) await Promise.race([sound(), over]);
      return since >= 0.02;
    },
    async silence() {
      do await sound();
      while (now > 0.001);
    },
    loudest: () => ever,
  };
  Object.assign(window, ears);
  const make = AudioContext.prototype.createDynamicsCompressor;
  AudioContext.prototype.createDynamicsCompressor = function createAndListen(this: AudioContext) {
    contexts += 1;
    const limiter = make.call(this);
    // Every sample passes through it; what it makes itself is silence.
    const ear = this.createScriptProcessor(2_048, 1, 1);
    ear.onaudioprocess = ({ inputBuffer }) => {
      now = inputBuffer.getChannelData(0).reduce((most, one) => Math.max(most, Math.abs(one)), 0);
      since = Math.max(since, now);
      ever = Math.max(ever, now);
      const told = onSound;
      onSound = [];
      for (const tell of told) tell();
    };
    limiter.connect(ear);
    ear.connect(this.destination);
    return limiter;
  };
}
