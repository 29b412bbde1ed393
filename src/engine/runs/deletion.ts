import { isDeleting, jobFacts, podFacts } from "../facts.ts";
import { livePods, type RunState } from "./run-state.ts";
import { arePodsBehind, CATCH_UP_MS, isComplete } from "./trust.ts";

/** What the server must be asked. */
export interface Ask {
  job: boolean;
  pods: boolean;
}

export function askOf(state: RunState): Ask {
  const { job, jobDeletedAt } = state;
  const isOpen = job !== null && jobFacts(job).end === null;
  const mayChange = isOpen && (jobDeletedAt === null || mayJobStand(state));
  return { job: mayChange || isJobUntold(state), pods: true };
}

/**
 * The watch also sends DELETED for a Job that loses the label by which it selects. That the Job is deleted is sure only if its
 * deletion was seen to begin, or that of its pod.
 */
export function mayJobStand({ job, jobDeletedAt, podDeletingAt }: RunState): boolean {
  return job !== null && jobDeletedAt !== null && podDeletingAt === null && !isDeleting(job);
}

/** It lost the label that the watches select by: only the server's answers tell of it. */
export function isJobUntold({ job, jobDeletedAt, unwatched }: RunState): boolean {
  return job !== null && jobDeletedAt === null && unwatched.has(job.metadata.uid);
}

export interface Deletion {
  /** The Job and every pod of it are deleted. */
  isDone: boolean;
  ask: Ask | null;
  /** Look again then, though nothing may have happened. */
  wakeAt: number | null;
}

const NOT_DELETED: Deletion = { isDone: false, ask: null, wakeAt: null };
const DELETED: Deletion = { isDone: true, ask: null, wakeAt: null };

/**
 * Are the Job and its pods deleted? Pure. That no watch shows a pod is no proof: the pods' may be lost, silent or behind the Jobs'.
 * Then the server is asked, again and again for a pod of whose deletion no watch will tell.
 */
export function deletionOf(state: RunState, now: number): Deletion {
  const { job, pod, jobDeletedAt, podDeletedAt, answer, unwatched, trust } = state;
  const live = livePods(state);
  if (jobDeletedAt === null && (live.length > 0 || !isJobUntold(state))) return NOT_DELETED;
  if (live.some(({ metadata }) => !unwatched.has(metadata.uid))) return NOT_DELETED;
  if (live.length === 0 && jobDeletedAt !== null) {
    const isLast = pod !== null && podDeletedAt !== null && isLastPod(state);
    const isOnlyOne = job !== null && !jobFacts(job).allowsRetries;
    if (isLast && (isOnlyOne || !mayPodsBeUntold(state, now))) return DELETED;
    if (answer?.toldPods === true) return DELETED;
    // Without an answer, what the watches have told counts.
    if (answer !== null && isComplete(trust, now)) return DELETED;
  }
  if (answer === null || now >= answer.askAgainAt) return { isDone: false, ask: askOf(state), wakeAt: null };
  return { isDone: false, ask: null, wakeAt: answer.askAgainAt };
}

/** How far a watch may be behind the server's answer. */
const LAST_WORD_MS = 3_000;

/** Until when the pod's last state may still be told, where the server's answer that it has none came first. Infinity: it is not waited for. */
export function lastWordUntil({ podDeletedAt, isPodFinal }: RunState, now: number): number {
  const until = podDeletedAt === null || isPodFinal ? now : podDeletedAt + LAST_WORD_MS;
  return until > now ? until : Number.POSITIVE_INFINITY;
}

/** From what is known, without asking. `unknown`: a watch is lost, the Job was not seen, or its pod may not have been told yet. */
export function livenessOf(state: RunState, now: number): "alive" | "ended" | "unknown" {
  const { job, pod, jobDeletedAt, podDeletedAt, trust } = state;
  const hasJobEnded = job !== null && jobFacts(job).end !== null;
  if (pod === null) {
    if (hasJobEnded && !mayPodsBeUntold(state, now)) return "ended";
    if (hasJobEnded || jobDeletedAt !== null) return "unknown";
  } else if (podDeletedAt !== null ? hasJobEnded || jobDeletedAt !== null : hasJobEnded && podFacts(pod).hasEnded) {
    return "ended";
  }
  return trust.openSince === null || (job === null && pod === null) ? "unknown" : "alive";
}

/** The pods' watch may have something of before the Job's last state to tell. */
function mayPodsBeUntold({ job, trust }: RunState, now: number): boolean {
  if (trust.openSince === null) return true;
  return job !== null && arePodsBehind(trust, job.metadata.resourceVersion, CATCH_UP_MS, now);
}

/**
 * Is the newest pod that is known the one with which the Job ended? The pods' watch may be behind the Jobs'. A failure that has
 * just happened need not be counted yet.
 */
export function isLastPod({ job, pod, podChanges }: RunState): boolean {
  if (job === null || pod?.spec.restartPolicy === "OnFailure") return true;
  const { end, backoffLimit } = jobFacts(job);
  if (end === null) return true;
  const { failed = 0, succeeded = 0 } = job.status;
  const tries = end.reason === "BackoffLimitExceeded" ? backoffLimit + 1 : 0;
  return podChanges + 1 >= Math.max(failed + succeeded, tries);
}
