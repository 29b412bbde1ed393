import type { AdapterExecutionContext, AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { ApiError, isForbidden, isRetryable, isUnauthorized, KubeConfigError } from "../../engine/index.ts";
import { BootstrapError, ConfigError, reasonOf } from "../errors.ts";
import type { Redactor } from "../job/credentials.ts";
import { RunSecretTooLargeError } from "../job/manifest.ts";
import { SelfPodError } from "../start/self-pod.ts";

/**
 * What the host needs to know beyond the result itself (it holds a failed run for a person unless told more):
 * - no agent has run: `executionRecovery: bootstrap`, and the host may start it again;
 * - stopped as asked: `executionCancellation: acknowledged`;
 * - failed after the agent had begun: the conversation may go on (a key that the host gives its own adapters only; it is
 *   undocumented, hence the option).
 */
export interface Evidence {
  readonly agentStarted: boolean;
  readonly cancellationAcknowledged: boolean;
  readonly conversationContinuation: boolean;
}

export function withEvidence(
  result: AdapterExecutionResult,
  evidence: Evidence,
  redactor: Redactor,
): AdapterExecutionResult {
  const resultJson: Record<string, unknown> = { ...result.resultJson };
  // Whatever the result, the host takes one that was stopped for cancelled.
  const isFailure =
    evidence.cancellationAcknowledged ||
    result.timedOut ||
    (result.exitCode ?? 0) !== 0 ||
    Boolean(result.errorMessage) ||
    Boolean(result.signal);
  const full: AdapterExecutionResult = { ...result };
  if (typeof full.errorMessage === "string") full.errorMessage = redactor.text(full.errorMessage);
  if (evidence.cancellationAcknowledged) {
    resultJson.executionCancellation = { state: "acknowledged", acknowledgedAt: new Date().toISOString() };
  }
  if (isFailure && !evidence.agentStarted) {
    full.executionRecovery = { kind: "bootstrap", providerWorkStarted: false };
  } else if (isFailure && evidence.conversationContinuation && full.errorCode !== "max_turns_exhausted") {
    // After max turns the host continues by itself; with this key as well it would do so without end.
    resultJson.conversationContinuation = "continue_conversation_v1";
  }
  if (Object.keys(resultJson).length > 0) full.resultJson = resultJson;
  return full;
}

/** The result of a run that failed before the agent could have started. */
export function bootstrapResult(error: BootstrapError, redactor: Redactor): AdapterExecutionResult {
  return {
    exitCode: null,
    signal: null,
    timedOut: false,
    errorMessage: redactor.text(error.message),
    errorCode: error.code,
    ...(error.family === null ? {} : { errorFamily: error.family }),
    ...(error.agentMayRun ? {} : { executionRecovery: { kind: "bootstrap", providerWorkStarted: false } as const }),
  };
}

/** Any failure before the Job exists, with the code that fits it. */
export function toBootstrapError(error: unknown): BootstrapError {
  if (error instanceof BootstrapError) return error;
  const failure = (code: string, family: BootstrapError["family"]) =>
    new BootstrapError({ code, family, message: reasonOf(error), cause: error });
  if (error instanceof ConfigError || error instanceof KubeConfigError) return failure("k8s_config_invalid", null);
  if (error instanceof SelfPodError) return failure("k8s_self_pod_unavailable", null);
  if (error instanceof RunSecretTooLargeError) return failure("k8s_prompt_secret_create_failed", null);
  if (isForbidden(error) || isUnauthorized(error)) {
    const message = `${reasonOf(error)}. Grant what deploy/rbac.yaml lists (since this adapter watches: \`watch\` on \`jobs\` and \`pods\`); the environment test names what is missing.`;
    return new BootstrapError({ code: "k8s_forbidden", family: null, message, cause: error });
  }
  if (isRetryable(error)) return failure("k8s_api_unreachable", "transient_upstream");
  // A certificate that is not trusted, credentials that cannot be had: waiting does not mend it.
  if (error instanceof ApiError && error.status === 0) return failure("k8s_api_unreachable", null);
  return failure("k8s_prepare_failed", null);
}

export function cancelledResult(reason: unknown): AdapterExecutionResult {
  const said =
    reason instanceof Error && reason.name !== "AbortError" && reason.message !== "" ? `: ${reason.message}` : "";
  return {
    exitCode: null,
    signal: null,
    timedOut: false,
    errorMessage: `Run cancelled${said}`,
    errorCode: "cancelled",
  };
}

/**
 * The host aborts its signal for a person's Stop, and also when it can no longer renew its own lease on the run (its
 * database is away). The latter says nothing about the agent: it goes on and is adopted later.
 */
export function isLeaseLoss(signal: AbortSignal): boolean {
  const { reason } = signal;
  const text = reason instanceof Error ? reason.message : String(reason ?? "");
  return /\blease\b/i.test(text);
}

/** Never rejects: a host without the callback, or one that fails in it, is no reason for a run to fail. */
export async function tell(call: (() => Promise<void> | void) | undefined): Promise<void> {
  try {
    await call?.();
  } catch {
    // The host's own trouble.
  }
}

export function eventTo(
  ctx: AdapterExecutionContext,
  redactor: Redactor,
): (eventType: string, message: string, payload?: Record<string, unknown>, level?: "info" | "warn" | "error") => void {
  return (eventType, message, payload, level = "info") => {
    void tell(() =>
      ctx.onEvent?.({
        eventType: eventType.slice(0, 120),
        stream: "system",
        level,
        message: redactor.text(message),
        ...(payload === undefined ? {} : { payload: redactor.value(payload) as Record<string, unknown> }),
      }),
    );
  };
}
