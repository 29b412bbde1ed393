/** What ends a pod from outside, over the wire where Kubernetes does it over the wire. For clusters with more than one node. */
import type { EmbeddedKubernetes } from "../../src/embedded/index.ts";
import type { Cluster } from "../../src/engine/index.ts";

export interface Victim {
  readonly k8s: EmbeddedKubernetes;
  /** Of an admin. */
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly podName: string;
  readonly nodeName: string;
}

type Disrupt = (victim: Victim) => Promise<unknown>;

const MAINTENANCE = { key: "maintenance", effect: "NoExecute" } as const;

/** Each with what the pod says then. */
export const DISRUPTIONS: Readonly<Record<string, readonly [reason: string, Disrupt]>> = {
  "eviction API": ["EvictionByEvictionAPI", evict],
  "node pressure": ["TerminationByKubelet", async ({ k8s, namespace, podName }) => k8s.evictPod(namespace, podName)],
  "NoExecute taint": [
    "DeletionByTaintManager",
    async ({ k8s, nodeName }) => k8s.nodes.setTaints(nodeName, [MAINTENANCE]),
  ],
  preemption: ["PreemptionByScheduler", preempt],
  "node lost": ["DeletionByTaintManager", async ({ k8s, nodeName }) => k8s.nodes.lose(nodeName, { evictAfterMs: 0 })],
  "node removed": ["DeletionByPodGC", async ({ k8s, nodeName }) => k8s.nodes.remove(nodeName)],
  "node restarted": ["ContainerStatusUnknown", ({ k8s, nodeName }) => k8s.nodes.restart(nodeName, { downMs: 1_000 })],
};

/** As `kubectl drain` does. */
export async function evict({ cluster, namespace, podName }: Victim): Promise<void> {
  const body = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: podName, namespace } };
  await cluster.json({ method: "POST", path: `/api/v1/namespaces/${namespace}/pods/${podName}/eviction`, body });
}

/** A pod that asks for the whole node, and may have it. Needs a cluster that counts requests (`overcommit: false`). */
async function preempt({ k8s, namespace, podName, nodeName }: Victim): Promise<void> {
  const name = `urgent-${podName}`;
  k8s.objects.create("priorityclasses", { metadata: { name }, value: 1_000_000 });
  const node = k8s.objects.get("nodes", undefined, nodeName) as unknown as { status: { allocatable: { cpu: string } } };
  k8s.objects.create("pods", {
    metadata: { name, namespace },
    spec: {
      priorityClassName: name,
      nodeSelector: { "kubernetes.io/hostname": nodeName },
      containers: [{ name: "urgent", image: "urgent", resources: { requests: { cpu: node.status.allocatable.cpu } } }],
    },
  });
}
