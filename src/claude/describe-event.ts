/** Events in words, for the host's events, its transcript and the terminal alike. Imports nothing that a browser lacks. */
import { cutEnd, field, finite, isRecord, type JsonObject, word } from "../json/read-json.ts";

/** `API request failed (HTTP 529, overloaded), retry 2 of 10 in 1.2 s`. */
export function describeRetry(event: JsonObject): string {
  const status = finite(field(event, "error_status"));
  const error = word(field(event, "error"));
  const cause = [status === null ? null : `HTTP ${status}`, error].filter((part) => part !== null).join(", ");
  const attempt = finite(field(event, "attempt"));
  const most = finite(field(event, "max_retries"));
  const delay = finite(field(event, "retry_delay_ms"));
  return [
    `API request failed${cause === "" ? "" : ` (${cause})`}, retry`,
    attempt === null ? "" : ` ${attempt}${most === null ? "" : ` of ${most}`}`,
    delay === null ? "" : ` in ${(delay / 1000).toFixed(1)} s`,
  ].join("");
}

/** The errors of a `result`: texts, or objects with `message`, `error` or `code`; what is neither shows as JSON. */
export function errorsOf(result: JsonObject): string[] {
  const errors = field(result, "errors");
  return Array.isArray(errors) ? errors.map(errorText).filter((each) => each !== "") : [];
}

function errorText(error: unknown): string {
  if (typeof error === "string") return error;
  if (!isRecord(error)) return "";
  for (const name of ["message", "error", "code"]) {
    const value = field(error, name);
    if (typeof value === "string" && value !== "") return value;
  }
  try {
    return JSON.stringify(error);
  } catch {
    return "(nested too deeply to be shown)";
  }
}

const MAX_LISTED = 20;

/** What of its configuration the CLI could not bring up, by its `init` event: `MCP server apps (failed)`. */
export function missingParts(init: JsonObject): string[] {
  const servers = list(init, "mcp_servers")
    .map((server) => ({ name: word(field(server, "name")), status: word(field(server, "status")) }))
    .filter(({ status }) => status !== null && !IS_UP.has(status))
    .map(({ name, status }) => `MCP server ${name ?? "?"} (${status})`);
  return [...servers, ...skipped(init, "mcp_server_errors", "MCP server"), ...skipped(init, "plugin_errors", "plugin")];
}

/** A `plugin_install` event comes before or after `init`, or between. */
export function failedInstall(event: JsonObject): string[] {
  if (field(event, "status") !== "failed") return [];
  return [`plugins of ${word(field(event, "name")) ?? "?"} (${word(field(event, "error"), 500) ?? "not installed"})`];
}

/** `Claude could not save transcript (ENOSPC)`: the disk was full, and the next run may miss a part of the conversation. */
export function describeLost(event: JsonObject): string {
  const lost = list(event, "lost").filter((each) => typeof each === "string");
  const what = lost.length === 0 ? "its files" : cutEnd(lost.join(", "), 500);
  return `Claude could not save ${what} (${word(field(event, "error_code")) ?? "disk full"})`;
}

/** All others (`failed`, `needs-auth`, …) are missing. A `pending` one still connects; a `disabled` one is wanted so. */
const IS_UP = new Set(["connected", "cached", "pending", "disabled"]);

function skipped(init: JsonObject, name: string, what: string): string[] {
  return list(init, name).map((entry) => {
    const why = word(field(entry, "message"), 500) ?? word(field(entry, "type")) ?? "not loaded";
    return `${what} ${word(field(entry, "name")) ?? word(field(entry, "plugin")) ?? "?"} (${why})`;
  });
}

function list(event: JsonObject, name: string): unknown[] {
  const value = field(event, name);
  return Array.isArray(value) ? value.slice(0, MAX_LISTED) : [];
}
