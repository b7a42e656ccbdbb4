// How the page is built: one folder inside the package, nothing fetched from elsewhere at run time.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { notices } from "./notices";

export default defineConfig({
  base: "./",
  resolve: { alias: [{ find: /^numcodecs\/(blosc|lz4|zstd)$/, replacement: fileURLToPath(new URL("src/nothing.ts", import.meta.url)) }] },
  plugins: [notices()],
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    outDir: "../src/smiler/review/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 4000,
  },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
