import type { Cluster } from "../../engine/index.ts";

export interface Usage {
  cpuMillicores: number;
  memoryBytes: number;
}

interface PodMetrics {
  metadata: { name: string };
  containers?: { usage?: { cpu?: string; memory?: string } }[];
}

/**
 * What metrics-server says of the pods, by name. It has no watch, so it is asked; it measures every 15 s by default.
 * Null: there is no metrics-server, or it may not be asked.
 */
export async function readUsage(
  cluster: Cluster,
  namespace: string,
  labelSelector: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Usage> | null> {
  try {
    const path = `/apis/metrics.k8s.io/v1beta1/namespaces/${encodeURIComponent(namespace)}/pods`;
    const { items } = await cluster.json<{ items?: PodMetrics[] | null }>({
      path,
      query: { labelSelector },
      maxAttempts: 1,
      signal,
    });
    return new Map((items ?? []).map((each) => [each.metadata.name, sum(each)]));
  } catch {
    return null;
  }
}

function sum({ containers = [] }: PodMetrics): Usage {
  const total = { cpuMillicores: 0, memoryBytes: 0 };
  for (const { usage } of containers) {
    total.cpuMillicores += quantity(usage?.cpu) * 1_000;
    total.memoryBytes += quantity(usage?.memory);
  }
  return total;
}

const SUFFIXES: Readonly<Record<string, number>> = {
  "": 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
};

/** A Kubernetes quantity such as `12345678n`, `250m`, `64Mi`. */
export function quantity(text = "0"): number {
  const [, number = "0", suffix = ""] = /^([0-9.]+)([A-Za-z]*)$/.exec(text) ?? [];
  return Number(number) * (SUFFIXES[suffix] ?? Number.NaN);
}
