import { DATA_DIRECTORY, type RunOutcome } from "../adapter/definition.ts";
import { sessionParams } from "../adapter/host/session.ts";
import { word } from "../json/read-json.ts";
import type { ClaudeConfig } from "./config.ts";
import type { ClaudeVerdict } from "./stream-json.ts";

/** Key of `PreparedCommand.carry`. */
export const PROMPT_BUNDLE_KEY = "promptBundleKey";

/** Claude writes a session as it goes on, so that one that was cut off in the middle can be resumed. */
export function sessionDirectory({ env }: Pick<ClaudeConfig, "env">): string {
  return word(env.CLAUDE_CONFIG_DIR, 4096) ?? `${DATA_DIRECTORY}/.claude`;
}

/** What the next run needs to go on; read back by `sessionCodec`. */
export function claudeSessionParams(
  sessionId: string,
  outcome: Pick<RunOutcome<ClaudeConfig, ClaudeVerdict>, "ctx" | "workingDir" | "carry">,
): Record<string, unknown> {
  return sessionParams(sessionId, outcome, { [PROMPT_BUNDLE_KEY]: word(outcome.carry[PROMPT_BUNDLE_KEY]) });
}
