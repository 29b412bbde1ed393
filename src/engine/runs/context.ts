import {
  type ContainerEnd,
  containerFacts,
  type JobFacts,
  jobFacts,
  type PodFacts,
  podFacts,
  type Words,
} from "../facts.ts";
import type { Pod } from "../kubernetes.ts";
import type { RunPolicy } from "./policy.ts";
import type { RunState } from "./run-state.ts";
import { exitMessage, type RunEnd, type RunEndKind } from "./types.ts";

/** One state, seen for one container: what `classify` decides by. */
export interface Context {
  state: RunState;
  container: string;
  policy: RunPolicy;
  /** The time by which waits are counted (`heldTime`). */
  now: number;
  job: JobFacts | null;
  pod: Pod | null;
  podFacts: PodFacts | null;
  /** The named container was started. */
  ran: boolean;
  /** How it ended, if it did and is not started again. */
  ended: ContainerEnd | null;
  /** How it ended last, if it is to be started again in its pod. */
  last: ContainerEnd | null;
}

export function contextOf(state: RunState, container: string, policy: RunPolicy, now: number): Context {
  const pod = isOfSuspension(state) ? null : state.pod;
  const ran = pod !== null && state.started.has(container);
  const facts = ran ? containerFacts(pod, container) : null;
  const ended = facts?.state === "ended" ? facts : null;
  const waiting = facts?.state === "waiting" ? facts.last : null;
  return {
    state,
    container,
    policy,
    now,
    job: state.job === null ? null : jobFacts(state.job),
    pod,
    podFacts: pod === null ? null : podFacts(pod),
    ran,
    ended: ended?.isRestarted === false ? ended : null,
    last: ended?.isRestarted === true ? ended : waiting,
  };
}

/** An end, the time at which one is due, or null: nothing has ended. */
export type Outcome = RunEnd | number | null;

/** Does the Job make another pod after this one has failed? Only its own condition says for certain that it does not. */
export function mayRetry({ state, job }: Context): boolean {
  return job !== null && state.jobDeletedAt === null && !job.isDeleting && job.end === null && job.allowsRetries;
}

export function isSuspended({ state, job }: Context): boolean {
  return job?.state === "suspended" && state.jobDeletedAt === null;
}

/** Suspending a Job deletes its pod; resuming it brings another. */
function isOfSuspension({ resumedAt, podDeletingAt }: RunState): boolean {
  return resumedAt !== null && podDeletingAt !== null && podDeletingAt <= resumedAt;
}

/** Did the container end before anyone began to delete its pod? Seen in one frame, the node's own times decide. */
export function endedByItself({ state, podFacts }: Context, container: string, ended: ContainerEnd): boolean {
  const endedAt = state.endedAt.get(container);
  if (state.podDeletingAt === null || endedAt === undefined) return true;
  if (endedAt !== state.podDeletingAt) return endedAt < state.podDeletingAt;
  if (podFacts === null || podFacts.deletingSince === null) return true;
  if (ended.finishedAt === null) return false;
  return Date.parse(ended.finishedAt) < podFacts.deletingSince && !isKilled(ended);
}

/** By the signals that a deletion sends: the clock of a node may be minutes behind the server's, and then its times say nothing. */
function isKilled({ exitCode, reason }: ContainerEnd): boolean {
  return (exitCode === 143 || exitCode === 137) && reason !== "OOMKilled";
}

export function finish(run: Context, kind: RunEndKind, { reason, message }: Words): RunEnd {
  const { pod, state } = run;
  const ended = run.ended ?? run.last;
  const condition = run.job?.end ?? null;
  const end: RunEnd = {
    kind,
    exitCode: ended?.exitCode ?? (kind === "succeeded" ? 0 : null),
    signal: ended?.signal ?? null,
    reason: (kind === "failed" ? ended?.reason : undefined) || reason,
    message: (kind === "failed" ? ended?.message : undefined) || message || ended?.message || "",
    container: run.container,
    podName: pod?.metadata.name ?? null,
    startedAt: ended?.startedAt ?? null,
    finishedAt: ended?.finishedAt ?? null,
    startFailure: null,
    jobCondition:
      condition === null ? null : { type: condition.type, reason: condition.reason, message: condition.message },
  };
  if (kind !== "succeeded" && end.message === "") end.message = exitMessage(end);
  if (kind === "deadline" && !run.ran && !state.ranBefore.has(run.container)) {
    const startFailure = { code: "deadline" as const, reason, message, container: null, exitCode: null };
    end.startFailure = { ...startFailure, podName: end.podName };
  }
  return end;
}
