import type { BackoffOptions } from "./informer/backoff.ts";
import type { RunPolicy } from "./runs/policy.ts";
import type { Shard } from "./shard.ts";
import type { ClusterOptions, KubeConfig } from "./transport/index.ts";

export interface RunEngineOptions {
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
