import type { AdapterModel } from "@paperclipai/adapter-utils";

const DIRECT: readonly AdapterModel[] = [
  { id: "claude-opus-5", label: "Claude Opus 5" },
  { id: "claude-opus-4-8", label: "Claude Opus 4.8" },
  { id: "claude-sonnet-5", label: "Claude Sonnet 5" },
  { id: "claude-fable-5-1", label: "Claude Fable 5.1" },
  { id: "claude-fable-5", label: "Claude Fable 5" },
  { id: "claude-mythos-5", label: "Claude Mythos 5" },
  { id: "claude-opus-4-7", label: "Claude Opus 4.7" },
  { id: "claude-opus-4-6", label: "Claude Opus 4.6" },
  { id: "claude-sonnet-4-6", label: "Claude Sonnet 4.6" },
  { id: "claude-haiku-4-6", label: "Claude Haiku 4.6" },
  { id: "claude-sonnet-4-5-20250929", label: "Claude Sonnet 4.5" },
  { id: "claude-haiku-4-5-20251001", label: "Claude Haiku 4.5" },
];

const BEDROCK: readonly AdapterModel[] = [
  { id: "us.anthropic.claude-opus-4-8-v1", label: "Bedrock Opus 4.8" },
  { id: "us.anthropic.claude-fable-5-1", label: "Bedrock Fable 5.1" },
  { id: "us.anthropic.claude-fable-5-v1", label: "Bedrock Fable 5" },
  { id: "us.anthropic.claude-opus-4-7", label: "Bedrock Opus 4.7" },
  { id: "us.anthropic.claude-opus-4-6-v1", label: "Bedrock Opus 4.6" },
  { id: "us.anthropic.claude-sonnet-4-6", label: "Bedrock Sonnet 4.6" },
  { id: "us.anthropic.claude-sonnet-4-5-20250929-v1:0", label: "Bedrock Sonnet 4.5" },
  { id: "us.anthropic.claude-haiku-4-5-20251001-v1:0", label: "Bedrock Haiku 4.5" },
];

/** The CLI's own switches: `CLAUDE_CODE_USE_BEDROCK` is `1` or `true`, or `ANTHROPIC_BEDROCK_BASE_URL` is set. */
export function isBedrockEnv(env: Readonly<Record<string, string | undefined>>): boolean {
  const flag = env.CLAUDE_CODE_USE_BEDROCK?.trim().toLowerCase();
  return flag === "1" || flag === "true" || (env.ANTHROPIC_BEDROCK_BASE_URL ?? "").trim() !== "";
}

/** Models to choose from with the credentials that `env` speaks of. Any other id may be typed in. */
export function modelsFor(env: Readonly<Record<string, string | undefined>>): AdapterModel[] {
  return (isBedrockEnv(env) ? BEDROCK : DIRECT).map((model) => ({ ...model }));
}

/** Ids of the Anthropic API, which Bedrock does not know. */
export function isDirectModelId(id: string): boolean {
  return id.startsWith("claude-");
}
