import type { Cue } from "./program";
import { type Note, SCORES } from "./scores";

/** An alert that is older than this is not heard any more: its sound was heard when it began. */
const LATE_MS_MAX = 400;
const ATTACK_S = 0.008;
const NOISE_S = 2;
const SILENT = 0.0001;

/**
 * The sounds of the alerts, made while they are heard: there is nothing to load, and a browser that
 * allows no sound shows the alerts without.
 */
export class Sounds {
  #isWanted: boolean;
  #context: AudioContext | null = null;
  #out: GainNode | null = null;
  #playing: { key: string; out: GainNode } | null = null;

  constructor(isWanted: boolean) {
    this.#isWanted = isWanted;
  }

  /** Begins the sound of the alert that the cue names, in step with its movements, and ends others. */
  follow({ playing }: Cue, now: number, isMuted: boolean): void {
    if (!this.#isWanted) return;
    const key = playing ? `${playing.alert.id}/${playing.attempt}` : null;
    if (this.#playing && this.#playing.key !== key) this.#stop();
    this.#mute(isMuted);
    if (!playing || key === null || this.#playing) return;
    const startsInMs = playing.startsMs - now;
    const score = SCORES[playing.alert.type];
    if (score.length === 0 || startsInMs < -LATE_MS_MAX) return;
    const context = this.#awaken();
    if (!context || !this.#out) return;
    const out = context.createGain();
    out.connect(this.#out);
    this.#playing = { key, out };
    perform(context, out, score, context.currentTime + Math.max(0, startsInMs / 1_000));
  }

  #mute(isMuted: boolean): void {
    if (this.#out) this.#out.gain.value = isMuted ? 0 : 1;
  }

  #stop(): void {
    this.#playing?.out.disconnect();
    this.#playing = null;
  }

  /** The way to the loudspeaker; null where the browser has none, or does not allow it yet. */
  #awaken(): AudioContext | null {
    try {
      this.#context ??= this.#connect();
    } catch (error) {
      console.warn("this browser makes no sounds", error);
      this.#isWanted = false;
      return null;
    }
    if (this.#context.state !== "suspended") return this.#context;
    // Never waited for: an ordinary browser keeps it waiting until somebody clicks.
    void this.#context.resume().catch(() => undefined);
    return null;
  }

  #connect(): AudioContext {
    const context = new AudioContext();
    const limiter = context.createDynamicsCompressor();
    limiter.connect(context.destination);
    this.#out = context.createGain();
    this.#out.connect(limiter);
    return context;
  }
}

/** Writes a score into an audio context, to be heard from `at` on, in seconds of the context. */
export function perform(
  context: BaseAudioContext,
  out: AudioNode,
  score: readonly Note[],
  at: number,
): void {
  for (const note of score) {
    const begins = at + note.at;
    const ends = begins + note.lasts;
    const loudness = context.createGain();
    loudness.gain.setValueAtTime(SILENT, begins);
    loudness.gain.exponentialRampToValueAtTime(note.loud, begins + ATTACK_S);
    loudness.gain.exponentialRampToValueAtTime(SILENT, ends);
    loudness.connect(out);
    const source = note.wave === "noise" ? hiss(context, note, begins, loudness) : null;
    const player = source ?? whistle(context, note, begins, loudness);
    player.start(begins);
    player.stop(ends);
  }
}

function whistle(
  context: BaseAudioContext,
  { wave, from, to, lasts }: Note,
  begins: number,
  out: AudioNode,
): OscillatorNode {
  const oscillator = context.createOscillator();
  oscillator.type = wave as OscillatorType;
  oscillator.frequency.setValueAtTime(from, begins);
  oscillator.frequency.exponentialRampToValueAtTime(to, begins + lasts);
  oscillator.connect(out);
  return oscillator;
}

function hiss(
  context: BaseAudioContext,
  { from, to, lasts }: Note,
  begins: number,
  out: AudioNode,
): AudioBufferSourceNode {
  const source = context.createBufferSource();
  source.buffer = noiseOf(context);
  source.loop = true;
  const filter = context.createBiquadFilter();
  filter.type = "bandpass";
  filter.Q.value = 0.8;
  filter.frequency.setValueAtTime(from, begins);
  filter.frequency.exponentialRampToValueAtTime(to, begins + lasts);
  source.connect(filter).connect(out);
  return source;
}

const noises = new WeakMap<BaseAudioContext, AudioBuffer>();

function noiseOf(context: BaseAudioContext): AudioBuffer {
  const known = noises.get(context);
  if (known) return known;
  const made = context.createBuffer(1, context.sampleRate * NOISE_S, context.sampleRate);
  const samples = made.getChannelData(0);
  for (let at = 0; at < samples.length; at += 1) samples[at] = Math.random() * 2 - 1;
  noises.set(context, made);
  return made;
}
