/** The library: `k8s-run-informer/engine`. */
export type { Bus, SubscribeTo, Topic, WaitFor, WaitLimits } from "./bus.ts";
export { createOnce, LAUNCH_ID_ANNOTATION } from "./create-once.ts";
export { type DiagnosedEngine, liveEngines, type RunMessage } from "./diagnostics.ts";
export { RunEngine } from "./engine.ts";
export type {
  EngineEvents,
  EngineStats,
  EngineView,
  LaunchOptions,
  RunEngineOptions,
  RunOptions,
  StartOptions,
} from "./engine-types.ts";
export type { EngineError } from "./errors.ts";
export { type ClusterEvent, listEvents } from "./events.ts";
export * from "./facts.ts";
export type { ResourceInformerOptions } from "./informer/any-resource.ts";
export {
  type Freshness,
  Informer,
  type InformerOptions,
  type InformerStats,
  InformerStoppedError,
  NotReadyError,
  type Resource,
  type SubscribeOptions,
} from "./informer/informer.ts";
export { listed } from "./informer/page-request.ts";
export type { BackoffOptions } from "./informer/reflector-policy.ts";
export type { Indexers, StoreChange } from "./informer/store.ts";
export type { Trim } from "./informer/trim.ts";
export { StalledError, WatchProtocolError } from "./informer/watch-errors.ts";
export { Keepalive, type KeepaliveHandle, type KeepaliveOptions, type Silence } from "./keepalive/keepalive.ts";
export type * from "./kubernetes.ts";
export { type EngineLease, leaseEngine, stopSharedEngines } from "./lease.ts";
export * from "./logs/index.ts";
export { deleteUnchanged, findObject } from "./object-requests.ts";
export { corePath, jobPath, jobsPath } from "./paths.ts";
export { classify, type Verdict } from "./runs/classify.ts";
export type { DeleteOptions } from "./runs/delete-job.ts";
export { describe } from "./runs/describe.ts";
export { isDisruption } from "./runs/disruption.ts";
export type { JobInput, JobManifest } from "./runs/launch.ts";
export type { LaunchLimits, QueueStats } from "./runs/launch-queue.ts";
export { DEFAULT_POLICY, type RunPolicy } from "./runs/policy.ts";
export type { PostMortem, WarningEvent } from "./runs/post-mortem.ts";
export { Run, type WaitOptions } from "./runs/run.ts";
export { RunLogs } from "./runs/run-logs.ts";
export { INITIAL_STATE, type RunFrame, type RunState, reduceRun } from "./runs/run-state.ts";
export type { RunResult, RunToEndOptions } from "./runs/run-to-end.ts";
export type * from "./runs/topics.ts";
export * from "./runs/types.ts";
export type { ServerState } from "./server-state.ts";
export { type ClaimTarget, SHARD_LABEL, type Shard, ShardClaimError, shardLabels } from "./shard.ts";
export type { EngineProblem, EngineTopics, WatchEvent } from "./topics.ts";
export * from "./transport/index.ts";
