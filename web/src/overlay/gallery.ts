import type { Alert } from "./alert";

/** How long a picture may take to load; its alert is shown in any case, with its words alone. */
export const PICTURE_MS_MAX = 10_000;

/** So many times a picture is asked for; with the pauses between, that takes as long as it may. */
const TRIES_MAX = 5;
const FIRST_PAUSE_MS = 250;

/** How a picture is loaded and decoded until `signal` ends it; a test brings its own. */
export type Load = (url: string, signal: AbortSignal) => Promise<HTMLImageElement>;

interface Loading {
  image: HTMLImageElement | null;
  isOver: boolean;
}

/** Where the picture of an alert is; null for an alert without one. */
export function pictureUrl({ type, data }: Alert): string | null {
  const name = type === "tape" ? data.thumbnail : data.picture;
  // A name that is none is never part of an address.
  const isName = typeof name === "string" && /^[0-9a-f]{64}$/.test(name);
  return isName ? `/api/v1/pictures/${name}` : null;
}

/**
 * Loads and decodes the picture of the alert that is next, so that it is there, and whole, when the
 * server lets the alert begin. It keeps one picture at a time beside the one on the screen.
 */
export class Gallery {
  readonly #onReady: () => void;
  readonly #load: Load;
  readonly #limitMs: number;
  #loadings = new Map<string, Loading>();

  /** `onReady` is called when a picture is there. */
  constructor(onReady: () => void, load: Load = loadAndDecode, limitMs = PICTURE_MS_MAX) {
    this.#onReady = onReady;
    this.#load = load;
    this.#limitMs = limitMs;
  }

  /** Begins to load the picture of an alert, if it has one. */
  prepare(alert: Alert): void {
    const url = pictureUrl(alert);
    if (url !== null && !this.#loadings.has(url)) this.#begin(url);
  }

  /** Tries once more to load a picture that did not come. */
  insist(alert: Alert): void {
    const url = pictureUrl(alert);
    if (url === null) return;
    const known = this.#loadings.get(url);
    if (!known || (known.isOver && !known.image)) this.#begin(url);
  }

  /** The picture of an alert, if it is loaded. */
  picture(alert: Alert): HTMLImageElement | null {
    const url = pictureUrl(alert);
    return url === null ? null : (this.#loadings.get(url)?.image ?? null);
  }

  #begin(url: string): void {
    const loading: Loading = { image: null, isOver: false };
    this.#loadings.delete(url);
    this.#loadings.set(url, loading);
    this.#forgetOld();
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error("it took too long")), this.#limitMs);
    void Promise.race([this.#load(url, late.signal), whenAborted(late.signal)])
      .then((image) => {
        loading.image = image;
        this.#onReady();
      })
      .catch((error: unknown) => console.warn("a picture could not be loaded", url, error))
      .finally(() => {
        clearTimeout(timer);
        loading.isOver = true;
      });
  }

  /** The two last ones are kept: the one on the screen and the next. */
  #forgetOld(): void {
    for (const url of Array.from(this.#loadings.keys()).slice(0, -2)) this.#loadings.delete(url);
  }
}

/**
 * The bytes of a picture. A server that is busy or in trouble, or cannot be reached, is asked again,
 * later each time, and not before it says: the picture was paid for, and its alert is shown once.
 */
export async function fetchPatiently(url: string, signal: AbortSignal): Promise<Blob> {
  let pauseMs = FIRST_PAUSE_MS;
  for (let tries = 1; ; tries += 1) {
    const answer = await fetch(url, { signal }).catch((error: unknown) => {
      if (signal.aborted || tries === TRIES_MAX) throw error;
      return null;
    });
    if (answer?.ok) return answer.blob();
    if (answer && (!isPassing(answer.status) || tries === TRIES_MAX)) {
      throw new Error(`the server answers ${answer.status}`);
    }
    await pause(Math.max(pauseMs, retryAfterMs(answer)), signal);
    pauseMs *= 2;
  }
}

function isPassing(status: number): boolean {
  return status === 429 || status >= 500;
}

function retryAfterMs(answer: Response | null): number {
  const seconds = Number(answer?.headers.get("Retry-After"));
  return Number.isFinite(seconds) ? seconds * 1_000 : 0;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([over, whenAborted(signal)]).finally(() => clearTimeout(timer));
}

/** Fails when the signal comes. */
function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(signal.reason as Error);
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true });
  });
}

async function loadAndDecode(url: string, signal: AbortSignal): Promise<HTMLImageElement> {
  const bytes = await fetchPatiently(url, signal);
  const image = new Image();
  // The page's policy lets an image be part of its own address, and nothing from elsewhere.
  image.src = await dataUrl(bytes);
  await image.decode();
  return image;
}

function dataUrl(bytes: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(reader.error ?? new Error("it could not be read"));
    reader.readAsDataURL(bytes);
  });
}
