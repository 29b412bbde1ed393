import type { AdapterExecutionContext, AdapterSessionCodec } from "@paperclipai/adapter-utils";
import { field, isStorable, word } from "../../json/read-json.ts";

/**
 * The session to resume: `sessionParams.sessionId`, else `sessionId` of the host. Null for one of another working directory, since CLIs
 * look their sessions up by directory.
 */
export function resumeSessionId(ctx: AdapterExecutionContext, workingDir: string): string | null {
  const params = ctx.runtime.sessionParams;
  const id = word(field(params, "sessionId")) ?? word(ctx.runtime.sessionId);
  // What starts with a dash would be an option of the CLI.
  if (id === null || id.startsWith("-") || !isStorable(id)) return null;
  const cwd = word(field(params, "cwd"), 4096);
  return cwd === null || withoutSlash(cwd) === withoutSlash(workingDir) ? id : null;
}

/**
 * What the next run needs to go on, for `sessionParams` of the result; read back by `sessionCodec`.
 * @param more of the adapter's own; a null is left out
 */
export function sessionParams(
  sessionId: string,
  { ctx, workingDir }: { readonly ctx: AdapterExecutionContext; readonly workingDir: string },
  more: Readonly<Record<string, string | null>> = {},
): Record<string, unknown> {
  const workspace = field(ctx.context, "paperclipWorkspace");
  const entries = {
    sessionId,
    cwd: workingDir,
    ...more,
    workspaceId: word(field(workspace, "workspaceId")),
    repoUrl: word(field(workspace, "repoUrl"), 2048),
    repoRef: word(field(workspace, "repoRef"), 1024),
  };
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== null));
}

/** What is kept of a session between runs, and under which names it may be read. The first name of a row is the one written. */
const KEYS: readonly (readonly string[])[] = [
  ["sessionId", "session_id"],
  ["cwd", "workdir", "folder"],
  ["workspaceId", "workspace_id"],
  ["repoUrl", "repo_url"],
  ["repoRef", "repo_ref"],
];

/**
 * The host's codec of stored sessions. Only the keys of `sessionParams` pass: what the host itself has on the row is dropped.
 * @param more names of further keys, each with the other names under which it may be read
 */
export function sessionCodecOf(more: readonly (readonly string[])[] = []): AdapterSessionCodec {
  const keys = [...KEYS, ...more];
  /** Null without a session id. */
  const read = (raw: unknown): Record<string, string> | null => {
    const params: Record<string, string> = {};
    for (const names of keys) {
      const value = names
        .map((name) => field(raw, name))
        .find((each) => typeof each === "string" && each.trim() !== "");
      if (typeof value === "string" && names[0] !== undefined) params[names[0]] = value.trim();
    }
    return params.sessionId === undefined ? null : params;
  };
  return { deserialize: read, serialize: read, getDisplayId: (params) => read(params)?.sessionId ?? null };
}

function withoutSlash(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, "") : path;
}
