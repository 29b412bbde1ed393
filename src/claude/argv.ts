import type { ClaudeConfig } from "./config.ts";
import { isDirectModelId } from "./models.ts";

export interface ArgvInput {
  readonly config: Pick<
    ClaudeConfig,
    "model" | "effort" | "maxTurnsPerRun" | "dangerouslySkipPermissions" | "extraArgs" | "isBedrock"
  >;
  readonly sessionId: string | null;
  /** A path in the pod. Left out on resume: the session has them already. */
  readonly instructionsFile: string | null;
  /** A path in the pod with `.claude/skills`. */
  readonly addDir: string | null;
  /** A path in the pod. */
  readonly mcpConfigFile: string | null;
}

/** Arguments of `claude`. The prompt comes on its standard input; a `-` would stand before it as text. */
export function claudeArgs(input: ArgvInput): string[] {
  const { config, sessionId, instructionsFile, addDir, mcpConfigFile } = input;
  const args = ["--print", "--output-format", "stream-json", "--verbose"];
  if (sessionId !== null) args.push("--resume", sessionId);
  if (config.dangerouslySkipPermissions) args.push("--dangerously-skip-permissions");
  if (config.model !== null && passesModel(config)) args.push("--model", config.model);
  if (config.effort !== null) args.push("--effort", config.effort);
  if (config.maxTurnsPerRun > 0) args.push("--max-turns", String(config.maxTurnsPerRun));
  if (instructionsFile !== null && sessionId === null) args.push("--append-system-prompt-file", instructionsFile);
  if (addDir !== null) args.push("--add-dir", addDir);
  if (mcpConfigFile !== null) args.push("--mcp-config", mcpConfigFile, "--strict-mcp-config");
  args.push(...config.extraArgs);
  return args;
}

/** Ids of the Anthropic API mean nothing to Bedrock: the CLI's own default is the better answer there. */
export function passesModel(config: Pick<ClaudeConfig, "model" | "isBedrock">): boolean {
  return config.model !== null && !(config.isBedrock && isDirectModelId(config.model));
}
