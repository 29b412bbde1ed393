import { type BaseConfig, parseBaseConfig } from "../adapter/config/config.ts";
import { ConfigReader, readAll } from "../adapter/config/config-reader.ts";
import { ConfigError } from "../adapter/errors.ts";
import { type McpServers, readMcpServers } from "./mcp.ts";
import { isBedrockEnv } from "./models.ts";

/** The keys of `claude_k8s`, those of every adapter on Kubernetes included. */
export interface ClaudeConfig extends BaseConfig {
  /** Null: the CLI's own default. */
  readonly model: string | null;
  readonly effort: string | null;
  /** 0: no limit. */
  readonly maxTurnsPerRun: number;
  readonly dangerouslySkipPermissions: boolean;
  readonly extraArgs: readonly string[];
  readonly promptTemplate: string | null;
  readonly bootstrapPromptTemplate: string | null;
  /** On the server's disk. */
  readonly instructionsFilePath: string | null;
  readonly mcpServers: McpServers;
  /** The agent's models come from AWS Bedrock. */
  readonly isBedrock: boolean;
}

/** @throws ConfigError */
export function parseClaudeConfig(raw: Record<string, unknown>): ClaudeConfig {
  const read = new ConfigReader(raw);
  const { base, ...own } = readAll<OwnConfig & { base: BaseConfig }>({
    base: () => parseBaseConfig(raw),
    model: () => option(read, "model"),
    // The platform's form writes `thinkingEffort`, the former adapter read `effort`.
    effort: () => option(read, "effort") ?? option(read, "thinkingEffort"),
    maxTurnsPerRun: () => read.count("maxTurnsPerRun") ?? 0,
    dangerouslySkipPermissions: () => read.boolean("dangerouslySkipPermissions") ?? true,
    extraArgs: () => read.strings("extraArgs"),
    promptTemplate: () => read.string("promptTemplate"),
    bootstrapPromptTemplate: () => read.string("bootstrapPromptTemplate"),
    instructionsFilePath: () => read.string("instructionsFilePath"),
    mcpServers: () => readMcpServers(raw.mcpServers),
  });
  // The pod inherits the server's environment, if the server runs in one; which is not known yet. `env` has the last word.
  return { ...base, ...own, isBedrock: isBedrockEnv({ ...process.env, ...base.env }) };
}

type OwnConfig = Omit<ClaudeConfig, keyof BaseConfig | "isBedrock">;

/** A value of an option of the CLI: one that starts with a dash would be read as the next option. */
function option(read: ConfigReader, key: string): string | null {
  const value = read.string(key);
  if (value?.startsWith("-")) throw new ConfigError(key, value, "a value that does not start with a dash");
  return value;
}
