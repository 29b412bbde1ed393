/** `k8s-run-informer/adapter`: what an adapter for another agent CLI is made of. */
export { stopSharedEngines } from "../engine/index.ts";
export { type BaseConfig, parseBaseConfig, type Toleration } from "./config/config.ts";
export { ConfigReader } from "./config/config-reader.ts";
export type { PodPatch } from "./config/pod-patch.ts";
export { createK8sAdapter } from "./create-adapter.ts";
export * from "./definition.ts";
export { ConfigError } from "./errors.ts";
export { resumeSessionId, sessionCodecOf, sessionParams } from "./host/session.ts";
export { promptCommand, shellWord } from "./job/command.ts";
export { buildPrompt, type Prompt, type PromptTemplates } from "./job/prompt.ts";
export { workingDirOf } from "./job/working-dir.ts";
export type { ExecuteOptions } from "./run/execute.ts";
