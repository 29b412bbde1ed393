import { Cluster, RunEngine } from "../../src/engine/index.ts";
import { jobsPath } from "../../src/engine/paths.ts";
import { serve } from "../harness/child.ts";
import { jobManifest, LABELS } from "../peers/job.ts";
import { type Endpoint, kubeConfigFor } from "../peers/kube-config.ts";

/** A burst of Jobs, as each contestant brings it to the server, in a process of its own. */

export type BurstKind = "told" | "ours" | "each";

interface Options {
  kind: BurstKind;
  endpoint: Endpoint;
  /** Of the server; only `told` looks at it. */
  seats: number;
}

let create: (jobName: string) => Promise<unknown> = async () => undefined;
let atOnce = Number.POSITIVE_INFINITY;
let namespace = "";

serve({
  open: async ({ kind, endpoint, seats }: Options) => {
    const kubeConfig = kubeConfigFor(endpoint);
    namespace = endpoint.namespace;
    if (kind === "ours") {
      const engine = await RunEngine.start({ kubeConfig, namespace, labels: LABELS });
      create = (jobName) => engine.launch(jobManifest({ jobName, namespace, runMs: null }));
      return;
    }
    if (kind === "told") atOnce = seats;
    const cluster = new Cluster({ kubeConfig, retry: { maxAttempts: 100 } });
    create = (jobName) =>
      cluster.json({
        method: "POST",
        path: jobsPath(namespace),
        body: jobManifest({ jobName, namespace, runMs: null }),
        timeoutMs: 10 * 60_000,
      });
  },
  /** Resolves when all are created. */
  launch: async (count: number) => {
    let next = 0;
    const worker = async () => {
      while (next < count) {
        next += 1;
        await create(`burst-${next}`);
      }
    };
    await Promise.all(Array.from({ length: Math.min(count, atOnce) }, worker));
  },
});
