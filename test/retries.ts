import type { TestCase, TestModule } from "vitest/node";

/**
 * The only tests that are tried once more, each with its reason: they measure real time, and no event tells what they wait for.
 * Whoever adds one says why it cannot wait for an event instead.
 */
const REASONS = {
  "blocked process": "a machine that stands still for a second looks like a peer that answers no ping",
  "half-open connection": "pings are sent and missed within 0.4 s of real time: a busy machine misses them by itself",
} as const;

export type RetryReason = keyof typeof REASONS;

declare module "vitest" {
  interface TaskMeta {
    mayBeRetried?: string;
  }
}

/** Options of a test that is on the list. */
export function retryOf(name: RetryReason): { retry: number; meta: { mayBeRetried: string } } {
  return { retry: 1, meta: { mayBeRetried: REASONS[name] } };
}

/** Reporter: says at the end which tests were tried again, and why they may be. */
export const retriesReporter = {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      for (const test of module.children.allTests()) if (wasRetried(test)) console.log(lineOf(test));
    }
  },
};

function wasRetried(test: TestCase): boolean {
  return (test.diagnostic()?.retryCount ?? 0) > 0;
}

function lineOf(test: TestCase): string {
  const { mayBeRetried = "it is not on the list of test/retries.ts" } = test.meta();
  return `retried: ${test.fullName} (${test.result().state}): ${mayBeRetried}`;
}
