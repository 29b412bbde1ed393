import { PerformanceObserver } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";

/** Heap and buffers outside of it after full collections. Needs --expose-gc. */
export function heapBytes(): number {
  if (globalThis.gc === undefined) throw new Error("start the process with --expose-gc");
  // Twice: what the first pass finalises is free after the second.
  globalThis.gc();
  globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/**
 * The heap once nothing more becomes free. A closed connection is held by Node until its last callback has run, and holds
 * whatever the stream's reader had: a heap that is measured at once after a cache was closed may still have all of it.
 */
export async function settledHeap(): Promise<number> {
  let least = heapBytes();
  for (let quiet = 0, tries = 0; quiet < 5 && tries < 100; tries += 1) {
    await delay(100);
    const now = heapBytes();
    quiet = now < least * 0.998 ? 0 : quiet + 1;
    least = Math.min(least, now);
  }
  return least;
}

/** For the subjects whose allocations are measured: how large the heap is as it stands, and how often it was collected. */
export function heapMethods() {
  let collections = 0;
  new PerformanceObserver((list) => {
    collections += list.getEntries().length;
  }).observe({ entryTypes: ["gc"] });
  return {
    collect: async () => {
      heapBytes();
      // What the observer is told of these comes in a later turn.
      await delay(50);
    },
    heap: () => {
      const { heapUsed, external } = process.memoryUsage();
      return { bytes: heapUsed + external, collections };
    },
  };
}
