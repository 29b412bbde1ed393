import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { ExecuteCode } from "../../error-codes.ts";
import type { AgentState, BootstrapError } from "../errors.ts";
import type { Redactor } from "../job/credentials.ts";

export interface EvidenceOptions {
  /** A person has stopped the run. */
  readonly isStopped: boolean;
  /** `conversationContinuation` of the configuration, unless the definition says no. */
  readonly mayContinue: boolean;
}

/**
 * Adds to a result what the host must know of the agent. Of a failed run the host holds the issue for a person, unless it learns:
 * - `executionRecovery: bootstrap`: no agent has run, so the host may start it again;
 * - `executionCancellation: acknowledged`: stopped as asked, the agent does not run;
 * - `conversationContinuation`: the conversation may go on. When the retries that bootstrap evidence buys are used up, only this
 *   keeps the issue free. The host gives the key to its own adapters and does not document it, hence the option.
 */
export function withEvidence(
  result: AdapterExecutionResult,
  agent: AgentState,
  { isStopped, mayContinue }: EvidenceOptions,
  redactor: Redactor,
): AdapterExecutionResult {
  const resultJson: Record<string, unknown> = { ...result.resultJson };
  const isAcknowledged = isStopped && agent !== "may-run";
  // The host takes a run that was stopped for cancelled, also when its agent had ended well.
  const isFailed = isAcknowledged || isFailure(result);
  const full: AdapterExecutionResult = { ...result };
  if (typeof full.errorMessage === "string") full.errorMessage = redactor.text(full.errorMessage);
  if (isAcknowledged) {
    resultJson.executionCancellation = { state: "acknowledged", acknowledgedAt: new Date().toISOString() };
  }
  if (isFailed && agent === "never-ran") {
    full.executionRecovery = { kind: "bootstrap", providerWorkStarted: false };
  }
  if (isFailed && mayContinue && full.errorCode !== "max_turns_exhausted") {
    // After max turns the host continues by itself; with this key as well it would do so without end.
    resultJson.conversationContinuation = "continue_conversation_v1";
  }
  if (Object.keys(resultJson).length > 0) full.resultJson = resultJson;
  return full;
}

/** Of a run whose container's exit is not known, or not what counts. */
export function failed(errorMessage: string, errorCode: ExecuteCode): AdapterExecutionResult {
  return { exitCode: null, signal: null, timedOut: false, errorMessage, errorCode };
}

/** As the host sees it. */
export function isFailure({ timedOut, exitCode, errorMessage, signal }: AdapterExecutionResult): boolean {
  return timedOut || (exitCode ?? 0) !== 0 || Boolean(errorMessage) || Boolean(signal);
}

/** The result of a run that failed before it could be followed. */
export function bootstrapResult(
  { message, code, family, agent }: BootstrapError,
  mayContinue: boolean,
  redactor: Redactor,
): AdapterExecutionResult {
  const result = failed(message, code);
  if (family !== null) result.errorFamily = family;
  return withEvidence(result, agent, { isStopped: false, mayContinue }, redactor);
}
