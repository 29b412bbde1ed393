import { containerFacts, type Job, jobFacts, type Pod, podFacts } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { AnnotationKey, LabelKey } from "../job/names.ts";
import { nextRestartOf, restartOf } from "../job/restart.ts";

/** The run that wants to start, as it stands in labels. */
export interface Newcomer {
  readonly agentId: string;
  readonly runId: string;
  readonly taskId: string | null;
  readonly sessionId: string | null;
}

export type OrphanClass = "reattach" | "block_session_mismatch" | "block_task_mismatch" | "block_task_unknown";

/**
 * May the newcomer take over a run that an earlier process left behind? It must be about the same task; sessions must not
 * contradict each other. A first run has no session, so a missing one is no contradiction.
 */
export function classifyOrphan(job: Job, { taskId, sessionId }: Pick<Newcomer, "taskId" | "sessionId">): OrphanClass {
  const labels = job.metadata.labels ?? {};
  const itsTask = labels[LabelKey.taskId];
  const itsSession = labels[LabelKey.sessionId];
  if (taskId === null || itsTask === undefined) return "block_task_unknown";
  if (itsTask !== taskId) return "block_task_mismatch";
  if (sessionId !== null && itsSession !== undefined && itsSession !== sessionId) return "block_session_mismatch";
  return "reattach";
}

export type BlockCode = "k8s_concurrent_run_blocked" | "k8s_orphan_task_unknown" | "k8s_orphan_session_mismatch";

export interface Blocker {
  readonly job: Job;
  readonly code: BlockCode;
  /** Followed by a run of this process, so not an orphan. */
  readonly isActiveHere: boolean;
  /** Owned by another process that lives, so not an orphan either. */
  readonly isLiveElsewhere: boolean;
  /** It was disrupted, and its owner may go on with its run in another Job. */
  readonly mayGoOn: boolean;
}

export interface Adoption {
  readonly kind: "adopt";
  readonly job: Job;
  readonly isOwnRun: boolean;
  readonly isEnded: boolean;
}

export type Decision =
  | { readonly kind: "start" }
  | Adoption
  | { readonly kind: "blocked"; readonly blockers: readonly Blocker[] }
  /** Job and pods are on their way out; they may still run. */
  | { readonly kind: "leaving"; readonly names: readonly string[] };

export interface Situation {
  /** All Jobs and pods of the agent. */
  readonly jobs: readonly Job[];
  readonly pods: readonly Pod[];
  readonly newcomer: Newcomer;
  readonly containerName: string;
  readonly config: Pick<BaseConfig, "reattachOrphanedJobs" | "concurrencyPolicy" | "retainJobs">;
  isActiveHere(uid: string): boolean;
  isLiveElsewhere(job: Job): boolean;
  isCollected(uid: string): boolean;
  /** Has it ended so short a time ago that an owner that lives may not have dealt with that yet? Default: yes. */
  hasJustEnded?(uid: string): boolean;
}

/**
 * What the newcomer may do. Pure.
 *
 * Pods count as much as Jobs: after a Job was deleted in the background its pod runs on for the grace period, with the agent
 * in it. And a Job may stand unfinished though its agent has ended (a mesh sidecar keeps the pod running): that is no
 * competitor.
 */
export function decide(situation: Situation): Decision {
  const { newcomer, config } = situation;
  const jobs = situation.jobs.filter((job) => !isSuperseded(job, situation)).sort(newestFirst);
  const own = jobs.find((job) => isOwnRun(job, newcomer));
  if (own !== undefined) {
    const blocker = blockerOf(own, "k8s_concurrent_run_blocked", situation);
    if (isFollowed(own, situation)) return { kind: "blocked", blockers: [blocker] };
    if (jobFacts(own).isDeleting) return { kind: "leaving", names: [own.metadata.name] };
    return { kind: "adopt", job: own, isOwnRun: true, isEnded: isEnded(own, situation) };
  }

  const blockers: Blocker[] = [];
  const leaving = podsWithoutJob(situation);
  let target: Job | null = null;
  let endedTarget: Job | null = null;
  for (const job of jobs) {
    if (jobFacts(job).isDeleting) {
      if (mayRunOn(job, situation) || hidesFormer(job, situation)) leaving.push(job.metadata.name);
      continue;
    }
    if (jobFacts(job).end !== null && hasLiveAgent(job, situation)) {
      // The deadline: the Job has failed, its pod has its grace period.
      leaving.push(job.metadata.name);
      continue;
    }
    const orphan = classifyOrphan(job, newcomer);
    if (isEnded(job, situation) && !mayGoOn(job, situation)) {
      if (orphan === "reattach" && mayCollect(job, situation)) endedTarget ??= job;
    } else if (isFollowed(job, situation)) {
      blockers.push(blockerOf(job, "k8s_concurrent_run_blocked", situation));
    } else if (!config.reattachOrphanedJobs || orphan === "block_task_mismatch") {
      blockers.push(blockerOf(job, "k8s_concurrent_run_blocked", situation));
    } else if (orphan === "reattach") {
      target ??= job;
    } else {
      const code = orphan === "block_task_unknown" ? "k8s_orphan_task_unknown" : "k8s_orphan_session_mismatch";
      blockers.push(blockerOf(job, code, situation));
    }
  }
  if (config.concurrencyPolicy !== "parallel") {
    if (blockers.length > 0) return { kind: "blocked", blockers };
    if (target === null && leaving.length > 0) return { kind: "leaving", names: leaving };
  }
  if (target !== null) return { kind: "adopt", job: target, isOwnRun: false, isEnded: false };
  if (endedTarget !== null) return { kind: "adopt", job: endedTarget, isOwnRun: false, isEnded: true };
  return { kind: "start" };
}

function blockerOf(job: Job, code: BlockCode, situation: Situation): Blocker {
  const isLiveElsewhere = situation.isLiveElsewhere(job);
  return {
    job,
    code,
    isActiveHere: isFollowed(job, situation) && !isLiveElsewhere,
    isLiveElsewhere,
    mayGoOn: isEnded(job, situation) && mayGoOn(job, situation),
  };
}

/** By a process that lives. This one follows the Job that goes on with a run from the moment at which it is created. */
function isFollowed(job: Job, { isActiveHere, isLiveElsewhere }: Situation): boolean {
  const former = restartOf(job)?.former.uid;
  return isActiveHere(job.metadata.uid) || (former !== undefined && isActiveHere(former)) || isLiveElsewhere(job);
}

/** Another Job has gone on with its run, and its own agent has ended. */
function isSuperseded(job: Job, situation: Situation): boolean {
  const { uid } = job.metadata;
  return (
    situation.jobs.some((other) => restartOf(other)?.former.uid === uid) &&
    !(jobFacts(job).isDeleting ? mayRunOn(job, situation) : hasLiveAgent(job, situation))
  );
}

/** The Job that it goes on from still stands. Once this one is deleted, it is that one's run that is to be adopted. */
function hidesFormer(job: Job, { jobs }: Situation): boolean {
  const former = restartOf(job)?.former.uid;
  return jobs.some((other) => other.metadata.uid === former && !jobFacts(other).isDeleting);
}

/**
 * Of a Job that has ended: its agent did not end by itself, and its owner lives and has not yet said what follows. It deletes the Job,
 * or marks it as collected.
 */
function mayGoOn(job: Job, situation: Situation): boolean {
  const { uid, annotations = {} } = job.metadata;
  if (!isFollowed(job, situation) || annotations[AnnotationKey.collectedAt] !== undefined) return false;
  if (jobFacts(job).state === "succeeded" || situation.hasJustEnded?.(uid) === false) return false;
  return podsOf(job, situation).every((pod) => {
    const { disruption, deletingSince } = podFacts(pod);
    const agent = containerFacts(pod, situation.containerName);
    const isLost = agent.state === "ended" && agent.reason === "ContainerStatusUnknown";
    return disruption !== null || deletingSince !== null || isLost;
  });
}

/** By label: that is what the former adapter left too. */
function isOwnRun({ metadata }: Job, { runId }: Newcomer): boolean {
  return metadata.labels?.[LabelKey.runId] === runId;
}

function newestFirst(a: Job, b: Job): number {
  const [first, second] = [a.metadata, b.metadata];
  const attempts = (restartOf(b)?.attempt ?? 0) - (restartOf(a)?.attempt ?? 0);
  return compare(second.creationTimestamp, first.creationTimestamp) || attempts || compare(first.name, second.name);
}

function compare(a: string, b: string): number {
  return Number(a > b) - Number(a < b);
}

function podsOf(job: Job, { pods }: Situation): Pod[] {
  return pods.filter((pod) => pod.metadata.ownerReferences?.some((owner) => owner.uid === job.metadata.uid));
}

/** The agent of this pod runs or may still start. */
function isLivePod(pod: Pod, containerName: string): boolean {
  if (podFacts(pod).hasEnded) return false;
  const agent = containerFacts(pod, containerName);
  return !(agent.state === "ended" || agent.state === "never started") || agent.isRestarted;
}

function hasLiveAgent(job: Job, situation: Situation): boolean {
  return podsOf(job, situation).some((pod) => isLivePod(pod, situation.containerName));
}

/**
 * The agent of a Job that is being deleted. It stands until its pods are gone, unless another finalizer holds it: whose pods are
 * unknown may have one that the cache has not seen yet, unless the Job itself counts none.
 */
function mayRunOn(job: Job, situation: Situation): boolean {
  if (podsOf(job, situation).length > 0) return hasLiveAgent(job, situation);
  const { podsAlive, podsCounted } = jobFacts(job);
  return podsAlive > 0 || podsCounted === 0;
}

/** The Job has ended, or no longer has an agent that runs. */
function isEnded(job: Job, situation: Situation): boolean {
  if (hasLiveAgent(job, situation)) return false;
  const { end, allowsRetries } = jobFacts(job);
  return end?.havePodsEnded === true || (podsOf(job, situation).length > 0 && !allowsRetries);
}

/**
 * Is there an uncollected result worth taking? It must have ended well (after a failure a fresh run is what is wanted), its
 * log must still be there, and it must not have been kept after its result was taken: the former adapter leaves no mark of
 * that, so where Jobs are retained its ended ones are left alone.
 */
function mayCollect(job: Job, situation: Situation): boolean {
  const { config, isCollected } = situation;
  const { uid, annotations = {} } = job.metadata;
  if (!config.reattachOrphanedJobs || isFollowed(job, situation) || isCollected(uid)) return false;
  // Its process died between two Jobs of one run.
  if (nextRestartOf(job) !== null) return annotations[AnnotationKey.collectedAt] === undefined;
  // Where all Jobs are retained, one without the mark may have been taken all the same: without the right to patch there is none.
  if (config.retainJobs === true || annotations[AnnotationKey.collectedAt] !== undefined) return false;
  if (jobFacts(job).state === "failed") return false;
  return podsOf(job, situation).some((pod) => {
    const agent = containerFacts(pod, situation.containerName);
    return agent.state === "ended" && agent.exitCode === 0;
  });
}

/** Pods whose Job is deleted already and whose agent may still run. */
function podsWithoutJob({ jobs, pods, containerName }: Situation): string[] {
  const uids = new Set(jobs.map((job) => job.metadata.uid));
  const left = pods.filter(
    (pod) => isLivePod(pod, containerName) && !pod.metadata.ownerReferences?.some(({ uid }) => uids.has(uid)),
  );
  return left.map((pod) => pod.metadata.name);
}
