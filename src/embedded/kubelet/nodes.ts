/** The cluster's nodes: their Node objects, their kubelets, and what can happen to a node. */
import { type Clock, SleepAbortedError } from "../clock.ts";
import { badRequest, type StatusError } from "../objects/status-error.ts";
import type { Taint } from "../objects/taint.ts";
import { type Condition, type ContainerSpec, isPodFinished, type Node, type Pod, podOf } from "../objects/workloads.ts";
import type { StoreEvent } from "../store/change-feed.ts";
import { disruptionTarget } from "../store/disruption.ts";
import type { ContainerLog } from "./container-log.ts";
import { Kubelet } from "./kubelet.ts";
import type { KubeletOptions } from "./pod-host.ts";
import type { PodWorker } from "./pod-worker.ts";

export interface NodeOptions {
  name: string;
  labels?: Record<string, string>;
  taints?: Taint[];
  /** Default 64. */
  cpu?: string;
  /** Default 256Gi. */
  memory?: string;
  /** How many pods it takes. Default 100 000. */
  pods?: number;
  /** Milliseconds by which its clock is ahead of the cluster's (negative: behind). Default 0. */
  clockSkewMs?: number;
  /** Whether the pods' statuses tell of their containers. Default true; false as on virtual nodes, which tell the phase only. */
  reportsContainers?: boolean;
}

/** @internal */
export interface NodesOptions
  extends Omit<KubeletOptions, "nodeName" | "hostIP" | "podSubnet" | "clockSkewMs" | "reportsContainers"> {
  nodes: number | readonly NodeOptions[];
}

const lostAfterMs = 50_000;
const unreachable: Taint = { key: "node.kubernetes.io/unreachable", effect: "NoExecute" };

export class Nodes {
  readonly #options: NodesOptions;
  readonly #kubelets = new Map<string, Kubelet>();

  /** @internal */
  constructor(options: NodesOptions) {
    this.#options = options;
    const nodes =
      typeof options.nodes === "number"
        ? Array.from({ length: options.nodes }, (_, index) => ({
            name: options.nodes === 1 ? "embedded-node" : `embedded-node-${index + 1}`,
          }))
        : options.nodes;
    for (const node of nodes) this.add(node);
  }

  names(): string[] {
    return [...this.#kubelets.keys()];
  }

  add(node: NodeOptions): void {
    const { store, clock } = this.#options;
    const index = this.#kubelets.size + 1;
    const hostIP = `10.244.0.${index}`;
    if (store.get("nodes", undefined, node.name) === undefined) {
      store.create("nodes", nodeObject(node, hostIP, clock.timestamp()), { manager: "kubelet" });
    }
    this.#kubelets.set(
      node.name,
      new Kubelet({
        ...this.#options,
        nodeName: node.name,
        hostIP,
        podSubnet: `10.${244 + Math.min(index, 11)}`,
        clockSkewMs: node.clockSkewMs ?? 0,
        reportsContainers: node.reportsContainers ?? true,
      }),
    );
  }

  /** @internal */
  handlePod(event: StoreEvent): void {
    const { nodeName } = podOf(event.object).spec;
    if (nodeName) this.#kubelets.get(nodeName)?.handle(event);
  }

  /** @internal */
  workerOf(pod: Pod): PodWorker | undefined {
    return this.#kubelets.get(pod.spec.nodeName ?? "")?.worker(pod.metadata.uid);
  }

  /** @internal */
  logFor(pod: Pod, container: ContainerSpec, previous: boolean): ContainerLog | StatusError {
    const { nodeName } = pod.spec;
    if (!nodeName) return badRequest(`pod ${pod.metadata.name} does not have a host assigned`);
    const kubelet = this.#kubelets.get(nodeName);
    if (kubelet === undefined) return badRequest(`node ${nodeName} of pod ${pod.metadata.name} does not exist`);
    return kubelet.logFor(pod, container, previous);
  }

  /** Sets the node's clock: times in logs and statuses step with it. */
  setClockSkew(name: string, milliseconds: number): void {
    this.#kubelet(name).clockSkewMs = milliseconds;
  }

  /** Gives the node these taints in place of those that it has. */
  setTaints(name: string, taints: readonly Taint[]): void {
    this.#options.store.update("nodes", undefined, name, (draft) => {
      const node = draft as Node;
      node.spec = { ...node.spec, taints: [...taints] };
      if (taints.length === 0) delete node.spec.taints;
    });
  }

  /**
   * The kubelet is restarted: open log follows end cleanly, the log endpoint refuses connections for `downMs` and then knows
   * nothing for `blindMs` (virtual milliseconds). Containers run on. Resolves when it is over.
   */
  async restartKubelet(name: string, { downMs = 1000, blindMs = 500 } = {}): Promise<void> {
    const kubelet = this.#kubelet(name);
    kubelet.stopKubelet();
    try {
      await this.#options.clock.sleep(downMs);
      await kubelet.startKubelet(blindMs);
    } catch (error) {
      // The whole cluster was stopped meanwhile.
      if (!(error instanceof SleepAbortedError)) throw error;
    }
  }

  /** Until `startKubelet`: logs answer 500, nothing that happens to the node's pods is reported. */
  stopKubelet(name: string): void {
    this.#kubelet(name).stopKubelet();
  }

  async startKubelet(name: string, blindMs = 0): Promise<void> {
    await this.#kubelet(name).startKubelet(blindMs);
  }

  /**
   * The node dies: its containers with it. Its pods become not ready at once; after `evictAfterMs` (default: the 300 s of a
   * pod's default tolerations) they are marked NodeLost/Unknown and deleted, and stay so until the node returns or is removed.
   */
  lose(name: string, { evictAfterMs = 300_000 } = {}): void {
    const { store, clock } = this.#options;
    const kubelet = this.#crash(name);
    store.update("nodes", undefined, name, (draft) => {
      const node = draft as Node;
      node.spec = { ...node.spec, taints: [...(node.spec?.taints ?? []), unreachable] };
      setNodeReady(node, clock, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.");
    });
    for (const pod of this.#podsOn(name)) this.#markNotReady(pod);
    clock.setTimeout(() => {
      if (kubelet.isDown) for (const pod of this.#podsOn(name)) this.#evictLost(pod, name);
    }, evictAfterMs);
  }

  /**
   * The node restarts: its containers end at once, and it is back after `downMs` (milliseconds of the cluster's clock), as
   * `recover` says. The cluster takes it for lost after 50 s (`node-monitor-grace-period`). Resolves when it is back.
   */
  async restart(name: string, { downMs = 30_000 } = {}): Promise<void> {
    const { clock } = this.#options;
    this.#crash(name);
    try {
      await clock.sleep(Math.min(downMs, lostAfterMs));
      if (downMs > lostAfterMs) {
        this.lose(name);
        await clock.sleep(downMs - lostAfterMs);
      }
      await this.recover(name);
    } catch (error) {
      // The whole cluster was stopped meanwhile.
      if (!(error instanceof SleepAbortedError)) throw error;
    }
  }

  /** A lost node is back: its containers are gone, their pods Failed with ContainerStatusUnknown. */
  async recover(name: string): Promise<void> {
    const { store, clock } = this.#options;
    const kubelet = this.#kubelet(name);
    const { taints = [] } = (store.get("nodes", undefined, name) as Node).spec ?? {};
    this.setTaints(
      name,
      taints.filter(({ key }) => key !== unreachable.key),
    );
    store.update("nodes", undefined, name, (node) => {
      setNodeReady(node as Node, clock, "True", "KubeletReady", "kubelet is posting ready status");
    });
    await kubelet.startKubelet();
    for (const worker of kubelet.workers()) worker.recover();
  }

  /** The node is taken out of the cluster: its pods fail (DeletionByPodGC) and are removed by force. */
  remove(name: string): void {
    const { store } = this.#options;
    const kubelet = this.#crash(name);
    store.remove("nodes", undefined, name);
    for (const pod of this.#podsOn(name)) {
      if (!isPodFinished(pod)) {
        this.#updateStatus(pod, (changed) => {
          changed.status.phase = "Failed";
          addCondition(changed, this.#disruption(pod, "DeletionByPodGC", "PodGC: node no longer exists"));
        });
      }
      store.delete("pods", pod.metadata.namespace, pod.metadata.name, { gracePeriodSeconds: 0 });
    }
    void kubelet.stop();
    this.#kubelets.delete(name);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#kubelets.values()].map((kubelet) => kubelet.stop()));
  }

  #crash(name: string): Kubelet {
    const kubelet = this.#kubelet(name);
    kubelet.stopKubelet();
    for (const worker of kubelet.workers()) worker.crash();
    return kubelet;
  }

  #markNotReady(pod: Pod): void {
    const { clock } = this.#options;
    this.#updateStatus(pod, ({ status }) => {
      status.conditions =
        status.conditions?.map((entry) =>
          entry.type === "Ready" && entry.status === "True"
            ? { ...entry, status: "False", lastTransitionTime: clock.timestamp() }
            : entry,
        ) ?? [];
    });
  }

  #evictLost(pod: Pod, node: string): void {
    if (isPodFinished(pod)) return;
    this.#updateStatus(pod, (changed) => {
      changed.status = {
        ...changed.status,
        phase: "Unknown",
        reason: "NodeLost",
        message: `Node ${node} which was running pod ${pod.metadata.name} is unresponsive`,
      };
      addCondition(
        changed,
        this.#disruption(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
      );
    });
    this.#options.store.delete("pods", pod.metadata.namespace, pod.metadata.name);
  }

  #updateStatus({ metadata }: Pod, change: (pod: Pod) => void): void {
    this.#options.store.update("pods", metadata.namespace, metadata.name, (draft) => change(podOf(draft)), {
      manager: "kube-controller-manager",
      subresource: "status",
    });
  }

  #disruption(pod: Pod, reason: string, message: string): Condition {
    return disruptionTarget(reason, message, this.#options.clock.now(), pod);
  }

  #podsOn(name: string): Pod[] {
    return this.#options.store
      .list("pods")
      .map(podOf)
      .filter(({ spec }) => spec.nodeName === name);
  }

  #kubelet(name: string): Kubelet {
    const kubelet = this.#kubelets.get(name);
    if (kubelet === undefined)
      throw new TypeError(`no node ${JSON.stringify(name)}; there are ${this.names().join(", ")}`);
    return kubelet;
  }
}

function addCondition(pod: Pod, added: Condition): void {
  const others = (pod.status.conditions ?? []).filter(({ type }) => type !== added.type);
  pod.status.conditions = [added, ...others];
}

function setNodeReady(node: Node, clock: Clock, status: Condition["status"], reason: string, message: string): void {
  const now = clock.timestamp();
  node.status = {
    ...node.status,
    conditions: (node.status.conditions ?? []).map((entry) =>
      entry.type === "Ready" ? { ...entry, status, reason, message, lastTransitionTime: now } : entry,
    ),
  };
}

function nodeObject(
  { name, labels, taints, cpu = "64", memory = "256Gi", pods = 100_000 }: NodeOptions,
  ip: string,
  now: string,
) {
  const amounts = { cpu, "ephemeral-storage": "1Ti", memory, pods: String(pods) };
  const healthy = (type: string, reason: string, message: string): Condition => ({
    type,
    status: type === "Ready" ? "True" : "False",
    lastTransitionTime: now,
    reason,
    message,
  });
  return {
    metadata: {
      name,
      labels: {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        ...labels,
      },
    },
    spec: taints === undefined ? {} : { taints },
    status: {
      capacity: amounts,
      allocatable: amounts,
      conditions: [
        healthy("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        healthy("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        healthy("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        healthy("Ready", "KubeletReady", "kubelet is posting ready status"),
      ],
      addresses: [
        { type: "InternalIP", address: ip },
        { type: "Hostname", address: name },
      ],
      nodeInfo: {
        kubeletVersion: "v1.36.2",
        containerRuntimeVersion: "containerd://2.2.0",
        operatingSystem: "linux",
        architecture: "amd64",
        osImage: "Embedded Linux",
      },
    },
  };
}
