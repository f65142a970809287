import { nameColour } from "./colour";
import type { Line, Part } from "./line";

export const LINES_MAX = 50;
/** How long the last lines may take to come after a greeting. */
const QUIET_MS = 500;
/** So many deletions are remembered, for lines that come after their own deletion. */
const DELETED_MAX = 200;

/** The lines on the screen: the newest at the bottom, and what is taken back gone at once. */
export class Lines {
  readonly #list: HTMLElement;
  readonly #deleted: string[] = [];
  #quiet: ReturnType<typeof setTimeout> | undefined;

  constructor(list: HTMLElement) {
    this.#list = list;
  }

  /** Begins anew; the last lines, which come first, are there at once and do not move. */
  restart(): void {
    this.clear();
    this.#list.classList.add("quiet");
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#list.classList.remove("quiet"), QUIET_MS);
  }

  add(line: Line): void {
    const isKnown = this.#deleted.includes(line.id) || this.#find("id", line.id).length > 0;
    if (isKnown) return;
    this.#list.append(draw(line));
    while (this.#list.childElementCount > LINES_MAX) this.#list.firstElementChild?.remove();
  }

  delete(id: string): void {
    this.#deleted.push(id);
    this.#deleted.splice(0, this.#deleted.length - DELETED_MAX);
    for (const line of this.#find("id", id)) line.remove();
  }

  deleteViewer(viewer: string): void {
    for (const line of this.#find("viewer", viewer)) line.remove();
  }

  clear(): void {
    this.#list.replaceChildren();
  }

  #find(field: "id" | "viewer", value: string): HTMLElement[] {
    const lines = Array.from(this.#list.children) as HTMLElement[];
    return lines.filter((line) => line.dataset[field] === value);
  }
}

function draw(line: Line): HTMLElement {
  const element = copy("line");
  element.dataset.id = line.id;
  element.dataset.viewer = line.viewer;
  element.classList.toggle("line-bot", line.isBot);
  element.classList.toggle("line-request", line.isRequest);
  element.style.setProperty("--colour", nameColour(line.colour, line.viewer || line.name));
  const badges = line.isBot ? ["bot"] : line.badges;
  const shelf = part(element, ".badges");
  for (const badge of badges) {
    const drawing = copyBadge(badge);
    if (drawing) shelf.append(drawing);
  }
  part(element, ".name").textContent = line.name;
  part(element, ".said").append(...line.parts.map(drawPart));
  return element;
}

function drawPart(part: Part): Node {
  if (part.kind === "text") return document.createTextNode(part.text);
  if (part.kind === "emote" && part.picture !== null) {
    const image = document.createElement("img");
    image.className = "emote-picture";
    image.alt = part.text;
    image.src = `/api/v1/pictures/${part.picture}`;
    // One that does not come is its name, as all the others are.
    image.onerror = () => image.replaceWith(chip("emote", part.text));
    return image;
  }
  return chip(part.kind, part.text);
}

function chip(kind: string, text: string): HTMLElement {
  const element = document.createElement("span");
  element.className = kind;
  element.textContent = text;
  return element;
}

function copyBadge(badge: string): Element | null {
  const template = document.getElementById(`badge-${badge === "founder" ? "subscriber" : badge}`);
  const drawing = template instanceof HTMLTemplateElement ? template.content.firstElementChild : null;
  if (!drawing) return null;
  const copied = document.importNode(drawing, true);
  copied.classList.add(`badge-${badge}`);
  return copied;
}

function copy(id: string): HTMLElement {
  const template = document.getElementById(id);
  const first = template instanceof HTMLTemplateElement ? template.content.firstElementChild : null;
  if (!first) throw new Error(`chat.html has no template ${id}`);
  return document.importNode(first, true) as HTMLElement;
}

function part(within: Element, selector: string): HTMLElement {
  const found = within.querySelector<HTMLElement>(selector);
  if (!found) throw new Error(`the template has no ${selector}`);
  return found;
}
