import type { AgentEvent, AgentVerdict, ResultParser } from "../adapter/definition.ts";
import { AssistantText } from "./assistant-text.ts";
import { count, field, finite, isObject, type JsonObject, text, word } from "./json.ts";
import { PlainLines } from "./plain-lines.ts";
import { type ClaudeResult, MAX_ANSWER, readResult, SpendingMeter } from "./result-event.ts";

/** What Claude Code's stream-json output amounts to. */
export interface ClaudeVerdict extends AgentVerdict {
  /** The last `result` event. */
  readonly result: ClaudeResult | null;
  readonly hasInit: boolean;
  /** Some line was not blank. */
  readonly hasLines: boolean;
  /** The model said or did something. */
  readonly hasOutput: boolean;
  /** The last message of the model was an empty one, and no result followed. */
  readonly isEmptyResponse: boolean;
  readonly isRefusal: boolean;
  /** How the latest request to the API failed, unless the model answered after it. */
  readonly apiFailure: ApiFailure | null;
  /** The latest `rate_limit_event` that refused something. */
  readonly rateLimit: RateLimit | null;
  /** The first line that is no event: what a CLI that could not start says. */
  readonly firstPlainLine: string | null;
  readonly plainLines: readonly string[];
}

export interface ApiFailure {
  readonly status: number | null;
  /** `authentication_failed`, `model_not_found`, `rate_limit`, `server_error`, … */
  readonly word: string | null;
  readonly type: string | null;
  readonly message: string | null;
}

export interface RateLimit {
  /** `five_hour`, `seven_day`, … */
  readonly type: string | null;
  readonly resetsAt: Date | null;
}

/** Beyond that a line is not read as an event: no event of the CLI comes near, and reading it would stall the server. */
const MAX_EVENT_CHARACTERS = 32 * 1024 * 1024;
/** A run that retries for hours must not fill the host's event table. */
const MAX_PROGRESS_EVENTS = 100;

export class ClaudeResultParser implements ResultParser<ClaudeVerdict> {
  readonly #said = new AssistantText(MAX_ANSWER);
  readonly #plain = new PlainLines();
  readonly #spending = new SpendingMeter();
  #sessionId: string | null = null;
  #model: string | null = null;
  #result: ClaudeResult | null = null;
  #hasInit = false;
  #hasLines = false;
  #hasOutput = false;
  #isEmptyResponse = false;
  #isRefusal = false;
  #apiFailure: ApiFailure | null = null;
  #rateLimit: RateLimit | null = null;
  #progressEvents = 0;

  push(line: string): AgentEvent | null {
    const event = readEvent(line);
    if (event === null) {
      this.#hasLines ||= line.trim() !== "";
      this.#plain.add(line);
      return null;
    }
    this.#hasLines = true;
    switch (field(event, "type")) {
      case "system":
        return this.#system(event);
      case "assistant":
        this.#assistant(event);
        return null;
      case "rate_limit_event":
        return this.#rateLimited(event);
      case "result":
        this.#ended(event);
        return null;
      default:
        return null;
    }
  }

  finish(): ClaudeVerdict {
    const spending = this.#spending.read();
    const result = this.#result;
    const summary = result?.text ?? this.#said.read();
    return {
      hasResult: result !== null,
      isSuccess: result !== null && !result.isError && !(result.subtype ?? "").startsWith("error"),
      sessionId: this.#sessionId,
      model: this.#model,
      usage: spending?.usage ?? null,
      costUsd: spending?.costUsd ?? null,
      summary: summary === "" ? null : summary,
      result,
      hasInit: this.#hasInit,
      hasLines: this.#hasLines,
      hasOutput: this.#hasOutput,
      isEmptyResponse: this.#isEmptyResponse,
      isRefusal:
        this.#isRefusal || result?.stopReason === "refusal" || /^(model_)?refusal$/.test(result?.subtype ?? ""),
      apiFailure: this.#apiFailure,
      rateLimit: this.#rateLimit,
      firstPlainLine: this.#plain.first,
      plainLines: this.#plain.read(),
    };
  }

  #system(event: JsonObject): AgentEvent | null {
    switch (field(event, "subtype")) {
      case "init":
        this.#hasInit = true;
        this.#sessionId = word(field(event, "session_id")) ?? this.#sessionId;
        this.#model = word(field(event, "model")) ?? this.#model;
        return null;
      case "api_retry":
        return this.#retrying(event);
      default:
        return null;
    }
  }

  #retrying(event: JsonObject): AgentEvent | null {
    const failure = {
      status: finite(field(event, "error_status")),
      word: word(field(event, "error")),
      type: null,
      message: null,
    };
    this.#apiFailure = failure;
    return this.#progress({
      eventType: "claude.api_retry",
      level: "warn",
      message: describeRetry(event),
      payload: {
        attempt: finite(field(event, "attempt")),
        maxRetries: finite(field(event, "max_retries")),
        delayMs: finite(field(event, "retry_delay_ms")),
        status: failure.status,
        error: failure.word,
      },
    });
  }

  #assistant(event: JsonObject): void {
    this.#sessionId = word(field(event, "session_id")) ?? this.#sessionId;
    const message = field(event, "message");
    const model = word(field(message, "model"));
    const content = field(message, "content");
    const blocks = Array.isArray(content) ? content.filter(isObject) : [];
    const texts = blocks
      .filter((block) => field(block, "type") === "text")
      .map((block) => field(block, "text"))
      .filter((each): each is string => typeof each === "string" && each.trim() !== "");
    // Texts of subagents are not the agent's own words.
    if (field(event, "parent_tool_use_id") == null) this.#said.add(word(field(message, "id")), texts);

    // The CLI itself speaks when a request failed for good; no model did.
    if (model === "<synthetic>" || field(event, "is_api_error_message") === true) {
      this.#apiFailure = {
        status: finite(field(event, "api_error_status")),
        word: word(field(event, "error")),
        type: word(field(event, "api_error_type")),
        message: text(texts[0], 2000),
      };
      return;
    }
    this.#model ??= model;
    this.#apiFailure = null;
    const tokens = Math.max(
      count(field(message, "output_tokens")),
      count(field(field(message, "usage"), "output_tokens")),
    );
    const stopReason = field(message, "stop_reason");
    this.#isRefusal = stopReason === "refusal";
    const isProductive = tokens > 0 || texts.length > 0 || blocks.some((block) => field(block, "type") !== "text");
    this.#hasOutput ||= isProductive;
    this.#isEmptyResponse = !isProductive && stopReason === null;
  }

  #rateLimited(event: JsonObject): AgentEvent | null {
    const info = field(event, "rate_limit_info") ?? event;
    const status = word(field(info, "status"));
    const seconds = finite(field(info, "resetsAt"));
    const resetsAt = seconds !== null && Math.abs(seconds) < 8.64e12 ? new Date(seconds * 1000) : null;
    const type = word(field(info, "rateLimitType"));
    if (status === null || status === "allowed") {
      this.#rateLimit = null;
      return null;
    }
    const isRejected = status === "rejected";
    if (isRejected) this.#rateLimit = { type, resetsAt };
    const until = resetsAt === null ? "" : `, resets ${resetsAt.toISOString()}`;
    return this.#progress({
      eventType: "claude.rate_limit",
      level: isRejected ? "error" : "warn",
      message: `Claude rate limit ${type ?? "of unknown type"}: ${status}${until}`,
      payload: { type, status, resetsAt: resetsAt?.toISOString() ?? null },
    });
  }

  #ended(event: JsonObject): void {
    this.#sessionId = word(field(event, "session_id")) ?? this.#sessionId;
    this.#result = readResult(event);
    this.#spending.add(event);
    this.#isEmptyResponse = false;
  }

  #progress(event: AgentEvent): AgentEvent | null {
    this.#progressEvents += 1;
    return this.#progressEvents <= MAX_PROGRESS_EVENTS ? event : null;
  }
}

/** An event is a JSON object with a `type`, alone on its line; anything else is plain text. */
function readEvent(line: string): JsonObject | null {
  if (line.length > MAX_EVENT_CHARACTERS) return null;
  const trimmed = line.trim();
  if (!trimmed.startsWith("{")) return null;
  try {
    const value: unknown = JSON.parse(trimmed);
    return isObject(value) && word(field(value, "type")) !== null ? value : null;
  } catch {
    return null;
  }
}

/** `API request failed (HTTP 529, overloaded), retry 2 of 10 in 1.2 s`. */
export function describeRetry(event: unknown): string {
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
