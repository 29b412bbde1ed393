import type { AdapterExecutionContext, AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { RunOutcome } from "../adapter/definition.ts";
import { cutEnd } from "../json/read-json.ts";
import type { ClaudeConfig } from "./config.ts";
import { type Failure, failureOf, isUnknownSession, REFUSAL } from "./failure.ts";
import { hasContinuationsLeft, isContinuation, MAX_TURNS, MAX_TURNS_AGAIN } from "./max-turns.ts";
import { describePartialRun, describeTruncation, epitaph, podCause } from "./partial-run.ts";
import { claudeSessionParams } from "./session.ts";
import { type ClaudeVerdict, isGood } from "./stream-json.ts";

type Outcome = RunOutcome<ClaudeConfig, ClaudeVerdict>;

/**
 * The host's result of a run whose Job existed. The order is the reference's: what the adapter did to the run (cancelled,
 * timed out) comes first, then what Claude said, and only without its word what the pod says.
 */
export function classifyRun(outcome: Outcome, now: Date): AdapterExecutionResult {
  const { kind, verdict, end } = outcome;
  if (kind === "cancelled") return cancelled(outcome);
  // The deadline came too late: the work was done, and only the process lingered.
  if (kind === "timed_out" && !verdict.isSuccess) return timedOut(outcome);
  // What went on after the result and was cut off is no success, but what ended by itself with 0 was done.
  const isCutOff = verdict.isUnfinished && (end?.exitCode !== 0 || verdict.isInterrupted);
  return verdict.result === null || isCutOff ? withoutResult(outcome, now) : withResult(outcome, now);
}

function cancelled(outcome: Outcome): AdapterExecutionResult {
  return {
    ...base(outcome, null),
    ...spending(outcome),
    ...session(outcome),
    errorCode: "cancelled",
    errorMessage: "Run cancelled",
    resultJson: { stopReason: "cancelled" },
  };
}

function timedOut(outcome: Outcome): AdapterExecutionResult {
  const limit = outcome.config.timeoutSec;
  const seconds = limit > 0 ? limit : Math.round(outcome.elapsedMs / 1000);
  return {
    ...base(outcome, outcome.end?.exitCode ?? null),
    ...spending(outcome),
    ...session(outcome),
    timedOut: true,
    errorCode: "timeout",
    errorMessage: `Timed out after ${seconds}s`,
    resultJson: { stopReason: "timeout" },
  };
}

/** The result event decides: a run that says it is done is done, whatever ended its container afterwards. */
function withResult(outcome: Outcome, now: Date): AdapterExecutionResult {
  const { verdict, end } = outcome;
  const result = verdict.result;
  const exitCode = end?.exitCode ?? null;
  const isSuccess = result !== null && isGood(result) && (result.subtype === "success" || (exitCode ?? 0) === 0);
  if (!isSuccess && isUnknownSession(verdict)) return sessionUnavailable(outcome);

  const failure: Failure | null = isSuccess ? refusal(verdict) : inChain(failureOf(verdict, now), outcome.ctx);
  const answer: AdapterExecutionResult = {
    // The host takes any other code than 0 for a failure. The container's own is in resultJson.
    ...base(outcome, isSuccess && exitCode !== null ? 0 : exitCode),
    ...spending(outcome),
    ...session(outcome),
    summary: verdict.summary,
    resultJson: {
      ...result?.json,
      ...(exitCode !== null && exitCode !== 0 ? { containerExitCode: exitCode } : {}),
      ...failureJson(failure),
    },
    ...failureFields(failure),
  };
  if (isSuccess) return answer;
  return { ...answer, errorMessage: describeFailure(outcome) };
}

/**
 * A run that reached its turns in one of the host's continuations keeps its session, so that the next one goes on and does not begin
 * from the start; and where the host would continue without end, it is reported by another code.
 */
function inChain(failure: Failure | null, ctx: AdapterExecutionContext): Failure | null {
  if (failure?.code !== MAX_TURNS || !isContinuation(ctx)) return failure;
  const code = hasContinuationsLeft(ctx) ? MAX_TURNS : MAX_TURNS_AGAIN;
  return { code, stopReason: code };
}

/** A refusal by policy ends well for the CLI: exit 0, no error. The host is told what it was, and the answer is kept. */
function refusal(verdict: ClaudeVerdict): Failure | null {
  return verdict.isRefusal ? REFUSAL : null;
}

function withoutResult(outcome: Outcome, now: Date): AdapterExecutionResult {
  const { verdict, end, kind } = outcome;
  const exitCode = end?.exitCode ?? null;
  const lost = outcome.gaps.length;
  // A CLI that cannot begin says why, and ends with 0 at times.
  const isFailed = exitCode !== 0 || !verdict.hasInit;
  // Only stderr can say it here: it stands in the log as plain text.
  if (isFailed && outcome.sessionId !== null && isUnknownSession(verdict)) return sessionUnavailable(outcome);
  // Killed on the way: what it had not yet said is no sign of wrong credentials.
  if (kind === "job_deleted" && (exitCode === null || !verdict.hasOutput)) return deletedExternally(outcome);

  const known = isFailed && endedByItself(outcome) ? failureOf(verdict, now) : null;
  const failure: Failure =
    known ??
    (verdict.isEmptyResponse
      ? { code: "llm_api_error", family: "transient_upstream" }
      : { code: verdict.hasOutput ? "claude_truncated" : null });
  const message = verdict.isEmptyResponse
    ? `The model's answer was empty and no result followed${causeNote(outcome)}`
    : verdict.hasOutput && known === null
      ? describeTruncation(verdict, end, lost)
      : describePartialRun(verdict, end, lost, outcome.logError);
  // No session, as from the host's own adapter: it was read to no end, and the host keeps the one before.
  return {
    ...base(outcome, exitCode),
    ...spending(outcome),
    ...failureFields(failure),
    errorMessage: message,
    resultJson: { ...output(outcome), ...failureJson(failure) },
  };
}

/** Not by a signal from outside (128 + n), nor by the kubelet: then the last failed request is not what ended it. */
function endedByItself({ end }: Outcome): boolean {
  return end?.kind !== "evicted" && end?.exitCode !== null && (end?.exitCode ?? 0) < 128;
}

function sessionUnavailable(outcome: Outcome): AdapterExecutionResult {
  const { verdict, end, sessionId } = outcome;
  const said = verdict.result?.errors[0] ?? verdict.plainLines.find((line) => /session|conversation/i.test(line));
  return {
    ...base(outcome, end?.exitCode ?? null),
    // Its own session, which its node took along: the host may start the run again.
    ...(outcome.restarts ? { errorFamily: "transient_upstream" as const } : {}),
    errorCode: "session_unavailable",
    errorMessage: `Claude session ${sessionId ?? ""} is unavailable${said ? `: ${cutEnd(said, 500)}` : ""}`.replace(
      "  ",
      " ",
    ),
    clearSession: true,
    resultJson: { ...verdict.result?.json, stopReason: "session_unavailable" },
  };
}

function deletedExternally(outcome: Outcome): AdapterExecutionResult {
  const { end, jobName, namespace } = outcome;
  const seconds = Math.round(outcome.elapsedMs / 1000);
  const isEvicted = end?.kind === "evicted";
  const what = isEvicted
    ? "its pod was evicted"
    : end?.kind === "pod_deleted"
      ? "its pod was deleted"
      : "it was deleted";
  const condition = end?.jobCondition;
  const facts = [
    `job=${jobName}`,
    `namespace=${namespace}`,
    `elapsed=${seconds}s`,
    `lines=${outcome.lines}`,
    `characters=${outcome.characters}`,
    condition ? `condition=${condition.type}/${condition.reason}` : null,
    end?.podName ? `pod=${end.podName}` : null,
  ].filter((fact) => fact !== null);
  // The cluster took the pod away: nothing is wrong with the run, so the host may start it again.
  const family = isEvicted || end?.kind === "pod_deleted" ? { errorFamily: "transient_upstream" as const } : {};
  return {
    ...base(outcome, end?.exitCode ?? null),
    ...family,
    errorCode: "k8s_job_deleted_externally",
    errorMessage: `Job ${jobName} ended without a result: ${what} by someone else${causeNote(outcome)} (${facts.join(", ")})`,
    resultJson: {
      detectedVia: end?.kind ?? "unknown",
      job: jobName,
      namespace,
      elapsedMs: outcome.elapsedMs,
      ...output(outcome),
      ...(condition ? { jobCondition: condition } : {}),
    },
  };
}

function causeNote({ end }: Outcome): string {
  const cause = podCause(end);
  return cause === null ? "" : ` [pod: ${cause}]`;
}

function describeFailure(outcome: Outcome): string {
  const { verdict, end } = outcome;
  const result = verdict.result;
  const exitCode = end?.exitCode ?? null;
  const subtype = result?.subtype && result.subtype !== "success" ? `subtype=${result.subtype}` : null;
  const status = result?.failure.status ? `HTTP ${result.failure.status}` : null;
  const detail =
    (result?.isError ? result.text : null) ??
    result?.errors[0] ??
    verdict.apiFailure?.message ??
    epitaph(verdict.lastWords);
  const parts = [subtype, status, detail === null ? null : cutEnd(detail, 2000)].filter((part) => part !== null);
  const what =
    parts.length > 0 ? ["Claude run failed", ...parts].join(": ") : `Claude exited with code ${exitCode ?? -1}`;
  return `${what}${causeNote(outcome)}`;
}

function base({ verdict, config }: Outcome, exitCode: number | null): AdapterExecutionResult {
  return {
    exitCode,
    signal: null,
    timedOut: false,
    provider: "anthropic",
    biller: config.isBedrock ? "aws_bedrock" : "anthropic",
    billingType: "api",
    model: verdict.model ?? config.model,
  };
}

function spending({ verdict }: Outcome): Partial<AdapterExecutionResult> {
  if (verdict.usage === null) return {};
  return { usage: verdict.usage, usageBasis: "per_run", costUsd: verdict.costUsd ?? 0 };
}

/** Nothing when no session was seen: the host then keeps the one before. */
function session(outcome: Outcome): Partial<AdapterExecutionResult> {
  const id = outcome.verdict.sessionId ?? outcome.sessionId;
  if (id === null) return {};
  return { sessionId: id, sessionParams: claudeSessionParams(id, outcome), sessionDisplayId: id };
}

function failureFields(failure: Failure | null): Partial<AdapterExecutionResult> {
  if (failure === null) return {};
  return {
    ...(failure.code === null ? {} : { errorCode: failure.code }),
    ...(failure.family ? { errorFamily: failure.family } : {}),
    ...(failure.retryNotBefore ? { retryNotBefore: failure.retryNotBefore.toISOString() } : {}),
    ...(failure.clearSession ? { clearSession: true } : {}),
    ...(failure.loginUrl ? { errorMeta: { loginUrl: failure.loginUrl } } : {}),
  };
}

function failureJson(failure: Failure | null): Record<string, unknown> {
  if (failure === null) return {};
  const retry = failure.retryNotBefore?.toISOString();
  return {
    ...(failure.stopReason ? { stopReason: failure.stopReason } : {}),
    ...(failure.family ? { errorFamily: failure.family } : {}),
    ...(retry ? { retryNotBefore: retry, transientRetryNotBefore: retry } : {}),
    ...(retry && failure.family === "provider_quota" ? { providerQuotaRetryNotBefore: retry } : {}),
  };
}

/** What was printed, in short: the host keeps it for good, so not the output itself. */
function output({ lines, characters, firstLine, lastLine, gaps }: Outcome): Record<string, unknown> {
  return {
    lines,
    characters,
    ...(firstLine === null ? {} : { firstLine: cutEnd(firstLine, 500) }),
    ...(lastLine === null ? {} : { lastLine: cutEnd(lastLine, 500) }),
    ...(gaps.length === 0 ? {} : { gaps: gaps.length }),
  };
}
