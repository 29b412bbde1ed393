import type { Informer, InformerStats } from "./informer/informer.ts";
import type { BackoffOptions } from "./informer/reflector-policy.ts";
import type { Job, Pod } from "./kubernetes.ts";
import type { LaunchLimits, QueueStats } from "./runs/launch-queue.ts";
import type { RunPolicy } from "./runs/policy.ts";
import type { RunPhase } from "./runs/types.ts";
import type { Shard } from "./shard.ts";
import type { EngineTopics } from "./topics.ts";
import type { ClusterOptions, KubeConfig, RequestCounts } from "./transport/index.ts";

export interface RunEngineOptions extends LaunchLimits {
  kubeConfig: KubeConfig;
  /** One namespace, several, or `"*"` for all. Default: the kubeconfig's, else `default`. */
  namespace?: string | readonly string[] | undefined;
  /** What Jobs and their pods carry; both watches select by it. Required: without it every pod of the namespace is cached. */
  labels: Readonly<Record<string, string>>;
  /** Watch only the Jobs that this process owns, where several share a namespace (docs/scale.md). Default: all. */
  shard?: Shard | undefined;
  /** Default of each run's policy. */
  policy?: Partial<RunPolicy> | undefined;
  /** A watch without a byte for this long is replaced. Default 90 000 ms. */
  progressTimeoutMs?: number | undefined;
  /** Delays after errors of a watch. Default 0.8 s doubling to 30 s, with full jitter. */
  backoff?: BackoffOptions | undefined;
  transport?: Omit<ClusterOptions, "kubeConfig"> | undefined;
}

export interface StartOptions {
  signal?: AbortSignal | undefined;
}

export interface RunOptions {
  /** Over the engine's own; runs with different policies share the two watches. */
  policy?: Partial<RunPolicy> | undefined;
}

export interface LaunchOptions extends RunOptions {
  /** Ends the wait for its turn, and the create request. The run itself goes on. */
  signal?: AbortSignal | undefined;
  /** Of launches that wait, the highest is next. Default 0. */
  priority?: number | undefined;
}

/** Jobs and pods of all shards, kept up to date until it is closed. */
export interface EngineView extends AsyncDisposable {
  readonly jobs: Informer<Job>;
  readonly pods: Informer<Pod>;
  close(): void;
}

/** What `engine.on` takes. */
export type EngineEvents = Pick<EngineTopics, "problem" | "recovered" | "listenerError">;

export interface EngineStats {
  runs: number;
  /** How many of them stand in each phase. */
  phases: Partial<Record<RunPhase, number>>;
  tombstones: number;
  keepalives: number;
  queue: QueueStats;
  informers: InformerStats[];
  requests: RequestCounts;
}
