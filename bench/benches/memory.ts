import { type Bench, inTurns, type Series } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { type Replay, startReplay, watchersOpen } from "../harness/replay.ts";
import { TALKATIVE_BYTES } from "../harness/replay-logs.ts";
import { format, formatBytes, median, ratio } from "../harness/stats.ts";
import type { Held, Opened } from "../subjects/cache.ts";
import type { FollowMemory, RunMemory } from "../subjects/memory.ts";
import { allocations } from "./allocations.ts";
import { NAMES } from "./ingest.ts";

const CONTESTANTS = ["ours", "ours-whole", "client-node", "fluent-client"] as const;
type Kind = (typeof CONTESTANTS)[number];
const CACHE = new URL("../subjects/cache.ts", import.meta.url);
const MEMORY = new URL("../subjects/memory.ts", import.meta.url);
const WITH_GC = { execArgv: ["--expose-gc", "--max-old-space-size=8192"] };

const CACHED: Record<Kind, string> = {
  ours: `${NAMES.ours}, trimmed`,
  "ours-whole": `${NAMES.ours}, whole`,
  "client-node": `${NAMES["client-node"]}, whole`,
  "fluent-client": `${NAMES["fluent-client"]}, whole`,
};

/** Heap (and buffers outside of it) after a full collection. */
export const memory: Bench = {
  name: "memory",
  title: "Memory kept",
  run: async (context) => {
    const pods = context.quick ? 500 : 10_000;
    const sizes = context.quick ? [100] : [1_000];
    const follows = context.quick ? 100 : 1_000;
    // Heap sizes vary by less than a percent.
    const once = { ...context, quick: true, rounds: 1 };
    const all = await startReplay({ pods });
    let perPod: Record<Kind, number[]>;
    try {
      perPod = await inTurns(CONTESTANTS, once, (kind) => measureCache(all, kind, pods));
    } finally {
      await all.child.stop();
    }
    const points: [number, number][] = [];
    for (const size of sizes) {
      const few = await startReplay({ pods: size });
      points.push([size, ((await measureCache(few, "ours", size)) * size) / 1e6]);
      await few.child.stop();
    }
    points.push([pods, (median(perPod.ours) * pods) / 1e6]);
    const allocated = await allocations(context.quick);
    const running = await startReplay({ pods, jobs: pods, phases: ["Running"] });
    const subject = new Child(MEMORY, WITH_GC);
    try {
      const runs = await subject.call<RunMemory>("runs", { endpoint: running.endpoint, count: pods });
      const logs = await subject.call<FollowMemory>("follows", {
        endpoint: running.endpoint,
        count: follows,
      });
      const ours = median(perPod.ours);
      const better = median(perPod["client-node"]) / ours;
      const series: Series[] = [{ name: "k8s-run-informer", size: "pods", unit: "MB of heap", points }];
      return {
        series,
        tables: [
          {
            title: `${pods.toLocaleString("en-US")} pods of ${formatBytes(all.bytes.pods / pods)} of JSON in the cache`,
            columns: ["client", "heap a pod", "against k8s-run-informer"],
            rows: CONTESTANTS.map((kind) => [
              CACHED[kind],
              formatBytes(median(perPod[kind])),
              ratio(median(perPod[kind]) / ours),
            ]),
          },
          {
            title: `k8s-run-informer: ${pods.toLocaleString("en-US")} runs, ${follows.toLocaleString("en-US")} idle follows on ${logs.connections} connections`,
            columns: ["of", "memory each"],
            rows: [
              ["Job and pod in the two caches", formatBytes(runs.cachedBytes)],
              ["run with a pending terminated() and a listener, on top", formatBytes(runs.runBytes)],
              ["idle log follow", formatBytes(logs.idleBytes)],
              [
                `log follow whose consumer has stalled with ${formatBytes(TALKATIVE_BYTES)} to come`,
                formatBytes(logs.stalledBytes),
              ],
            ],
          },
          allocated,
        ],
        goals: [
          { what: "heap a cached pod", goal: "≤ 2.5 KB", figure: formatBytes(ours), met: ours <= 2_500 },
          {
            what: "heap a trimmed pod against the whole one of client-node's informer",
            goal: "≥ 4× below",
            figure: `${format(better)}× below`,
            met: better >= 4,
          },
          {
            what: "heap a run, on top of the caches",
            goal: "≤ 4 KB",
            figure: formatBytes(runs.runBytes),
            met: runs.runBytes <= 4_000,
          },
          {
            what: "memory an idle follow",
            goal: "≤ 64 KB",
            figure: formatBytes(logs.idleBytes),
            met: logs.idleBytes <= 64_000,
          },
        ],
      };
    } finally {
      await subject.stop();
      await running.child.stop();
    }
  },
};

/**
 * What a second cache adds to the heap of a process that has opened one already and closed it, so that code and the strings
 * that all share are not counted.
 */
async function measureCache(replay: Replay, kind: Kind, pods: number): Promise<number> {
  const subject = new Child(CACHE, WITH_GC);
  try {
    await subject.call<Opened>("open", { kind, endpoint: replay.endpoint });
    await subject.call("close");
    await watchersOpen(replay, "pods", 0);
    const empty = await subject.call<Held>("held");
    await subject.call<Opened>("open", { kind, endpoint: replay.endpoint });
    const full = await subject.call<Held>("held");
    if (kind !== "fluent-client" && full.objects !== pods)
      throw new Error(`${NAMES[kind]} holds ${full.objects} pods instead of ${pods}`);
    return (full.heapBytes - empty.heapBytes) / pods;
  } finally {
    await subject.stop();
  }
}
