/**
 * The transcript of a run, line by line. The host's browser evaluates this file, bundled, by itself in a worker without any
 * global: it and what it imports keep no state and use nothing beyond the language.
 */
import type { TranscriptEntry } from "@paperclipai/adapter-utils";
import { describeRetry, errorsOf, missingParts } from "./describe-event.ts";
import { readEvent } from "./event-line.ts";

type Fields = Record<string, unknown>;

export function parseStdoutLine(line: string, ts: string): TranscriptEntry[] {
  const event = readEvent(line);
  const entries = event === null ? [] : entriesOf(event, ts);
  return entries.length > 0 ? entries : [{ kind: "stdout", ts, text: line }];
}

function entriesOf(event: Fields, ts: string): TranscriptEntry[] {
  switch (event.type) {
    case "system":
      return system(event, ts);
    case "assistant":
      return blocks(event).flatMap((block) => assistant(block, ts));
    case "user":
      return blocks(event).flatMap((block) => user(block, ts));
    case "result":
      return [result(event, ts)];
    default:
      return [];
  }
}

function system(event: Fields, ts: string): TranscriptEntry[] {
  switch (event.subtype) {
    case "init": {
      const missing: TranscriptEntry[] = missingParts(event).map((part) => ({
        kind: "system",
        ts,
        text: `Missing: ${part}`,
      }));
      return [
        { kind: "init", ts, model: text(event.model) || "unknown", sessionId: text(event.session_id) },
        ...missing,
      ];
    }
    case "api_retry":
      return [{ kind: "system", ts, text: describeRetry(event) }];
    default:
      return [];
  }
}

function assistant(block: Fields, ts: string): TranscriptEntry[] {
  switch (block.type) {
    case "text":
      return text(block.text) === "" ? [] : [{ kind: "assistant", ts, text: text(block.text) }];
    case "thinking":
      return text(block.thinking) === "" ? [] : [{ kind: "thinking", ts, text: text(block.thinking) }];
    case "tool_use":
      return [
        {
          kind: "tool_call",
          ts,
          name: text(block.name) || "unknown",
          toolUseId: text(block.id) || text(block.tool_use_id),
          input: block.input ?? {},
        },
      ];
    default:
      return [];
  }
}

function user(block: Fields, ts: string): TranscriptEntry[] {
  switch (block.type) {
    case "text":
      return text(block.text) === "" ? [] : [{ kind: "user", ts, text: text(block.text) }];
    case "tool_result":
      return [
        {
          kind: "tool_result",
          ts,
          toolUseId: text(block.tool_use_id),
          content: toolResult(block.content),
          isError: block.is_error === true,
        },
      ];
    default:
      return [];
  }
}

function toolResult(content: unknown): string {
  if (!Array.isArray(content)) return text(content);
  return content
    .filter((part) => isFields(part) && part.type === "text")
    .map((part) => text(part.text))
    .join("\n");
}

function result(event: Fields, ts: string): TranscriptEntry {
  const usage = isFields(event.usage) ? event.usage : {};
  return {
    kind: "result",
    ts,
    text: text(event.result),
    inputTokens: number(usage.input_tokens),
    outputTokens: number(usage.output_tokens),
    cachedTokens: number(usage.cache_read_input_tokens),
    costUsd: number(event.total_cost_usd),
    subtype: text(event.subtype),
    isError: event.is_error === true,
    errors: errorsOf(event),
  };
}

function blocks(event: Fields): Fields[] {
  const { content } = isFields(event.message) ? event.message : {};
  // A user message may be a bare text.
  if (typeof content === "string") return [{ type: "text", text: content }];
  return Array.isArray(content) ? content.filter(isFields) : [];
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}
