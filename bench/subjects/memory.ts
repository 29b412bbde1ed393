import { Cluster, followLogs, type LogStream, RunEngine } from "../../src/engine/index.ts";
import { serve } from "../harness/child.ts";
import { heapBytes, settledHeap } from "../harness/heap.ts";
import { jobName } from "../harness/pods.ts";
import { TALKATIVE } from "../harness/replay-logs.ts";
import { type Endpoint, kubeConfigFor } from "../peers/kube-config.ts";

/** What a run and an idle follow cost in memory, in a process of its own. Needs --expose-gc. */

const LABELS = { "app.kubernetes.io/managed-by": "paperclip" };

export interface RunMemory {
  /** Of Job and pod in the two caches. */
  cachedBytes: number;
  /** On top: the run, its pending promises and listeners. */
  runBytes: number;
}

async function runs({ endpoint, count }: { endpoint: Endpoint; count: number }): Promise<RunMemory> {
  const options = { kubeConfig: kubeConfigFor(endpoint), namespace: endpoint.namespace, labels: LABELS };
  // A first engine, so that code and the strings that all share are not counted.
  await (await RunEngine.start(options)).stop();
  const empty = await settledHeap();
  const engine = await RunEngine.start(options);
  const cached = await settledHeap();
  const held: unknown[] = [];
  for (let index = 0; index < count; index += 1) {
    const run = engine.attach({ jobName: jobName(index) });
    // As the adapter does: it waits for the end and shows each phase.
    run.on("phase", () => undefined);
    held.push(
      run,
      run.terminated({ container: "claude" }).catch(() => undefined),
    );
  }
  await new Promise((resolve) => setImmediate(resolve));
  const attached = heapBytes();
  const result = { cachedBytes: (cached - empty) / count, runBytes: (attached - cached) / count };
  if (held.length !== 2 * count || engine.stats().runs !== count)
    throw new Error(`${engine.stats().runs} runs instead of ${count}`);
  await engine.stop();
  return result;
}

export interface FollowMemory {
  idleBytes: number;
  /** Its consumer takes no more, though megabytes wait for it. */
  stalledBytes: number;
  connections: number;
}

async function follows({ endpoint, count }: { endpoint: Endpoint; count: number }): Promise<FollowMemory> {
  const cluster = new Cluster({ kubeConfig: kubeConfigFor(endpoint) });
  const open = async (podName: string): Promise<LogStream> => {
    const stream = followLogs(cluster, {
      namespace: endpoint.namespace,
      podName,
      container: "claude",
      view: () => ({ phase: "running", restartCount: 0, startedAt: null, finishedAt: null }),
      onChange: () => () => undefined,
    });
    const batches = stream.batches();
    await batches.next();
    // Its consumer waits for the next line; that of a stalled one does not ask.
    if (!podName.startsWith(TALKATIVE)) batches.next().catch(() => undefined);
    return stream;
  };
  const many = (name: string) => Promise.all(Array.from({ length: count }, (_, index) => open(`${name}-${index}`)));
  const all = [await open("warm-up"), await open(`${TALKATIVE}-warm-up`)];
  const empty = await settledHeap();
  all.push(...(await many("idle")));
  const idle = await settledHeap();
  const { connectionsOpen } = cluster.requests.snapshot();
  all.push(...(await many(TALKATIVE)));
  const stalled = await settledHeap();
  for (const stream of all) stream.close();
  await cluster.close();
  return {
    idleBytes: (idle - empty) / count,
    stalledBytes: (stalled - idle) / count,
    connections: connectionsOpen,
  };
}

serve({ runs, follows });
