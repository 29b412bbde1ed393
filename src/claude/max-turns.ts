import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import { finite, isObject } from "./json.ts";

/** The host continues a run with this code by itself, a second later. */
export const MAX_TURNS = "max_turns_exhausted";
/** The limit was reached again in the host's last continuation. Nothing continues it; a comment starts the next run. */
export const MAX_TURNS_AGAIN = "claude_max_turns";

/** `runtimeConfig.heartbeat.maxTurnContinuation.maxAttempts` unless the agent has its own. */
const DEFAULT_ATTEMPTS = 2;

/** Did the host start the run because one before it had not finished the work? */
export function isContinuation({ context }: AdapterExecutionContext): boolean {
  return isMaxTurnContinuation(context) || isWorkContinuation(context);
}

/**
 * May a run that reached its turns be reported as such? Each report lets the host start the work again: at first as often as
 * `maxTurnContinuation` says, then once more (`issue_continuation_needed`), and from there over again, without end.
 */
export function hasContinuationsLeft({ context, agent }: AdapterExecutionContext): boolean {
  if (isWorkContinuation(context)) return false;
  if (!isMaxTurnContinuation(context)) return true;
  // The host gives the agent's whole row; the type names less.
  const { runtimeConfig } = agent as { runtimeConfig?: unknown };
  const policy = at(runtimeConfig, "heartbeat", "maxTurnContinuation", "maxAttempts");
  const attempt = finite(context.scheduledRetryAttempt) ?? Number.POSITIVE_INFINITY;
  return attempt < (finite(policy) ?? DEFAULT_ATTEMPTS);
}

function isMaxTurnContinuation({ wakeReason }: Record<string, unknown>): boolean {
  return wakeReason === "max_turns_continuation_retry";
}

function isWorkContinuation({ wakeReason, retryReason }: Record<string, unknown>): boolean {
  return wakeReason === "issue_continuation_needed" || retryReason === "issue_continuation_needed";
}

function at(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce((inner, key) => (isObject(inner) ? inner[key] : undefined), value);
}
