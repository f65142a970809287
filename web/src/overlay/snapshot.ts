import { type Fields, isRecord } from "../wire/record";
import { type Alert, readAlert } from "./alert";

/** An alert that the server has put on the stage, from when to when in its own time. */
export interface Playing {
  alert: Alert;
  attempt: number;
  startsMs: number;
  endsMs: number;
}

/** What the stage is to show, as the server says it. */
export interface Snapshot {
  revision: number;
  paused: boolean;
  muted: { sound: boolean; speech: boolean };
  waiting: number;
  playing: Playing | null;
  next: Alert | null;
}

/** No alert lasts longer than this; what is said to is nonsense. */
const LENGTH_MS_MAX = 600_000;

/** Reads a `state`; null when it is not one, so that no nonsense can stop the overlay. */
export function readSnapshot(frame: Fields): Snapshot | null {
  const { revision, paused, muted, waiting, playing, next } = frame;
  if (!isWhole(revision)) return null;
  const { sound, speech } = isRecord(muted) ? muted : { sound: false, speech: false };
  return {
    revision,
    paused: paused === true,
    muted: { sound: sound === true, speech: speech === true },
    waiting: isWhole(waiting) ? waiting : 0,
    playing: readPlaying(playing),
    next: readAlert(next),
  };
}

function readPlaying(value: unknown): Playing | null {
  if (!isRecord(value)) return null;
  const { attempt, starts_ms: startsMs, ends_ms: endsMs } = value;
  const alert = readAlert(value.alert);
  if (!alert || !isWhole(attempt) || !isWhole(startsMs) || !isWhole(endsMs)) return null;
  if (endsMs <= startsMs || endsMs - startsMs > LENGTH_MS_MAX) return null;
  return { alert, attempt, startsMs, endsMs };
}

function isWhole(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value);
}
