import type { AdapterSessionCodec } from "@paperclipai/adapter-utils";

/** What is kept of a session between runs, and under which names it may be read. The first name of a row is the one written. */
const KEYS: readonly (readonly [string, ...string[]])[] = [
  ["sessionId", "session_id"],
  ["cwd", "workdir", "folder"],
  ["promptBundleKey", "prompt_bundle_key"],
  ["mcpServerIdentity"],
  ["workspaceId", "workspace_id"],
  ["repoUrl", "repo_url"],
  ["repoRef", "repo_ref"],
];

/** An allow-list: the host's own keys on the stored row are dropped. Null without a session id. */
function read(raw: unknown): Record<string, string> | null {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return null;
  const record = raw as Record<string, unknown>;
  const params: Record<string, string> = {};
  for (const names of KEYS) {
    for (const name of names) {
      const value = Object.hasOwn(record, name) ? record[name] : undefined;
      if (typeof value !== "string" || value.trim() === "") continue;
      params[names[0]] = value.trim();
      break;
    }
  }
  return params.sessionId === undefined ? null : params;
}

export const sessionCodec: AdapterSessionCodec = {
  deserialize: read,
  serialize: read,
  getDisplayId: (params) => read(params)?.sessionId ?? null,
};
