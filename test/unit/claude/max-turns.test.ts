/** The host's chain of continuations after max turns, as a real server made it, comes to an end. `test/paperclip` runs it there. */
import { expect, test } from "vitest";
import { classifyRun } from "../../../src/claude/classify.ts";
import { contextOf, outcomeOf } from "./runs.ts";

const ended = { type: "result", subtype: "error_max_turns", is_error: true, session_id: "S-1", num_turns: 9 };

function classify(context: Record<string, unknown>, runtimeConfig?: unknown) {
  const ctx = contextOf({ context });
  const agent = { ...ctx.agent, runtimeConfig };
  const { errorCode, clearSession, sessionId, resultJson } = classifyRun(
    outcomeOf([ended], { exitCode: 1, ctx: { ...ctx, agent } }),
    new Date(),
  );
  return [errorCode, resultJson?.stopReason, clearSession === true ? "cleared" : sessionId];
}

const retry = (attempt: unknown) => ({ wakeReason: "max_turns_continuation_retry", scheduledRetryAttempt: attempt });
const attempts = (maxAttempts: unknown) => ({ heartbeat: { maxTurnContinuation: { maxAttempts } } });

test.each<[string, Record<string, unknown>, unknown, unknown[]]>([
  [
    "a first run",
    { wakeReason: "issue_assigned" },
    undefined,
    ["max_turns_exhausted", "max_turns_exhausted", "cleared"],
  ],
  [
    "a continuation that the host may follow",
    retry(1),
    undefined,
    ["max_turns_exhausted", "max_turns_exhausted", "S-1"],
  ],
  ["the last one by default", retry(2), undefined, ["claude_max_turns", "claude_max_turns", "S-1"]],
  ["not the last of five", retry(2), attempts(5), ["max_turns_exhausted", "max_turns_exhausted", "S-1"]],
  ["the only one", retry(1), attempts(1), ["claude_max_turns", "claude_max_turns", "S-1"]],
  ["a number of tries that is none", retry("x"), attempts("y"), ["claude_max_turns", "claude_max_turns", "S-1"]],
  [
    "the run that follows the chain",
    { wakeReason: "issue_continuation_needed" },
    undefined,
    ["claude_max_turns", "claude_max_turns", "S-1"],
  ],
  [
    "a retry after another failure of the chain",
    { wakeReason: "transient_failure_retry", scheduledRetryAttempt: 1 },
    attempts(5),
    ["claude_max_turns", "claude_max_turns", "S-1"],
  ],
  [
    "the same by the reason of its retry",
    { ...retry(1), retryReason: "issue_continuation_needed" },
    attempts(5),
    ["claude_max_turns", "claude_max_turns", "S-1"],
  ],
])("max turns in %s", (_, context, runtimeConfig, expected) => {
  expect(classify(context, runtimeConfig)).toEqual(expected);
});
