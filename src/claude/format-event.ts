import { styleText } from "node:util";
import { printable } from "../adapter/host/printable.ts";
import { field, finite, type JsonObject, recordsIn, word } from "../json/read-json.ts";
import { describeRetry, errorsOf, missingParts } from "./describe-event.ts";
import { readEvent } from "./event-line.ts";

/**
 * Prints one line of a run for people at a terminal, in colour where the terminal has it. Lines that are no events are printed
 * as they are, events of unknown types only with `debug`; control characters of either show as `\x1b`.
 */
export function printClaudeStreamEvent(raw: string, debug: boolean): void {
  for (const line of formatClaudeStreamEvent(raw, debug)) console.log(line);
}

/** The lines that `printClaudeStreamEvent` prints. */
export function formatClaudeStreamEvent(raw: string, debug: boolean): string[] {
  const line = raw.trim();
  if (line === "") return [];
  const event = readEvent(raw);
  if (event === null) return [printable(line)];
  switch (field(event, "type")) {
    case "system":
      return system(event, line, debug);
    case "assistant":
      return blocks(event).flatMap(assistant);
    case "user":
      return blocks(event).flatMap(toolResult);
    case "result":
      return result(event);
    case "rate_limit_event":
      return [rateLimit(event)];
    default:
      return unknown(line, debug);
  }
}

function system(event: JsonObject, line: string, debug: boolean): string[] {
  switch (field(event, "subtype")) {
    case "init": {
      const model = word(field(event, "model")) ?? "unknown";
      const session = word(field(event, "session_id"));
      return [
        paint("blue", `Claude initialized (model: ${model}${session === null ? "" : `, session: ${session}`})`),
        ...missingParts(event).map((part) => paint("yellow", `missing: ${part}`)),
      ];
    }
    case "api_retry":
      return [paint("yellow", `api_retry: ${describeRetry(event)}`)];
    default:
      return unknown(line, debug);
  }
}

function assistant(block: JsonObject): string[] {
  switch (field(block, "type")) {
    case "text":
      return labelled("green", "assistant", field(block, "text"));
    case "thinking":
      return labelled("gray", "thinking", field(block, "thinking"));
    case "tool_use": {
      const input = field(block, "input");
      const heading = paint("yellow", `tool_call: ${word(field(block, "name")) ?? "unknown"}`);
      return input === undefined ? [heading] : [heading, paint("gray", asJson(input))];
    }
    default:
      return [];
  }
}

function labelled(color: "green" | "gray", label: string, value: unknown): string[] {
  return typeof value === "string" && value.trim() !== "" ? [paint(color, `${label}: ${value}`)] : [];
}

function toolResult(block: JsonObject): string[] {
  if (field(block, "type") !== "tool_result") return [];
  const isError = field(block, "is_error") === true;
  const content = contentText(field(block, "content"));
  const heading = isError ? paint("red", "tool_result (error)") : paint("cyan", "tool_result");
  return content === "" ? [heading] : [heading, paint(isError ? "red" : "gray", content)];
}

function contentText(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .map((part) => field(part, "text"))
    .filter((part) => typeof part === "string")
    .join("\n");
}

function result(event: JsonObject): string[] {
  const lines: string[] = [];
  const text = field(event, "result");
  if (typeof text === "string" && text !== "") lines.push(paint("green", "result:"), printable(text));
  const subtype = word(field(event, "subtype")) ?? "";
  const isError = field(event, "is_error") === true;
  const errors = errorsOf(event);
  if (subtype.startsWith("error") || isError || errors.length > 0) {
    lines.push(paint("red", `claude_result: subtype=${subtype || "unknown"} is_error=${isError}`));
    if (errors.length > 0) lines.push(paint("red", `claude_errors: ${errors.join(" | ")}`));
  }
  const usage = field(event, "usage");
  const tokens = (name: string) => finite(field(usage, name)) ?? 0;
  const cost = (finite(field(event, "total_cost_usd")) ?? 0).toFixed(6);
  lines.push(
    paint(
      "blue",
      `tokens: in=${tokens("input_tokens")} out=${tokens("output_tokens")} cached=${tokens("cache_read_input_tokens")} cost=$${cost}`,
    ),
  );
  return lines;
}

function rateLimit(event: JsonObject): string {
  const info = field(event, "rate_limit_info") ?? event;
  const seconds = finite(field(info, "resetsAt"));
  const resetsAt = seconds === null ? new Date(Number.NaN) : new Date(seconds * 1000);
  const resets = Number.isNaN(resetsAt.getTime()) ? "" : ` resets=${resetsAt.toISOString()}`;
  const type = word(field(info, "rateLimitType")) ?? "unknown";
  return paint("yellow", `rate_limit: type=${type} status=${word(field(info, "status")) ?? "unknown"}${resets}`);
}

function unknown(line: string, debug: boolean): string[] {
  return debug ? [paint("gray", line)] : [];
}

function blocks(event: JsonObject): JsonObject[] {
  return recordsIn(field(field(event, "message"), "content"));
}

function asJson(value: unknown): string {
  try {
    return JSON.stringify(value, null, 2);
  } catch {
    return "(nested too deeply to be shown)";
  }
}

/** The text is the agent's: its own escapes must not reach the terminal. */
function paint(color: Parameters<typeof styleText>[0], text: string): string {
  return styleText(color, printable(text));
}
