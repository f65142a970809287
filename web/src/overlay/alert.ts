import { type Envelope, isRecord } from "../feed/envelope";

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
] as const;

export type AlertType = (typeof ALERT_TYPES)[number];

/** One alert, as the feed gave it and as the bookmark keeps it. */
export interface Alert {
  position: number;
  id: string | null;
  type: AlertType;
  at: string;
  data: Record<string, unknown>;
}

/** How long each alert stays, and the pause after it, in milliseconds. */
export const DURATIONS_MS: Record<AlertType, number> = {
  follow: 6_000,
  cheer: 6_000,
  sub: 10_000,
  resub: 6_000,
  gift: 10_000,
  raid: 12_000,
  hype_train: 11_000,
  ghost: 13_000,
  friend: 12_000,
};
export const GAP_MS = 1_000;

/** The alert in an envelope; null when it is of a type that this page does not show. */
export function readAlert(envelope: Envelope): Alert | null {
  const { position, id, type, at, data } = envelope;
  return isAlertType(type) ? { position, id, type, at, data } : null;
}

/** The alert in a stored value; null when it is anything else. */
export function restoreAlert(value: unknown): Alert | null {
  if (!isRecord(value)) return null;
  const { position, id, type, at, data } = value;
  if (typeof position !== "number" || !isAlertType(type) || !isRecord(data)) return null;
  const text = typeof at === "string" ? at : "";
  return { position, id: typeof id === "string" ? id : null, type, at: text, data };
}

function isAlertType(type: unknown): type is AlertType {
  return (ALERT_TYPES as readonly unknown[]).includes(type);
}
