/** A Kubernetes in this process, for tests, demos and benchmarks: `await EmbeddedKubernetes.start()`. */
export type { Authorization, PolicyRule, User } from "./api/authorization.ts";
export type { RequestCounts } from "./api/request-counts.ts";
export {
  EmbeddedKubernetes,
  type EmbeddedKubernetesOptions,
  type RestartOptions,
  type UserOptions,
} from "./embedded-kubernetes.ts";
export type { ErrorRate } from "./faults/fault-answers.ts";
export type { Faults, WatchCut } from "./faults/faults.ts";
export type { LogCut, LogFailure } from "./faults/log-faults.ts";
export type { RequestMatch } from "./faults/request-match.ts";
export type { ActiveFault, FaultScope, Stall } from "./faults/rule-set.ts";
export type { ActiveSeatLimit, SeatLimitOptions } from "./faults/seat-limit.ts";
export type { WatchFrameFault } from "./faults/targets.ts";
export type { KubeConfigFile } from "./kubeconfig.ts";
export type { ContainerFiles } from "./kubelet/container-files.ts";
export type { DelayRange, Delays } from "./kubelet/delays.ts";
export type { ImageFailure } from "./kubelet/image-registry.ts";
export type { NodeOptions } from "./kubelet/nodes.ts";
export type {
  ContainerContext,
  ProcessProgram,
  Program,
  ProgramOutput,
  ProgramRegistry,
  ProgramResult,
  ScriptedProgram,
  StartErrorProgram,
} from "./kubelet/programs.ts";
export type { Metadata, NewObject, StoredObject } from "./objects/objects.ts";
export type { RequestInfo } from "./objects/request-info.ts";
export type { BuiltInResource, ResourceName } from "./objects/resources.ts";
export type { StoreEvent } from "./store/change-feed.ts";
export type { ClusterObjects } from "./store/cluster-objects.ts";
export type { EventsOption } from "./store/event-recorder.ts";
