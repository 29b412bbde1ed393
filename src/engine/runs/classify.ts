import { type ContainerEnd, containerFacts, deletionBegan, isDeleting, type JobEnd, type Words } from "../facts.ts";
import type { Job, Pod } from "../kubernetes.ts";
import { type Context, contextOf, endedByItself, finish, isSuspended, mayRetry, type Outcome } from "./context.ts";
import { type Ask, askOf, isLastPod, mayJobStand } from "./deletion.ts";
import { askTime, heldTime, wakeTime } from "./held-time.ts";
import type { RunPolicy } from "./policy.ts";
import type { RunState } from "./run-state.ts";
import { startFailureOf, startTroubleOf } from "./start-failure.ts";
import type { RunEnd, RunEndKind } from "./types.ts";

/** What `classify` makes of a state. At most one of `wakeAt` and `end` is set. */
export interface Verdict {
  /** The pod, once the named container runs or has ended: its log can be read. */
  ready: Pod | null;
  end: RunEnd | null;
  /** What the server must be asked: before this end may be said, or, without an end, since a watch has been lost for long. */
  ask: Ask | null;
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
  const held = heldTime(state, policy, now);
  const run = contextOf(state, container, policy, held);
  const ready = run.ran ? run.pod : null;
  const end = startFailureOf(run) ?? endOf(run) ?? startTroubleOf(run);
  if (end !== null && typeof end !== "number") {
    if (!mayServerKnowMore(run, end)) return { ready, end, ask: null, wakeAt: null };
    const againAt = state.answer?.askAgainAt ?? now;
    return now < againAt
      ? { ready, end: null, ask: null, wakeAt: againAt }
      : { ready, end, ask: askOf(state), wakeAt: null };
  }
  const askAt = askTime(state);
  const dueAt = end === null ? null : wakeTime(state, policy, end, now);
  if (askAt === null) return { ready, end: null, ask: null, wakeAt: dueAt };
  const isAskDue = now >= askAt;
  return { ready, end: null, ask: isAskDue ? askOf(state) : null, wakeAt: earliest(isAskDue ? null : askAt, dueAt) };
}

function earliest(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.min(a, b);
}

/** So many questions without an answer, and the end is said without one. */
const MAX_FAILED_ASKS = 3;

/** Nothing shows that the container was started, that its Job's last pod was seen, why its pod was deleted, or that the Job was. */
function mayServerKnowMore({ state, job }: Context, end: RunEnd): boolean {
  if (state.answer !== null && (state.answer.toldPods || state.failedAsks >= MAX_FAILED_ASKS)) return false;
  const isUnseen = end.startedAt === null && state.podDeletedAt === null;
  const isGuess = end.kind === "pod_deleted" && job !== null && state.jobDeletedAt === null && job.end === null;
  const isJobsToSay = end.kind === "job_deleted" || (end.kind !== "succeeded" && job?.allowsRetries === true);
  return isUnseen || isGuess || (isJobsToSay && mayJobStand(state)) || !isLastPod(state);
}

function endOf(run: Context): Outcome {
  const { state, job, ended, podFacts } = run;
  if (ended !== null && endedByItself(run, run.container, ended)) return endOfItself(run, ended);
  const cause = externalCause(run);
  if (cause !== null) return settle(run, cause);
  if (job !== null && job.end !== null) {
    const kind = job.state === "succeeded" ? "succeeded" : "failed";
    // A pod that never ran its container fails the Job too; startTroubleOf has the better words for that.
    if (kind === "failed" && !run.ran && run.pod !== null && state.podDeletedAt === null) return null;
    return settle(run, { kind, at: state.jobEndedAt ?? run.now, ...job.end, reason: job.end.reason || job.end.type });
  }
  if (run.pod !== null && podFacts?.hasEnded === true && run.ran && ended === null && !mayRetry(run)) {
    // The pod has ended, yet its container was never seen ended (a node crash).
    const kind = podFacts.state === "succeeded" ? "succeeded" : "failed";
    const { phase = "", reason = phase, message = "" } = run.pod.status;
    return settle(run, { kind, at: state.podEndedAt ?? run.now, reason, message });
  }
  return null;
}

function endOfItself(run: Context, ended: ContainerEnd): Outcome {
  const { state, job } = run;
  const killed = run.podFacts?.killedByKubelet ?? null;
  if (ended.exitCode === 0 && killed === null) return finish(run, "succeeded", { reason: "Completed", message: "" });
  const jobDue = (state.endedAt.get(run.container) ?? run.now) + run.policy.settleMs;
  // Whether it is tried again stands in the Job, of which the other watch may not have told yet.
  if (job === null && state.jobDeletedAt === null && run.now < jobDue) return jobDue;
  if (mayRetry(run)) return null;
  const due = lastPodDue(run);
  if (run.now < due) return due;
  // The Job has a pod that succeeded, and no watch has shown it.
  if (job?.end != null && job.state === "succeeded" && killed === null)
    return finish({ ...run, pod: null, ended: null, last: null }, "succeeded", job.end);
  if (killed?.reason === "DeadlineExceeded") return finish(run, "deadline", killed);
  const disrupted = killed ?? disruptionOf(run);
  if (disrupted !== null) return finish(run, "evicted", namedEviction(disrupted));
  return finish(run, "failed", { reason: ended.reason || "Error", message: "" });
}

/** Where the kubelet refuses a pod whose container has run, the refusal ended it. */
function disruptionOf({ podFacts, ran }: Context): Words | null {
  return podFacts?.disruption ?? (ran ? podFacts?.refusedByKubelet : null) ?? null;
}

function namedEviction({ reason, message }: Words): Words {
  return { reason: reason || "Evicted", message };
}

/** Until when a later pod is waited for: the pod whose container failed need not be the Job's last. */
function lastPodDue({ state, job, policy, now }: Context): number {
  if (job === null || job.end === null || (job.state === "failed" && isLastPod(state))) return now;
  return (state.jobEndedAt ?? now) + policy.settleMs;
}

interface Cause extends Words {
  kind: RunEndKind;
  /** When the cause was known. */
  at: number;
  /** Not certain yet: another event may still tell a better one (the two watches are not ordered between each other). */
  guess?: boolean;
}

/** What is ending the run from outside: deadline, eviction, deletion of the Job or the pod. */
function externalCause(run: Context): Cause | null {
  const { state, job, pod, podFacts } = run;
  // To its Job, a pod that exits with 0 while it is being deleted has succeeded.
  if (job?.state === "succeeded") return null;
  const end = job?.end ?? null;
  if (end?.reason === "DeadlineExceeded") return { kind: "deadline", at: state.jobEndedAt ?? run.now, ...end };
  const deletingAt = state.podDeletingAt;
  const killed = podFacts?.killedByKubelet ?? null;
  const isAtDeadline = killed?.reason === "DeadlineExceeded";
  const words = isAtDeadline ? killed : disruptionOf(run);
  if (words !== null && (deletingAt !== null || podFacts?.hasEnded === true)) {
    if (mayRetry(run)) return null;
    const at = deletingAt ?? state.podEndedAt ?? run.now;
    // Whether another pod follows, or this one counts as a success, stands in the Job, of which the other watch may not have told yet.
    const isJobToSay = job === null ? state.jobDeletedAt === null : end === null && podFacts?.state === "succeeded";
    const cause = { at, guess: isJobToSay };
    return isAtDeadline
      ? { kind: "deadline", ...cause, ...words }
      : { kind: "evicted", ...cause, ...namedEviction(words) };
  }
  if (state.jobDeletedAt !== null) {
    // A Job that had ended before it was deleted (by its TTL) has said how.
    return end !== null && pod === null ? null : jobDeleted(state.jobDeletedAt, end);
  }
  if (pod === null || deletingAt === null || isSuspended(run)) return null;
  if (isDeletedInForeground(state.job, pod)) {
    return { kind: "job_deleted", at: deletingAt, reason: "JobDeleted", message: "the Job is being deleted" };
  }
  if (mayRetry(run)) return null;
  // When it gives up a Job with restartPolicy OnFailure, the controller deletes the pod.
  if (end?.reason === "BackoffLimitExceeded" && wasRestarted(run)) return null;
  const said = end === null ? "" : `; the Job says ${end.reason || end.type}`;
  const cause: Cause = {
    kind: "pod_deleted",
    at: deletingAt,
    reason: "PodDeleted",
    message: `the pod was deleted${said}`,
  };
  // Deadline, deletion of the Job and suspension all begin by deleting the pod: the Job's watch will say which it is.
  return end === null ? { ...cause, guess: true } : cause;
}

/** The Job exists until its pods are deleted; its controller may set it to Failed meanwhile, since it lost them. */
function isDeletedInForeground(job: Job | null, pod: Pod): boolean {
  if (job === null || !isDeleting(job)) return false;
  return !isDeleting(pod) || deletionBegan(job) <= deletionBegan(pod);
}

function jobDeleted(at: number, end: JobEnd | null): Cause {
  const last = end === null ? "" : `; its last condition was ${end.type}: ${end.reason}`;
  return { kind: "job_deleted", at, reason: "JobDeleted", message: `the Job was deleted${last}` };
}

/** The run has ended for this cause; say so when its details are known, cannot come any more, or have been waited for. */
function settle(known: Context, cause: Cause): Outcome {
  // A Job does not succeed with a failed container: this end is from before a restart, and the last one has not been told yet.
  const isOfBefore = cause.kind === "succeeded" && ((known.ended ?? known.last)?.exitCode ?? 0) !== 0;
  const run = isOfBefore ? { ...known, ended: null, last: null } : known;
  const { state, pod, policy, now } = run;
  // The container of a Job that succeeded has run, seen or not: the pods' watch is behind the Jobs', as on a busy cluster.
  const provesItRan = cause.kind === "succeeded";
  // A pod that the Job counted but that this watch has not shown yet may still bring the exit code.
  const isEnded =
    pod === null
      ? cause.kind === "job_deleted"
      : (run.ended ?? run.last) !== null || state.podDeletedAt !== null || (!run.ran && !provesItRan);
  if (isEnded && cause.guess !== true) return finish(run, cause.kind, cause);
  const endedAt = state.endedAt.get(run.container) ?? state.podDeletedAt;
  const due = isEnded
    ? Math.max(cause.at, endedAt ?? cause.at) + policy.settleMs
    : cause.at + policy.settleMs + (isEndedByOthers(cause.kind) && pod !== null ? graceMs(pod) : 0);
  return now >= due ? finish(run, cause.kind, cause) : due;
}

/** Whose pod is being killed and so takes its termination grace period. */
function isEndedByOthers(kind: RunEndKind): boolean {
  return kind !== "succeeded" && kind !== "failed";
}

function graceMs(pod: Pod): number {
  return (pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30) * 1000;
}

function wasRestarted({ pod, container }: Context): boolean {
  return pod?.spec.restartPolicy === "OnFailure" && containerFacts(pod, container).restartCount > 0;
}
