import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { lacksRight, type RunEnd } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict, OutcomeKind } from "../definition.ts";
import { reasonOf } from "../errors.ts";
import type { RunInput, Started } from "../start/run-input.ts";
import type { Output } from "./follow.ts";

/** How the run ended, by the end of its Job and whether the agent said its result. */
export function kindOf(end: RunEnd, hasResult: boolean): OutcomeKind {
  switch (end.kind) {
    case "deadline":
      // The agent said its result before the deadline.
      return hasResult ? "ended" : "timed_out";
    case "job_deleted":
    case "pod_deleted":
    case "evicted":
      return "job_deleted";
    default:
      return "ended";
  }
}

/** The definition's result of a run, and lines for people about what of its output was lost. */
export function classified<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { definition, ctx, config, log }: RunInput<Config, Verdict>,
  { run, adopted, sessionId, workingDir, carry, restart }: Started,
  seen: { kind: OutcomeKind; verdict: Verdict; end: RunEnd | null; output: Output; elapsedMs: number },
): AdapterExecutionResult {
  const { error, parserError, lines, characters, gaps, firstLine, lastLine } = seen.output;
  if (error !== null) {
    const hint = lacksRight(error) ? " Grant `get` on `pods/log`." : "";
    log.say("stderr", `The log could not be read to its end: ${reasonOf(error)}${hint}`);
  }
  if (parserError !== null) log.say("stderr", `The output could not be understood: ${reasonOf(parserError)}`);
  if (log.failures > 0)
    log.say("stderr", `The host did not take ${log.failures} piece(s) of the log: ${reasonOf(log.firstError)}`);
  const unread = error ?? parserError;
  const result = definition.classify({
    kind: seen.kind,
    ctx,
    config,
    verdict: seen.verdict,
    end: seen.end,
    sessionId,
    workingDir,
    carry,
    adopted,
    restarts: restart?.attempt ?? 0,
    namespace: run.namespace,
    jobName: run.jobName,
    elapsedMs: seen.elapsedMs,
    lines,
    characters,
    gaps,
    ...(unread === null ? {} : { logError: reasonOf(unread) }),
    firstLine,
    lastLine,
  });
  return seen.kind === "timed_out" ? { ...result, timedOut: true, errorCode: "timeout" } : result;
}

/** The agent's own result without its failure, for a run whose end the adapter names itself. */
export function withoutFailure(result: AdapterExecutionResult): AdapterExecutionResult {
  const { errorFamily: _, executionRecovery: __, ...kept } = result;
  return kept;
}
