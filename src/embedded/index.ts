/** A Kubernetes in this process, for tests, demos and benchmarks: `await EmbeddedKubernetes.start()`. */
export type { PolicyRule, User } from "./api/authorization.ts";
export type { RequestCounts } from "./api/request-counts.ts";
export type { RequestInfo } from "./api/request-info.ts";
export type { WatchFrameFault } from "./api/watch-stream.ts";
export {
  EmbeddedKubernetes,
  type EmbeddedKubernetesOptions,
  type RestartOptions,
  type UserOptions,
} from "./embedded-kubernetes.ts";
export type { ActiveFault, ErrorRate, Faults, LogCut, LogFailure, RequestMatch, Stall } from "./faults/faults.ts";
export type { KubeConfigFile } from "./kubeconfig.ts";
export type { Delays } from "./kubelet/delays.ts";
export type { ImageFailure } from "./kubelet/image-registry.ts";
export type { NodeOptions } from "./kubelet/nodes.ts";
export type { ContainerContext, ProcessProgram, Program, ProgramOutput, ScriptedProgram } from "./kubelet/programs.ts";
export type { NewObject, ResourceName, StoredObject, StoreEvent } from "./store/store.ts";
