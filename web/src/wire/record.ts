/** A JSON object, of which nothing else is known yet. */
export type Fields = Record<string, unknown>;

export function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The JSON object in a text; null when there is none. */
export function parseRecord(text: string | null): Fields | null {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

/** The text in a field; empty when it is none. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
