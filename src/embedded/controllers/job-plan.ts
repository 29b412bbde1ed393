/**
 * What the Job controller does about one Job in one look at it, as a pure function of the Job, its pods and the time.
 *
 * The order in which the plan is carried out is the real controller's, and visible in the frames of a watch: pods are
 * deleted or created, `status` is written (with ended pods listed as uncounted and the interim condition), those pods
 * lose their tracking finalizer, and `finalStatus` is written with the counters and, once no pod is left terminating,
 * the final condition.
 */

import { cloneJson } from "../../json/json-object.ts";
import { timestamp } from "../clock.ts";
import {
  type Condition,
  condition,
  isPodFinished,
  isTrue,
  type Job,
  type JobStatus,
  type Pod,
} from "../objects/workloads.ts";
import { judgeFailedPod } from "./pod-failure-policy.ts";

/** The `managedBy` of Jobs that are the built-in controller's own. */
const ownManager = "kubernetes.io/job-controller";

/** Another controller makes the pods, on this cluster or elsewhere, and writes the status (KEP-4368). */
export function isManagedElsewhere({ spec }: Job): boolean {
  return spec.managedBy !== undefined && spec.managedBy !== ownManager;
}

export const trackingFinalizer = "batch.kubernetes.io/job-tracking";
const maxBackoffMs = 600_000;

/** What the controller remembers of a Job between two looks. */
export interface RetryState {
  /** Failed pods since the last one that succeeded. */
  failures: number;
  /** When the last of them failed, in milliseconds. */
  lastFailureAt: number;
}

export interface JobPlan {
  /** To be deleted, before anything is written. They count as failed at once. */
  deletePods: Pod[];
  /** To be deleted without being counted (the Job is suspended or wants fewer): the finalizer goes first. */
  discardPods: Pod[];
  createPods: number;
  status: JobStatus;
  /** Pods whose end is on record in `status`, or is of no account: they lose their finalizer. */
  countedPods: Pod[];
  finalStatus: JobStatus;
  /** Look again, though nothing may have changed. */
  againInMs: number | null;
  retry: RetryState;
  events: { type: "Normal" | "Warning"; reason: string; message: string }[];
}

type Why = Pick<Condition, "reason" | "message">;

export function isJobFinished(status: JobStatus | undefined): boolean {
  return isTrue(status?.conditions, "Complete") || isTrue(status?.conditions, "Failed");
}

export function hasTrackingFinalizer(pod: Pod): boolean {
  return pod.metadata.finalizers?.includes(trackingFinalizer) ?? false;
}

/** @param now milliseconds; `backoffMs` the first retry's wait. */
export function planJob(job: Job, pods: readonly Pod[], now: number, retry: RetryState, backoffMs: number): JobPlan {
  const { spec } = job;
  const deleting = job.metadata.deletionTimestamp !== undefined;
  const suspended = spec.suspend === true;
  const status: JobStatus = cloneJson(job.status ?? {});
  status.conditions ??= [];
  const plan: JobPlan = {
    deletePods: [],
    discardPods: [],
    createPods: 0,
    status,
    countedPods: [],
    finalStatus: status,
    againInMs: null,
    retry: { ...retry },
    events: [],
  };
  const count = countPods(job, pods, status);
  noteFailures(plan.retry, count, now);
  const unfinished = pods.filter((pod) => !isPodFinished(pod));
  const running = unfinished.filter((pod) => pod.metadata.deletionTimestamp === undefined);

  if (status.startTime === undefined && !suspended) status.startTime = timestamp(now);
  const failure = failureOf(job, status, count, running, now);
  if (failure !== undefined) {
    addCondition(status, "FailureTarget", failure, now);
    plan.deletePods = running;
  } else if (!deleting) {
    const wanted = wantedPods(job, running.length, count.succeeded, pods);
    planPods(plan, running, suspended ? 0 : wanted, retryWait(plan.retry, now, backoffMs));
    noteSuspension(plan, suspended, now);
    if (isComplete(job, count.succeeded, running.length - plan.discardPods.length + plan.createPods)) {
      const why = { reason: "CompletionsReached", message: "Reached expected number of succeeded pods" };
      addCondition(status, "SuccessCriteriaMet", why, now);
    }
  }
  if (failure === undefined && !suspended) plan.againInMs = sooner(plan.againInMs, untilDeadline(job, status, now));

  noteCounts(plan, count, running, unfinished.length);
  plan.countedPods = [...count.newSucceeded, ...count.newFailed, ...plan.deletePods, ...count.recorded];
  plan.finalStatus = finalStatus(status, now, plan);
  if (status.conditions.length === 0) delete status.conditions;
  if (plan.finalStatus.conditions?.length === 0) delete plan.finalStatus.conditions;
  return plan;
}

/** What the pods add to the Job's counters. */
interface PodCount {
  /** Uids that the status has on record as ended, and has not added to its counters yet. */
  uncounted: { succeeded: string[]; failed: string[] };
  /** The pods of these uids that still stand. */
  recorded: Pod[];
  newSucceeded: Pod[];
  newFailed: Pod[];
  /** Of `newFailed`: without those that the Job's `podFailurePolicy` ignores. */
  newCounted: Pod[];
  /** All of them together. */
  succeeded: number;
  failed: number;
}

function countPods(job: Job, pods: readonly Pod[], status: JobStatus): PodCount {
  const { succeeded = [], failed = [] } = status.uncountedTerminatedPods ?? {};
  const known = new Set([...succeeded, ...failed]);
  const tracked = pods.filter((pod) => hasTrackingFinalizer(pod) && !known.has(pod.metadata.uid));
  const newSucceeded = tracked.filter((pod) => pod.status.phase === "Succeeded");
  // A deleted pod may never reach the phase Failed: it counts from its deletion on.
  const newFailed = tracked.filter(
    (pod) =>
      pod.status.phase === "Failed" ||
      (pod.metadata.deletionTimestamp !== undefined &&
        pod.status.phase !== "Succeeded" &&
        job.spec.podReplacementPolicy !== "Failed"),
  );
  const newCounted = newFailed.filter((pod) => judgeFailedPod(job, pod).counts);
  return {
    uncounted: { succeeded, failed },
    recorded: pods.filter((pod) => known.has(pod.metadata.uid)),
    newSucceeded,
    newFailed,
    newCounted,
    succeeded: (status.succeeded ?? 0) + succeeded.length + newSucceeded.length,
    failed: (status.failed ?? 0) + failed.length + newCounted.length,
  };
}

/** Writes the counters of pods that have not ended, and the record of those that have. */
function noteCounts({ status, ...plan }: JobPlan, count: PodCount, running: readonly Pod[], unfinished: number): void {
  const active = running.filter((pod) => !plan.deletePods.includes(pod) && !plan.discardPods.includes(pod));
  const activeCount = active.length + plan.createPods;
  if (activeCount === 0) delete status.active;
  else status.active = activeCount;
  // A pod that is on no node is deleted at once.
  const deletedAtOnce = plan.discardPods.filter((pod) => pod.spec.nodeName === undefined).length;
  status.terminating = unfinished - active.length - deletedAtOnce;
  status.uncountedTerminatedPods = uids({
    succeeded: [...count.uncounted.succeeded, ...count.newSucceeded.map((pod) => pod.metadata.uid)],
    failed: [...count.uncounted.failed, ...[...count.newCounted, ...plan.deletePods].map((pod) => pod.metadata.uid)],
  });
  status.ready = active.filter((pod) => isTrue(pod.status.conditions, "Ready")).length;
}

/** Which of the running pods are deleted, and how many are created. */
function planPods(plan: JobPlan, running: Pod[], wanted: number, waitMs: number): void {
  if (wanted <= running.length) plan.discardPods = youngestFirst(running).slice(0, running.length - wanted);
  else if (waitMs > 0) plan.againInMs = waitMs;
  else plan.createPods = wanted - running.length;
}

/** `status` with the uncounted pods counted, and finished if nothing is left to wait for. */
function finalStatus(status: JobStatus, now: number, plan: JobPlan): JobStatus {
  const final = cloneJson(status);
  const { succeeded = [], failed = [] } = status.uncountedTerminatedPods ?? {};
  if (succeeded.length > 0) final.succeeded = (final.succeeded ?? 0) + succeeded.length;
  if (failed.length > 0) final.failed = (final.failed ?? 0) + failed.length;
  final.uncountedTerminatedPods = {};
  const failure = condition(final.conditions, "FailureTarget");
  const success = condition(final.conditions, "SuccessCriteriaMet");
  const settled = (final.terminating ?? 0) === 0 && (final.active ?? 0) === 0;
  if (!settled || isJobFinished(final)) return final;
  if (failure !== undefined) {
    addCondition(final, "Failed", failure, now);
    plan.events.push({ type: "Warning", reason: failure.reason ?? "Failed", message: failure.message ?? "" });
  } else if (success !== undefined) {
    addCondition(final, "Complete", success, now);
    final.completionTime = timestamp(now);
    plan.events.push({ type: "Normal", reason: "Completed", message: "Job completed" });
  }
  return final;
}

function failureOf(
  job: Job,
  status: JobStatus,
  { failed, newFailed }: PodCount,
  active: readonly Pod[],
  now: number,
): Why | undefined {
  const decided = condition(status.conditions, "FailureTarget");
  if (decided !== undefined) return decided;
  if (isTrue(status.conditions, "SuccessCriteriaMet")) return undefined;
  for (const pod of newFailed) {
    const message = judgeFailedPod(job, pod).jobFailure;
    if (message !== undefined) return { reason: "PodFailurePolicy", message };
  }
  const limit = job.spec.backoffLimit ?? 6;
  if (failed > limit || restartsExceed(job, active, limit)) {
    return { reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit" };
  }
  const left = untilDeadline(job, status, now);
  if (left !== null && left <= 0 && job.spec.suspend !== true) {
    return { reason: "DeadlineExceeded", message: "Job was active longer than specified deadline" };
  }
  return undefined;
}

/** With `restartPolicy: OnFailure` it is the restarts of containers that count against the limit. */
function restartsExceed(job: Job, active: readonly Pod[], limit: number): boolean {
  if (job.spec.template.spec.restartPolicy !== "OnFailure") return false;
  let restarts = 0;
  for (const { status } of active) {
    for (const container of [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])]) {
      restarts += container.restartCount;
    }
  }
  return limit === 0 ? restarts > 0 : restarts >= limit;
}

/** Milliseconds; the start time has whole seconds, so that a deadline comes up to a second early, as on a real cluster. */
function untilDeadline(job: Job, status: JobStatus, now: number): number | null {
  const seconds = job.spec.activeDeadlineSeconds;
  if (seconds === undefined || status.startTime === undefined) return null;
  return Date.parse(status.startTime) + seconds * 1000 - now;
}

function wantedPods(job: Job, active: number, succeeded: number, pods: readonly Pod[]): number {
  const { parallelism = 1, completions, podReplacementPolicy } = job.spec;
  const terminating = pods.filter((pod) => !isPodFinished(pod) && pod.metadata.deletionTimestamp !== undefined).length;
  let wanted: number;
  if (completions === undefined) wanted = succeeded > 0 ? active : parallelism;
  else wanted = Math.max(0, Math.min(parallelism, completions - succeeded));
  // `Failed`: a pod is replaced only once it has ended, not while it terminates.
  if (podReplacementPolicy === "Failed" && wanted > active) wanted = Math.max(active, wanted - terminating);
  return wanted;
}

function isComplete(job: Job, succeeded: number, active: number): boolean {
  const { completions } = job.spec;
  return completions === undefined ? succeeded > 0 && active === 0 : succeeded >= completions;
}

function noteFailures(retry: RetryState, { newSucceeded, newFailed }: PodCount, now: number): void {
  if (newSucceeded.length > 0) retry.failures = 0;
  for (const pod of newFailed) {
    retry.failures++;
    retry.lastFailureAt = Math.max(retry.lastFailureAt, finishedAt(pod) ?? now);
  }
}

function finishedAt({ status, metadata }: Pod): number | undefined {
  let latest: number | undefined;
  for (const { state } of status.containerStatuses ?? []) {
    const end = state.terminated?.finishedAt;
    if (end) latest = Math.max(latest ?? 0, Date.parse(end));
  }
  return latest ?? (metadata.deletionTimestamp === undefined ? undefined : Date.parse(metadata.deletionTimestamp));
}

function retryWait({ failures, lastFailureAt }: RetryState, now: number, backoffMs: number): number {
  if (failures === 0) return 0;
  return lastFailureAt + Math.min(backoffMs * 2 ** (failures - 1), maxBackoffMs) - now;
}

function noteSuspension(plan: JobPlan, suspended: boolean, now: number): void {
  const { status } = plan;
  const before = condition(status.conditions, "Suspended");
  if (suspended && before?.status !== "True") {
    setCondition(status, "Suspended", "True", { reason: "JobSuspended", message: "Job suspended" }, now);
    plan.events.push({ type: "Normal", reason: "Suspended", message: "Job suspended" });
  } else if (!suspended && before?.status === "True") {
    setCondition(status, "Suspended", "False", { reason: "JobResumed", message: "Job resumed" }, now);
    // The deadline of a resumed Job counts from its resumption.
    status.startTime = timestamp(now);
    plan.events.push({ type: "Normal", reason: "Resumed", message: "Job resumed" });
  }
}

function addCondition(status: JobStatus, type: string, why: Why, now: number): void {
  if (condition(status.conditions, type) === undefined) setCondition(status, type, "True", why, now);
}

function setCondition(status: JobStatus, type: string, value: "True" | "False", why: Why, now: number): void {
  const { reason, message } = why;
  const at = timestamp(now);
  const entry: Condition = { type, status: value, lastProbeTime: at, lastTransitionTime: at };
  if (reason !== undefined) entry.reason = reason;
  if (message !== undefined) entry.message = message;
  status.conditions = [...(status.conditions ?? []).filter((other) => other.type !== type), entry];
}

function uids({ succeeded, failed }: { succeeded: string[]; failed: string[] }) {
  return { ...(succeeded.length > 0 ? { succeeded } : {}), ...(failed.length > 0 ? { failed } : {}) };
}

function youngestFirst(pods: readonly Pod[]): Pod[] {
  return [...pods].sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? 1 : -1));
}

function sooner(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}
