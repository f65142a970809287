import { type AlertType, isAlertType } from "./alert";

/** Which part of the alerts a source shows: `screen` has the pictures of ghosts alone. */
export type Layer = "all" | "normal" | "screen";

/**
 * What the address of the overlay says after its `#`, where no server or proxy log sees it:
 *
 * - `key`: the key made with `tapedeck key issue`
 * - `stage`: the stage that it shows (`main`)
 * - `layer`: `all`, or `normal` and `screen` in two sources, to blend the ghosts in OBS
 * - `types`: the alerts that it shows, as `cheer,raid`; all of them when left out
 * - `name`: this source's own name, when several sources with the same settings run in one OBS
 * - `sound`: `off` for a source without sound
 * - `speech`: `on` for one that reads aloud what viewers wrote, where the browser has a voice
 * - `preview`: `on` shows a lamp while the stage is paused
 */
export interface Settings {
  key: string;
  stage: string;
  layer: Layer;
  types: AlertType[];
  name: string;
  sound: boolean;
  speech: boolean;
  preview: boolean;
}

const NAME_CHARACTERS_MAX = 64;

export function readSettings(fragment: string): Settings {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const layer = fields.get("layer");
  const types = (fields.get("types") ?? "").split(",").map((type) => type.trim());
  return {
    key: fields.get("key")?.trim() ?? "",
    stage: nameIn(fields, "stage"),
    layer: layer === "normal" || layer === "screen" ? layer : "all",
    types: types.filter(isAlertType),
    name: nameIn(fields, "name"),
    sound: fields.get("sound") !== "off",
    speech: fields.get("speech") === "on",
    preview: fields.get("preview") === "on",
  };
}

function nameIn(fields: URLSearchParams, field: string): string {
  return fields.get(field)?.trim().slice(0, NAME_CHARACTERS_MAX) || "main";
}
