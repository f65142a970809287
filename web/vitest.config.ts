import { defineConfig } from "vitest/config";

/** `vitest run` runs the tests; `vitest run --mode pictures` takes the pictures of the README. */
export default defineConfig(({ mode }) => ({
  test: {
    include: mode === "pictures" ? ["pictures/pictures.ts"] : ["test/**/*.test.ts"],
    // Longer than anything here takes, on a busy machine too; reaching it is a failure.
    testTimeout: 300_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 60_000 } },
    // Most of their time they wait for what is shown; more at once would keep frames from each other.
    maxWorkers: 2,
    minWorkers: 1,
    // Node.js 20 has the WebSocket of browsers, and does not show it unless asked.
    execArgv: "WebSocket" in globalThis ? [] : ["--experimental-websocket"],
  },
}));
