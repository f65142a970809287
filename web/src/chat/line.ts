import { type Fields, isRecord, textOf } from "../wire/record";

/** A piece of what a viewer wrote. */
export type Part =
  | { kind: "text" | "mention"; text: string }
  | { kind: "emote"; text: string; picture: string | null };

/** One line of the chat, as the server gives it. */
export interface Line {
  id: string;
  viewer: string;
  name: string;
  colour: unknown;
  badges: string[];
  parts: Part[];
  isBot: boolean;
  isRequest: boolean;
}

const PARTS_MAX = 120;
const PART_CHARACTERS_MAX = 600;
const BADGES_MAX = 3;

/** Reads a `line`; null when it is not one. What is missing or of the wrong kind is left out. */
export function readLine(frame: Fields): Line | null {
  const { id, viewer, parts, badges } = frame;
  if (typeof id !== "string" || id === "") return null;
  const who = isRecord(viewer) ? viewer : {};
  return {
    id,
    viewer: textOf(who.id),
    name: tidy(textOf(who.name)) || "A viewer",
    colour: frame.colour,
    badges: (Array.isArray(badges) ? badges : []).flatMap(readBadge).slice(0, BADGES_MAX),
    parts: (Array.isArray(parts) ? parts : []).slice(0, PARTS_MAX).flatMap(readPart),
    isBot: frame.bot === true,
    isRequest: frame.request === true,
  };
}

/** A badge is a word, or a word and its level as in `subscriber/12`. */
function readBadge(value: unknown): string[] {
  const badge = textOf(value).split("/")[0] ?? "";
  return /^[a-z]{1,20}$/.test(badge) ? [badge] : [];
}

function readPart(value: unknown): Part[] {
  if (!isRecord(value)) return [];
  if (typeof value.text === "string") return [{ kind: "text", text: tidy(value.text) }];
  if (typeof value.emote === "string") {
    const picture = textOf(value.picture);
    const isPicture = /^[0-9a-f]{64}$/.test(picture);
    const text = tidy(textOf(value.name)) || "emote";
    return [{ kind: "emote", text, picture: isPicture ? picture : null }];
  }
  const { mention } = value;
  const name = tidy(textOf(isRecord(mention) ? mention.name : mention)).replace(/^@/, "");
  return name === "" ? [] : [{ kind: "mention", text: `@${name}` }];
}

/** No control characters, which could turn the rest of the page around, and no endless text. */
function tidy(text: string): string {
  const plain = text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, " ");
  const characters = Array.from(plain);
  if (characters.length <= PART_CHARACTERS_MAX) return plain;
  return `${characters.slice(0, PART_CHARACTERS_MAX).join("")}…`;
}
