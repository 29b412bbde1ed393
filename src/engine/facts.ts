import { isDeleting, type Words } from "./job-facts.ts";
import type {
  Condition,
  Container,
  ContainerStateTerminated,
  ContainerStatus,
  Job,
  KubeObject,
  Pod,
  RestartRule,
} from "./kubernetes.ts";

export * from "./job-facts.ts";

/**
 * What one Job, one pod and one container of it say, each by itself. Pure, and the only place that gives their fields a meaning:
 * whoever asks whether something started, ended or is deleted asks here.
 */

export interface PodFacts {
  state: "pending" | "running" | "succeeded" | "failed";
  /** `succeeded` or `failed`: none of its containers runs or will run. */
  hasEnded: boolean;
  isScheduled: boolean;
  /** What the scheduler says of a pod that it found no node for: `Unschedulable`, `SchedulingGated`, … */
  unscheduled: Words | null;
  /** What a virtual node says of a pod that it cannot run: `ProviderFailed`, `OffloadingBackOff`. A kubelet gives a pending pod no reason. */
  unprovided: Words | null;
  /** When its deletion was asked for, in milliseconds on the server's clock. Null: it is not being deleted. */
  deletingSince: number | null;
  /** It is, or was, ended from outside: eviction, preemption, loss or shutdown of its node. */
  disruption: Words | null;
  /** The kubelet ended it without a deletion: what its containers exit with then, 0 included, is not their own end. */
  killedByKubelet: Words | null;
  /** The kubelet does not admit it. After a restart it asks that again, also of pods whose containers run: it ends them then. */
  refusedByKubelet: Words | null;
}

export function podFacts(pod: Pod): PodFacts {
  const { phase, reason = "", message = "" } = pod.status;
  const hasEnded = phase === "Succeeded" || phase === "Failed";
  const target = conditionOf(pod, "DisruptionTarget");
  const disrupted = target?.status === "True" ? wordsOf(target) : null;
  const scheduled = conditionOf(pod, "PodScheduled");
  const isScheduled = scheduled?.status === "True" || pod.spec.nodeName !== undefined;
  const byKubelet = DISRUPTED.has(reason) ? { reason, message } : null;
  const atDeadline = reason === "DeadlineExceeded" ? { reason, message } : null;
  return {
    state: phase === "Succeeded" ? "succeeded" : phase === "Failed" ? "failed" : isPending(pod) ? "pending" : "running",
    hasEnded,
    isScheduled,
    unscheduled: scheduled === undefined || scheduled.status === "True" ? null : wordsOf(scheduled),
    unprovided: isScheduled && isPending(pod) && UNPROVIDED.test(reason) ? { reason, message } : null,
    deletingSince: isDeleting(pod) ? deletionBegan(pod) : null,
    // KEP-3329: the API's eviction, preemption, taint manager and pod GC say so in the condition, the kubelet in the reason.
    disruption: disrupted ?? byKubelet,
    killedByKubelet:
      disrupted?.reason === "TerminationByKubelet" ? disrupted : phase === "Failed" ? (byKubelet ?? atDeadline) : null,
    refusedByKubelet: phase === "Failed" && REFUSED.test(reason) ? { reason, message } : null,
  };
}

/** Node pressure, preemption for a critical pod, loss and shutdown of the node (the last by three names over the releases). */
const DISRUPTED = new Set(["Evicted", "Preempting", "NodeLost", "Shutdown", "NodeShutdown", "Terminated"]);

const UNPROVIDED = /Failed|BackOff|Error/;

/** What admission handlers of kubelets say: of devices, topology, resources, and what the scheduler has looked at before. */
const REFUSED =
  /^(Unexpected(AdmissionError|PredicateFailureType)|UnknownReason|TopologyAffinityError|SMTAlignmentError|OutOf.+|NodeAffinity|NodeName|NodePorts|NodeUnschedulable|TaintToleration|AppArmor|PodOS.+|PodFeatureUnsupported|InvalidNodeInfo|VolumeAttachmentLimitExceeded|.*(Forbidden|NotSupported))$/;

/** `Unknown` is said of a pod whose node does not answer: it may run. */
function isPending({ status: { phase } }: Pod): boolean {
  return phase === undefined || phase === "Pending";
}

/** When an object's deletion was asked for: its `deletionTimestamp` is when the grace period will be over. */
export function deletionBegan({ metadata }: KubeObject): number {
  const { deletionTimestamp = "", deletionGracePeriodSeconds = 0 } = metadata;
  return Date.parse(deletionTimestamp) - deletionGracePeriodSeconds * 1000;
}

function wordsOf({ reason = "", message = "" }: Condition): Words {
  return { reason, message };
}

export function conditionOf({ status }: Job | Pod, type: string): Condition | undefined {
  for (const condition of status.conditions ?? []) if (condition.type === type) return condition;
  return undefined;
}

export type ContainerFacts = UnknownContainer | WaitingContainer | RunningContainer | NeverStarted | EndedContainer;

interface AnyContainer {
  /** Null: this does not tell. Of a container that was restarted, any of its starts counts. */
  hasStarted: boolean | null;
  restartCount: number;
}

/** The pod says nothing of it: not yet, or there is no such container, or its node tells only the pod's phase. */
export interface UnknownContainer extends AnyContainer {
  state: "unknown";
}

/** To be started, for the first time or again. */
export interface WaitingContainer extends AnyContainer, Words {
  state: "waiting";
  problem: StartProblemCode | null;
  /** How it ended when it ran last. */
  last: ContainerEnd | null;
}

export interface RunningContainer extends AnyContainer {
  state: "running";
  startedAt: string | null;
}

/** The runtime could not start it, and says why. */
export interface NeverStarted extends AnyContainer, Words {
  state: "never started";
  exitCode: number;
  /** The kubelet tries again. */
  isRestarted: boolean;
}

export interface EndedContainer extends AnyContainer, ContainerEnd {
  state: "ended";
  /** The kubelet starts it again in its pod, so this ends nothing. */
  isRestarted: boolean;
}

/** Times are the node's. */
export interface ContainerEnd extends Words {
  exitCode: number;
  signal: number | null;
  startedAt: string | null;
  finishedAt: string | null;
}

/** What keeps a container from being started. */
export type StartProblemCode = "image_pull" | "container_config" | "init_failed";

export function containerFacts(pod: Pod, name: string): ContainerFacts {
  const status = containerStatus(pod, name);
  const { waiting, running, terminated } = status?.state ?? {};
  const restartCount = status?.restartCount ?? 0;
  const last = status?.lastState?.terminated;
  /** An earlier time: of a container that the kubelet lost it keeps at least that it "used to be Running". */
  const hadStarted = last === undefined ? restartCount > 0 : !isStartError(last);
  const isMain = pod.spec.containers.some((each) => each.name === name);
  // Virtual nodes tell little but the pod's phase. It is said of the main containers.
  if (isMain && terminated === undefined && pod.status.phase === "Succeeded") {
    const untold = { ...UNTOLD_SUCCESS, startedAt: timeOf(running?.startedAt) };
    return { state: "ended", ...untold, isRestarted: false, hasStarted: true, restartCount };
  }
  if (running) return { state: "running", startedAt: timeOf(running.startedAt), hasStarted: true, restartCount };
  if (terminated) {
    const end = endOfContainer(terminated);
    const isRestarted = isRestartedInPlace(pod, name, end.exitCode);
    if (!isStartError(terminated))
      return {
        state: "ended",
        ...end,
        isRestarted,
        hasStarted: hadStarted || !isLost(terminated) || null,
        restartCount,
      };
    const { exitCode, reason, message } = end;
    return { state: "never started", exitCode, reason, message, isRestarted, hasStarted: hadStarted, restartCount };
  }
  // A kubelet gives a reason for each wait.
  if (isMain && pod.status.phase === "Running" && !waiting?.reason)
    return { state: "running", startedAt: null, hasStarted: true, restartCount };
  const isUntold = isMain && pod.status.phase === "Failed" && !waiting?.reason && last === undefined;
  if (status === undefined || isUntold) return { state: "unknown", hasStarted: null, restartCount };
  const { reason = "", message = "" } = waiting ?? {};
  return {
    state: "waiting",
    reason,
    message,
    problem: problemOf(pod, name, { reason, message }),
    last: last !== undefined && hadStarted ? endOfContainer(last) : null,
    hasStarted: hadStarted,
    restartCount,
  };
}

/** The containers that a pod tells of, or else has to run. */
export function containerNames({ spec, status }: Pod): string[] {
  const names: string[] = [];
  for (const { name } of status.initContainerStatuses ?? []) names.push(name);
  for (const { name } of status.containerStatuses ?? []) names.push(name);
  for (const { name } of spec.containers) if (!names.includes(name)) names.push(name);
  return names;
}

/** Did a virtual node say that the pod failed and nothing else? A kubelet gives a reason where it did not start the containers. */
export function isEndUntold(pod: Pod, name: string): boolean {
  const { phase, reason = "" } = pod.status;
  return phase === "Failed" && reason === "" && containerFacts(pod, name).state === "unknown";
}

export function isSidecar({ spec }: Pod, name: string): boolean {
  return spec.initContainers?.find((each) => each.name === name)?.restartPolicy === "Always";
}

export function isInit({ spec }: Pod, name: string): boolean {
  return spec.initContainers?.some((each) => each.name === name) === true;
}

function containerStatus({ status }: Pod, name: string): ContainerStatus | undefined {
  for (const each of status.containerStatuses ?? []) if (each.name === name) return each;
  for (const each of status.initContainerStatuses ?? []) if (each.name === name) return each;
  return undefined;
}

const UNTOLD_SUCCESS: ContainerEnd = {
  exitCode: 0,
  signal: null,
  reason: "Completed",
  message: "",
  startedAt: null,
  finishedAt: null,
};

function endOfContainer(terminated: ContainerStateTerminated): ContainerEnd {
  const { exitCode, signal = null, reason = "", message = "", startedAt, finishedAt } = terminated;
  return { exitCode, signal, reason, message, startedAt: timeOf(startedAt), finishedAt: timeOf(finishedAt) };
}

/** Runtimes that have no time write the epoch, or what is Go's: the year 1, or 1754 where it was counted in nanoseconds (CRI-O). */
function timeOf(time: string | undefined): string | null {
  return time === undefined || time < "1971" ? null : time;
}

/**
 * The runtime could not start the process (no such file, no such directory), so nothing of it ran. containerd gives no start time,
 * cri-dockerd and CRI-O that of the creation twice.
 */
function isStartError({
  exitCode,
  reason = "",
  message = "",
  startedAt,
  finishedAt,
}: ContainerStateTerminated): boolean {
  // CRI-O has no reason of its own for it, but an exit code that no process has.
  const isOfCrio = exitCode === -1 && /^failed to start container\b/.test(message);
  return (START_ERRORS.has(reason) || isOfCrio) && (timeOf(startedAt) === null || startedAt === finishedAt);
}

const START_ERRORS = new Set(["StartError", "ContainerCannotRun", "ContainerStartError"]);

/**
 * What the kubelet writes of a container that it cannot find any more, and of one that it never started before its pod was
 * deleted.
 */
function isLost({ reason, startedAt }: ContainerStateTerminated): boolean {
  return reason === "ContainerStatusUnknown" && timeOf(startedAt) === null;
}

/**
 * Does the kubelet start the container again in this pod? By its own rules and policy (KEP-5307), else by the pod's policy; or
 * with all others, after the exit of one that says so (KEP-5532).
 */
function isRestartedInPlace(pod: Pod, name: string, exitCode: number): boolean {
  const { spec, status } = pod;
  if (status.phase === "Succeeded" || status.phase === "Failed" || isDeleting(pod)) return false;
  if (areAllRestarted(pod)) return true;
  const init = spec.initContainers?.find((each) => each.name === name);
  const container = init ?? spec.containers.find((each) => each.name === name);
  if (ruleFor(container, exitCode) !== undefined) return true;
  const policy = container?.restartPolicy ?? spec.restartPolicy ?? "Always";
  // An init container that has succeeded is done, whatever the pod's policy.
  if (policy === "Always" && init !== undefined && init.restartPolicy !== "Always") return exitCode !== 0;
  return policy === "Always" || (policy === "OnFailure" && exitCode !== 0);
}

function areAllRestarted(pod: Pod): boolean {
  if (conditionOf(pod, "AllContainersRestarting")?.status === "True") return true;
  const { containers, initContainers = [] } = pod.spec;
  const restartsAll = (container: Container) => {
    if (container.restartRules === undefined) return false;
    const exitCode = containerStatus(pod, container.name)?.state?.terminated?.exitCode;
    return exitCode !== undefined && ruleFor(container, exitCode)?.action === "RestartAllContainers";
  };
  return containers.some(restartsAll) || initContainers.some(restartsAll);
}

/** The first that fits counts. */
function ruleFor(container: Container | undefined, exitCode: number): RestartRule | undefined {
  return container?.restartRules?.find(({ isIn, exitCodes }) => exitCodes.includes(exitCode) === isIn);
}

/** Waiting reasons of the kubelet (pkg/kubelet/images, pkg/kubelet/container) that keep a container from starting. */
const WAITING_PROBLEMS: ReadonlyMap<string, StartProblemCode> = new Map([
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
]);

/**
 * A container in `CrashLoopBackOff` is tried again, which is for the Job to end; but a sidecar is tried for as long as its pod lives.
 * A kubelet that pulls too many images at once has not asked for this one yet.
 */
function problemOf(pod: Pod, name: string, { reason, message }: Words): StartProblemCode | null {
  if (message.includes("pull QPS exceeded")) return null;
  if (reason === "CrashLoopBackOff" && isSidecar(pod, name)) return "init_failed";
  return WAITING_PROBLEMS.get(reason) ?? null;
}
