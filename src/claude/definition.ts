import type { ServerAdapterModule } from "@paperclipai/adapter-utils";
import type { AdapterDefinition } from "../adapter/definition.ts";
import { resumeSessionId } from "../adapter/host/session.ts";
import { workingDirOf } from "../adapter/job/working-dir.ts";
import { classifyRun } from "./classify.ts";
import { type ClaudeConfig, parseClaudeConfig } from "./config.ts";
import { configSchema } from "./config-schema.ts";
import { agentConfigurationDoc } from "./configuration-doc.ts";
import { mayComeFirst } from "./event-line.ts";
import { BUDGET_EXHAUSTED } from "./failure.ts";
import { modelsFor } from "./models.ts";
import { prepareClaude } from "./prepare.ts";
import { isResultLine } from "./result-event.ts";
import { sessionDirectory } from "./session.ts";
import { sessionCodec } from "./session-codec.ts";
import { skillSnapshot } from "./skills.ts";
import { ClaudeResultParser, type ClaudeVerdict } from "./stream-json.ts";

export const type = "claude_k8s";
export const label = "Claude (Kubernetes)";

/** Claude Code as an agent on Kubernetes, for `createK8sAdapter`. */
export function claudeDefinition(): AdapterDefinition<ClaudeConfig, ClaudeVerdict> {
  return {
    type,
    label,
    containerName: "claude",
    jobNamePrefix: "ac",
    versionCommand: "claude --version",
    module: hostModule(),
    parseConfig: parseClaudeConfig,
    resumeSessionId: (ctx, config) => resumeSessionId(ctx, workingDirOf(ctx, config)),
    prepare: (input) => prepareClaude(input),
    createResultParser: () => new ClaudeResultParser(),
    sessionDirectory,
    isFirstLine: mayComeFirst,
    isLastLine: isResultLine,
    classify: (outcome) => classifyRun(outcome, new Date()),
    mayContinue: ({ errorCode }) => errorCode !== BUDGET_EXHAUSTED,
  };
}

function hostModule(): Omit<Partial<ServerAdapterModule>, "type" | "execute" | "testEnvironment"> {
  return {
    sessionCodec,
    // Read by nobody on current hosts; older ones take it from here that Claude compacts its context itself.
    sessionManagement: {
      supportsSessionResume: true,
      nativeContextManagement: "confirmed",
      defaultSessionCompaction: { enabled: true, maxSessionRuns: 0, maxRawInputTokens: 0, maxSessionAgeHours: 0 },
    },
    // The host's forms read `models` before `listModels` has answered.
    models: modelsFor(process.env),
    listModels: async () => modelsFor(process.env),
    listSkills: (ctx) => skillSnapshot(ctx),
    syncSkills: (ctx) => skillSnapshot(ctx),
    getConfigSchema: configSchema,
    agentConfigurationDoc,
    supportsLocalAgentJwt: true,
    runtimeToolDelivery: "native_mcp",
    supportsInstructionsBundle: true,
    instructionsPathKey: "instructionsFilePath",
    // Skills are read from the host's disk when a run is prepared: their files must be there.
    requiresMaterializedRuntimeSkills: true,
  };
}
