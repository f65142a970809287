import { ALERT_TYPES } from "../src/overlay/alert";
import type { Given } from "./stage_server";

export const viewer = { id: "5001", name: "ReelDeal" };

/** The data of one alert of each type. */
export const SAMPLES: Record<string, Record<string, unknown>> = {
  follow: { viewer },
  cheer: { viewer, bits: 100, message: "Cheer100 nice" },
  sub: { viewer, tier: "1000" },
  resub: { viewer, tier: "1000", months: 3, streak: null, message: "" },
  gift: { viewer: null, count: 5, tier: "1000" },
  raid: { viewer, viewers: 12 },
  hype_train: { level: 1, total: 100, goal: 500, kind: "regular" },
  ghost: { viewer, subject: "a toaster", picture: null, background: "#10101e" },
  friend: { viewer, subject: "a heron", colour: "blue", name: "Waldo", picture: null },
  static: { viewer, id: "test-card", message: "back in a minute" },
  notice: {
    viewer,
    reason: "too_few_points",
    style: "ghost",
    price: 200,
    available: 150,
    words: "ghost takes 200 points, and there are 150",
  },
  tape: {
    id: 88,
    title: "Harbour Lights",
    year: 1987,
    runtime_s: 5_520,
    tags: ["sea", "documentary"],
    colour: "#4fb3ff",
    thumbnail: null,
  },
};

/** An alert of each type in turn. */
export function sample(index: number): Given {
  const type = ALERT_TYPES[index % ALERT_TYPES.length] ?? "follow";
  return { type, data: SAMPLES[type] ?? {} };
}
