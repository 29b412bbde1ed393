import type { ClusterParts } from "../kubelet/cluster-parts.ts";
import { podAmounts } from "../objects/pod-amounts.ts";
import { parseQuantity } from "../objects/quantity.ts";
import {
  condition,
  isPodFinished,
  type Node,
  type NodeSelectorRequirement,
  type NodeSelectorTerm,
  type Pod,
  type PodSpec,
  podOf,
} from "../objects/workloads.ts";
import type { StoreEvent } from "../store/change-feed.ts";
import { disruptionTarget, disruptPod } from "../store/disruption.ts";
import { type PlacedPod, victimsFor } from "./preemption.ts";
import { tolerates } from "./tolerations.ts";

export interface SchedulerOptions extends ClusterParts {
  /**
   * true: a pod fits when it alone fits an empty node, so that thousands of pods that each ask for a processor run on one
   * node. false: requests are summed up, as the real scheduler does.
   */
  overcommit: boolean;
}

/** KEP-3521: left alone until the last gate is removed. */
function isGated(pod: Pod): boolean {
  return (pod.spec.schedulingGates ?? []).length > 0;
}

const source = { component: "default-scheduler" };

/** Binds pods to nodes, or says on the pod why it cannot; looks again when nodes, claims or pods change. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  /** Pods that no node takes, by uid. */
  readonly #unschedulable = new Map<string, { namespace: string; name: string }>();
  /** Unfinished pods on each node, by uid. */
  readonly #placed = new Map<string, Map<string, PlacedPod>>();
  #retryDue = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    for (const object of options.store.list("pods")) this.#consider(podOf(object));
  }

  handle({ type, resource, object, previous }: StoreEvent): void {
    if (resource === "pods") {
      const pod = podOf(object);
      if (type === "DELETED" || isPodFinished(pod)) this.#leave(pod);
      else if (type === "ADDED" || previous?.spec === undefined) this.#consider(pod);
      else if (pod.spec.nodeName !== podOf(previous).spec.nodeName) this.#place(pod);
      else if (isGated(podOf(previous)) && !isGated(pod)) this.#consider(pod);
    } else if (resource === "nodes" || resource === "persistentvolumeclaims") {
      this.#retryAll();
    }
  }

  #consider(pod: Pod): void {
    if (isPodFinished(pod)) return;
    if (pod.spec.nodeName) this.#place(pod);
    else this.#later(() => this.#schedule(pod.metadata.namespace ?? "", pod.metadata.name, pod.metadata.uid));
  }

  #place(pod: Pod): void {
    const node = pod.spec.nodeName;
    if (!node) return;
    this.#unschedulable.delete(pod.metadata.uid);
    let pods = this.#placed.get(node);
    if (pods === undefined) {
      pods = new Map();
      this.#placed.set(node, pods);
    }
    const { namespace = "", name, uid, creationTimestamp: createdAt } = pod.metadata;
    const requests = this.#options.overcommit ? {} : podAmounts(pod.spec, "requests");
    pods.set(uid, { namespace, name, uid, priority: pod.spec.priority ?? 0, createdAt, requests });
  }

  #leave(pod: Pod): void {
    this.#unschedulable.delete(pod.metadata.uid);
    const left = pod.spec.nodeName ? this.#placed.get(pod.spec.nodeName)?.delete(pod.metadata.uid) : false;
    if (left) this.#retryAll();
  }

  #retryAll(): void {
    if (this.#retryDue || this.#unschedulable.size === 0) return;
    this.#retryDue = true;
    this.#later(() => {
      this.#retryDue = false;
      for (const [uid, { namespace, name }] of [...this.#unschedulable]) this.#schedule(namespace, name, uid);
    });
  }

  #schedule(namespace: string, name: string, uid: string): void {
    const { store, events } = this.#options;
    const object = store.get("pods", namespace, name);
    if (object?.metadata.uid !== uid) return;
    const pod = podOf(object);
    if (pod.spec.nodeName || pod.metadata.deletionTimestamp !== undefined || isGated(pod)) return;
    const { node, message } = this.#choose(pod);
    if (node === undefined) {
      this.#unschedulable.set(uid, { namespace, name });
      if (this.#reject(pod, message)) events.record(pod, source, "Warning", "FailedScheduling", message);
      this.#preempt(pod);
      return;
    }
    this.#bind(pod, node);
    events.record(pod, source, "Normal", "Scheduled", `Successfully assigned ${namespace}/${name} to ${node}`);
  }

  /** Makes room where the fewest less important pods have to go; the pod is scheduled when they have gone. */
  #preempt(pod: Pod): void {
    const { store, clock, events } = this.#options;
    const { priority = 0, preemptionPolicy } = pod.spec;
    if (priority <= 0 || preemptionPolicy === "Never") return;
    const requests = podAmounts(pod.spec, "requests");
    let best: { node: string; victims: PlacedPod[] } | undefined;
    for (const node of store.list("nodes") as Node[]) {
      if (this.#refuses(node, pod.spec, {}).length > 0) continue;
      const allocatable = Object.entries(node.status.allocatable ?? {}).map(([name, text]) => [
        name,
        parseQuantity(text),
      ]);
      const placed = [...(this.#placed.get(node.metadata.name)?.values() ?? [])];
      const victims = victimsFor(requests, priority, Object.fromEntries(allocatable), placed);
      if (victims === undefined || victims.length === 0) continue;
      if (best === undefined || victims.length < best.victims.length) best = { node: node.metadata.name, victims };
    }
    for (const { namespace, name, uid } of best?.victims ?? []) {
      const object = store.get("pods", namespace, name);
      if (object?.metadata.uid !== uid || object.metadata.deletionTimestamp !== undefined) continue;
      const victim = podOf(object);
      const message = "default-scheduler: preempting to accommodate a higher priority pod";
      disruptPod(
        store,
        victim,
        disruptionTarget("PreemptionByScheduler", message, clock.now(), victim),
        "kube-scheduler",
      );
      const text = `Preempted by pod ${pod.metadata.uid} on node ${best?.node}`;
      events.record(victim, source, "Normal", "Preempted", text);
    }
  }

  #bind({ metadata }: Pod, node: string): void {
    const { store, clock } = this.#options;
    store.update("pods", metadata.namespace, metadata.name, (draft) => {
      const pod = podOf(draft);
      pod.spec.nodeName = node;
      pod.status = withScheduled(pod, {
        type: "PodScheduled",
        status: "True",
        lastProbeTime: null,
        lastTransitionTime: clock.timestamp(),
      });
    });
  }

  /** @returns whether the pod did not say so already. */
  #reject(pod: Pod, message: string): boolean {
    const { store, clock } = this.#options;
    const before = condition(pod.status.conditions, "PodScheduled");
    if (before?.message === message) return false;
    store.update("pods", pod.metadata.namespace, pod.metadata.name, (draft) => {
      const changed = podOf(draft);
      changed.status = withScheduled(changed, {
        type: "PodScheduled",
        observedGeneration: pod.metadata.generation ?? 1,
        status: "False",
        lastProbeTime: null,
        lastTransitionTime: before?.lastTransitionTime ?? clock.timestamp(),
        reason: "Unschedulable",
        message,
      });
    });
    return true;
  }

  #choose(pod: Pod): { node?: string; message: string } {
    const nodes = this.#options.store.list("nodes") as Node[];
    if (nodes.length === 0) return { message: "no nodes available to schedule pods" };
    const missingClaim = this.#missingClaim(pod);
    if (missingClaim !== undefined) {
      return { message: refusal(nodes.length, [`persistentvolumeclaim "${missingClaim}" not found`]) };
    }
    const requests = podAmounts(pod.spec, "requests");
    const reasons = new Map<string, number>();
    let best: { name: string; weight: number; pods: number } | undefined;
    for (const node of nodes) {
      const refused = this.#refuses(node, pod.spec, requests);
      for (const reason of refused) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      if (refused.length > 0) continue;
      const { name } = node.metadata;
      const each = { name, weight: preferenceFor(node, pod.spec), pods: this.#placed.get(name)?.size ?? 0 };
      const isBetter = best === undefined || each.weight > best.weight;
      if (isBetter || (each.weight === best?.weight && each.pods < best.pods)) best = each;
    }
    if (best !== undefined) return { node: best.name, message: "" };
    const counted = [...reasons].map(([reason, count]) => `${count} ${reason}`).sort();
    return { message: refusal(nodes.length, counted) };
  }

  #missingClaim({ spec, metadata }: Pod): string | undefined {
    for (const { persistentVolumeClaim } of spec.volumes ?? []) {
      if (persistentVolumeClaim === undefined) continue;
      const claim = this.#options.store.get(
        "persistentvolumeclaims",
        metadata.namespace,
        persistentVolumeClaim.claimName,
      );
      if (claim === undefined) return persistentVolumeClaim.claimName;
    }
    return undefined;
  }

  /** Why the node does not take the pod, in the order of the real filters; the first filter that refuses ends it. */
  #refuses(node: Node, spec: PodSpec, requests: Record<string, number>): string[] {
    if (node.spec?.unschedulable === true) return ["node(s) were unschedulable"];
    const taint = node.spec?.taints?.find(
      (candidate) => candidate.effect !== "PreferNoSchedule" && !tolerates(spec, candidate),
    );
    if (taint !== undefined) return [`node(s) had untolerated taint {${taint.key}: ${taint.value ?? ""}}`];
    if (!matchesNode(node, spec)) return ["node(s) didn't match Pod's node affinity/selector"];
    const placed = this.#placed.get(node.metadata.name);
    const allocatable = node.status?.allocatable ?? {};
    const refused: string[] = [];
    if ((placed?.size ?? 0) >= parseQuantity(allocatable.pods ?? "110")) refused.push("Too many pods");
    for (const [resource, wanted] of Object.entries(requests)) {
      if (wanted === 0) continue;
      let free = parseQuantity(allocatable[resource] ?? "0");
      for (const other of placed?.values() ?? []) free -= other.requests[resource] ?? 0;
      if (wanted > free) refused.push(`Insufficient ${resource}`);
    }
    return refused;
  }

  #later(run: () => void): void {
    const { clock, delays, gate } = this.#options;
    clock.setTimeout(() => gate.pass(run), delays.schedule);
  }
}

function refusal(nodes: number, reasons: readonly string[]): string {
  // The second half is what the dynamic-resources and preemption plugins add.
  return (
    `0/${nodes} nodes are available: ${reasons.join(", ")}. no new claims to deallocate, ` +
    `preemption: 0/${nodes} nodes are available: ${nodes} Preemption is not helpful for scheduling.`
  );
}

function withScheduled({ status }: Pod, scheduled: NonNullable<Pod["status"]["conditions"]>[number]): Pod["status"] {
  const { phase, conditions = [], ...rest } = status;
  const others = conditions.filter(({ type }) => type !== "PodScheduled");
  return { ...(phase === undefined ? {} : { phase }), conditions: [...others, scheduled], ...rest };
}

function matchesNode(node: Node, { nodeSelector = {}, affinity }: PodSpec): boolean {
  const labels = node.metadata.labels ?? {};
  for (const [key, value] of Object.entries(nodeSelector)) if (labels[key] !== value) return false;
  const terms = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  return terms === undefined || terms.some((term) => matchesTerm(node, term));
}

/** The sum of the weights of what the pod prefers and this node has. */
function preferenceFor(node: Node, { affinity }: PodSpec): number {
  let sum = 0;
  for (const { weight, preference } of affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [])
    if (matchesTerm(node, preference)) sum += weight;
  return sum;
}

function matchesTerm({ metadata }: Node, { matchExpressions = [], matchFields = [] }: NodeSelectorTerm): boolean {
  const { name, labels = {} } = metadata;
  return (
    matchExpressions.every((each) => fits(labels[each.key], each)) &&
    matchFields.every((each) => fits(each.key === "metadata.name" ? name : undefined, each))
  );
}

function fits(value: string | undefined, { operator, values = [] }: NodeSelectorRequirement): boolean {
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return Number(value) > Number(values[0]);
    case "Lt":
      return Number(value) < Number(values[0]);
    default:
      return false;
  }
}
