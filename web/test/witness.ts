import type { BrowserContext, Page } from "playwright-core";

/** One appearance of an alert on the screen of one page. */
export interface Appearance {
  id: string;
  attempt: number;
  /** Above 0 when it was taken up in its middle. */
  elapsed: number;
  /** The page, by when it was loaded. */
  page: number;
  /** The layer of the page. */
  layer: string;
  /** When the last frame without it was made, by the machine's clock. */
  before: number;
  /** When the first frame with it was made. */
  at: number;
  /** When its movements began or would have, by the same clock. */
  began: number;
}

/** What the pages of a browser show, and what they complain of, as seen from inside them. */
export class Witness {
  seen: Appearance[] = [];
  complaints: string[] = [];

  async attend(browser: BrowserContext): Promise<void> {
    await browser.exposeFunction("noteAppearance", (one: Appearance) => this.seen.push(one));
    await browser.exposeFunction("noteComplaint", (text: string) => this.complaints.push(text));
    await browser.addInitScript(watchTheScreen);
  }

  /** How long each way to the server and back took since a page is connected, in ms: its clock errs by half of the shortest at most. */
  static trips(page: Page): Promise<number[]> {
    return page.evaluate(() => (window as unknown as { trips: number[] }).trips);
  }

  /** What began on more than one page at once, attempt by attempt; not where a page was too busy to have it before it began. */
  get together(): Appearance[][] {
    const attempts = new Map<string, Appearance[]>();
    for (const one of this.seen) {
      if (one.elapsed > 0) continue;
      const key = `${one.id}/${one.attempt}`;
      attempts.set(key, [...(attempts.get(key) ?? []), one]);
    }
    return [...attempts.values()].filter((all) => all.length > 1);
  }

  listen(page: Page): Page {
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    return page;
  }

  /** The ids of the alerts that came on the screen, in order: each attempt once, however often it was taken up again. */
  get begun(): string[] {
    const attempts = new Map(this.seen.map(({ id, attempt }) => [`${id}/${attempt}`, id]));
    return [...attempts.values()];
  }

  forget(): void {
    this.seen = [];
    this.complaints = [];
  }
}

/**
 * Runs in the page before its own script: tells of each first frame in which an alert has begun to
 * move, and keeps it in the page's storage too, for a page that is destroyed before it could tell.
 */
function watchTheScreen(): void {
  const told = window as unknown as {
    noteAppearance(one: Appearance): void;
    noteComplaint(text: string): void;
  };
  document.addEventListener("securitypolicyviolation", (violation) => {
    told.noteComplaint(`${violation.violatedDirective}: ${violation.blockedURI}`);
  });
  const trips: number[] = [];
  Object.assign(window, { trips });
  window.WebSocket = class extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      this.addEventListener("message", ({ data }) => {
        const said = JSON.parse(String(data)) as { type: string; sent_ms: number };
        if (said.type === "hello") trips.length = 0;
        if (said.type === "clock") trips.push(performance.now() - said.sent_ms);
      });
    }
  };
  const nextFrame = window.requestAnimationFrame.bind(window);
  const known = new WeakSet<Element>();
  let last = 0;
  const look = (frameMs: number) => {
    nextFrame(look);
    const before = last;
    last = frameMs;
    const card = document.querySelector<HTMLElement>(".alert");
    const moving = card?.querySelector(".art, .third");
    if (!card || !moving || known.has(card)) return;
    const style = getComputedStyle(moving);
    const isOutside = style.transform !== "none" && new DOMMatrix(style.transform).e < -400;
    if (Number(style.opacity) === 0 || isOutside) return;
    known.add(card);
    const { id, attempt, elapsed } = card.dataset;
    const [movement] = moving.getAnimations();
    const startMs = Number(movement?.startTime) + Number(movement?.effect?.getTiming().delay);
    const one: Appearance = {
      id: id ?? "",
      attempt: Number(attempt),
      elapsed: Number(elapsed),
      page: performance.timeOrigin,
      layer: document.getElementById("stage")?.dataset.layer ?? "",
      before: performance.timeOrigin + before,
      at: performance.timeOrigin + frameMs,
      began: performance.timeOrigin + startMs,
    };
    const earlier = JSON.parse(localStorage.getItem("witness") ?? "[]") as Appearance[];
    localStorage.setItem("witness", JSON.stringify([...earlier, one]));
    // When the page itself has had its frame too: whoever is told may destroy it.
    setTimeout(() => told.noteAppearance(one));
  };
  nextFrame(look);
}
