import { defineConfig } from "vitest/config";

// Over real connections in real time: in CI a test that a busy machine has tripped gets one more chance.
const retry = process.env.CI ? 1 : 0;

// An uncaught exception or unhandled rejection anywhere fails the run: that is vitest's default, kept on purpose.
export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", retry, include: ["test/unit/**/*.test.ts"], testTimeout: 30_000 } },
      {
        test: {
          name: "e2e",
          retry,
          include: ["test/e2e/**/*.test.ts"],
          globalSetup: "test/e2e/global-setup.ts",
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // One file at a time, since some restart the cluster's API server; the cases of a file run side by side.
          fileParallelism: false,
          maxConcurrency: 16,
        },
      },
    ],
  },
});
