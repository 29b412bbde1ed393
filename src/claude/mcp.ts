import type { AdapterRuntimeMcpServer } from "@paperclipai/adapter-utils";
import { ConfigError, reasonOf } from "../adapter/errors.ts";
import { isRecord, storableValue } from "../json/read-json.ts";
import { readTextFile } from "./text-file.ts";

export type McpServers = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Name of the file in the run Secret: its headers hold tokens. */
export const MCP_FILE = "mcp.json";

/**
 * The key `mcpServers`: an object of servers, the content of an `.mcp.json` (with `mcpServers` in it), or either as text.
 *
 * @throws ConfigError; it never shows a value, since servers have tokens in their headers and variables
 */
export function readMcpServers(raw: unknown): McpServers {
  if (raw === undefined || raw === null || (typeof raw === "string" && raw.trim() === "")) return {};
  const value = typeof raw === "string" ? parse(raw) : raw;
  if (!isRecord(value)) throw new ConfigError("mcpServers", kind(value), "an object of MCP servers by name");
  const servers = isRecord(value.mcpServers) ? value.mcpServers : value;
  for (const [name, server] of Object.entries(servers)) {
    if (!isRecord(server)) {
      throw new ConfigError(`mcpServers.${name}`, kind(server), "an object such as {command, args} or {type, url}");
    }
    if (typeof server.command !== "string" && typeof server.url !== "string") {
      throw new ConfigError(`mcpServers.${name}`, Object.keys(server), "a server with a command or a url");
    }
    if (JSON.stringify(storableValue([name, server])) !== JSON.stringify([name, server])) {
      const wanted = "texts without NUL characters and halves of characters";
      throw new ConfigError(`mcpServers.${JSON.stringify(name)}`, kind(server), wanted);
    }
  }
  return servers as McpServers;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ConfigError("mcpServers", "a text that is no JSON", "JSON of MCP servers by name");
  }
}

function kind(value: unknown): string {
  return Array.isArray(value) ? "a list" : typeof value;
}

/** The operator's servers for all agents, on the shared volume. Null when there is no such file. */
export async function readBaseline(path: string): Promise<{ servers: McpServers; problem: string | null } | null> {
  let content: string;
  try {
    content = await readTextFile(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === "ENOENT" || code === "ENOTDIR"
      ? null
      : { servers: {}, problem: `${path}: ${code ?? reasonOf(error)}` };
  }
  try {
    return { servers: readMcpServers(content), problem: null };
  } catch (error) {
    return { servers: {}, problem: `${path}: ${reasonOf(error)}` };
  }
}

/**
 * Content of the MCP file: the baseline, over it the agent's own servers, over both those that the host assigned to the run.
 * Null when there is none: then Claude is left to its own configuration.
 */
export function mcpConfig(
  baseline: McpServers,
  configured: McpServers,
  assigned: readonly AdapterRuntimeMcpServer[],
  reachableUrl: (url: string) => string,
): string | null {
  const servers = new Map<string, unknown>([...Object.entries(baseline), ...Object.entries(configured)]);
  const taken = new Set<string>();
  for (const { name, url, token, connectionId } of assigned) {
    const free = freeName(name, connectionId, taken);
    taken.add(free);
    servers.set(free, {
      type: "http",
      url: reachableUrl(url),
      headers: { Authorization: `Bearer ${token}` },
    });
  }
  return servers.size === 0 ? null : JSON.stringify({ mcpServers: Object.fromEntries(servers) });
}

/** Two connections of one app have one name. */
function freeName(name: string, connectionId: string, taken: ReadonlySet<string>): string {
  const candidates = [name, `${name}-${connectionId.slice(0, 8)}`];
  for (let n = 2; ; n += 1) {
    const free = candidates.find((candidate) => !taken.has(candidate));
    if (free !== undefined) return free;
    candidates.push(`${name}-${connectionId.slice(0, 8)}-${n}`);
  }
}
