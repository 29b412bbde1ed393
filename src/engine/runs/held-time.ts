import { jobFacts } from "../facts.ts";
import { isJobUntold } from "./deletion.ts";
import type { RunPolicy } from "./policy.ts";
import type { RunState } from "./run-state.ts";
import { arePodsBehind, CATCH_UP_MS, isComplete } from "./trust.ts";

/**
 * How long the details of a run that has ended are waited for while a watch is lost, on top of `settleMs`: longer than the longest
 * backoff (30 s) and a list, or a watch that is about to come back would cost the exit code.
 */
const MAX_HOLD_MS = 60_000;
/** Longest wait for a backlog: where Jobs and pods live in different stores, their versions say nothing about each other. */
const MAX_BACKLOG_MS = 120_000;

/**
 * The time by which waits are counted. It stands still while a watch is lost, since the event that ends a wait may be waiting on the
 * server; between two answers of the server, where only they show the pod; and, for a Job that has ended, while the pods' watch brings
 * a backlog from before, which holds how the container ended. Details of a run that has surely ended are not waited for without end.
 */
export function heldTime(state: RunState, policy: RunPolicy, now: number): number {
  const { trust, answeredAt } = state;
  if (countsByAnswers(state)) return answeredAt ?? now;
  const known = isComplete(trust, now, catchUpMs(policy)) ? now : trust.completeUntil;
  const held = Math.min(now, Math.max(known, hasJobEnded(state) ? now - MAX_HOLD_MS : known));
  return Math.min(held, backlogSince(state, policy, now) ?? held);
}

/** When `heldTime` will be `due`, if no frame comes until then. Null: not before a watch is open again, or the server is asked. */
export function wakeTime(state: RunState, policy: RunPolicy, due: number, now: number): number | null {
  const { openSince, podsTold } = state.trust;
  if (countsByAnswers(state)) return null;
  let at = openSince === null ? Number.POSITIVE_INFINITY : Math.max(due, openSince + catchUpMs(policy));
  if (hasJobEnded(state)) at = Math.min(at, due + MAX_HOLD_MS);
  const since = backlogSince(state, policy, now);
  if (since !== null && podsTold !== null)
    at = Math.max(at, Math.min(podsTold.at + catchUpMs(policy), since + MAX_BACKLOG_MS));
  return at === Number.POSITIVE_INFINITY ? null : at;
}

/** So long a watch may be lost before the server is asked for what it cannot tell: there may be a proxy that ends all watches. */
const LOST_MS = 60_000;
/** The same where the server answers, and no watch will tell: a right was revoked, or the Job has lost its label. */
const REFUSED_MS = 10_000;
const MAX_ASK_MS = 600_000;

/**
 * When the server is to be asked because a watch is lost or does not tell of a pod, each time after twice as long. Null: neither. One
 * that is lost again before it has told what it missed has been lost all the time.
 */
export function askTime(state: RunState): number | null {
  const { trust, jobSeenAt, askedAt } = state;
  const { lostSince, completeUntil, isRefused } = trust;
  const since =
    lostSince === null ? untoldSince(state) : Math.min(lostSince, Math.max(completeUntil, jobSeenAt ?? lostSince));
  if (since === null) return null;
  const firstAt = since + (isRefused || isJobUntold(state) ? REFUSED_MS : LOST_MS);
  if (askedAt === null || askedAt < firstAt) return firstAt;
  return askedAt + Math.min(askedAt - since, MAX_ASK_MS);
}

/** Both watches are open, and one does not tell of the pod or the Job: the labels that it selects by were taken off. */
function untoldSince(state: RunState): number | null {
  const { job, jobSeenAt, jobDeletedAt, resumedAt, pod, podDeletedAt, podEndedAt } = state;
  if (job === null || jobDeletedAt !== null) return null;
  const isUntold = isPodUntold(state) || isJobUntold(state);
  if (pod !== null && podDeletedAt === null && !isUntold) return null;
  const { end, isManagedElsewhere, podsAlive } = jobFacts(job);
  if (end !== null || (!isUntold && (isManagedElsewhere || podsAlive === 0))) return null;
  return Math.max(jobSeenAt ?? 0, resumedAt ?? 0, podDeletedAt ?? 0, podEndedAt ?? 0);
}

/** Time passes only with the server's answers: nothing else tells of the pod, and the Job has not ended. */
function countsByAnswers(state: RunState): boolean {
  return isPodUntold(state) && !hasJobEnded(state);
}

/** Only the server's answers tell of it. */
function isPodUntold({ pod, podDeletedAt, unwatched }: RunState): boolean {
  return pod !== null && podDeletedAt === null && unwatched.has(pod.metadata.uid);
}

function hasJobEnded({ jobEndedAt, jobDeletedAt }: RunState): boolean {
  return jobEndedAt !== null || jobDeletedAt !== null;
}

/** When the Job ended, for as long as the pods' watch brings what happened before. Null: it does not. */
function backlogSince({ job, jobEndedAt, trust }: RunState, policy: RunPolicy, now: number): number | null {
  if (job === null || jobEndedAt === null || trust.openSince === null || now - jobEndedAt >= MAX_BACKLOG_MS)
    return null;
  return arePodsBehind(trust, job.metadata.resourceVersion, catchUpMs(policy), now) ? jobEndedAt : null;
}

function catchUpMs({ settleMs }: RunPolicy): number {
  return Math.min(CATCH_UP_MS, settleMs);
}
