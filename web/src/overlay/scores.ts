import type { AlertType } from "./alert";

/** One sound of a score: a tone that glides from one pitch to another, or filtered noise. */
export interface Note {
  /** When it begins, in seconds of the alert. */
  at: number;
  lasts: number;
  wave: OscillatorType | "noise";
  /** In hertz; for noise, where the filter is open. */
  from: number;
  to: number;
  /** How loud it is at its loudest, from 0 to 1. */
  loud: number;
}

type Score = readonly Note[];

/** A cassette goes into the deck: a scrape, a knock, and the click of the lid. */
const INSERT: Score = [
  noise(0.0, 0.16, 900, 2_600, 0.16),
  tone(0.24, 0.12, "sine", 150, 58, 0.55),
  noise(0.24, 0.06, 1_400, 500, 0.3),
  noise(0.36, 0.03, 4_200, 3_000, 0.18),
];

/** The motor winds forward. */
const WIND: Score = [
  tone(0.0, 1.1, "sawtooth", 90, 620, 0.07),
  tone(0.02, 1.1, "triangle", 180, 1_240, 0.09),
  noise(0.0, 1.1, 500, 3_800, 0.09),
  noise(1.12, 0.05, 2_400, 700, 0.25),
];

export const SCORES: Record<AlertType, Score> = {
  follow: [...INSERT, ...chime([659, 880], 0.55, 0.12, 0.16)],
  cheer: [...INSERT, ...chime([523, 659, 784, 1_047], 0.6, 0.09, 0.17)],
  sub: [...INSERT, ...chime([392, 494, 587, 784, 988], 0.6, 0.11, 0.17)],
  resub: [...INSERT, ...chime([587, 784, 587, 880], 0.6, 0.11, 0.16)],
  gift: [...INSERT, ...chime([698, 880, 1_047, 1_397, 1_760], 0.6, 0.08, 0.15)],
  raid: [...WIND, ...chime([294, 370, 440, 587], 1.15, 0.1, 0.18)],
  hype_train: [
    ...[0, 0.42, 0.78, 1.08, 1.33, 1.55].map((at) => noise(at, 0.16, 700, 260, 0.26)),
    ...[370, 466, 587].map((pitch) => tone(1.75, 0.75, "triangle", pitch, pitch * 0.985, 0.13)),
  ],
  ghost: [
    tone(0.1, 2.6, "sine", 220, 330, 0.2),
    tone(0.1, 2.6, "sine", 224, 338, 0.2),
    tone(0.9, 2.2, "triangle", 660, 494, 0.07),
    noise(0.0, 2.4, 300, 1_500, 0.07),
  ],
  friend: [...INSERT, ...hops([392, 523, 659], 0.8)],
  static: [noise(0.05, 0.5, 5_200, 900, 0.16), tone(0.6, 0.5, "sine", 1_000, 1_000, 0.12)],
  notice: [tone(0.1, 0.22, "triangle", 494, 494, 0.14), tone(0.34, 0.4, "triangle", 392, 384, 0.14)],
  tape: [],
};

function tone(
  at: number,
  lasts: number,
  wave: OscillatorType,
  from: number,
  to: number,
  loud: number,
): Note {
  return { at, lasts, wave, from, to, loud };
}

function noise(at: number, lasts: number, from: number, to: number, loud: number): Note {
  return { at, lasts, wave: "noise", from, to, loud };
}

/** Bells one after another, each with its octave. */
function chime(pitches: number[], at: number, step: number, loud: number): Note[] {
  return pitches.flatMap((pitch, index) => [
    tone(at + index * step, 0.9, "sine", pitch, pitch, loud),
    tone(at + index * step, 0.35, "triangle", pitch * 2, pitch * 2, loud * 0.35),
  ]);
}

/** Somebody small jumps. */
function hops(pitches: number[], at: number): Note[] {
  return pitches.map((pitch, index) =>
    tone(at + index * 0.2, 0.18, "triangle", pitch * 0.7, pitch * 1.35, 0.2),
  );
}
