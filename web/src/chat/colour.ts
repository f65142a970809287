/** What is behind the lines, at its brightest: the strip over a bright picture. */
const BEHIND = 0.042;
/** What the WCAG ask of text of this size, and a little more. */
const CONTRAST_MIN = 5.2;
const STEPS = 20;

/** For viewers who never chose a colour: light enough, and told apart. */
const PALETTE = [
  "#ffb3a7",
  "#ffd479",
  "#b8e986",
  "#7fe3c4",
  "#8fd3ff",
  "#b9b4ff",
  "#f3a6ff",
  "#ffa9cf",
];

/** The colour of a viewer's name: as chosen, and as much lighter as it takes to be read. */
export function nameColour(chosen: unknown, viewer: string): string {
  if (typeof chosen !== "string" || !/^#[0-9a-f]{6}$/i.test(chosen)) return given(viewer);
  const parts = [1, 3, 5].map((at) => Number.parseInt(chosen.slice(at, at + 2), 16));
  for (let step = 0; step < STEPS; step += 1) {
    const lighter = parts.map((part) => part + ((255 - part) * step) / STEPS);
    if (contrast(lighter) >= CONTRAST_MIN) return hex(lighter);
  }
  return "#ffffff";
}

/** The contrast of a colour with what is behind the lines. */
export function contrast(parts: number[]): number {
  return (luminance(parts) + 0.05) / (BEHIND + 0.05);
}

function luminance(parts: number[]): number {
  const [red = 0, green = 0, blue = 0] = parts.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function hex(parts: number[]): string {
  return `#${parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;
}

/** Always the same one for the same viewer. */
function given(viewer: string): string {
  let sum = 0;
  for (const character of viewer) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return PALETTE[sum % PALETTE.length] ?? "#ffffff";
}
