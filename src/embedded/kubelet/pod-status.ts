/** The `status` that the kubelet writes about a pod, as a pure function of what it knows of the pod's containers. */
import { createHash } from "node:crypto";
import { podAmounts } from "../objects/pod-amounts.ts";
import { formatQuantity } from "../objects/quantity.ts";
import {
  type Condition,
  type ContainerSpec,
  type ContainerState,
  type ContainerStatus,
  condition,
  type Pod,
  type PodPhase,
  type PodSpec,
  type PodStatus,
} from "../objects/workloads.ts";
import { actionAfterExit, actionAfterInitExit, canRestartAll } from "./restart-policy.ts";

export type ContainerKind = "init" | "sidecar" | "main";

/** What the kubelet knows of one container. */
export interface ContainerView {
  readonly spec: ContainerSpec;
  readonly kind: ContainerKind;
  state: ContainerState;
  lastState: ContainerState;
  restartCount: number;
  /** Set once it has been created: such a container has an image id. */
  containerID: string | null;
  /** The pod was stopped before the runtime had anything to say about it: reported as ended, counted as waiting. */
  lost: boolean;
}

export interface PodResources {
  requests?: Record<string, string>;
  limits?: Record<string, string>;
}

export interface PodView {
  readonly containers: readonly ContainerView[];
  sandboxReady: boolean;
  hostIP: string;
  podIP: string | null;
  startTime: string;
  /** Everything is stopped and cleaned up: the phase may be final. Until then the pod stays Running or Pending. */
  stopped: boolean;
  /** All containers are being stopped, to be started again from the first init container (KEP-5532). */
  restartsAll: boolean;
  /** A main container has been reported to run: the kubelet then also reports the pod's cgroup limits. */
  hasRun: boolean;
  /** What the pod asks for as a whole. */
  readonly resources: PodResources;
  /** False on a node that tells of the pod only, as virtual kubelets do. */
  reportsContainers: boolean;
  /** Evicted, NodeLost … with its message, and the condition that goes with it. */
  disruption: { phase?: PodPhase; reason: string; message: string; condition: Condition | null } | null;
}

/** Order of the kubelet's own conditions in a status. */
const ownConditions = [
  "PodReadyToStartContainers",
  "Initialized",
  "Ready",
  "ContainersReady",
  "PodScheduled",
  "AllContainersRestarting",
];

export function podStatus(pod: Pod, view: PodView, now: string): PodStatus {
  const generation = pod.metadata.generation ?? 1;
  const computed = view.restartsAll
    ? (pod.status.phase ?? "Running")
    : podPhase(pod.spec, view.containers, view.stopped);
  const conditions = podConditions(view, computed).map((next) => stamped(next, pod, generation, now));
  const scheduled = condition(pod.status.conditions, "PodScheduled");
  if (scheduled !== undefined) conditions.push(withGeneration(scheduled, generation));
  if (canRestartAll(pod.spec)) conditions.push(stamped(allContainersRestarting(view, computed), pod, generation, now));
  const foreign = (pod.status.conditions ?? []).filter(({ type }) => !ownConditions.includes(type));
  if (view.disruption?.condition && !foreign.some(({ type }) => type === view.disruption?.condition?.type)) {
    foreign.push(view.disruption.condition);
  }
  const inits = view.containers.filter(({ kind }) => kind !== "main");
  const mains = view.containers.filter(({ kind }) => kind === "main");
  const { podIP, hostIP, disruption } = view;
  // While containers still run, the API keeps the phase, and with it reason and message (status manager `mergePodStatus`).
  const said = disruption === null || (disruption.phase === "Failed" && !view.stopped) ? null : disruption;
  return {
    observedGeneration: generation,
    phase: reportedPhase(pod, view, computed),
    conditions: [...foreign, ...conditions],
    ...(said === null ? {} : { message: said.message, reason: said.reason }),
    hostIP,
    hostIPs: [{ ip: hostIP }],
    ...(podIP === null ? {} : { podIP, podIPs: [{ ip: podIP }] }),
    startTime: view.startTime,
    ...(inits.length > 0 && view.reportsContainers
      ? { initContainerStatuses: inits.map((container) => containerStatus(pod.spec, container)) }
      : {}),
    ...(view.reportsContainers
      ? { containerStatuses: mains.map((container) => containerStatus(pod.spec, container)) }
      : {}),
    qosClass: pod.status.qosClass ?? "BestEffort",
    ...(view.resources.requests === undefined ? {} : { allocatedResources: view.resources.requests }),
    resources: view.hasRun ? withUnlimitedMemory(view.resources) : view.resources,
  };
}

/** What a pod asks for, as the status words it. */
export function podResources(spec: PodSpec): PodResources {
  const resources: PodResources = {};
  for (const kind of ["limits", "requests"] as const) {
    const amounts = Object.entries(podAmounts(spec, kind));
    if (amounts.length > 0) {
      resources[kind] = Object.fromEntries(amounts.map(([name, amount]) => [name, formatQuantity(amount)]));
    }
  }
  return resources;
}

/** The limit of a pod that has none, as the kubelet reads it from the pod's cgroup once it runs. */
function withUnlimitedMemory(resources: PodResources): PodResources {
  if (resources.limits?.memory !== undefined) return resources;
  return { ...resources, limits: { memory: "9007199254740988Ki", ...resources.limits } };
}

function reportedPhase(pod: Pod, view: PodView, computed: PodPhase): PodPhase {
  const forced = view.disruption?.phase;
  if (forced !== undefined && (forced !== "Failed" || view.stopped)) return forced;
  if (computed !== "Succeeded" && computed !== "Failed") return view.stopped ? "Failed" : computed;
  if (view.stopped) return computed;
  const before = pod.status.phase;
  return before === "Running" || view.hasRun ? "Running" : "Pending";
}

/** Kubelet `getPhase`. `terminal`: the pod is stopped, so that no container is started again. */
function podPhase(spec: PodSpec, containers: readonly ContainerView[], terminal = false): PodPhase {
  let runningSidecars = 0;
  for (const { kind, state, lastState, spec: container } of containers) {
    if (kind === "init") {
      if (state.terminated === undefined) return "Pending";
      const { exitCode } = state.terminated;
      if (exitCode === 0) continue;
      return terminal || actionAfterInitExit(spec, container, exitCode) === "none" ? "Failed" : "Pending";
    }
    if (kind === "sidecar") {
      if (state.running !== undefined) runningSidecars++;
      else if (state.waiting !== undefined && lastState.terminated === undefined) return "Pending";
    }
  }
  let running = 0;
  let stopped = 0;
  let succeeded = 0;
  let restarting = 0;
  for (const { kind, state, lastState, spec: container } of containers) {
    if (kind !== "main") continue;
    if (state.running !== undefined) running++;
    else if (state.terminated !== undefined) {
      stopped++;
      const { exitCode } = state.terminated;
      if (exitCode === 0) succeeded++;
      if (actionAfterExit(spec, container, exitCode) !== "none") restarting++;
    } else if (lastState.terminated !== undefined) restarting++;
    else return "Pending";
  }
  if (running > 0 || runningSidecars > 0 || (restarting > 0 && !terminal)) return "Running";
  return stopped === succeeded && stopped > 0 ? "Succeeded" : "Failed";
}

type NewCondition = Pick<Condition, "type" | "status" | "reason" | "message">;

function podConditions(view: PodView, phase: PodPhase): NewCondition[] {
  const ready = readiness(view, phase);
  return [
    { type: "PodReadyToStartContainers", status: view.sandboxReady ? "True" : "False" },
    initialized(view, phase),
    { type: "Ready", ...ready },
    { type: "ContainersReady", ...ready },
  ];
}

function allContainersRestarting({ restartsAll }: PodView, phase: PodPhase): NewCondition {
  const type = "AllContainersRestarting";
  if (phase === "Succeeded") return { type, status: "False", reason: "PodCompleted" };
  if (phase === "Failed") return { type, status: "False", reason: "PodFailed" };
  if (!restartsAll) return { type, status: "False" };
  const message = "container exited with restart policy rule";
  return { type, status: "True", reason: "RestartAllContainersStarted", message };
}

function initialized({ containers }: PodView, phase: PodPhase): NewCondition {
  if (phase === "Succeeded") return { type: "Initialized", status: "True", reason: "PodCompleted" };
  const started = containers.some(({ kind, containerID }) => kind === "main" && containerID !== null);
  const incomplete = containers.filter((container) => container.kind !== "main" && !isInitialized(container));
  if (started || incomplete.length === 0) return { type: "Initialized", status: "True" };
  return {
    type: "Initialized",
    status: "False",
    reason: "ContainersNotInitialized",
    message: `containers with incomplete status: [${names(incomplete)}]`,
  };
}

function isInitialized({ kind, state }: ContainerView): boolean {
  return kind === "sidecar" ? state.running !== undefined : state.terminated?.exitCode === 0;
}

function readiness({ containers, disruption }: PodView, phase: PodPhase): Omit<NewCondition, "type"> {
  if (phase === "Succeeded") return { status: "False", reason: "PodCompleted" };
  if (phase === "Failed" || disruption?.phase === "Failed") return { status: "False", reason: "PodFailed" };
  const unready = containers.filter((container) => container.kind !== "init" && container.state.running === undefined);
  if (unready.length === 0) return { status: "True" };
  return {
    status: "False",
    reason: "ContainersNotReady",
    message: `containers with unready status: [${names(unready)}]`,
  };
}

function names(containers: readonly ContainerView[]): string {
  return containers.map(({ spec }) => spec.name).join(" ");
}

/** The time of transition moves only when the status does. */
function stamped(next: NewCondition, pod: Pod, generation: number, now: string): Condition {
  const before = condition(pod.status.conditions, next.type);
  const { type, status, reason, message } = next;
  return {
    type,
    observedGeneration: generation,
    status,
    lastProbeTime: null,
    lastTransitionTime: before?.status === status ? (before.lastTransitionTime ?? now) : now,
    ...(reason === undefined ? {} : { reason }),
    ...(message === undefined ? {} : { message }),
  };
}

function withGeneration({ type, ...rest }: Condition, generation: number): Condition {
  return { type, ...rest, observedGeneration: generation };
}

function containerStatus(spec: PodSpec, container: ContainerView): ContainerStatus {
  const { lastState, restartCount, containerID, kind } = container;
  const state = container.lost ? unknownState : container.state;
  const { name, image, resources, volumeMounts } = container.spec;
  const created = containerID !== null;
  const ready = kind === "init" ? state.terminated?.exitCode === 0 : state.running !== undefined;
  const requests = resources?.requests;
  return {
    name,
    state,
    lastState,
    ready,
    restartCount,
    image: created ? canonicalImage(image) : image,
    imageID: created ? imageId(image) : "",
    ...(created ? { containerID: `containerd://${containerID}` } : {}),
    started: state.running !== undefined,
    ...(created && requests !== undefined ? { allocatedResources: requests } : {}),
    ...(created ? { resources: resources ?? {} } : {}),
    ...(volumeMounts === undefined
      ? {}
      : {
          volumeMounts: volumeMounts.map(({ name: volume, mountPath, readOnly }) => ({
            name: volume,
            mountPath,
            ...(readOnly === true ? { readOnly: true, recursiveReadOnly: "Disabled" } : {}),
          })),
        }),
    ...(created ? { user: { linux: containerUser(spec, container.spec) } } : {}),
  };
}

/** What the kubelet says of a container of which it has lost track. */
export const unknownState: ContainerState = {
  terminated: {
    exitCode: 137,
    reason: "ContainerStatusUnknown",
    message: "The container could not be located when the pod was terminated",
    startedAt: null,
    finishedAt: null,
  },
};

function containerUser(pod: PodSpec, container: ContainerSpec): object {
  const merged = { ...pod.securityContext, ...container.securityContext };
  const gid = merged.runAsGroup ?? 0;
  return {
    uid: merged.runAsUser ?? 0,
    gid,
    supplementalGroups: merged.fsGroup === undefined || merged.fsGroup === gid ? [gid] : [gid, merged.fsGroup],
  };
}

/** `busybox:1.36` → `docker.io/library/busybox:1.36`. */
export function canonicalImage(image: string): string {
  const slash = image.indexOf("/");
  const host = slash === -1 ? "" : image.slice(0, slash);
  const hasRegistry = host.includes(".") || host.includes(":") || host === "localhost";
  const path = hasRegistry ? image : `docker.io/${slash === -1 ? "library/" : ""}${image}`;
  return /[:@][^/]*$/.test(path) ? path : `${path}:latest`;
}

const imageIds = new Map<string, string>();

function imageId(image: string): string {
  let id = imageIds.get(image);
  if (id === undefined) {
    const name = canonicalImage(image);
    const digest = createHash("sha256").update(name).digest("hex");
    id = `${name.replace(/[:@][^/]*$/, "")}@sha256:${digest}`;
    if (imageIds.size > 1000) imageIds.clear();
    imageIds.set(image, id);
  }
  return id;
}
