import type { AgentActivity, AgentEvent, AgentVerdict, ResultParser } from "../adapter/definition.ts";
import { count, field, finite, type JsonObject, recordsIn, text, word } from "../json/read-json.ts";
import { AssistantText } from "./assistant-text.ts";
import { BackgroundTasks } from "./background-tasks.ts";
import { describeLost, describeRetry, failedInstall, missingParts } from "./describe-event.ts";
import { readEvent } from "./event-line.ts";
import { PlainLines } from "./plain-lines.ts";
import { type ApiFailure, type ClaudeResult, instantOf, MAX_ANSWER, readApiFailure } from "./result-event.ts";
import { RunResults } from "./run-results.ts";
import { SpendingMeter } from "./spending.ts";

/** What Claude Code's stream-json output amounts to. */
export interface ClaudeVerdict extends AgentVerdict {
  /** The run's `result` event, see `RunResults`. */
  readonly result: ClaudeResult | null;
  /** The text of that result is the CLI's, of a request that failed, and no answer of the model. */
  readonly isResultOfCli: boolean;
  /** The model went on after that result, or was to go on, and no result of that followed. Then it is not the run's last word. */
  readonly isUnfinished: boolean;
  /** SIGINT broke off the latest turn, though the CLI ended with 0. */
  readonly isInterrupted: boolean;
  /** The latest process has found its session, or begun one. */
  readonly hasInit: boolean;
  /** Some line was not blank. */
  readonly hasLines: boolean;
  /** The latest process has printed anything but `system` events. */
  readonly hasBegun: boolean;
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
  /** What stands after the last event: the last words of a CLI that crashed. */
  readonly lastWords: readonly string[];
}

export interface RateLimit {
  /** `five_hour`, `seven_day`, … */
  readonly type: string | null;
  readonly resetsAt: Date | null;
}

/** A run that retries for hours must not fill the host's event table. */
const MAX_PROGRESS_EVENTS = 100;

export class ClaudeResultParser implements ResultParser<ClaudeVerdict> {
  readonly #said = new AssistantText(MAX_ANSWER);
  #plain = new PlainLines();
  readonly #spending = new SpendingMeter();
  readonly #results = new RunResults();
  #background = new BackgroundTasks();
  #sessionId: string | null = null;
  #model: string | null = null;
  #hasInit = false;
  #hasLines = false;
  #hasBegun = false;
  #hasOutput = false;
  #isEmptyResponse = false;
  #isRefusal = false;
  #apiFailure: ApiFailure | null = null;
  #rateLimit: RateLimit | null = null;
  #progressEvents = 0;
  /** Requests in a row that the host was told to have failed. */
  #toldRetries = 0;
  #toldMissing = "";

  push(line: string): AgentEvent | null {
    const event = readEvent(line);
    if (event === null) {
      const isBlank = line.trim() === "";
      this.#hasLines ||= !isBlank;
      this.#hasBegun ||= !isBlank;
      this.#plain.add(line);
      return null;
    }
    this.#hasLines = true;
    this.#hasBegun ||= field(event, "type") !== "system";
    this.#plain.interrupted();
    switch (field(event, "type")) {
      case "system":
        return this.#system(event);
      case "assistant":
        return this.#assistant(event);
      case "rate_limit_event":
        return this.#rateLimited(event);
      case "result":
        this.#ended(event);
        return null;
      default:
        return null;
    }
  }

  /** What the process before left open is of no meaning for the next one; what it said and cost still counts. */
  restarted(): void {
    this.#results.restarted();
    this.#spending.restarted();
    this.#hasInit = false;
    this.#hasBegun = false;
    this.#isEmptyResponse = false;
    this.#isRefusal = false;
    this.#apiFailure = null;
    this.#rateLimit = null;
    this.#background = new BackgroundTasks();
    this.#plain = new PlainLines();
  }

  activity(): AgentActivity {
    if (this.#results.last === null || this.#results.isUnfinished) return "working";
    return this.#background.isRunning ? "background" : "done";
  }

  finish(): ClaudeVerdict {
    const spending = this.#spending.read();
    const result = this.#results.last;
    const { isUnfinished, isInterrupted } = this.#results;
    const said = this.#said.read();
    const isResultOfCli = result?.isError === true && result.text !== null && !isAnswer(result, said);
    // The host would post it as the agent's comment.
    const summary = isResultOfCli ? "" : (result?.text ?? said);
    return {
      hasResult: result !== null && !isUnfinished,
      isSuccess: result !== null && !isUnfinished && isGood(result),
      sessionId: this.#sessionId,
      model: this.#model,
      usage: spending?.usage ?? null,
      costUsd: spending?.costUsd ?? null,
      summary: summary === "" ? null : summary,
      result,
      isResultOfCli,
      isUnfinished,
      isInterrupted,
      hasInit: this.#hasInit,
      hasLines: this.#hasLines,
      hasBegun: this.#hasBegun,
      hasOutput: this.#hasOutput,
      isEmptyResponse: this.#isEmptyResponse,
      isRefusal:
        this.#isRefusal || result?.stopReason === "refusal" || /^(model_)?refusal$/.test(result?.subtype ?? ""),
      apiFailure: this.#apiFailure,
      rateLimit: this.#rateLimit,
      firstPlainLine: this.#plain.first,
      plainLines: this.#plain.read(),
      lastWords: this.#plain.lastWords(),
    };
  }

  #system(event: JsonObject): AgentEvent | null {
    switch (field(event, "subtype")) {
      case "init":
        return this.#initialized(event);
      case "api_retry":
        return this.#retrying(event);
      case "plugin_install":
        return this.#missing(failedInstall(event));
      case "session_writes_lost":
        return this.#progress({
          eventType: "claude.writes_lost",
          level: "warn",
          message: describeLost(event),
          payload: {},
        });
      default:
        this.#background.read(event);
        return null;
    }
  }

  #initialized(event: JsonObject): AgentEvent | null {
    this.#hasInit = true;
    this.#sessionId = word(field(event, "session_id")) ?? this.#sessionId;
    this.#model = word(field(event, "model")) ?? this.#model;
    const missing = missingParts(event);
    const list = missing.join(", ");
    // The CLI says it again before each turn.
    if (list === this.#toldMissing) return null;
    this.#toldMissing = list;
    return this.#missing(missing);
  }

  #missing(missing: readonly string[]): AgentEvent | null {
    if (missing.length === 0) return null;
    return this.#progress({
      eventType: "claude.parts_missing",
      level: "warn",
      message: `Claude runs without ${missing.join(", ")}`,
      payload: { missing },
    });
  }

  #retrying(event: JsonObject): AgentEvent | null {
    const failure = {
      status: finite(field(event, "error_status")),
      word: word(field(event, "error")),
      type: null,
      kind: null,
      code: null,
      message: null,
      isRetried: true,
      resetsAt: null,
    };
    this.#apiFailure = failure;
    const told = this.#progress({
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
    if (told !== null) this.#toldRetries += 1;
    return told;
  }

  #assistant(event: JsonObject): AgentEvent | null {
    this.#sessionId = word(field(event, "session_id")) ?? this.#sessionId;
    const message = field(event, "message");
    const model = word(field(message, "model"));
    const content = field(message, "content");
    const blocks = recordsIn(content);
    const texts = blocks
      .filter((block) => field(block, "type") === "text")
      .map((block) => field(block, "text"))
      .filter((each): each is string => typeof each === "string" && each.trim() !== "");
    const isOfSubagent = field(event, "parent_tool_use_id") != null;
    // The CLI itself speaks when a request failed for good; no model did.
    if (model === "<synthetic>" || field(event, "is_api_error_message") === true) {
      // A subagent that failed is a matter of the agent, which goes on.
      if (!isOfSubagent) this.#apiFailure = readApiFailure(event, text(texts[0], 2000));
      return null;
    }
    // Subagents are not the agent: their texts are not its words, and they may still work when it is done.
    if (!isOfSubagent) {
      this.#said.add(word(field(message, "id")), texts);
      this.#results.spoken();
      this.#isRefusal = field(message, "stop_reason") === "refusal";
    }
    this.#model ??= model;
    this.#apiFailure = null;
    const tokens = Math.max(
      count(field(message, "output_tokens")),
      count(field(field(message, "usage"), "output_tokens")),
    );
    const stopReason = field(message, "stop_reason");
    const isProductive = tokens > 0 || texts.length > 0 || blocks.some((block) => field(block, "type") !== "text");
    this.#hasOutput ||= isProductive;
    this.#isEmptyResponse = !isProductive && stopReason === null;
    return this.#answered();
  }

  /** The host shows its latest event as the run's state: a retry would stay there for the rest of the run. */
  #answered(): AgentEvent | null {
    const failed = this.#toldRetries;
    if (failed === 0) return null;
    this.#toldRetries = 0;
    return {
      eventType: "claude.api_answered",
      level: "info",
      message: `The API answers again, after ${failed} failed request${failed === 1 ? "" : "s"}`,
      payload: { failed },
    };
  }

  #rateLimited(event: JsonObject): AgentEvent | null {
    const info = field(event, "rate_limit_info") ?? event;
    const status = word(field(info, "status"));
    const resetsAt = instantOf(field(info, "resetsAt"));
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
    this.#results.add(event);
    this.#spending.add(event);
    this.#isEmptyResponse = false;
  }

  #progress(event: AgentEvent): AgentEvent | null {
    this.#progressEvents += 1;
    return this.#progressEvents <= MAX_PROGRESS_EVENTS ? event : null;
  }
}

/** A failed turn whose last words are the model's own: what they speak of is no failure of this run. */
function isAnswer({ terminalReason, text }: ClaudeResult, said: string): boolean {
  return terminalReason === "completed" || (text !== null && said.endsWith(text));
}

/** By the result's own words. A failed request ends as `success` with `is_error`. */
export function isGood({ isError, subtype }: ClaudeResult): boolean {
  return !isError && !(subtype ?? "").startsWith("error");
}
