import { type Fields, isRecord } from "../wire/record";
import type { Alert } from "./alert";

/** What one alert says. Every field is plain text, and is put on the page as text. */
export interface Wording {
  /** The few words on the label. */
  tag: string;
  /** Who, or what, in large letters. */
  title: string;
  /** What happened. */
  fact: string;
  /** What the viewer wrote; empty when nothing. */
  words: string;
  /** The number on the counter; empty for an alert without one. */
  count: string;
  /** What the number counts. */
  unit: string;
  /** How full the level meter is, from 0 to 1. */
  level: number;
}

const ANONYMOUS = "Anonymous";
const NAMELESS = "A viewer";
const WORDS_CHARACTERS_MAX = 600;

/** Words an alert. It never fails: what is missing or of the wrong kind is left out. */
export function wordAlert({ type, data }: Alert): Wording {
  switch (type) {
    case "follow":
      return word(data, { tag: "New follower", fact: "is now following" });
    case "cheer":
      return wordCheer(data);
    case "sub":
      return wordSub(data);
    case "resub":
      return wordResub(data);
    case "gift":
      return wordGift(data);
    case "raid":
      return wordRaid(data);
    case "hype_train":
      return wordHypeTrain(data);
    case "ghost":
      return wordGhost(data);
    case "friend":
      return wordFriend(data);
    case "static":
      return wordStatic(data);
    case "notice":
      return wordNotice(data);
    case "tape":
      return wordTape(data);
  }
}

/** The alert in one sentence, for screen readers. */
export function sayAlert(wording: Wording): string {
  const said = sentence(`${wording.tag}: ${wording.title} ${wording.fact}`.trim());
  return wording.words === "" ? said : `${said} ${wording.words}`;
}

function wordCheer(data: Fields): Wording {
  const bits = count(data.bits);
  // A meter of ten lamps: 1 bit lights the first, 10,000 light the last.
  const level = Math.min(1, 0.1 + Math.log10(Math.max(1, bits)) * 0.225);
  const fact = `cheered ${plural(bits, "bit")}`;
  return word(data, { tag: "Cheer", fact, count: grouped(bits), unit: noun(bits, "bit"), level });
}

function wordSub(data: Fields): Wording {
  const fact = `subscribed at ${tier(data)}`;
  return word(data, { tag: "New sub", fact, count: tierCount(data), unit: "tier" });
}

function wordResub(data: Fields): Wording {
  const months = count(data.months);
  const streak = count(data.streak);
  const run = streak > 1 ? `, ${streak} in a row` : "";
  const long = `${tier(data)} for ${plural(months, "month")}${run}`;
  const fact = months > 1 ? long : `subscribed at ${tier(data)}`;
  return word(data, { tag: "Resub", fact, count: grouped(months), unit: noun(months, "month") });
}

function wordGift(data: Fields): Wording {
  const subs = Math.max(1, count(data.count));
  const what = subs === 1 ? `a ${tier(data)} sub` : `${grouped(subs)} ${tier(data)} subs`;
  const tag = noun(subs, "Gift sub");
  const unit = noun(subs, "sub");
  return word(data, { tag, fact: `gifted ${what}`, count: `×${grouped(subs)}`, unit });
}

function wordRaid(data: Fields): Wording {
  const viewers = count(data.viewers);
  const fact = `is raiding with ${plural(viewers, "viewer")}`;
  return word(data, { tag: "Raid", fact, count: grouped(viewers), unit: noun(viewers, "viewer") });
}

const TRAINS: Record<string, string> = {
  regular: "Hype Train",
  treasure: "Treasure Train",
  golden_kappa: "Golden Kappa Train",
};

function wordHypeTrain(data: Fields): Wording {
  const level = Math.max(1, count(data.level));
  const total = count(data.total);
  const goal = count(data.goal);
  // The total counts from the train's start and the goal from the level's: a train that starts
  // with a large gift is past its goal already.
  const isOnWay = goal > 0 && total <= goal;
  const far = total > 0 ? `${plural(total, "point")} so far` : "is on its way";
  return {
    tag: "All aboard",
    title: TRAINS[String(data.kind)] ?? "Hype Train",
    fact: isOnWay ? `${grouped(total)} of ${grouped(goal)} to level ${level + 1}` : far,
    words: "",
    count: grouped(level),
    unit: "level",
    level: isOnWay ? total / goal : 0,
  };
}

function wordGhost(data: Fields): Wording {
  const subject = text(data.subject);
  const fact = subject === "" ? "has called a ghost" : `has called the ghost of ${subject}`;
  return word(data, { tag: "From beyond the tape", fact });
}

function wordFriend(data: Fields): Wording {
  const name = text(data.name);
  const subject = text(data.subject);
  const who = [name, subject].filter((part) => part !== "").join(", ");
  const fact = who === "" ? "has brought a friend" : `has brought ${who}`;
  return word(data, { tag: "A new friend", fact });
}

const STATICS: Record<string, { tag: string; fact: string }> = {
  "test-card": { tag: "Please stand by", fact: "has put up the test card" },
  "tracking-error": { tag: "Check the tracking", fact: "has upset the tracking" },
};

function wordStatic(data: Fields): Wording {
  return word(data, STATICS[text(data.id)] ?? { tag: "On the air", fact: "has something to say" });
}

/**
 * Why there is no picture, for the viewer who asked for one: what the server says of it, which knows
 * what became of the points, or else what its reason means.
 */
function wordNotice(data: Fields): Wording {
  const reason = text(data.reason);
  const [tag, meaning] = REASONS[reason] ?? ["No picture this time", "{points} back"];
  const price = count(data.price);
  const points = price > 0 ? plural(price, "point") : "the points";
  const back = `your ${points} ${price === 1 ? "is" : "are"}`.replace("your the", "the");
  const style = text(data.style) || "picture";
  const fact = text(data.words) || meaning.replace("{style}", style).replace("{points}", back);
  return word(data, { tag, fact: sentence(fact), words: "" });
}

const TOO_FEW = ["Not quite enough yet", "the {style} takes more points than there are"] as const;
const REASONS: Record<string, readonly [tag: string, meaning: string]> = {
  declined: TOO_FEW,
  too_few_points: TOO_FEW,
  rejected: ["Not this one", "the {style} will not be shown: {points} back"],
  refused: ["Not this one", "the painter will not draw that: {points} back"],
  failed: ["The tape jammed", "the {style} did not come out: {points} back"],
  expired: ["Out of time", "the {style} took too long: {points} back"],
  cancelled: ["Called off", "the {style} was called off: {points} back"],
  unclear: ["Say that again?", "nobody could make out what to draw: nothing was taken"],
};

function sentence(words: string): string {
  const first = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}

function wordTape(data: Fields): Wording {
  const title = text(data.title) || "Untitled tape";
  const minutes = Math.round(count(data.runtime_s) / 60);
  const year = count(data.year);
  const facts = [year > 0 ? String(year) : "", minutes > 0 ? `${grouped(minutes)} min` : ""];
  const fact = facts.filter((part) => part !== "").join(" · ");
  const number = typeof data.id === "number" ? String(count(data.id)) : text(data.id);
  return word(data, { tag: "Now playing", title, fact, words: "", count: number, unit: "tape" });
}

function word(data: Fields, own: Partial<Wording>): Wording {
  const words = typeof data.message === "string" ? tidy(data.message) : "";
  const plain = { tag: "", fact: "", count: "", unit: "", level: 0 };
  return { ...plain, title: viewerName(data.viewer), words, ...own };
}

function text(value: unknown): string {
  return typeof value === "string" ? tidy(value) : "";
}

function viewerName(viewer: unknown): string {
  if (!isRecord(viewer)) return ANONYMOUS;
  const name = typeof viewer.name === "string" ? tidy(viewer.name) : "";
  return name === "" ? NAMELESS : name;
}

/** One line of text without control characters, cut between characters. */
function tidy(text: string): string {
  const line = text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim();
  const characters = Array.from(line);
  if (characters.length <= WORDS_CHARACTERS_MAX) return line;
  return `${characters.slice(0, WORDS_CHARACTERS_MAX).join("")}…`;
}

function count(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? Math.max(0, Math.floor(value)) : 0;
}

function tierCount(data: Fields): string {
  return { "2000": "2", "3000": "3" }[String(data.tier)] ?? "1";
}

function tier(data: Fields): string {
  return `Tier ${tierCount(data)}`;
}

const NUMBERS = new Intl.NumberFormat("en-US");

function grouped(value: number): string {
  return NUMBERS.format(value);
}

function noun(value: number, singular: string): string {
  return value === 1 ? singular : `${singular}s`;
}

function plural(value: number, singular: string): string {
  return `${grouped(value)} ${noun(value, singular)}`;
}

const TAGS_MAX = 6;

/** The tags of a tape, as many as fit. */
export function tagsOf(data: Fields): string[] {
  const tags = Array.isArray(data.tags) ? data.tags.map(text) : [];
  return tags.filter((tag) => tag !== "").slice(0, TAGS_MAX);
}
