import { type CpuSample, serve, stopwatch } from "../harness/child.ts";
import { heapMethods, settledHeap } from "../harness/heap.ts";
import { type CacheKind, load, openCache, type PodCache } from "../peers/caches.ts";
import { type Endpoint, exportKubeConfig } from "../peers/kube-config.ts";

/** One contestant's pod cache in a process of its own. */

export interface Opened extends CpuSample {
  /** Resident set at its highest, above what the process had before, in bytes. */
  peakBytes: number;
  pods: number;
}

export interface Held {
  heapBytes: number;
  objects: number;
}

let cache: PodCache | null = null;
let seen = 0;
let wanted = Number.POSITIVE_INFINITY;
let onWanted: () => void = () => undefined;
let taken: Promise<CpuSample> | null = null;

function onPod(): void {
  seen += 1;
  if (seen >= wanted) onWanted();
}

serve({
  ...heapMethods(),
  open: async ({ kind, endpoint }: { kind: CacheKind; endpoint: Endpoint }): Promise<Opened> => {
    exportKubeConfig(endpoint);
    await load(kind);
    const before = process.resourceUsage().maxRSS * 1024;
    const stop = stopwatch();
    cache = await openCache(kind, endpoint, onPod);
    return { ...stop(), peakBytes: process.resourceUsage().maxRSS * 1024 - before, pods: seen };
  },
  /** From now on changes are counted; to be answered before the first of them is sent. */
  arm: (count: number): void => {
    seen = 0;
    wanted = count;
    const stop = stopwatch();
    taken = new Promise<CpuSample>((resolve) => {
      onWanted = () => {
        wanted = Number.POSITIVE_INFINITY;
        resolve(stop());
      };
    });
  },
  /** Resolves when as many have come as were armed for. */
  taken: () => taken,
  /** How much is held now, and by how many objects; a contestant without a cache says 0 objects. */
  held: async (): Promise<Held> => {
    const heapBytes = await settledHeap();
    return { heapBytes, objects: cache?.size() ?? 0 };
  },
  close: async () => {
    await cache?.stop();
    cache = null;
  },
});
