import { type CpuSample, serve, stopwatch } from "../harness/child.ts";
import { type CacheKind, load, openCache, type PodCache } from "../peers/caches.ts";
import { type Endpoint, exportKubeConfig } from "../peers/kube-config.ts";

/** One contestant's pod cache in a process of its own. */

export interface Opened extends CpuSample {
  /** Resident set at its highest, above what the process had before, in bytes. */
  peakBytes: number;
  pods: number;
}

let cache: PodCache | null = null;
let seen = 0;
let wanted = Number.POSITIVE_INFINITY;
let onWanted: () => void = () => undefined;

function onPod(): void {
  seen += 1;
  if (seen >= wanted) onWanted();
}

function heapBytes(): number {
  // Twice: what the first pass finalises is free after the second.
  globalThis.gc?.();
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

serve({
  open: async ({ kind, endpoint }: { kind: CacheKind; endpoint: Endpoint }): Promise<Opened> => {
    exportKubeConfig(endpoint);
    await load(kind);
    const before = process.resourceUsage().maxRSS * 1024;
    const stop = stopwatch();
    cache = await openCache(kind, endpoint, onPod);
    return { ...stop(), peakBytes: process.resourceUsage().maxRSS * 1024 - before, pods: seen };
  },
  /** Resolves when so many changes have come; to be called before they are sent. */
  expect: async (count: number): Promise<CpuSample> => {
    seen = 0;
    wanted = count;
    const stop = stopwatch();
    await new Promise<void>((resolve) => {
      onWanted = resolve;
    });
    wanted = Number.POSITIVE_INFINITY;
    return stop();
  },
  heap: heapBytes,
  close: async () => {
    await cache?.stop();
    cache = null;
  },
});
