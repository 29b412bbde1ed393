/**
 * The transcript of a run, line by line. The host's browser evaluates this file, bundled, by itself in a worker without any
 * global: it and what it imports keep no state and use nothing beyond the language.
 */
import type { TranscriptEntry } from "@paperclipai/adapter-utils";
import { field, finite, recordsIn } from "../json/read-json.ts";
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
  return recordsIn(content)
    .filter((part) => part.type === "text")
    .map((part) => text(part.text))
    .join("\n");
}

function result(event: Fields, ts: string): TranscriptEntry {
  const { usage } = event;
  const number = (value: unknown) => finite(value) ?? 0;
  return {
    kind: "result",
    ts,
    text: text(event.result),
    inputTokens: number(field(usage, "input_tokens")),
    outputTokens: number(field(usage, "output_tokens")),
    cachedTokens: number(field(usage, "cache_read_input_tokens")),
    costUsd: number(event.total_cost_usd),
    subtype: text(event.subtype),
    isError: event.is_error === true,
    errors: errorsOf(event),
  };
}

function blocks(event: Fields): Fields[] {
  const content = field(event.message, "content");
  // A user message may be a bare text.
  return typeof content === "string" ? [{ type: "text", text: content }] : recordsIn(content);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
