import type { ServerAdapterModule } from "@paperclipai/adapter-utils";
import { testEnvironment } from "./check/environment-test.ts";
import type { BaseConfig } from "./config/config.ts";
import type { AdapterDefinition, AgentVerdict } from "./definition.ts";
import { type ExecuteOptions, execute } from "./run/execute.ts";

/**
 * The host's module of one agent CLI that runs as Kubernetes Jobs. Makes no request and starts no timer: engines are
 * shared by all runs of a cluster and namespace, started with the first and stopped a minute after the last.
 */
export function createK8sAdapter<Config extends BaseConfig, Verdict extends AgentVerdict>(
  definition: AdapterDefinition<Config, Verdict>,
  options: ExecuteOptions = {},
): ServerAdapterModule {
  return {
    ...definition.module,
    type: definition.type,
    execute: (ctx) => execute(definition, ctx, options),
    testEnvironment: (ctx) => testEnvironment(definition, ctx, options),
  };
}
