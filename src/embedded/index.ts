/** A Kubernetes in this process, for tests, demos and benchmarks: `await EmbeddedKubernetes.start()`. */
export type { PolicyRule, User } from "./authorization.ts";
export type { Delays } from "./delays.ts";
export {
  EmbeddedKubernetes,
  type EmbeddedKubernetesOptions,
  type RestartOptions,
  type UserOptions,
} from "./embedded-kubernetes.ts";
export type { ActiveFault, ErrorRate, Faults, LogCut, LogFailure, RequestMatch, Stall } from "./faults.ts";
export type { ImageFailure } from "./image-registry.ts";
export type { KubeConfigFile } from "./kubeconfig.ts";
export type { NodeOptions } from "./nodes.ts";
export type { ContainerContext, ProcessProgram, Program, ProgramOutput, ScriptedProgram } from "./programs.ts";
export type { RequestCounts } from "./request-counts.ts";
export type { RequestInfo } from "./request-info.ts";
export type { NewObject, ResourceName, StoredObject, StoreEvent } from "./store.ts";
export type { WatchFrameFault } from "./watch-stream.ts";
