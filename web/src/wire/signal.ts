import type { Failure } from "./link";

const QUIET_MS = 10_000;

/**
 * The lamp in the corner. It stays dark through short disconnections, since viewers see it too, and
 * says in words only what a person has to mend.
 */
export class Signal {
  readonly #lamp: HTMLElement;
  readonly #words: HTMLElement;
  readonly #hasKey: boolean;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(lamp: HTMLElement, hasKey: boolean) {
    this.#lamp = lamp;
    this.#words = lamp.querySelector(".lamp-words") ?? lamp;
    this.#hasKey = hasKey;
    this.#expect();
  }

  up(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#lamp.hidden = true;
  }

  down(failure: Failure): void {
    const advice = this.#advice(failure);
    this.#lamp.dataset.kind = advice === "" ? "waiting" : "refused";
    this.#words.textContent = advice;
    this.#lamp.title = failure.words;
    this.#expect();
  }

  #expect(): void {
    this.#timer ??= setTimeout(() => {
      this.#lamp.hidden = false;
    }, QUIET_MS);
  }

  #advice({ status }: Failure): string {
    if (status === 401 && !this.#hasKey) {
      return "no key in this page's address: add #key=… from `tapedeck key issue`";
    }
    if (status === 401) return "key refused: make a new one with `tapedeck key issue`";
    if (status === 403) return "this key may not be used here: see `tapedeck key issue --help`";
    if (status === 404) return "this server has nothing at this address: check it";
    return "";
  }
}
