/** What every frame of the feed carries. */
export interface Envelope {
  epoch: string;
  position: number;
  id: string | null;
  type: string;
  at: string;
  mode: "live" | "replay" | "control";
  data: Record<string, unknown>;
}

/** The first frame of a connection. */
export interface Hello {
  build: string;
  after: number | null;
  /** False when the server could not go on from the position that was asked for. */
  resumed: boolean;
  ping_ms: number;
}

/** Reads one frame's data; null when it is not an envelope. */
export function readEnvelope(text: string): Envelope | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(value)) return null;
  const { epoch, position, id, type, at, mode, data } = value;
  if (typeof epoch !== "string" || typeof type !== "string") return null;
  if (typeof position !== "number" || !Number.isSafeInteger(position)) return null;
  return {
    epoch,
    position,
    id: typeof id === "string" ? id : null,
    type,
    at: typeof at === "string" ? at : "",
    mode: mode === "replay" || mode === "control" ? mode : "live",
    data: isRecord(data) ? data : {},
  };
}

/** Reads the data of a `hello`; what an older server leaves out gets the value it would mean. */
export function readHello(envelope: Envelope): Hello {
  const { build, after, resumed, ping_ms } = envelope.data;
  return {
    build: typeof build === "string" ? build : "",
    after: typeof after === "number" ? after : null,
    resumed: resumed === true,
    ping_ms: typeof ping_ms === "number" && ping_ms > 0 ? ping_ms : PING_MS_DEFAULT,
  };
}

export const PING_MS_DEFAULT = 10_000;

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
