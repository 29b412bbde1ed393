import { count, cutEnd, field, finite, isRecord, type JsonObject, text, word } from "../json/read-json.ts";
import { readEvent } from "./event-line.ts";

/** How a request to the API failed, by the fields of the CLI's message about it or of its result. */
export interface ApiFailure {
  readonly status: number | null;
  /** `authentication_failed`, `model_not_found`, `rate_limit`, `server_error`, … */
  readonly word: string | null;
  /** The API's own: `invalid_request_error`, `billing_error`, … */
  readonly type: string | null;
  /** `api_error` of current CLIs, the most exact: `connection_failed`, `usage_limit_reached`, `tool_history_mismatch`, … */
  readonly kind: string | null;
  /** The API's `error_code`, where it gives one: `enforced_spend_limit_reached`, … */
  readonly code: string | null;
  readonly message: string | null;
  /** The CLI said that it tries the request again. */
  readonly isRetried: boolean;
  readonly resetsAt: Date | null;
}

/** What a `result` event says, cut to what is worth keeping. */
export interface ClaudeResult {
  /** `success`, `error_max_turns`, `error_during_execution`, … A failed API request is `success` too, with `isError`. */
  readonly subtype: string | null;
  readonly isError: boolean;
  readonly stopReason: string | null;
  /** `completed`, `api_error`, `max_turns`, …; null from older CLIs. */
  readonly terminalReason: string | null;
  /** Why the CLI refused to start; from current ones. */
  readonly startupFailure: string | null;
  readonly failure: ApiFailure;
  readonly numTurns: number | null;
  /** Prompts that wait behind it: a turn, and a result, follows. */
  readonly queuedTurns: number;
  /** What the turn answered, if not the prompt: `task-notification`, …; null: the prompt. */
  readonly origin: string | null;
  /** The answer, as text: with `--json-schema` its JSON. */
  readonly text: string | null;
  readonly errors: readonly string[];
  /** For the host's `resultJson`: small, no output of tools. */
  readonly json: Record<string, unknown>;
}

/** Characters of the answer that are kept; the host posts it as a comment. */
export const MAX_ANSWER = 64 * 1024;
const MAX_ERRORS = 20;
const MAX_ERROR = 2000;

/**
 * The CLI prints the `result` event of its prompt last; what may follow it (stderr) makes it the last line no more. One that
 * answers a notification, or nothing at all, is not the last: the work follows it.
 */
export function isResultLine(line: string): boolean {
  if (!line.includes('"result"')) return false;
  const event = readEvent(line);
  if (event === null || field(event, "type") !== "result" || originOf(event) !== null) return false;
  return isLastWord(readResult(event));
}

/** One that says nothing of no turn is printed before the work, by CLIs that do not say that it answers a notification. */
export function isLastWord({ queuedTurns, numTurns, isError, text }: Omit<ClaudeResult, "json">): boolean {
  return queuedTurns === 0 && (numTurns !== 0 || isError || text !== null);
}

export function readResult(event: JsonObject): ClaudeResult {
  const error = field(event, "error");
  // Of some versions one error, as a text or an object; of others a word, which is a field of the failure.
  const said = readErrors(field(event, "errors") ?? (word(error)?.match(/^\w+$/) ? [] : [error]));
  const subtype = word(field(event, "subtype"));
  const errors = subtype === "error_during_execution" ? withoutLog(said) : said;
  const structured = asJson(field(event, "structured_output"), MAX_ANSWER);
  const answer = text(field(event, "result"), MAX_ANSWER) ?? structured;
  const result = {
    subtype,
    isError: field(event, "is_error") === true,
    stopReason: word(field(event, "stop_reason")),
    terminalReason: word(field(event, "terminal_reason")),
    startupFailure: word(field(event, "startup_failure_reason")),
    failure: readApiFailure(event, null),
    numTurns: finite(field(event, "num_turns")),
    queuedTurns: count(field(event, "queued_turn_count")),
    origin: originOf(event),
    text: answer,
    errors,
  };
  return { ...result, json: smallJson(event, result) };
}

/** Of the CLI's message about a failed request, or of a result. */
export function readApiFailure(event: JsonObject, message: string | null): ApiFailure {
  return {
    status: finite(field(event, "api_error_status")),
    word: word(field(event, "error")),
    type: word(field(event, "api_error_type")),
    kind: word(field(event, "api_error")),
    code: word(field(event, "api_error_code")),
    message,
    isRetried: false,
    resetsAt: instantOf(field(field(field(event, "api_error_params"), "rate_limit_info"), "resetsAt")),
  };
}

/** Seconds since 1970, as the CLI gives times of limits; gateways give milliseconds, too. */
export function instantOf(time: unknown): Date | null {
  const value = finite(time);
  if (value === null || value < 0 || value > MAX_TIME_MS) return null;
  return new Date(value * 1000 > MAX_TIME_MS ? value : value * 1000);
}

/** The year 5138: in seconds the same number is one of 1973. */
const MAX_TIME_MS = 1e14;

/** A prompt on standard input has no origin; the origin of one that a person typed is `human`. */
function originOf(event: JsonObject): string | null {
  const kind = word(field(field(event, "origin"), "kind"));
  return kind === "human" ? null : kind;
}

/** Entries are texts, or objects with `message`, `error` or `code`; what is neither shows as JSON. */
function readErrors(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  const errors: string[] = [];
  for (const entry of value.slice(0, MAX_ERRORS)) {
    const known = isRecord(entry)
      ? (text(field(entry, "message"), MAX_ERROR) ??
        text(field(entry, "error"), MAX_ERROR) ??
        text(field(entry, "code"), MAX_ERROR))
      : text(entry, MAX_ERROR);
    const shown = known ?? (isRecord(entry) ? asJson(entry, MAX_ERROR) : null);
    if (shown !== null) errors.push(shown);
  }
  return errors;
}

/**
 * A turn that broke off lists after its reason what the process had logged as errors: failed requests of tools and of MCP servers,
 * which are no reason. A crash says first what kind it is.
 */
function withoutLog(errors: readonly string[]): string[] {
  const isCrash = errors.length > 1 && errors[0]?.startsWith("[session_crash]") === true;
  return isCrash ? errors.slice(1, 2) : errors.slice(0, 1);
}

function asJson(value: unknown, max: number): string | null {
  if (value === undefined || value === null) return null;
  try {
    return cutEnd(JSON.stringify(value), max);
  } catch {
    return null; // nested too deeply to be written, though it could be read
  }
}

const KEPT_WORDS = [
  "subtype",
  "session_id",
  "stop_reason",
  "terminal_reason",
  "api_error_type",
  "api_error",
  "api_error_code",
  "startup_failure_reason",
] as const;
const KEPT_NUMBERS = ["num_turns", "duration_ms", "duration_api_ms", "total_cost_usd", "api_error_status"] as const;
const KEPT_USAGE = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"] as const;
const MAX_JSON = 16 * 1024;

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
  if (result.text !== null) json.result = cutEnd(result.text, MAX_JSON);
  const structured = field(event, "structured_output");
  const length = asJson(structured, MAX_JSON + 1)?.length ?? 0;
  if (length > 0 && length <= MAX_JSON) json.structured_output = structured;
  if (result.errors.length > 0) json.errors = result.errors;
  const usage = field(event, "usage");
  if (isRecord(usage)) json.usage = Object.fromEntries(KEPT_USAGE.map((name) => [name, count(field(usage, name))]));
  const denials = field(event, "permission_denials");
  if (Array.isArray(denials) && denials.length > 0) json.permission_denials = denials.length;
  return json;
}
