import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { SlowFirst } from "./test/slow-first.ts";

// Most tests wait, for clocks and connections, so that a core carries several files.
const maxWorkers = Math.min(12, Math.max(4, 5 * availableParallelism()));

// Tests start some hundred processes of node: each takes the compiled modules from here instead of compiling them again.
const env = { NODE_COMPILE_CACHE: fileURLToPath(new URL("node_modules/.cache/test-processes", import.meta.url)) };

// An uncaught exception or unhandled rejection anywhere fails the run: that is vitest's default, kept on purpose.
export default defineConfig({
  test: {
    sequence: { sequencer: SlowFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          setupFiles: "test/unit/setup.ts",
          maxWorkers,
          env,
          // What is waited for comes at once, or never: a machine that is many times slower fails nothing.
          testTimeout: 180_000,
          hookTimeout: 180_000,
          expect: { poll: { interval: 10, timeout: 90_000 } },
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          globalSetup: "test/e2e/global-setup.ts",
          maxWorkers,
          env,
          testTimeout: 240_000,
          hookTimeout: 240_000,
          // The cases of a file run side by side; files take turns where the cluster demands it (test/e2e/turns.ts).
          maxConcurrency: 16,
        },
      },
    ],
  },
});
