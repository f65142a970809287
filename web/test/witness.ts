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

/**
 * So many ms of its own time, which is faster where it is short, count as the beginning of an alert: less than a page needs to
 * be gone and another to be there.
 */
const BEGINNING_MS = 250;

/** What the pages of a browser show, and what they complain of, as seen from inside them. */
export class Witness {
  seen: Appearance[] = [];
  complaints: string[] = [];

  async attend(browser: BrowserContext): Promise<void> {
    await browser.exposeFunction("noteAppearance", (one: Appearance) => this.#note(one));
    await browser.exposeFunction("noteComplaint", (text: string) => this.complaints.push(text));
    await browser.addInitScript(watchTheScreen);
  }

  /** How long each way to the server and back took since a page is connected, in ms: its clock errs by half of the shortest at most. */
  static trips(page: Page): Promise<number[]> {
    return page.evaluate(() => (window as unknown as { trips: number[] }).trips);
  }

  /** Takes over what pages of the same browser kept and could not tell any more. */
  async gather(page: Page): Promise<void> {
    const kept = await page.evaluate(() =>
      Object.entries(localStorage)
        .filter(([key]) => key.startsWith("witness."))
        .map(([, one]) => JSON.parse(one as string) as Appearance),
    );
    for (const one of kept) this.#note(one);
    this.seen.sort((one, other) => one.at - other.at);
  }

  /** What a page kept and told is one appearance, whichever comes first. */
  #note(one: Appearance): void {
    if (!this.seen.some((known) => nameOf(known) === nameOf(one))) this.seen.push(one);
  }

  /** Lets a browser forget what its pages kept. */
  static async clear(page: Page): Promise<void> {
    await page.evaluate(() => {
      const kept = Object.keys(localStorage).filter((key) => key.startsWith("witness."));
      for (const key of kept) localStorage.removeItem(key);
    });
  }

  /**
   * The alerts that came twice: at two attempts, or twice on one page, or on one layer again from the beginning. That a page
   * takes up in its middle what the one before it showed is no second time.
   */
  get doubled(): string[] {
    const doubled = new Set<string>();
    const attempts = new Map<string, number>();
    const pages = new Map<string, Set<number>>();
    for (const one of [...this.seen].sort((one, other) => one.at - other.at)) {
      const { id, attempt, elapsed, page, layer } = one;
      if ((attempts.get(id) ?? attempt) !== attempt) doubled.add(id);
      attempts.set(id, attempt);
      const before = pages.get(`${layer}/${id}`) ?? new Set();
      if (before.has(page) || (before.size > 0 && elapsed < BEGINNING_MS)) doubled.add(id);
      pages.set(`${layer}/${id}`, before.add(page));
    }
    return [...doubled];
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

function nameOf({ page, id, attempt, at }: Appearance): string {
  return [page, id, attempt, at].join("/");
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
    // Under a name of its own: two pages that add to one list would overwrite each other.
    localStorage.setItem(`witness.${one.page}.${one.at}`, JSON.stringify(one));
    // When the page itself has had its frame too: whoever is told may destroy it.
    setTimeout(() => told.noteAppearance(one));
  };
  nextFrame(look);
}
