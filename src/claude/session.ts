import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import type { RunOutcome } from "../adapter/definition.ts";
import type { ClaudeConfig } from "./config.ts";
import { field, word } from "./json.ts";
import type { ClaudeVerdict } from "./stream-json.ts";

/** Key of `PreparedCommand.carry`. */
export const PROMPT_BUNDLE_KEY = "promptBundleKey";

/**
 * The session to resume: `sessionParams.sessionId`, else `sessionId`. Claude keeps its sessions by working directory, so one
 * of another directory cannot be found there: then the run starts a fresh one.
 */
export function resumeSessionId(ctx: AdapterExecutionContext, workingDir: string): string | null {
  const params = ctx.runtime.sessionParams;
  const id = word(field(params, "sessionId")) ?? word(ctx.runtime.sessionId);
  // What starts with a dash would be an option of the CLI, and no argument can hold a NUL.
  if (id === null || id.startsWith("-") || id.includes("\0")) return null;
  const cwd = word(field(params, "cwd"), 4096);
  return cwd === null || withoutSlash(cwd) === withoutSlash(workingDir) ? id : null;
}

/** What the next run needs to go on; read back by `sessionCodec`. */
export function sessionParams(
  sessionId: string,
  outcome: Pick<RunOutcome<ClaudeConfig, ClaudeVerdict>, "ctx" | "workingDir" | "carry">,
): Record<string, unknown> {
  const workspace = field(outcome.ctx.context, "paperclipWorkspace");
  const entries = {
    sessionId,
    cwd: outcome.workingDir,
    promptBundleKey: word(outcome.carry[PROMPT_BUNDLE_KEY]),
    workspaceId: word(field(workspace, "workspaceId")),
    repoUrl: word(field(workspace, "repoUrl"), 2048),
    repoRef: word(field(workspace, "repoRef"), 1024),
  };
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== null));
}

function withoutSlash(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, "") : path;
}
