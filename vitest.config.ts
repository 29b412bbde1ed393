import { defineConfig } from "vitest/config";

// An uncaught exception or unhandled rejection anywhere fails the run: that is vitest's default, kept on purpose.
export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"], testTimeout: 30_000 } },
      { test: { name: "e2e", include: ["test/e2e/**/*.test.ts"], testTimeout: 120_000, hookTimeout: 120_000 } },
    ],
  },
});
