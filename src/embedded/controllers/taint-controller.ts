import type { Timer } from "../clock.ts";
import type { ClusterParts } from "../kubelet/cluster-parts.ts";
import type { Taint } from "../objects/taint.ts";
import { isPodFinished, type Node, type Pod, podOf } from "../objects/workloads.ts";
import type { StoreEvent } from "../store/change-feed.ts";
import { disruptionTarget, disruptPod } from "../store/disruption.ts";
import { toleratedSeconds } from "./tolerations.ts";

/** Nodes that are lost have their own way: `Nodes.lose` marks and evicts their pods. */
const ofLostNodes = "node.kubernetes.io/unreachable";

/** Deletes the pods of a node that do not tolerate its NoExecute taints, or no longer do. */
export class TaintController {
  readonly #cluster: ClusterParts;
  /** By pod uid. */
  readonly #evictions = new Map<string, Timer>();

  constructor(cluster: ClusterParts) {
    this.#cluster = cluster;
  }

  handle({ type, resource, object, previous }: StoreEvent): void {
    if (resource === "nodes" && type === "MODIFIED") {
      const node = object as Node;
      if (taintsOf(node).length === 0 && taintsOf(previous as Node).length === 0) return;
      for (const pod of this.#cluster.store.list("pods").map(podOf)) {
        if (pod.spec.nodeName === node.metadata.name) this.#consider(pod, node);
      }
    } else if (resource === "pods" && type === "DELETED") this.#forget(object.metadata.uid);
  }

  stop(): void {
    for (const timer of this.#evictions.values()) timer.cancel();
    this.#evictions.clear();
  }

  #consider(pod: Pod, node: Node): void {
    const { uid } = pod.metadata;
    this.#forget(uid);
    const seconds = Math.min(...taintsOf(node).map((taint) => toleratedSeconds(pod.spec, taint)));
    if (!Number.isFinite(seconds)) return;
    this.#evictions.set(
      uid,
      this.#cluster.clock.setTimeout(() => this.#cluster.gate.pass(() => this.#evict(pod)), seconds * 1000),
    );
  }

  #evict(pod: Pod): void {
    const { namespace, name, uid } = pod.metadata;
    this.#forget(uid);
    const object = this.#cluster.store.get("pods", namespace, name);
    if (object?.metadata.uid !== uid || object.metadata.deletionTimestamp !== undefined) return;
    const latest = podOf(object);
    if (isPodFinished(latest)) return;
    const message = "Taint manager: deleting due to NoExecute taint";
    const target = disruptionTarget("DeletionByTaintManager", message, this.#cluster.clock.now(), latest);
    disruptPod(this.#cluster.store, latest, target, "kube-controller-manager");
  }

  #forget(uid: string): void {
    this.#evictions.get(uid)?.cancel();
    this.#evictions.delete(uid);
  }
}

function taintsOf(node: Node | undefined): Taint[] {
  return node?.spec?.taints?.filter(({ key, effect }) => effect === "NoExecute" && key !== ofLostNodes) ?? [];
}
