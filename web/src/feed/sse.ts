/** One block of a server-sent feed: its data lines joined, and the id in force when it ended. */
export interface Frame {
  data: string;
  id: string;
}

/** A frame longer than this is dropped, so that a broken server cannot fill the page's memory. */
export const FRAME_CHARACTERS_MAX = 1_048_576;

/**
 * Reads the wire format of server-sent events as the WHATWG standard describes it, whatever the
 * size of the pieces it arrives in. A frame that was not ended by an empty line is never delivered.
 */
export class FrameReader {
  #text = new TextDecoder("utf-8");
  #line = "";
  #afterReturn = false;
  #data: string[] = [];
  #characters = 0;
  #id = "";

  /** Takes the next piece and returns the frames that it completed. */
  read(bytes: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    const text = this.#text.decode(bytes, { stream: true });
    let start = 0;
    for (let at = 0; at < text.length; at += 1) {
      const character = text[at];
      const endsReturn = character === "\n" && this.#afterReturn;
      this.#afterReturn = character === "\r";
      if (endsReturn) start = at + 1;
      if (endsReturn || (character !== "\n" && character !== "\r")) continue;
      this.#keep(text.slice(start, at));
      start = at + 1;
      const frame = this.#endLine();
      if (frame) frames.push(frame);
    }
    this.#keep(text.slice(start));
    return frames;
  }

  #keep(part: string): void {
    this.#characters += part.length;
    if (this.#characters <= FRAME_CHARACTERS_MAX) this.#line += part;
    else if (this.#line === "") this.#line = part.slice(0, 1);
  }

  #endLine(): Frame | null {
    const line = this.#line;
    this.#line = "";
    if (line === "") return this.#endFrame();
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.#data.push(value);
    if (field === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }

  #endFrame(): Frame | null {
    const lines = this.#data;
    const whole = this.#characters <= FRAME_CHARACTERS_MAX;
    this.#data = [];
    this.#characters = 0;
    if (lines.length === 0 || !whole) return null;
    return { data: lines.join("\n"), id: this.#id };
  }
}
