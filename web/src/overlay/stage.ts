import type { Alert } from "./alert";
import type { Showing } from "./bookmark";
import type { Gallery } from "./gallery";
import type { Cue } from "./playlist";
import { sayAlert, type Wording, wordAlert } from "./wording";

const METER_LAMPS = 10;

/** Draws the alert that a cue names, and clears the screen when it names none. */
export class Stage {
  readonly #root: HTMLElement;
  readonly #said: HTMLElement;
  readonly #speed: number;
  readonly #gallery: Gallery;
  #drawn: Showing | null = null;

  constructor(root: HTMLElement, said: HTMLElement, speed: number, gallery: Gallery) {
    this.#root = root;
    this.#said = said;
    this.#speed = speed;
    this.#gallery = gallery;
  }

  show(cue: Cue, now: number): void {
    if (cue.showing === this.#drawn) {
      // One that was taken up again after a reload: its picture comes when it can.
      if (cue.showing) this.#hang(cue.showing.alert);
      return;
    }
    this.#drawn = cue.showing;
    this.#root.replaceChildren();
    if (!cue.showing) {
      this.#said.textContent = "";
      return;
    }
    const { alert, startedAt } = cue.showing;
    const wording = wordAlert(alert);
    const card = drawAlert(wording, alert.type);
    const elapsed = Math.max(0, now - startedAt) * this.#speed;
    card.dataset.id = alert.id ?? "";
    card.dataset.position = String(alert.position);
    card.dataset.elapsed = String(Math.round(elapsed));
    card.dataset.kind = String(alert.data.kind ?? "");
    // The style sheet counts in the alert's own milliseconds, so that one that is taken up again
    // after a reload goes on from where it was.
    card.style.setProperty("--elapsed", String(elapsed));
    card.style.setProperty("--length", String(cue.durationMs * this.#speed));
    card.style.setProperty("--t", `${1 / this.#speed}ms`);
    this.#root.append(card);
    this.#hang(alert);
    this.#said.textContent = sayAlert(wording);
  }

  /** Puts the alert's picture into its frame, once it is loaded. */
  #hang(alert: Alert): void {
    const frame = this.#root.querySelector<HTMLElement>(".portrait");
    if (!frame || frame.childElementCount > 0) return;
    const image = this.#gallery.picture(alert);
    if (!image) return;
    image.alt = "";
    frame.append(image);
    frame.closest(".alert")?.classList.add("alert-pictured");
    const { background } = alert.data;
    if (typeof background === "string" && /^#[0-9a-f]{6}$/i.test(background)) {
      frame.style.setProperty("--behind", background);
    }
  }
}

function drawAlert(wording: Wording, type: string): HTMLElement {
  const card = copy("alert") as HTMLElement;
  card.classList.add(`alert-${type}`);
  const art = part(card, ".art");
  art.append(copy(`art-${type}`, "art-plain"), copy(`badge-${type}`));
  part(card, ".tag").textContent = wording.tag;
  const title = part(card, ".title");
  title.dataset.size = sizeOf(wording.title, [13, 18, 24]);
  part(title, "bdi").textContent = wording.title;
  part(card, ".fact").textContent = wording.fact;
  drawInstrument(card, wording);
  drawNote(card, wording.words);
  return card;
}

function drawInstrument(card: HTMLElement, { count, unit, level }: Wording): void {
  const counter = part(card, ".counter");
  const digits = count.replace(/,/g, "");
  counter.dataset.size = sizeOf(digits, [3, 4, 6]);
  Array.from(digits).forEach((digit, index) => {
    const wheel = document.createElement("span");
    const face = document.createElement("b");
    face.textContent = digit;
    face.style.setProperty("--index", String(index));
    wheel.append(face);
    counter.append(wheel);
  });
  part(card, ".unit").textContent = unit;
  part(card, ".instrument").hidden = count === "";
  const meter = part(card, ".meter");
  meter.hidden = level === 0;
  card.classList.toggle("alert-metered", level > 0);
  for (let lamp = 0; lamp < METER_LAMPS; lamp += 1) {
    const light = document.createElement("i");
    light.classList.toggle("lit", lamp < Math.max(1, Math.round(level * METER_LAMPS)));
    light.style.setProperty("--index", String(lamp));
    meter.append(light);
  }
}

function drawNote(card: HTMLElement, words: string): void {
  const note = part(card, ".note");
  part(note, ".words").textContent = words;
  note.dataset.size = sizeOf(words, [70, 150, 260]);
  part(card, ".reveal-note").hidden = words === "";
}

/**
 * The size class of a text, 0 for the shortest: how many of the limits its width passes. Characters
 * of East Asian scripts and pictographs are about twice as wide as Latin ones.
 */
function sizeOf(text: string, limits: number[]): string {
  let width = 0;
  for (const character of text) width += (character.codePointAt(0) ?? 0) >= 0x1100 ? 1.8 : 1;
  return String(limits.filter((limit) => width > limit).length);
}

function copy(id: string, otherwise = id): Element {
  const template = document.getElementById(id) ?? document.getElementById(otherwise);
  const first = template instanceof HTMLTemplateElement ? template.content.firstElementChild : null;
  if (!first) throw new Error(`overlay.html has no template ${id}`);
  return document.importNode(first, true);
}

function part(within: Element, selector: string): HTMLElement {
  const found = within.querySelector<HTMLElement>(selector);
  if (!found) throw new Error(`the template has no ${selector}`);
  return found;
}
