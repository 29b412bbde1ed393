import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import { finite, isRecord } from "../json/read-json.ts";

/** The host continues a run with this code by itself, a second later. */
export const MAX_TURNS = "max_turns_exhausted";
/** The limit was reached again in the host's last continuation. Nothing continues it; a comment starts the next run. */
export const MAX_TURNS_AGAIN = "claude_max_turns";

/** `runtimeConfig.heartbeat.maxTurnContinuation.maxAttempts` unless the agent has its own. */
const DEFAULT_ATTEMPTS = 2;

/** How the host starts a run by itself after one that did not finish the work. */
const CONTINUATIONS = new Set(["max_turns_continuation_retry", "transient_failure_retry", "issue_continuation_needed"]);

/** Did the host start the run by itself because one before it had not finished the work? */
export function isContinuation({ context: { wakeReason, retryReason } }: AdapterExecutionContext): boolean {
  return [wakeReason, retryReason].some((reason) => typeof reason === "string" && CONTINUATIONS.has(reason));
}

/**
 * May a continuation that reached its turns be reported as such? Each report lets the host start `maxTurnContinuation.maxAttempts`
 * more, each with a report of its own; a retry for another reason in between begins the count from the start. So only a run of
 * that very chain may, until the chain's last.
 */
export function hasContinuationsLeft({ context, agent }: AdapterExecutionContext): boolean {
  if (context.wakeReason !== "max_turns_continuation_retry" || context.retryReason === "issue_continuation_needed")
    return false;
  // The host gives the agent's whole row; the type names less.
  const { runtimeConfig } = agent as { runtimeConfig?: unknown };
  const policy = at(runtimeConfig, "heartbeat", "maxTurnContinuation", "maxAttempts");
  const attempt = finite(context.scheduledRetryAttempt) ?? Number.POSITIVE_INFINITY;
  return attempt < (finite(policy) ?? DEFAULT_ATTEMPTS);
}

function at(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce((inner, key) => (isRecord(inner) ? inner[key] : undefined), value);
}
