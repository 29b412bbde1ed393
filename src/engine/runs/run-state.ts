import { containerFacts, containerNames, isDeleting, jobFacts, podFacts, type Words } from "../facts.ts";
import { compareVersions } from "../informer/store.ts";
import type { Job, Pod } from "../kubernetes.ts";
import { FULL_TRUST, type Trust } from "./trust.ts";
import type { StartFailureCode } from "./types.ts";

/**
 * What is known about one run: a fold over what the two watches tell, what is known of the watches themselves, and what the server
 * answered when it was asked. Plain data, no clock of its own; `at` is the caller's monotonic time in milliseconds (or a
 * recording's `ms`).
 */
export interface RunState {
  /** Last known state of the Job, kept after its deletion. */
  job: Job | null;
  jobSeenAt: number | null;
  jobDeletedAt: number | null;
  /** When the Job was last resumed after a suspension. A pod that was being deleted by then was made before it. */
  resumedAt: number | null;
  /** The newest pod by owner uid, kept after its deletion. */
  pod: Pod | null;
  podSeenAt: number | null;
  podDeletedAt: number | null;
  /** `pod` is the state that was told with its deletion, and not one from before a gap in the watch. */
  isPodFinal: boolean;
  /** When the current pod was first seen with a deletion timestamp. */
  podDeletingAt: number | null;
  scheduledAt: number | null;
  /** When the current pod was first seen `Succeeded` or `Failed`. */
  podEndedAt: number | null;
  /** Older pods that are not deleted, in the order of their creation. */
  olderPods: readonly Pod[];
  /** Uids of what only an answer of the server has shown, Job or pods: no watch will tell of its deletion. */
  unwatched: ReadonlySet<string>;
  /** How often a newer pod took the place of an older one. */
  podChanges: number;
  /** Uids of pods whose place a newer one took, newest last; within one second nothing else tells which is the newer. */
  replaced: readonly string[];
  /** Containers that an earlier pod has run: whatever keeps the newest one from starting, the run has begun. */
  ranBefore: ReadonlySet<string>;
  /** Start problems that stand now, by container name ("" = the pod itself). */
  problems: ReadonlyMap<string, StartProblem>;
  /** When a condition of the Job first said that it has ended. */
  jobEndedAt: number | null;
  /** When each container of the current pod was first seen ended, by name. */
  endedAt: ReadonlyMap<string, number>;
  /** Containers of the current pod that were seen to have been started. */
  started: ReadonlySet<string>;
  trust: Trust;
  /** The server was asked, and nothing has been told since. */
  answer: Answer | null;
  /** When the server was asked last. From then on, older states that a watch brings are no news. */
  askedAt: number | null;
  /** When it last told of the pods. */
  answeredAt: number | null;
  /** How often in a row it has not, with `answer`. */
  failedAsks: number;
}

/** That the server was asked. The objects that it answered with are frames of their own, folded before. */
export interface Answer {
  /** False: it gave no answer about the pods. */
  toldPods: boolean;
  /** Not to be asked again before. */
  askAgainAt: number;
}

export interface StartProblem {
  code: StartFailureCode;
  reason: string;
  message: string;
  since: number;
  /** The one of another code whose place it took: they may alternate. */
  former: Pick<StartProblem, "code" | "since"> | null;
}

export type RunFrame =
  /** `isAnswer`: the server said so when it was asked, and not the watch. */
  | { resource: "jobs"; type: "applied" | "deleted"; object: Job; at: number; isAnswer?: boolean }
  | { resource: "pods"; type: "applied" | "deleted"; object: Pod; at: number; isAnswer?: boolean }
  /** The server has no such Job. */
  | { resource: "jobs"; type: "missing"; at: number }
  | { resource: "watch"; trust: Trust; at: number }
  | { resource: "server"; answer: Answer; at: number };

type JobFrame = Extract<RunFrame, { resource: "jobs"; object: Job }>;
type PodFrame = Extract<RunFrame, { resource: "pods" }>;

const NO_PROBLEMS: ReadonlyMap<string, StartProblem> = new Map();
const NONE_ENDED: ReadonlyMap<string, number> = new Map();
const NO_CONTAINERS: ReadonlySet<string> = new Set();
const NONE_REPLACED: readonly string[] = [];
const NO_PODS: readonly Pod[] = [];
/** Enough for one second, in which a Job does not make so many pods; later ones differ in their creation time. */
const MAX_REPLACED = 32;

export const INITIAL_STATE: RunState = {
  job: null,
  jobSeenAt: null,
  jobDeletedAt: null,
  resumedAt: null,
  pod: null,
  podSeenAt: null,
  podDeletedAt: null,
  isPodFinal: false,
  podDeletingAt: null,
  scheduledAt: null,
  podEndedAt: null,
  olderPods: NO_PODS,
  unwatched: NO_CONTAINERS,
  podChanges: 0,
  replaced: NONE_REPLACED,
  ranBefore: NO_CONTAINERS,
  problems: NO_PROBLEMS,
  jobEndedAt: null,
  endedAt: NONE_ENDED,
  started: NO_CONTAINERS,
  trust: FULL_TRUST,
  answer: null,
  askedAt: null,
  answeredAt: null,
  failedAsks: 0,
};

/** One frame further. Pure: returns the same object when the frame is no news of this run. */
export function reduceRun(state: RunState, frame: RunFrame): RunState {
  switch (frame.resource) {
    case "jobs":
      if (frame.type !== "missing") return reduceJob(state, frame);
      return state.job === null ? { ...state, jobDeletedAt: state.jobDeletedAt ?? frame.at, answer: null } : state;
    case "pods":
      return reducePod(state, frame);
    case "watch":
      return state.trust === frame.trust ? state : { ...state, trust: frame.trust };
    case "server":
      return reduceAnswer(state, frame.answer, frame.at);
  }
}

function reduceAnswer(state: RunState, answer: Answer, at: number): RunState {
  const failedAsks = answer.toldPods ? 0 : (state.answer === null ? 0 : state.failedAsks) + 1;
  return { ...state, answer, askedAt: at, answeredAt: answer.toldPods ? at : state.answeredAt, failedAsks };
}

function reduceJob(before: RunState, frame: JobFrame): RunState {
  const { type, object: job, at } = frame;
  if (before.job !== null && before.job.metadata.uid !== job.metadata.uid) return before;
  const state = noteSource(before, frame, before.job === null || before.jobDeletedAt === null);
  const isBack = type === "applied" && state.jobDeletedAt !== null && isAliveAfter(job, state.job, frame);
  if (state.job !== null && !isBack && isOld(state, type, job, state.job)) return state;
  const isResumed = state.job?.spec.suspend === true && job.spec.suspend !== true;
  return {
    ...state,
    ...(isResumed ? { resumedAt: at } : {}),
    ...(isResumed && state.pod !== null && state.podDeletingAt !== null ? { ranBefore: ranIn(state) } : {}),
    job,
    jobSeenAt: state.jobSeenAt ?? at,
    jobDeletedAt: type === "deleted" ? (state.jobDeletedAt ?? at) : isBack ? null : state.jobDeletedAt,
    jobEndedAt: state.jobEndedAt ?? (jobFacts(job).end === null ? null : at),
    answer: null,
  };
}

function reducePod(before: RunState, frame: PodFrame): RunState {
  const isKnown = livePods(before).some(isOf(frame.object.metadata.uid));
  const state = noteSource(before, frame, isKnown);
  const { type, object: told, at } = frame;
  const known = state.pod;
  const isSame = known !== null && known.metadata.uid === told.metadata.uid;
  if (known !== null && !isSame && (type === "deleted" || !isNewer(told, known, state)))
    return reduceOlderPod(state, frame);
  const isBack = isSame && state.podDeletingAt !== null && type === "applied" && isAliveAfter(told, known, frame);
  if (isSame && !isBack && isOld(state, type, told, known)) return state;
  const same: RunState = isBack ? { ...state, podDeletedAt: null, isPodFinal: false, podDeletingAt: null } : state;
  const base = isSame ? same : replacedBy(told, state, at);
  // A list that does not show it any more comes with the cache's last state of it, the deletion itself with a version of its own.
  const order = isSame ? compareVersions(told.metadata.resourceVersion, known.metadata.resourceVersion) : 1;
  const pod = order < 0 && known !== null && type === "deleted" ? known : told;
  const { isScheduled, unscheduled, unprovided, hasEnded, deletingSince } = podFacts(pod);
  return {
    ...base,
    pod,
    podDeletedAt: type === "deleted" ? (base.podDeletedAt ?? at) : base.podDeletedAt,
    isPodFinal: base.isPodFinal || (type === "deleted" && order > 0),
    podDeletingAt: base.podDeletingAt ?? (deletingSince === null && type !== "deleted" ? null : at),
    scheduledAt: base.scheduledAt ?? (isScheduled ? at : null),
    podEndedAt: base.podEndedAt ?? (hasEnded ? at : null),
    ...containersOf(pod, unprovided ?? (unscheduled?.reason === "Unschedulable" ? unscheduled : null), base, at),
    answer: null,
  };
}

/** A newer pod takes the place of the one known. It may have been told as an older one: within a second that shows later. */
function replacedBy(newer: Pod, state: RunState, at: number): RunState {
  const { pod, podDeletedAt } = state;
  const isFirst = pod === null;
  const olderPods = state.olderPods.filter(({ metadata }) => metadata.uid !== newer.metadata.uid);
  return {
    ...state,
    podSeenAt: at,
    podDeletedAt: null,
    isPodFinal: false,
    podDeletingAt: null,
    scheduledAt: null,
    podEndedAt: null,
    olderPods: isFirst || podDeletedAt !== null ? olderPods : [...olderPods, pod],
    podChanges: state.podChanges + (isFirst ? 0 : 1),
    replaced: isFirst ? state.replaced : [...state.replaced, pod.metadata.uid].slice(-MAX_REPLACED),
    ranBefore: isFirst ? state.ranBefore : ranIn(state),
    problems: NO_PROBLEMS,
    endedAt: NONE_ENDED,
    started: NO_CONTAINERS,
  };
}

/** A pod that is not the newest: kept until it is deleted, since its log may still be read. */
function reduceOlderPod(state: RunState, { type, object: pod }: PodFrame): RunState {
  const known = state.olderPods.find(isOf(pod.metadata.uid));
  if (known === undefined ? type === "deleted" : isOld(state, type, pod, known)) return state;
  const others = state.olderPods.filter((each) => each !== known);
  // In its place: within one second nothing else tells the order.
  const told = known === undefined ? [...others, pod] : state.olderPods.map((each) => (each === known ? pod : each));
  const olderPods = type === "deleted" ? others : told.sort(byCreation);
  return { ...state, olderPods: olderPods.length === 0 ? NO_PODS : olderPods, answer: null };
}

/** A watch that has told of an object will tell of its deletion, too. */
function noteSource(
  state: RunState,
  { type, object, isAnswer = false }: JobFrame | PodFrame,
  isKnown: boolean,
): RunState {
  const { uid } = object.metadata;
  const wasUnwatched = state.unwatched.has(uid);
  const isUnwatched = type === "applied" && isAnswer && (wasUnwatched || !isKnown);
  if (isUnwatched === wasUnwatched) return state;
  const unwatched = new Set(state.unwatched);
  if (isUnwatched) unwatched.add(uid);
  else unwatched.delete(uid);
  return { ...state, unwatched };
}

/** The pods that are not deleted, in the order of their creation. */
export function livePods({ olderPods, pod, podDeletedAt }: RunState): readonly Pod[] {
  return pod === null || podDeletedAt !== null ? olderPods : [...olderPods, pod];
}

/** The pod that was made after `followed` (null: the first). Null when there is none. */
export function podAfter({ olderPods, pod }: RunState, followed: Pod | null): Pod | null {
  if (pod === null) return null;
  const pods = [...olderPods, pod];
  if (followed === null) return pods[0] ?? null;
  const { uid, creationTimestamp } = followed.metadata;
  const index = pods.findIndex(isOf(uid));
  if (index !== -1) return pods[index + 1] ?? null;
  // It is deleted. Creation times have whole seconds: where they do not tell, the newest was seen after it.
  return pods.find(({ metadata }) => metadata.creationTimestamp > creationTimestamp) ?? pod;
}

export function isOf(uid: string): (pod: Pod) => boolean {
  return ({ metadata }) => metadata.uid === uid;
}

function byCreation(a: Pod, b: Pod): number {
  const order = compareText(a.metadata.creationTimestamp, b.metadata.creationTimestamp);
  return order !== 0 ? order : Number(podFacts(b).hasEnded) - Number(podFacts(a).hasEnded);
}

/**
 * The answer to a create request and the watch tell of the same Job: the second is no news. Nor is what a watch that was behind
 * tells of after the server was asked. Else a lower version is a restored server's truth.
 */
function isOld({ askedAt }: RunState, type: "applied" | "deleted", told: Job | Pod, known: Job | Pod): boolean {
  if (type === "deleted") return false;
  const order = compareVersions(told.metadata.resourceVersion, known.metadata.resourceVersion);
  return order === 0 || (order < 0 && askedAt !== null);
}

/**
 * A deletion cannot be taken back, but to a watch that selects by labels an object is also deleted when a label is taken off, and
 * added again, with the same uid, when it is put back. The server has it meanwhile, at the version that was told as its deletion.
 */
function isAliveAfter(told: Job | Pod, known: Job | Pod | null, { isAnswer = false } = {}): boolean {
  if (known === null || isDeleting(told)) return false;
  const order = compareVersions(told.metadata.resourceVersion, known.metadata.resourceVersion);
  return order > 0 || (isAnswer && order === 0);
}

/** Creation times have whole seconds; of two pods of one second, the one that has not ended is the newer. */
function isNewer(pod: Pod, known: Pod, { replaced, podDeletedAt }: RunState): boolean {
  const order = compareText(pod.metadata.creationTimestamp, known.metadata.creationTimestamp);
  if (order !== 0) return order > 0;
  if (replaced.includes(pod.metadata.uid)) return false;
  return podDeletedAt !== null || podFacts(known).hasEnded || isDeleting(known);
}

function compareText(a: string, b: string): number {
  return Number(a > b) - Number(a < b);
}

/**
 * `ErrImagePull` and `ImagePullBackOff` alternate, and so may a want of processors and of volumes while an autoscaler brings nodes: a
 * code keeps its first sight, whatever the reason.
 */
function containersOf(
  pod: Pod,
  homeless: Words | null,
  known: RunState,
  at: number,
): Pick<RunState, "problems" | "endedAt" | "started"> {
  let problems: Map<string, StartProblem> | null = null;
  let endedAt: Map<string, number> | null = null;
  let started = known.started;
  const addProblem = (name: string, { code, reason, message }: Omit<StartProblem, "since" | "former">) => {
    const before = known.problems.get(name) ?? null;
    const isSame = before?.code === code;
    const since = isSame ? before.since : before?.former?.code === code ? before.former.since : at;
    const former = isSame || before === null ? (before?.former ?? null) : { code: before.code, since: before.since };
    problems ??= new Map();
    problems.set(name, { code, reason, message, since, former });
  };
  if (homeless !== null) {
    const isVolume = /persistentvolumeclaim|volume/i.test(homeless.message);
    addProblem("", { code: isVolume ? "volume" : "unschedulable", ...homeless });
  }
  for (const name of containerNames(pod)) {
    const container = containerFacts(pod, name);
    if (container.state === "waiting" && container.problem !== null)
      addProblem(name, { code: container.problem, reason: container.reason, message: container.message });
    if (container.state === "ended" || container.state === "never started") {
      endedAt ??= new Map();
      endedAt.set(name, known.endedAt.get(name) ?? at);
    }
    if (container.hasStarted === true && !started.has(name)) started = new Set(started).add(name);
  }
  return { problems: problems ?? NO_PROBLEMS, endedAt: endedAt ?? NONE_ENDED, started };
}

/** The Secret or ConfigMap that a container was missing was created `at`: the grace of its problem starts again then. */
export function restartConfigGrace(state: RunState, at: number): RunState {
  if (state.problems === NO_PROBLEMS) return state;
  const restarted = [...state.problems].map(([name, problem]): [string, StartProblem] => {
    const since = problem.code === "container_config" ? Math.max(problem.since, at) : problem.since;
    return [name, { ...problem, since, former: null }];
  });
  return { ...state, problems: new Map(restarted) };
}

function ranIn({ ranBefore, started }: RunState): ReadonlySet<string> {
  return started.size === 0 ? ranBefore : new Set([...ranBefore, ...started]);
}
