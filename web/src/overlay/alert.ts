import { type Fields, isRecord, textOf } from "../wire/record";

export const ALERT_TYPES = [
  "follow",
  "cheer",
  "sub",
  "resub",
  "gift",
  "raid",
  "hype_train",
  "ghost",
  "friend",
  "static",
  "notice",
  "tape",
] as const;

export type AlertType = (typeof ALERT_TYPES)[number];

/** One alert, as the server gives it. */
export interface Alert {
  id: string;
  position: number;
  type: AlertType;
  at: string;
  data: Fields;
}

/**
 * How long the movements of an alert take at the least, from its coming to its leaving. One that is
 * given less time moves faster.
 */
export const MOVEMENT_MS: Record<AlertType, number> = {
  follow: 3_000,
  cheer: 3_500,
  sub: 3_000,
  resub: 3_500,
  gift: 3_500,
  raid: 3_500,
  hype_train: 4_000,
  ghost: 6_000,
  friend: 5_000,
  static: 4_000,
  notice: 2_500,
  tape: 3_000,
};

/** The alert in a value; null when it is none, or of a type that this page does not know. */
export function readAlert(value: unknown): Alert | null {
  if (!isRecord(value)) return null;
  const { id, position, type, at, data } = value;
  if (typeof id !== "string" || id === "" || !isAlertType(type)) return null;
  return {
    id,
    position: typeof position === "number" ? position : 0,
    type,
    at: textOf(at),
    data: isRecord(data) ? data : {},
  };
}

export function isAlertType(type: unknown): type is AlertType {
  return (ALERT_TYPES as readonly unknown[]).includes(type);
}
