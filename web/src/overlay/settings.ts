/**
 * What the address of the overlay says after its `#`, where no server or proxy log sees it:
 *
 * - `key`: the key made with `tapedeck key issue`
 * - `name`: this source's own name, when several overlay sources run in one OBS (default `main`)
 * - `speed`: for rehearsals, divides how long alerts and the pauses between them last (1 to 1000)
 */
export interface Settings {
  key: string;
  name: string;
  speed: number;
}

const SPEED_MAX = 1_000;
const NAME_CHARACTERS_MAX = 64;

export function readSettings(fragment: string): Settings {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const speed = Number(fields.get("speed") ?? 1);
  return {
    key: fields.get("key")?.trim() ?? "",
    name: fields.get("name")?.trim().slice(0, NAME_CHARACTERS_MAX) || "main",
    speed: speed >= 1 ? Math.min(speed, SPEED_MAX) : 1,
  };
}
