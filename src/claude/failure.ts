import type { ExecuteCode, FamilyOf } from "../error-codes.ts";
import { byKind, byStartup, byStatusOrWord, isRateLimit, type Kind } from "./failure-fields.ts";
import { failureInText } from "./failure-in-text.ts";
import {
  FAILED_WITHOUT_STATUS,
  LIMITED,
  LOGIN_NEEDED,
  MISCONFIGURED,
  MODEL_UNKNOWN,
  MONEY,
  PARAMETER_REFUSED,
  QUOTA,
  RATE_LIMITED,
  REFUSED,
  SESSION_UNUSABLE,
  TROUBLE,
  VERSION_TOO_OLD,
} from "./failure-texts.ts";
import { MAX_TURNS } from "./max-turns.ts";
import { resetTime } from "./reset-time.ts";
import type { ApiFailure, ClaudeResult } from "./result-event.ts";
import type { ClaudeVerdict } from "./stream-json.ts";

/** Why Claude failed, in the host's terms. */
export type Failure = FailureCode & {
  readonly retryNotBefore?: Date;
  readonly clearSession?: boolean;
  /** For `resultJson.stopReason`. */
  readonly stopReason?: string;
  readonly loginUrl?: string;
};

/** A code has the family that the table of error codes says. Null: nothing known fits. */
type FailureCode =
  | { readonly code: null; readonly family?: undefined }
  | {
      [C in ExecuteCode]: FamilyOf<C> extends null
        ? { readonly code: C; readonly family?: undefined }
        : { readonly code: C; readonly family: NonNullable<FamilyOf<C>> };
    }[ExecuteCode];

/** The model may not answer by its policy: asked again, it says the same. */
export const REFUSAL = { code: "claude_refusal", family: "model_refusal", stopReason: "refusal" } as const;

/** The operator's limit in dollars (`--max-budget-usd`) was reached. Going on would spend more than was allowed. */
export const BUDGET_EXHAUSTED = "budget_exhausted";

/**
 * What went wrong, by the fields that the CLI gives: `subtype`, `terminal_reason`, `api_error`, the `error` word,
 * `api_error_status`. Texts are asked where the fields say nothing, and only texts of the CLI itself: the error of the result
 * and the lines that are no events, never what the model said. Three things stand in texts alone, whatever the fields say:
 * a session that no request fits into, a limit of money, and when a limit ends.
 *
 * @returns null when nothing known fits
 */
export function failureOf(verdict: ClaudeVerdict, now: Date): Failure | null {
  const { result } = verdict;
  if (result !== null) {
    if (isMaxTurns(result)) {
      return { code: MAX_TURNS, stopReason: MAX_TURNS, clearSession: true };
    }
    if (isOverBudget(result)) {
      return { code: BUDGET_EXHAUSTED, stopReason: BUDGET_EXHAUSTED };
    }
  }
  const requestWords = wordsOfRequests(verdict);
  if (requestWords.some((text) => POISONED_SESSION.test(text))) {
    const code = "claude_poisoned_previous_message_id";
    return { code, stopReason: code, clearSession: true };
  }
  const texts = requestWords.length > 0 ? requestWords : plainWords(verdict);
  const failures = failuresOf(verdict, texts);
  if (verdict.isRefusal) return REFUSAL;
  // Every resume would send the same messages and fail on them again.
  if (isSessionUnusable(verdict, failures, requestWords))
    return { code: "claude_session_unusable", clearSession: true };

  const retry = retryTime(verdict, failures, texts, now);
  switch (kindOf(verdict, failures, texts, now)) {
    case "refusal":
      return REFUSAL;
    case "auth": {
      const loginUrl = findLoginUrl([...texts, ...verdict.plainLines]);
      return { code: "claude_auth_required", ...(loginUrl === null ? {} : { loginUrl }) };
    }
    case "model":
      return { code: "model_not_found" };
    case "version":
      return { code: "claude_cli_version_incompatible" };
    case "money":
      // With a date it ends by itself, like any other quota.
      return retry.retryNotBefore === undefined ? null : { code: "provider_quota", family: "provider_quota", ...retry };
    case "quota":
      return { code: "provider_quota", family: "provider_quota", ...retry };
    case "trouble": {
      // A share that is used up has no part in it: the run went on with bought usage.
      const passes = retryTime({ rateLimit: null }, failures, texts, now);
      return { code: "claude_transient_upstream", family: "transient_upstream", ...passes };
    }
    default:
      return null;
  }
}

/** The session that was to be resumed does not exist (any more). */
export function isUnknownSession(verdict: ClaudeVerdict): boolean {
  // It was found where the work began. MCP servers have sessions, too.
  if (verdict.hasInit && verdict.hasOutput) return false;
  const words = wordsOfRequests(verdict);
  return (words.length > 0 ? words : verdict.plainLines).some((text) => UNKNOWN_SESSION.test(text));
}

/** Once the work has begun only the last ones may say why it ended: those before it are warnings of tools, of the shell, of hooks. */
function plainWords({ hasOutput, lastWords, plainLines }: ClaudeVerdict): readonly string[] {
  return hasOutput ? lastWords : plainLines;
}

function kindOf(
  verdict: ClaudeVerdict,
  failures: readonly ApiFailure[],
  texts: readonly string[],
  now: Date,
): Kind | null {
  const said = (pattern: RegExp) => texts.some((text) => pattern.test(text));
  const first = (of: (failure: ApiFailure) => Kind | null) => failures.map(of).find((kind) => kind !== null) ?? null;
  const byFields = byStartup(verdict.result) ?? first(byKind);
  if (byFields !== null) return byFields;
  if (said(REFUSED)) return "refusal";
  const limits = texts.filter((text) => LIMITED.test(text));
  const waitsMs = limits.map((text) => (resetTime(text, now)?.getTime() ?? Number.NaN) - now.getTime());
  const isLater = waitsMs.some((ms) => ms > LONGEST_RATE_LIMIT_MS);
  const isOfRate = !isLater && waitsMs.some((ms) => Math.abs(ms) <= LONGEST_RATE_LIMIT_MS);
  // Limits of money come as 429, 400 or 403, with any type. Those of a rate speak of money, too: it would raise them.
  if (said(MONEY)) return isOfRate ? "trouble" : "money";
  if (said(QUOTA) || isLater) return "quota";
  const saysNothing = !verdict.hasOutput && texts.length + failures.length === 0;
  if (verdict.rateLimit !== null && (saysNothing || failures.some(isRateLimit))) return "quota";
  if (said(RATE_LIMITED)) return "trouble";
  const byFailure = first(byStatusOrWord) ?? (said(MISCONFIGURED) ? "other" : null);
  return byFailure ?? byText(texts) ?? byMissingAnswer(verdict, failures, texts);
}

const LONGEST_RATE_LIMIT_MS = 10 * 60_000;

/**
 * The message about the failed request says more than the result's fields, which repeat it in part. What the texts say counts last:
 * it is all that there is from CLIs before 2.1.
 */
function failuresOf({ apiFailure, result }: ClaudeVerdict, texts: readonly string[]): ApiFailure[] {
  return [apiFailure, result?.failure ?? null, ...texts.map(failureInText)].filter((each) => each !== null);
}

function byText(texts: readonly string[]): Kind | null {
  const said = (pattern: RegExp) => texts.some((text) => pattern.test(text));
  if (texts.some((text) => LOGIN_NEEDED.test(text) && !OF_OTHER_PROGRAM.test(text))) return "auth";
  if (said(MODEL_UNKNOWN)) return "model";
  if (said(VERSION_TOO_OLD)) return "version";
  if (said(TROUBLE)) return "trouble";
  return null;
}

/** What prepares the agent's folder has logins of its own. */
const OF_OTHER_PROGRAM =
  /^(?:fatal|remote|git|npm|pnpm|yarn|pip|curl|docker|kubectl)\b[: ]|^error (?:from server|response)/i;

/**
 * A request that failed without an answer that the CLI could read: something on the way to the API. Current CLIs say it by their
 * `terminal_reason`, 2.0 by a result that has nothing at all, 1.0 by a text; and no CLI tries a request again that cannot succeed.
 */
function byMissingAnswer(
  { result, hasOutput }: ClaudeVerdict,
  failures: readonly ApiFailure[],
  texts: readonly string[],
): Kind | null {
  if (failures.some(({ isRetried }) => isRetried)) return "trouble";
  const isRefused = failures.some(({ word, type }) => word === "invalid_request" || type !== null);
  if (isRefused || failures.some(({ status }) => status !== null)) return null;
  const reason = result?.terminalReason ?? null;
  if (reason !== null) return reason === "api_error" ? "trouble" : null;
  const isBlank = !hasOutput && texts.length === 0;
  if (result?.subtype === "error_during_execution" && isBlank) return "trouble";
  return texts.some((text) => FAILED_WITHOUT_STATUS.test(text)) ? "trouble" : null;
}

function isSessionUnusable(
  { result }: ClaudeVerdict,
  failures: readonly ApiFailure[],
  requestWords: readonly string[],
): boolean {
  // Its prompt alone was too long; it did not become a part of the session.
  if (failures.some(({ kind }) => kind === "message_over_context_limit")) return false;
  if (SESSION_REASONS.has(result?.terminalReason ?? "")) return true;
  if (failures.some(({ kind }) => SESSION_KINDS.has(kind ?? ""))) return true;
  const status = failures.map((each) => each.status).find((each) => each !== null) ?? null;
  if (status === 413) return true;
  if (status !== null && status !== 400 && status !== 422) return false;
  return requestWords.some((text) => SESSION_UNUSABLE.test(text) && !PARAMETER_REFUSED.test(text));
}

const SESSION_REASONS = new Set(["prompt_too_long", "blocking_limit", "rapid_refill_breaker", "image_error"]);
const SESSION_KINDS = new Set([
  "autocompact_thrashing",
  "tool_history_mismatch",
  "dlp_request_denied",
  "pdf_too_large",
  "pdf_password_protected",
]);

function retryTime(
  { rateLimit }: Pick<ClaudeVerdict, "rateLimit">,
  failures: readonly ApiFailure[],
  texts: readonly string[],
  now: Date,
): { retryNotBefore?: Date } {
  const times = [
    rateLimit?.resetsAt ?? null,
    ...failures.map(({ resetsAt }) => resetsAt),
    ...texts.map((text) => resetTime(text, now)),
  ];
  // What ended long ago is the end of something else.
  const retryNotBefore = times.find((time) => time !== null && time.getTime() >= now.getTime() - LONGEST_RATE_LIMIT_MS);
  return retryNotBefore ? { retryNotBefore } : {};
}

/** One that cannot be read stays so, unless the process or its disk had trouble. */
const UNKNOWN_SESSION =
  /no conversation found with session id|failed to resume session(?!.*\b(?:emfile|enfile|eio|estale|eagain|enomem)\b)|unknown session|session (?!token\b)\S{1,128} (?:was )?not found|requires a valid session id|not a valid (?:uuid|session id)|is not a uuid|does not match any session/i;
const POISONED_SESSION = /previous_message_id.{0,200}msg_/i;

/** The structured answer; its text only from a CLI that says no `terminal_reason`, so that an answer about turns is no failure. */
function isMaxTurns(result: ClaudeResult): boolean {
  const reasons = [result.subtype, result.terminalReason, result.stopReason].map((each) => (each ?? "").toLowerCase());
  if (reasons.some((each) => /^(?:error_max_turns|max_turns(?:_exhausted)?|turn_limit(?:_exhausted)?)$/.test(each))) {
    return true;
  }
  return (
    result.isError &&
    result.terminalReason === null &&
    result.failure.status === null &&
    result.errors.some((text) => /max(?:imum)?(?: number of)? turns?/i.test(text))
  );
}

function isOverBudget({ subtype, terminalReason, errors }: ClaudeResult): boolean {
  if (subtype === "error_max_budget_usd" || terminalReason === BUDGET_EXHAUSTED) return true;
  return terminalReason === null && errors.some((text) => /reached (?:the )?max(?:imum)? budget/i.test(text));
}

/**
 * What the CLI said of requests: errors, the text of a failed result. Where there are such words, the lines beside the events are only
 * noise (warnings of tools, of the shell, of hooks).
 */
function wordsOfRequests({ result, isResultOfCli, apiFailure }: ClaudeVerdict): string[] {
  const words = [...(result?.errors ?? [])];
  if (isResultOfCli && result?.text) words.push(result.text);
  if (apiFailure?.message) words.push(apiFailure.message);
  return words;
}

/** A link of a text that looks like a login page, else any link. */
function findLoginUrl(texts: readonly string[]): string | null {
  const urls = texts.flatMap((text) => text.match(/https?:\/\/[^\s'"`<>()[\]{}]+/gi) ?? []).map(withoutPunctuation);
  return urls.find((url) => /claude|anthropic|auth/i.test(url)) ?? urls[0] ?? null;
}

function withoutPunctuation(url: string): string {
  return url.replace(/[.,;:!?]+$/, "");
}
