import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "paperclip",
    root: import.meta.dirname,
    include: ["*.test.ts"],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Each file starts a server with a database of its own.
    fileParallelism: false,
  },
});
