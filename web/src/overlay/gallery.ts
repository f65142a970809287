import type { Alert } from "./alert";

/** How long a picture may take to load; after that the alert is shown with its words alone. */
export const PICTURE_MS_MAX = 4_000;

/** How a picture is loaded and decoded; a test brings its own. */
export type Load = (url: string) => Promise<HTMLImageElement>;

interface Loading {
  image: HTMLImageElement | null;
  isOver: boolean;
}

/** Where the picture of an alert is; null for an alert without one. */
export function pictureUrl({ data }: Alert): string | null {
  const { picture } = data;
  // A name that is none is never part of an address.
  const isName = typeof picture === "string" && /^[0-9a-f]{64}$/.test(picture);
  return isName ? `/api/v1/pictures/${picture}` : null;
}

/**
 * Loads and decodes the picture of the alert that is next, so that it is there when the alert is
 * shown, and whole. It keeps one picture at a time beside the one on the screen.
 */
export class Gallery {
  readonly #load: Load;
  readonly #onReady: () => void;
  readonly #limitMs: number;
  #loadings = new Map<string, Loading>();

  /** `onReady` is called when what was waited for is there, or will not come. */
  constructor(onReady: () => void, load: Load = loadAndDecode, limitMs = PICTURE_MS_MAX) {
    this.#onReady = onReady;
    this.#load = load;
    this.#limitMs = limitMs;
  }

  /** Whether the alert can be shown; begins to load its picture when it is first asked for. */
  isReady(alert: Alert): boolean {
    const url = pictureUrl(alert);
    return url === null || this.#loading(url).isOver;
  }

  /** The picture of an alert, if it is loaded. */
  picture(alert: Alert): HTMLImageElement | null {
    const url = pictureUrl(alert);
    return url === null ? null : this.#loading(url).image;
  }

  #loading(url: string): Loading {
    const known = this.#loadings.get(url);
    if (known) return known;
    const loading: Loading = { image: null, isOver: false };
    this.#loadings.set(url, loading);
    this.#forgetOld();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(reject, this.#limitMs, new Error("it took too long"));
    });
    void Promise.race([this.#load(url), late])
      .then((image) => {
        loading.image = image;
      })
      .catch((error: unknown) => console.warn("a picture could not be loaded", url, error))
      .finally(() => {
        clearTimeout(timer);
        loading.isOver = true;
        this.#onReady();
      });
    return loading;
  }

  /** The two last ones are kept: the one on the screen and the next. */
  #forgetOld(): void {
    for (const url of Array.from(this.#loadings.keys()).slice(0, -2)) this.#loadings.delete(url);
  }
}

async function loadAndDecode(url: string): Promise<HTMLImageElement> {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}
