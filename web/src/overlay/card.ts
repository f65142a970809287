import type { Alert } from "./alert";
import { tagsOf, type Wording } from "./wording";

const METER_LAMPS = 10;

/** The elements of one alert, made of the templates of the page and of plain text only. */
export function drawCard(wording: Wording, alert: Alert): HTMLElement {
  const card = copy(alert.type === "tape" ? "tape" : "alert") as HTMLElement;
  card.classList.add(`alert-${alert.type}`);
  card.dataset.kind = String(alert.data.kind ?? "");
  if (alert.type === "tape") drawTape(card, wording, alert);
  else drawArt(card, alert);
  part(card, ".tag").textContent = wording.tag;
  const title = part(card, ".title");
  title.dataset.size = sizeOf(wording.title, [13, 18, 24]);
  part(title, "bdi").textContent = wording.title;
  part(card, ".fact").textContent = wording.fact;
  if (card.querySelector(".instrument")) drawInstrument(card, wording);
  if (card.querySelector(".note")) drawNote(card, wording.words);
  return card;
}

function drawArt(card: HTMLElement, { type, data }: Alert): void {
  const art = part(card, ".art");
  if (type === "static") drawStatic(card, data.id);
  const isPicture = type === "ghost" || type === "friend";
  if (art.childElementCount === 0) {
    art.append(copy(isPicture ? "art-picture" : `art-${type}`, "art-plain"));
  }
  if (has(`badge-${type}`)) art.append(copy(`badge-${type}`));
}

/** The artwork of a static alert, where there is one of its name. */
function drawStatic(card: HTMLElement, id: unknown): void {
  if (typeof id !== "string" || !/^[a-z-]{1,40}$/.test(id) || !has(`static-${id}`)) return;
  card.classList.add(`static-${id}`);
  part(card, ".art").append(copy(`static-${id}`));
  if (has(`over-${id}`)) card.prepend(copy(`over-${id}`));
}

/** The lower third: the tape's own colour, its facts, and its tags as chips. */
function drawTape(card: HTMLElement, wording: Wording, alert: Alert): void {
  const { colour } = alert.data;
  if (typeof colour === "string" && /^#[0-9a-f]{6}$/i.test(colour)) {
    card.style.setProperty("--c1", colour);
  }
  part(card, ".number").textContent = wording.count === "" ? "" : `No. ${wording.count}`;
  part(card, ".label").textContent = wording.title;
  for (const tag of tagsOf(alert.data)) {
    const chip = document.createElement("li");
    chip.textContent = tag;
    part(card, ".chips").append(chip);
  }
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

function has(id: string): boolean {
  return document.getElementById(id) instanceof HTMLTemplateElement;
}

function copy(id: string, otherwise = id): Element {
  const template = document.getElementById(has(id) ? id : otherwise);
  const first = template instanceof HTMLTemplateElement ? template.content.firstElementChild : null;
  if (!first) throw new Error(`overlay.html has no template ${id}`);
  return document.importNode(first, true);
}

function part(within: Element, selector: string): HTMLElement {
  const found = within.querySelector<HTMLElement>(selector);
  if (!found) throw new Error(`the template has no ${selector}`);
  return found;
}
