import type { StoreChange } from "./informer/store.ts";
import type { Job, Pod } from "./kubernetes.ts";
import type { QueueStats } from "./runs/launch-queue.ts";
import type { RunTopics } from "./runs/topics.ts";

/**
 * What a watch is known to be. `open`: the server has begun to answer it. `lost`: it is not open now. `listed`: a whole list
 * has been compared with the cache and every difference is published; what the cache does not hold was not there.
 */
export interface WatchEvent {
  type: "open" | "lost" | "listed";
  /** Plural name: `jobs`, `pods`. */
  resource: string;
  /** Null: one watch over all namespaces. */
  namespace: string | null;
  /** Of `lost`: why, or null where it ended as every watch does after some minutes, to be opened again. Else null. */
  error: Error | null;
  /** Monotonic milliseconds (`performance.now()`). */
  at: number;
}

export interface EngineProblem {
  /** Plural name of what is watched. */
  resource: string;
  /** Null: in all namespaces. */
  namespace: string | null;
  error: Error;
}

/**
 * What is published on the engine's bus. The keys are those to subscribe with: `bus.subscribe("pod", listener, { key: "agents/job-1" })`.
 */
export interface EngineTopics extends RunTopics {
  /** A Job was added, updated or deleted, each once and in order. Key: `namespace/name`. */
  job: StoreChange<Job>;
  /** The same of a pod. Key: `namespace/name` of the Job that controls it; a pod without one is published without a key. */
  pod: StoreChange<Pod>;
  /** A watch of the engine's own caches changed. Key: the resource's plural name. */
  watch: WatchEvent;
  /** A watch is in trouble; the engine goes on trying. */
  problem: EngineProblem;
  /** The watch that had a problem is open again. */
  recovered: Omit<EngineProblem, "error">;
  /** A launch began to wait, had its turn, was answered, or its run ended. */
  queue: QueueStats;
  /** What a listener threw, or its promise rejected with. */
  listenerError: unknown;
}
