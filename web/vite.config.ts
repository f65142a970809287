import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/**
 * Each page is built alone (`vite build --mode <page>`), so that each is one script and one style
 * sheet with a fixed name, which the Rust binary embeds. A new page is `<page>.html`, `src/<page>/`
 * and one more `vite build --mode <page>` in the `build` script.
 *
 * A page is served as `/<page>`, its files as `/<page>/<page>.js` and `/<page>/<page>.css`.
 */
export default defineConfig(({ mode: page }) => ({
  base: `/${page}/`,
  publicDir: false,
  build: {
    // OBS 29.1 to 30.2 shows pages with Chromium 103.
    target: "chrome103",
    cssTarget: "chrome103",
    outDir: "dist",
    emptyOutDir: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      input: fileURLToPath(new URL(`./${page}.html`, import.meta.url)),
      output: {
        entryFileNames: `${page}.js`,
        chunkFileNames: `${page}-[name].js`,
        assetFileNames: `${page}[extname]`,
      },
    },
  },
}));
