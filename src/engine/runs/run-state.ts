import { compareVersions } from "../informer/store.ts";
import type { Condition, ContainerStateTerminated, ContainerStatus, Job, Pod } from "../kubernetes.ts";
import type { StartFailureCode } from "./types.ts";

/**
 * What is known about one run: a fold over the frames of the two watches. Plain data, no clock of its own; `at` is the
 * caller's monotonic time in milliseconds (or a recording's `ms`).
 */
export interface RunState {
  /** Last known state of the Job, kept after its deletion. */
  job: Job | null;
  jobSeenAt: number | null;
  jobDeletedAt: number | null;
  /** When the Job was last seen to go on after a suspension. A pod that was being deleted by then is of the time before. */
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
  podTerminalAt: number | null;
  /** How often a newer pod took the place of an older one. */
  podChanges: number;
  /** Uids of pods whose place a newer one took, newest last; within one second nothing else tells which is the newer. */
  replaced: readonly string[];
  /** Containers that an earlier pod has run: whatever keeps the newest one from starting, the run has begun. */
  ranBefore: ReadonlySet<string>;
  /** Start problems that stand now, by container name ("" = the pod itself). */
  problems: ReadonlyMap<string, StartProblem>;
  /** When a Job condition first said that the run is over. */
  jobConditionAt: number | null;
  /** When each container of the current pod was first seen terminated, by name. */
  endedAt: ReadonlyMap<string, number>;
  /** Containers of the current pod that have a status and have not been started. */
  notStarted: ReadonlySet<string>;
}

export interface StartProblem {
  code: StartFailureCode;
  reason: string;
  message: string;
  since: number;
}

export type RunFrame =
  | { resource: "jobs"; type: "applied" | "deleted"; object: Job; at: number }
  | { resource: "pods"; type: "applied" | "deleted"; object: Pod; at: number };

const NO_PROBLEMS: ReadonlyMap<string, StartProblem> = new Map();
const NONE_ENDED: ReadonlyMap<string, number> = new Map();
const NO_CONTAINERS: ReadonlySet<string> = new Set();
const NONE_REPLACED: readonly string[] = [];
/** Older ones are told from the newest by their creation time: a Job does not make so many pods in one second. */
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
  podTerminalAt: null,
  podChanges: 0,
  replaced: NONE_REPLACED,
  ranBefore: NO_CONTAINERS,
  problems: NO_PROBLEMS,
  jobConditionAt: null,
  endedAt: NONE_ENDED,
  notStarted: NO_CONTAINERS,
};

/** One frame further. Pure: returns the same object when the frame says nothing about this run's current Job and pod. */
export function reduceRun(state: RunState, frame: RunFrame): RunState {
  return frame.resource === "jobs" ? reduceJob(state, frame) : reducePod(state, frame);
}

function reduceJob(state: RunState, { type, object: job, at }: Extract<RunFrame, { resource: "jobs" }>): RunState {
  if (state.job !== null && state.job.metadata.uid !== job.metadata.uid) return state;
  const isResumed = state.job?.spec.suspend === true && job.spec.suspend !== true;
  const isBack = type === "applied" && isAliveAfter(job, state.job);
  return {
    ...state,
    ...(isResumed ? { resumedAt: at } : {}),
    ...(isResumed && state.pod !== null && state.podDeletingAt !== null ? { ranBefore: ranBy(state.pod, state) } : {}),
    job,
    jobSeenAt: state.jobSeenAt ?? at,
    jobDeletedAt: type === "deleted" ? (state.jobDeletedAt ?? at) : isBack ? null : state.jobDeletedAt,
    jobConditionAt: state.jobConditionAt ?? (terminalCondition(job) === null ? null : at),
  };
}

function reducePod(state: RunState, { type, object: told, at }: Extract<RunFrame, { resource: "pods" }>): RunState {
  const known = state.pod;
  const isSame = known !== null && known.metadata.uid === told.metadata.uid;
  if (known !== null && !isSame && (type === "deleted" || !isNewer(told, known, state))) return state;
  const isBack = isSame && state.podDeletingAt !== null && type === "applied" && isAliveAfter(told, known);
  const same: RunState = isBack ? { ...state, podDeletedAt: null, isPodFinal: false, podDeletingAt: null } : state;
  const base: RunState = isSame
    ? same
    : {
        ...state,
        podSeenAt: at,
        podDeletedAt: null,
        isPodFinal: false,
        podDeletingAt: null,
        scheduledAt: null,
        podTerminalAt: null,
        podChanges: state.podChanges + (known === null ? 0 : 1),
        replaced: known === null ? state.replaced : [...state.replaced, known.metadata.uid].slice(-MAX_REPLACED),
        ranBefore: known === null ? state.ranBefore : ranBy(known, state),
        problems: NO_PROBLEMS,
        endedAt: NONE_ENDED,
        notStarted: NO_CONTAINERS,
      };
  // A list that does not show it any more comes with the cache's last state of it, the deletion itself with a version of its own.
  const order = isSame ? compareVersions(told.metadata.resourceVersion, known.metadata.resourceVersion) : 1;
  const pod = order < 0 && known !== null && type === "deleted" ? known : told;
  return {
    ...base,
    pod,
    podDeletedAt: type === "deleted" ? (base.podDeletedAt ?? at) : base.podDeletedAt,
    isPodFinal: base.isPodFinal || (type === "deleted" && order > 0),
    podDeletingAt:
      base.podDeletingAt ?? (pod.metadata.deletionTimestamp === undefined && type !== "deleted" ? null : at),
    scheduledAt: base.scheduledAt ?? (isScheduled(pod) ? at : null),
    podTerminalAt: base.podTerminalAt ?? (isPodTerminal(pod) ? at : null),
    problems: problemsOf(pod, base.problems, at),
    endedAt: endedOf(pod, base.endedAt, at),
    notStarted: notStartedOf(pod, isSame ? known : null, base.notStarted),
  };
}

/**
 * A deletion cannot be taken back, but to a watch that selects by labels an object is also deleted when a label is taken off, and
 * added again, with the same uid, when it is put back.
 */
function isAliveAfter(told: Job | Pod, known: Job | Pod | null): boolean {
  if (known === null || told.metadata.deletionTimestamp !== undefined) return false;
  return compareVersions(told.metadata.resourceVersion, known.metadata.resourceVersion) > 0;
}

/** Creation times have whole seconds; within one second a pod that still lives is newer than one that is done. */
function isNewer(pod: Pod, known: Pod, { replaced, podDeletedAt }: RunState): boolean {
  const order = compareText(pod.metadata.creationTimestamp, known.metadata.creationTimestamp);
  if (order !== 0) return order > 0;
  if (replaced.includes(pod.metadata.uid)) return false;
  return podDeletedAt !== null || isPodTerminal(known) || known.metadata.deletionTimestamp !== undefined;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Waiting reasons of the kubelet (pkg/kubelet/images, pkg/kubelet/container) that keep a container from starting. */
const WAITING_PROBLEMS: ReadonlyMap<string, StartFailureCode> = new Map([
  ["ErrImagePull", "image_pull"],
  ["ImagePullBackOff", "image_pull"],
  ["InvalidImageName", "image_pull"],
  ["ErrImageNeverPull", "image_pull"],
  ["ImageInspectError", "image_pull"],
  ["RegistryUnavailable", "image_pull"],
  ["SignatureValidationFailed", "image_pull"],
  ["CreateContainerConfigError", "container_config"],
  ["CreateContainerError", "container_config"],
  ["PreCreateHookError", "container_config"],
  ["PreStartHookError", "container_config"],
  ["PostStartHookError", "container_config"],
  ["RunContainerError", "container_config"],
  ["CrashLoopBackOff", "init_failed"],
]);

/** `ErrImagePull` and `ImagePullBackOff` alternate for ever: the same code keeps its first sight, whatever the reason. */
function problemsOf(pod: Pod, known: ReadonlyMap<string, StartProblem>, at: number): ReadonlyMap<string, StartProblem> {
  const found = new Map<string, StartProblem>();
  const add = (name: string, code: StartFailureCode, reason: string, message: string) => {
    const before = known.get(name);
    found.set(name, { code, reason, message, since: before?.code === code ? before.since : at });
  };
  const scheduled = condition(pod.status.conditions, "PodScheduled");
  if (scheduled?.status === "False" && scheduled.reason === "Unschedulable") {
    const message = scheduled.message ?? "";
    add("", /persistentvolumeclaim|volume/i.test(message) ? "volume" : "unschedulable", "Unschedulable", message);
  }
  for (const status of pod.status.initContainerStatuses ?? []) addWaiting(status, true);
  for (const status of pod.status.containerStatuses ?? []) addWaiting(status, false);
  return found.size === 0 ? NO_PROBLEMS : found;

  function addWaiting(status: ContainerStatus, init: boolean): void {
    const reason = status.state?.waiting?.reason;
    if (reason === undefined) return;
    const code = WAITING_PROBLEMS.get(reason);
    // A main container in CrashLoopBackOff has run: its restarts are the Job's business, not a failure to start.
    if (code === undefined || (reason === "CrashLoopBackOff" && !init)) return;
    add(status.name, code, reason, status.state?.waiting?.message ?? "");
  }
}

/** What a container was missing was provided `at`: that it is still said to be missing counts from then. */
export function restartConfigGrace(state: RunState, at: number): RunState {
  if (state.problems === NO_PROBLEMS) return state;
  const restarted = [...state.problems].map(
    ([name, problem]) =>
      [
        name,
        problem.code === "container_config" ? { ...problem, since: Math.max(problem.since, at) } : problem,
      ] as const,
  );
  return { ...state, problems: new Map(restarted) };
}

function endedOf(pod: Pod, known: ReadonlyMap<string, number>, at: number): ReadonlyMap<string, number> {
  let ended: Map<string, number> | null = null;
  for (const status of statusesOf(pod)) {
    if (status.state?.terminated === undefined) continue;
    ended ??= new Map();
    ended.set(status.name, known.get(status.name) ?? at);
  }
  return ended ?? NONE_ENDED;
}

function notStartedOf(pod: Pod, before: Pod | null, known: ReadonlySet<string>): ReadonlySet<string> {
  const waiting = new Set<string>();
  for (const status of statusesOf(pod)) {
    const { name, state, lastState, restartCount } = status;
    if (state?.running !== undefined || restartCount > 0 || lastState?.terminated !== undefined) continue;
    if (state?.terminated === undefined) waiting.add(name);
    else if (isLost(state.terminated)) {
      const isFirstSight = before === null || containerStatus(before, name) === undefined;
      if (isFirstSight || known.has(name)) waiting.add(name);
    }
  }
  return waiting.size === 0 ? NO_CONTAINERS : waiting;
}

/**
 * What the kubelet writes of a container that it cannot find any more, and of one that it never started before its pod was
 * deleted. Only of the former it keeps a `lastState` ("used to be Running"), where it had told of it before.
 */
function isLost({ reason, startedAt }: ContainerStateTerminated): boolean {
  return reason === "ContainerStatusUnknown" && startedAt === undefined;
}

function ranBy(pod: Pod, { ranBefore, notStarted }: RunState): ReadonlySet<string> {
  const ran = new Set(ranBefore);
  for (const { name } of statusesOf(pod)) if (!notStarted.has(name)) ran.add(name);
  return ran.size === 0 ? NO_CONTAINERS : ran;
}

function statusesOf({ status }: Pod): readonly ContainerStatus[] {
  const { containerStatuses = [], initContainerStatuses } = status;
  return initContainerStatuses === undefined ? containerStatuses : [...containerStatuses, ...initContainerStatuses];
}

export function condition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((each) => each.type === type);
}

function isScheduled(pod: Pod): boolean {
  return condition(pod.status.conditions, "PodScheduled")?.status === "True" || pod.spec.nodeName !== undefined;
}

export function isPodTerminal(pod: Pod): boolean {
  return pod.status.phase === "Succeeded" || pod.status.phase === "Failed";
}

/**
 * The Job's word that it is over. `SuccessCriteriaMet` and `FailureTarget` (KEP-3998, KEP-4026) come before `Complete` and
 * `Failed`, while pods may still be terminating, and cannot be taken back.
 */
export function terminalCondition(job: Job): Condition | null {
  let found: Condition | null = null;
  for (const each of job.status.conditions ?? []) {
    if (each.status !== "True") continue;
    if (each.type === "Complete" || each.type === "Failed") return each;
    if (each.type === "SuccessCriteriaMet" || each.type === "FailureTarget") found = each;
  }
  return found;
}

export function containerStatus(pod: Pod, name: string): ContainerStatus | undefined {
  return (
    pod.status.containerStatuses?.find((each) => each.name === name) ??
    pod.status.initContainerStatuses?.find((each) => each.name === name)
  );
}
