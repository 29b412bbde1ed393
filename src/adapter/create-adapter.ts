import type { ServerAdapterModule } from "@paperclipai/adapter-utils";
import { testEnvironment } from "./check/environment-test.ts";
import type { BaseConfig } from "./config/config.ts";
import type { AdapterDefinition, AgentVerdict } from "./definition.ts";
import type { ExecuteOptions } from "./run/execute.ts";
import { executeWithOwnKey } from "./run/own-key.ts";

/** Without the optional peer its types are `any`, and a definition would be checked against nothing. */
type PeerIsInstalled = [{ isNoModule: true }] extends [ServerAdapterModule]
  ? "Install @paperclipai/adapter-utils beside k8s-run-informer: the types of an adapter's definition are its"
  : unknown;

/**
 * The host's module of one agent CLI that runs as Kubernetes Jobs. Makes no request and starts no timer: engines are
 * shared by all runs of a cluster and namespace, started with the first and stopped a minute after the last.
 */
export function createK8sAdapter<Config extends BaseConfig, Verdict extends AgentVerdict>(
  definition: AdapterDefinition<Config, Verdict> & PeerIsInstalled,
  options: ExecuteOptions = {},
): ServerAdapterModule {
  return {
    ...definition.module,
    type: definition.type,
    execute: (ctx) => executeWithOwnKey(definition, ctx, options),
    testEnvironment: (ctx) => testEnvironment(definition, ctx, options),
  };
}
