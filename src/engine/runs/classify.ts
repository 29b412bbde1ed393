import type { Condition, ContainerStateTerminated, Job, Pod } from "../kubernetes.ts";
import { deletionBegan, disruption, isDeletedInForeground, killedByKubelet } from "./disruption.ts";
import type { RunPolicy } from "./policy.ts";
import {
  condition,
  containerStatus,
  isPodTerminal,
  type RunState,
  type StartProblem,
  terminalCondition,
} from "./run-state.ts";
import type { RunEnd, RunEndKind, StartFailure } from "./types.ts";

/** What `classify` makes of a state. At most one of `wakeAt` and `end` is set. */
export interface Verdict {
  /** The pod, once the named container runs or has ended: its log can be read. */
  ready: Pod | null;
  end: RunEnd | null;
  /** Look again then, though nothing may have happened: a grace or a bounded wait is over. */
  wakeAt: number | null;
}

/**
 * The verdict on one run: pure in `(state, container, policy, now)`, so that a recorded trace gives the same verdict at the
 * same moment as the live watch did.
 *
 * A container that ended *ran*: that is never a start failure. Its end is known from the pod about two seconds before the
 * Job's condition; the Job is waited for only where the pod alone cannot tell *why* (it is being deleted), or where the Job
 * may try again (`backoffLimit` > 0).
 */
export function classify(state: RunState, container: string, policy: RunPolicy, now: number): Verdict {
  const pod = isOfSuspension(state) ? null : state.pod;
  const status = pod === null ? undefined : containerStatus(pod, container);
  const ran = status !== undefined && !state.notStarted.has(container);
  const ready = ran ? pod : null;
  const terminated = ran ? status.state?.terminated : undefined;
  const last = ran && status.state?.waiting !== undefined ? status.lastState?.terminated : undefined;
  const run: Context = { state, container, policy, now, pod, terminated, last, ran };

  const end = failedInitOf(run) ?? endOf(run) ?? startFailureOf(run);
  if (end === null) return { ready, end: null, wakeAt: null };
  if (typeof end === "number") return { ready, end: null, wakeAt: end };
  return { ready, end, wakeAt: null };
}

interface Context {
  state: RunState;
  container: string;
  policy: RunPolicy;
  now: number;
  pod: Pod | null;
  /** Set when the named container has ended after having run. */
  terminated: ContainerStateTerminated | undefined;
  /** Set when it waits to be started again: how it ended last. */
  last: ContainerStateTerminated | undefined;
  ran: boolean;
}

/** An end, the time at which one is due, or null: nothing has ended. */
type Outcome = RunEnd | number | null;

function endOf(run: Context): Outcome {
  const { state, terminated, pod } = run;
  const job = state.job === null ? null : terminalCondition(state.job);
  if (terminated !== undefined && endedByItself(run, run.container, terminated)) {
    const killed = pod === null ? null : killedByKubelet(pod);
    if (terminated.exitCode === 0 && killed === null) return finish(run, "succeeded", "Completed");
    const jobDue = (state.endedAt.get(run.container) ?? run.now) + run.policy.settleMs;
    // Whether it is tried again stands in the Job, of which the other watch may not have told yet.
    if (state.job === null && state.jobDeletedAt === null && run.now < jobDue) return jobDue;
    if (!mayRetry(run)) {
      const due = job === null ? run.now : lastPodDue(run, job);
      if (run.now < due) return due;
      // Of the pod that succeeded nothing has come.
      if (job !== null && isSuccess(job) && killed === null)
        return finish(
          { ...run, pod: null, terminated: undefined, last: undefined },
          "succeeded",
          job.reason ?? job.type,
        );
      if (killed?.reason === "DeadlineExceeded") return finish(run, "deadline", killed.reason, killed.message);
      const disrupted = killed ?? (pod === null ? null : disruption(pod));
      if (disrupted !== null) return finish(run, "evicted", disrupted.reason ?? "Evicted", disrupted.message);
      return finish(run, "failed", terminated.reason ?? "Error");
    }
    return null;
  }
  const cause = externalCause(run, job);
  if (cause !== null) return settle(run, cause);
  if (job !== null) {
    const kind = isSuccess(job) ? "succeeded" : "failed";
    const at = state.jobConditionAt ?? run.now;
    // A pod that never ran its container fails the Job too; startFailureOf has the better words for that.
    if (kind === "failed" && !run.ran && pod !== null && state.podDeletedAt === null) return null;
    return settle(run, { kind, at, reason: job.reason ?? job.type, message: job.message ?? "" });
  }
  if (pod !== null && isPodTerminal(pod) && run.ran && terminated === undefined && !mayRetry(run)) {
    // The pod is over, yet its container was never seen ended (a node crash).
    const kind = pod.status.phase === "Succeeded" ? "succeeded" : "failed";
    const { phase = "", reason = phase, message = "" } = pod.status;
    return settle(run, { kind, at: state.podTerminalAt ?? run.now, reason, message });
  }
  return null;
}

/** A pod whose container failed is perhaps not the last one that is told: then another is waited for. */
function lastPodDue({ state, policy, now }: Context, job: Condition): number {
  return !isSuccess(job) && isLastPod(state) ? now : (state.jobConditionAt ?? now) + policy.settleMs;
}

/**
 * Is the newest pod that is known the one with which the Job ended? The pods' watch may be behind the Jobs'. A failure that has
 * just happened need not be counted yet.
 */
export function isLastPod({ job, pod, podChanges }: RunState): boolean {
  if (job === null || pod?.spec.restartPolicy === "OnFailure") return true;
  const condition = terminalCondition(job);
  if (condition === null) return true;
  const { failed = 0, succeeded = 0 } = job.status;
  const tries = condition.reason === "BackoffLimitExceeded" ? (job.spec.backoffLimit ?? 6) + 1 : 0;
  return podChanges + 1 >= Math.max(failed + succeeded, tries);
}

/** Did the container end before anyone began to delete its pod? Seen in one frame, the node's own times decide. */
function endedByItself({ state, pod }: Context, container: string, terminated: ContainerStateTerminated): boolean {
  const endedAt = state.endedAt.get(container);
  if (state.podDeletingAt === null || endedAt === undefined) return true;
  if (endedAt !== state.podDeletingAt) return endedAt < state.podDeletingAt;
  if (pod?.metadata.deletionTimestamp === undefined) return true;
  if (terminated.finishedAt === undefined) return false;
  return Date.parse(terminated.finishedAt) < deletionBegan(pod) && !isKilled(terminated);
}

/** By the signals that a deletion sends: the clock of a node may be minutes behind the server's, and then its times say nothing. */
function isKilled({ exitCode, reason }: ContainerStateTerminated): boolean {
  return (exitCode === 143 || exitCode === 137) && reason !== "OOMKilled";
}

interface Cause {
  kind: RunEndKind;
  /** When the cause was known. */
  at: number;
  reason: string;
  message: string;
  /** Not certain yet: another event may still tell a better one (the two watches are not ordered between each other). */
  guess?: boolean;
}

/** What is ending the run from outside: deadline, eviction, deletion of the Job or the pod. */
function externalCause(run: Context, job: Condition | null): Cause | null {
  const { state, pod } = run;
  // A pod that was told to go and then ended well is one that succeeded, to its Job.
  if (job !== null && isSuccess(job)) return null;
  if (job?.reason === "DeadlineExceeded") {
    return { kind: "deadline", at: state.jobConditionAt ?? run.now, reason: job.reason, message: job.message ?? "" };
  }
  const deletingAt = state.podDeletingAt;
  const disrupted = pod === null ? null : disruption(pod);
  if (disrupted !== null && pod !== null && (deletingAt !== null || isPodTerminal(pod))) {
    if (mayRetry(run)) return null;
    const at = deletingAt ?? state.podTerminalAt ?? run.now;
    return { kind: "evicted", at, reason: disrupted.reason ?? "Evicted", message: disrupted.message ?? "" };
  }
  if (state.jobDeletedAt !== null) {
    // A Job that was over before it was deleted (by its TTL) has said how.
    return job !== null && pod === null ? null : jobDeleted(state.jobDeletedAt, job);
  }
  if (pod === null || deletingAt === null || isSuspended(run)) return null;
  if (isDeletedInForeground(state.job, pod)) {
    return { kind: "job_deleted", at: deletingAt, reason: "JobDeleted", message: "the Job is being deleted" };
  }
  if (mayRetry(run)) return null;
  // Of a Job that restarts its container in place the controller deletes the pod when it gives up.
  if (job?.reason === "BackoffLimitExceeded" && isRestarted(run)) return null;
  const said = job === null ? "" : `; the Job says ${job.reason ?? job.type}`;
  const cause: Cause = {
    kind: "pod_deleted",
    at: deletingAt,
    reason: "PodDeleted",
    message: `the pod was deleted${said}`,
  };
  // Deadline, deletion of the Job and suspension all begin by deleting the pod: let the Job's watch have its word.
  return job === null ? { ...cause, guess: true } : cause;
}

function jobDeleted(at: number, job: Condition | null): Cause {
  const last = job === null ? "" : `; its last condition was ${job.type}: ${job.reason ?? ""}`;
  return { kind: "job_deleted", at, reason: "JobDeleted", message: `the Job was deleted${last}` };
}

/** The run is over for this cause; say so when its details are known, cannot come any more, or have been waited for. */
function settle(run: Context, cause: Cause): Outcome {
  const { state, pod, policy, now } = run;
  // The container of a Job that succeeded has run, seen or not: the pods' watch is behind the Jobs', as on a busy cluster.
  const provesItRan = cause.kind === "succeeded";
  // A pod that the Job counted but that this watch has not shown yet may still bring the exit code.
  const isEnded =
    pod === null
      ? cause.kind === "job_deleted"
      : (run.terminated ?? run.last) !== undefined || state.podDeletedAt !== null || (!run.ran && !provesItRan);
  if (isEnded && cause.guess !== true) return finish(run, cause.kind, cause.reason, cause.message);
  const endedAt = state.endedAt.get(run.container) ?? state.podDeletedAt;
  const due = isEnded
    ? Math.max(cause.at, endedAt ?? cause.at) + policy.settleMs
    : cause.at + policy.settleMs + (isEndedByOthers(cause.kind) && pod !== null ? graceMs(pod) : 0);
  return now >= due ? finish(run, cause.kind, cause.reason, cause.message) : due;
}

/** Whose pod is being killed and so takes its termination grace period. */
function isEndedByOthers(kind: RunEndKind): boolean {
  return kind !== "succeeded" && kind !== "failed";
}

function graceMs(pod: Pod): number {
  return (pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30) * 1000;
}

/** Does the Job make another pod after this one has failed? Only its own condition says for certain that it does not. */
function mayRetry({ state, pod }: Context): boolean {
  const job = state.job;
  if (job === null || state.jobDeletedAt !== null || job.metadata.deletionTimestamp !== undefined) return false;
  if (terminalCondition(job) !== null) return false;
  if (pod !== null && pod.spec.restartPolicy === "OnFailure" && state.podDeletingAt === null && !isPodTerminal(pod))
    return true;
  return mayTryAgain(job);
}

/** Whether a Job may make another pod after one has failed, by its spec: `backoffLimit` (6 where it is not given), KEP-3329. */
export function mayTryAgain({ spec }: Job): boolean {
  return (spec.backoffLimit ?? 6) > 0 || spec.podFailurePolicy !== undefined;
}

function isRestarted({ pod, container }: Context): boolean {
  return pod?.spec.restartPolicy === "OnFailure" && (containerStatus(pod, container)?.restartCount ?? 0) > 0;
}

function isSuspended({ state }: Context): boolean {
  return state.job?.spec.suspend === true && state.jobDeletedAt === null;
}

/** Suspending a Job deletes its pod; resuming it brings another. */
function isOfSuspension({ resumedAt, podDeletingAt }: RunState): boolean {
  return resumedAt !== null && podDeletingAt !== null && podDeletingAt <= resumedAt;
}

/** A schedule timeout of 0 means "at the first Unschedulable", not that controllers may take no time at all. */
const CONTROLLERS_MS = 30_000;

function startFailureOf(run: Context): Outcome {
  const { state, pod, policy, now } = run;
  if (run.ran || state.job === null || isSuspended(run)) return null;
  if (pod === null || state.podDeletedAt !== null) {
    return after(
      run,
      Math.max(state.podDeletedAt ?? state.jobSeenAt ?? now, state.resumedAt ?? 0),
      Math.max(policy.scheduleTimeoutMs, CONTROLLERS_MS),
      {
        code: "unschedulable",
        reason: "NoPod",
        message:
          "the Job controller has made no pod: a quota, an admission webhook or the controller itself holds it back (see the Job's events)",
      },
    );
  }
  if (state.podDeletingAt !== null) return null;
  if (isPodTerminal(pod) && !mayRetry(run)) return startFailed(run, rejectedByKubelet(pod));

  const unscheduled = state.problems.get("");
  if (unscheduled !== undefined) return after(run, unscheduled.since, policy.scheduleTimeoutMs, unscheduled);
  if (state.scheduledAt === null) {
    // `SchedulingGated`, or what another scheduler says.
    const { reason, message } = condition(pod.status.conditions, "PodScheduled") ?? {};
    return after(run, state.podSeenAt ?? now, Math.max(policy.scheduleTimeoutMs, CONTROLLERS_MS), {
      code: "unschedulable",
      reason: reason ?? "NotScheduled",
      message: message ?? (reason === undefined ? "no scheduler has looked at the pod" : ""),
    });
  }
  let due =
    policy.startTimeoutMs === 0 ? null : after(run, state.scheduledAt, policy.startTimeoutMs, startTimeout(pod));
  for (const [name, problem] of state.problems) {
    if (!blocks(pod, name, run.container)) continue;
    const outcome = after(run, problem.since, graceOf(problem, policy), { ...problem, container: name });
    if (typeof outcome === "object") return outcome;
    if (due === null || (typeof due === "number" && outcome < due)) due = outcome;
  }
  return due;
}

/** An init container's trouble keeps every main container from starting; that of another main container does not. */
function blocks(pod: Pod, name: string, container: string): boolean {
  return name === container || (pod.spec.initContainers ?? []).some((each) => each.name === name);
}

/** A name that can never be pulled is not a passing trouble. */
function graceOf(problem: StartProblem, policy: RunPolicy): number {
  if (problem.reason === "InvalidImageName" || problem.reason === "ErrImageNeverPull") return 0;
  return problem.code === "image_pull" ? policy.imagePullGraceMs : policy.configErrorGraceMs;
}

/** An init container that failed by itself, as sure as the end of a main container: whatever is deleted later. */
function failedInitOf(run: Context): Outcome {
  const { state, pod } = run;
  if (run.ran || state.job === null || pod === null || mayRetry(run) || disruption(pod) !== null) return null;
  for (const status of pod.status.initContainerStatuses ?? []) {
    const terminated = status.state?.terminated;
    if (terminated === undefined || terminated.exitCode === 0) continue;
    const spec = pod.spec.initContainers?.find((each) => each.name === status.name);
    if (spec?.restartPolicy === "Always" || !endedByItself(run, status.name, terminated)) continue;
    return startFailed(run, {
      code: "init_failed",
      reason: terminated.reason ?? "Error",
      message: terminated.message ?? `init container ${status.name} exited with code ${terminated.exitCode}`,
      container: status.name,
      exitCode: terminated.exitCode,
    });
  }
  return null;
}

/** `OutOfcpu`, `NodeAffinity`, `UnexpectedAdmissionError`, …: the kubelet refused the pod after it was scheduled. */
function rejectedByKubelet(pod: Pod): Omit<StartFailure, "podName"> {
  return {
    code: "unschedulable",
    reason: pod.status.reason ?? `Pod${pod.status.phase ?? "Failed"}`,
    message: pod.status.message ?? "the pod ended before its container ran",
    container: null,
    exitCode: null,
  };
}

function startTimeout(pod: Pod): { code: StartFailure["code"]; reason: string; message: string } {
  const sandbox = condition(pod.status.conditions, "PodReadyToStartContainers");
  const waiting = [...(pod.status.initContainerStatuses ?? []), ...(pod.status.containerStatuses ?? [])].find(
    (each) => each.state?.waiting?.reason !== undefined,
  );
  const reason = waiting?.state?.waiting?.reason ?? "ContainerCreating";
  return sandbox?.status === "False"
    ? { code: "volume", reason, message: "the pod's volumes or network are not ready (see the pod's events)" }
    : {
        code: "start_timeout",
        reason,
        message: waiting?.state?.waiting?.message ?? "the container did not start in time",
      };
}

function after(
  run: Context,
  since: number,
  graceMs: number,
  failure: { code: StartFailure["code"]; reason: string; message: string; container?: string },
): RunEnd | number {
  // No grace needs no clock: a run's time may stand still.
  if (graceMs > 0 && run.now < since + graceMs) return since + graceMs;
  const { code, reason, message, container } = failure;
  return startFailed(run, { code, reason, message, container: container ?? null, exitCode: null });
}

function startFailed(run: Context, failure: Omit<StartFailure, "podName">): RunEnd {
  // A pod that was to try again cannot start: the run failed, and it did begin.
  if (run.state.ranBefore.has(run.container)) return finish(run, "failed", failure.reason, failure.message);
  const end = finish(run, "start_failed", failure.reason, failure.message);
  return { ...end, startFailure: { ...failure, podName: run.pod?.metadata.name ?? null } };
}

function finish(run: Context, kind: RunEndKind, reason: string, message?: string): RunEnd {
  const { pod, state } = run;
  const terminated = run.terminated ?? run.last;
  const job = state.job === null ? null : terminalCondition(state.job);
  const own = terminated?.reason;
  const end: RunEnd = {
    kind,
    exitCode: terminated?.exitCode ?? (kind === "succeeded" ? 0 : null),
    signal: terminated?.signal ?? null,
    reason: kind === "failed" && own !== undefined ? own : reason,
    message: (kind === "failed" ? terminated?.message : undefined) ?? message ?? terminated?.message ?? "",
    container: run.container,
    podName: pod?.metadata.name ?? null,
    startedAt: terminated?.startedAt ?? null,
    finishedAt: terminated?.finishedAt ?? null,
    startFailure: null,
    jobCondition: job === null ? null : { type: job.type, reason: job.reason ?? "", message: job.message ?? "" },
  };
  if (kind === "deadline" && !run.ran && !run.state.ranBefore.has(run.container)) {
    const startFailure = { code: "deadline" as const, reason, message: message ?? "", container: null, exitCode: null };
    end.startFailure = { ...startFailure, podName: end.podName };
  }
  return end;
}

function isSuccess(condition: Condition): boolean {
  return condition.type === "Complete" || condition.type === "SuccessCriteriaMet";
}
