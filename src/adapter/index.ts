/** `k8s-run-informer/adapter`: what an adapter for another agent CLI is made of. */
export { stopSharedEngines } from "../engine/index.ts";
export { type BaseConfig, parseBaseConfig, type Toleration } from "./config/config.ts";
export { ConfigReader } from "./config/config-reader.ts";
export { createK8sAdapter } from "./create-adapter.ts";
export * from "./definition.ts";
export { ConfigError } from "./errors.ts";
export type { ExecuteOptions } from "./run/execute.ts";
