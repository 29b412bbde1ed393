import type { UsageSummary } from "@paperclipai/adapter-utils";
import { count, cutEnd, field, finite, isObject, type JsonObject, text, word } from "./json.ts";

/** What a `result` event says, cut to what is worth keeping. */
export interface ClaudeResult {
  /** `success`, `error_max_turns`, `error_during_execution`, … A failed API request is `success` too, with `isError`. */
  readonly subtype: string | null;
  readonly isError: boolean;
  readonly stopReason: string | null;
  /** `completed`, `api_error`, `max_turns`, …; null from older CLIs. */
  readonly terminalReason: string | null;
  readonly apiErrorStatus: number | null;
  readonly apiErrorType: string | null;
  readonly text: string | null;
  readonly errors: readonly string[];
  /** For the host's `resultJson`: small, no output of tools. */
  readonly json: Record<string, unknown>;
}

/** Characters of the answer that are kept; the host posts it as a comment. */
export const MAX_ANSWER = 64 * 1024;
const MAX_ERRORS = 20;
const MAX_ERROR = 2000;
const MAX_MODELS = 20;

/** The CLI prints its `result` event last; what may follow it (stderr) makes it the last line no more. */
export function isResultLine(line: string): boolean {
  if (!line.startsWith("{") || !line.includes('"result"')) return false;
  try {
    return field(JSON.parse(line), "type") === "result";
  } catch {
    return false;
  }
}

export function readResult(event: JsonObject): ClaudeResult {
  const errors = readErrors(field(event, "errors"));
  const answer = text(field(event, "result"), MAX_ANSWER);
  const result = {
    subtype: word(field(event, "subtype")),
    isError: field(event, "is_error") === true,
    stopReason: word(field(event, "stop_reason")),
    terminalReason: word(field(event, "terminal_reason")),
    apiErrorStatus: finite(field(event, "api_error_status")),
    apiErrorType: word(field(event, "api_error_type")),
    text: answer,
    errors,
  };
  return { ...result, json: smallJson(event, result) };
}

/** Entries are texts, or objects with `message`, `error` or `code`; what is neither shows as JSON. */
function readErrors(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  const errors: string[] = [];
  for (const entry of value.slice(0, MAX_ERRORS)) {
    const known = isObject(entry)
      ? (text(field(entry, "message"), MAX_ERROR) ??
        text(field(entry, "error"), MAX_ERROR) ??
        text(field(entry, "code"), MAX_ERROR))
      : text(entry, MAX_ERROR);
    const shown = known ?? (isObject(entry) ? asJson(entry) : null);
    if (shown !== null) errors.push(shown);
  }
  return errors;
}

function asJson(value: unknown): string | null {
  try {
    return cutEnd(JSON.stringify(value), MAX_ERROR);
  } catch {
    return null; // nested too deeply to be written, though it could be read
  }
}

const KEPT_WORDS = ["subtype", "session_id", "stop_reason", "terminal_reason", "api_error_type"] as const;
const KEPT_NUMBERS = ["num_turns", "duration_ms", "duration_api_ms", "total_cost_usd", "api_error_status"] as const;
const KEPT_USAGE = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"] as const;

/** The host keeps `resultJson` whole in its database and feeds it to heuristics: an allow-list, bounded. */
function smallJson(event: JsonObject, result: Omit<ClaudeResult, "json">): Record<string, unknown> {
  const json: Record<string, unknown> = { type: "result", is_error: result.isError };
  for (const name of KEPT_WORDS) {
    const value = word(field(event, name));
    if (value !== null) json[name] = value;
  }
  for (const name of KEPT_NUMBERS) {
    const value = finite(field(event, name));
    if (value !== null) json[name] = value;
  }
  if (result.text !== null) json.result = cutEnd(result.text, 16 * 1024);
  if (result.errors.length > 0) json.errors = result.errors;
  const usage = field(event, "usage");
  if (isObject(usage)) json.usage = Object.fromEntries(KEPT_USAGE.map((name) => [name, count(field(usage, name))]));
  const denials = field(event, "permission_denials");
  if (Array.isArray(denials) && denials.length > 0) json.permission_denials = denials.length;
  return json;
}

export interface Spending {
  readonly usage: UsageSummary;
  readonly costUsd: number | null;
}

/**
 * What this run used: exactly this run, not its session.
 *
 * `modelUsage` counts every model and subagent, `usage` only the main chain, so the former is preferred. On a resumed
 * session, `modelUsage` and `total_cost_usd` go on from the totals of the former runs (seen with CLI 2.1.330), while
 * `model_usage_since_last_result` starts at zero with the process: where that exists it is what counts.
 */
export class SpendingMeter {
  #sinceLast: Spending | null = null;
  #total: Spending | null = null;

  add(event: JsonObject): void {
    const since = modelTotals(field(event, "model_usage_since_last_result"));
    if (since !== null) this.#sinceLast = this.#sinceLast === null ? since : plus(this.#sinceLast, since);
    const usage = field(event, "usage");
    this.#total = {
      usage: modelTotals(field(event, "modelUsage"))?.usage ?? {
        inputTokens: count(field(usage, "input_tokens")),
        cachedInputTokens: count(field(usage, "cache_read_input_tokens")),
        outputTokens: count(field(usage, "output_tokens")),
      },
      costUsd: finite(field(event, "total_cost_usd")),
    };
  }

  /** Null as long as no result was added. */
  read(): Spending | null {
    return this.#sinceLast ?? this.#total;
  }
}

/** Null without an entry that can be read. Tokens that fill the prompt cache are billed input. */
function modelTotals(value: unknown): Spending | null {
  if (!isObject(value)) return null;
  const models = Object.values(value)
    .filter((entry) => isObject(entry))
    .slice(0, MAX_MODELS);
  if (models.length === 0) return null;
  const sum = (name: string) => models.reduce((total, model) => total + count(field(model, name)), 0);
  return {
    usage: {
      inputTokens: sum("inputTokens") + sum("cacheCreationInputTokens"),
      cachedInputTokens: sum("cacheReadInputTokens"),
      outputTokens: sum("outputTokens"),
    },
    costUsd: sum("costUSD"),
  };
}

function plus(a: Spending, b: Spending): Spending {
  return {
    usage: {
      inputTokens: a.usage.inputTokens + b.usage.inputTokens,
      cachedInputTokens: (a.usage.cachedInputTokens ?? 0) + (b.usage.cachedInputTokens ?? 0),
      outputTokens: a.usage.outputTokens + b.usage.outputTokens,
    },
    costUsd: (a.costUsd ?? 0) + (b.costUsd ?? 0),
  };
}
