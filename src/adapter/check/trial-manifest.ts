import type { BaseConfig } from "../config/config.ts";
import type { AdapterDefinition, AgentVerdict } from "../definition.ts";
import { buildManifest } from "../job/manifest.ts";

/**
 * Builds the Job of a run that will not take place, so that what only shows there (`podPatch`) fails the environment test, too.
 * @throws ConfigError
 */
export function buildTrialManifest<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { type, containerName, jobNamePrefix }: AdapterDefinition<Config, Verdict>,
  config: Config,
): void {
  const agent = { id: "trial", companyId: "trial", name: "trial", adapterType: type, adapterConfig: {} };
  buildManifest({
    type,
    containerName,
    jobNamePrefix,
    ctx: {
      runId: "trial",
      agent,
      runtime: { sessionId: null, sessionParams: null, sessionDisplayId: null, taskKey: null },
      config: {},
      context: {},
      onLog: async () => undefined,
    },
    config,
    selfPod: null,
    namespace: "trial",
    image: "trial",
    sessionId: null,
    workingDir: "/",
    prepared: { command: ["true"], commandArgs: [], prompt: "", promptMetrics: {} },
    serverEnv: {},
  });
}
