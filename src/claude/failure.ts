import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { resetTime } from "./reset-time.ts";
import type { ApiFailure, ClaudeVerdict } from "./stream-json.ts";

/** Why Claude failed, in the host's terms. */
export interface Failure {
  readonly code: string | null;
  readonly family?: NonNullable<AdapterExecutionResult["errorFamily"]>;
  readonly retryNotBefore?: Date;
  readonly clearSession?: boolean;
  /** For `resultJson.stopReason`. */
  readonly stopReason?: string;
  readonly loginUrl?: string;
}

/**
 * What went wrong, by the fields that the CLI gives: `subtype`, `terminal_reason`, `api_error_status`, the `error` word.
 * Texts are asked only where an older CLI has none of them, and only texts of the CLI itself: the error of the result and
 * the lines that are no events, never what the model said.
 *
 * @returns null when nothing known fits
 */
export function failureOf(verdict: ClaudeVerdict, now: Date): Failure | null {
  const texts = ownWords(verdict);
  const result = verdict.result;
  if (result !== null) {
    if (isMaxTurns(verdict)) {
      return { code: "max_turns_exhausted", stopReason: "max_turns_exhausted", clearSession: true };
    }
    if (texts.some((text) => POISONED_SESSION.test(text))) {
      const code = "claude_poisoned_previous_message_id";
      return { code, stopReason: code, clearSession: true };
    }
    // Such an image stays in the conversation: every resume would fail on it again.
    if (texts.some((text) => UNPROCESSABLE_IMAGE.test(text))) return { code: null, clearSession: true };
  }
  const kind = structuredKind(verdict) ?? textualKind(texts);
  switch (kind) {
    case "auth": {
      const loginUrl = findLoginUrl([...texts, ...verdict.plainLines]);
      return { code: "claude_auth_required", ...(loginUrl === null ? {} : { loginUrl }) };
    }
    case "model":
      return { code: "model_not_found" };
    case "limit":
      return isQuota(verdict, texts)
        ? { code: "provider_quota", family: "provider_quota", ...retryTime(verdict, texts, now) }
        : { code: "claude_transient_upstream", family: "transient_upstream", ...retryTime(verdict, texts, now) };
    case "upstream":
      return { code: "claude_transient_upstream", family: "transient_upstream", ...retryTime(verdict, texts, now) };
    default:
      return null;
  }
}

/** The session that was to be resumed does not exist (any more). */
export function isUnknownSession(verdict: ClaudeVerdict): boolean {
  return ownWords(verdict).some((text) => UNKNOWN_SESSION.test(text));
}

type Kind = "auth" | "model" | "limit" | "upstream" | "other";

function structuredKind(verdict: ClaudeVerdict): Kind | null {
  const result = verdict.result;
  const fromResult =
    result === null
      ? null
      : kindOf({ status: result.apiErrorStatus, type: result.apiErrorType, word: null, message: null });
  // The word is on the event before the result: `rate_limit` says more than a bare status.
  return (verdict.apiFailure === null ? null : kindOf(verdict.apiFailure)) ?? fromResult;
}

function kindOf({ word, type, status }: ApiFailure): Kind | null {
  return byWord(word) ?? byWord(type) ?? byStatus(status);
}

function byWord(word: string | null): Kind | null {
  switch (word) {
    case "authentication_failed":
    case "authentication_error":
    case "permission_error":
    case "oauth_org_not_allowed":
      return "auth";
    case "model_not_found":
    case "not_found_error":
      return "model";
    case "rate_limit":
    case "rate_limit_error":
      return "limit";
    case "server_error":
    case "overloaded":
    case "overloaded_error":
    case "api_error":
    case "timeout_error":
      return "upstream";
    case "billing_error":
    case "invalid_request_error":
      return "other"; // waiting mends neither; the message says what is wrong
    default:
      return null;
  }
}

function byStatus(status: number | null): Kind | null {
  if (status === null) return null;
  if (status === 401 || status === 403) return "auth";
  if (status === 404) return "model";
  if (status === 429) return "limit";
  if (status === 408 || status >= 500) return "upstream";
  return "other";
}

const LOGIN_NEEDED =
  /not logged in|please (?:log ?in|run `?(?:claude )?\/?login)|log ?in (?:is )?required|requires login|authentication (?:is )?required|(?:invalid|expired|revoked) (?:api key|(?:bearer|oauth|access) token)|token (?:has |is )?(?:been )?(?:expired|revoked)|failed to authenticate|authentication_(?:error|failed)|\bunauthorized\b/i;
const MODEL_UNKNOWN =
  /(?:unknown|invalid|no such) model\b|\bmodel\b.{0,80}(?:not[ _]found|does not exist|may not exist|is invalid)|model_not_found|not_found_error.{0,80}\bmodel:/i;
const QUOTA =
  /(?:usage|session|weekly|5[- ]?hour|opus|sonnet) (?:limit|cap)\b.{0,20}(?:reached|exceeded|hit)|hit your (?:\w+ ){0,2}limit|out of (?:extra )?usage|extra usage|servicequotaexceeded/i;
const OVERLOADED =
  /rate[-_ ]?limit|too many requests|overloaded|service unavailable|temporarily unavailable|try again later|high demand|throttl(?:ed|ing)|\b(?:429|502|503|504|529)\b|internal server error|connection error|connection (?:was )?(?:closed|reset|refused)|econn(?:reset|refused|aborted)|etimedout|eai_again|enotfound|socket hang up|fetch failed|network error|request timed out/i;

function textualKind(texts: readonly string[]): Kind | null {
  const some = (pattern: RegExp) => texts.some((text) => pattern.test(text));
  if (some(LOGIN_NEEDED)) return "auth";
  if (some(MODEL_UNKNOWN)) return "model";
  if (some(QUOTA)) return "limit";
  if (some(OVERLOADED)) return "upstream";
  return null;
}

/** A limit of the subscription ends at a known time; a rate limit of the API within seconds. */
function isQuota(verdict: ClaudeVerdict, texts: readonly string[]): boolean {
  return verdict.rateLimit !== null || texts.some((text) => QUOTA.test(text));
}

function retryTime(verdict: ClaudeVerdict, texts: readonly string[], now: Date): { retryNotBefore?: Date } {
  const times = [verdict.rateLimit?.resetsAt ?? null, ...texts.map((text) => resetTime(text, now))];
  const retryNotBefore = times.find((time) => time !== null && !Number.isNaN(time.getTime()));
  return retryNotBefore ? { retryNotBefore } : {};
}

const UNKNOWN_SESSION =
  /no conversation found with session id|unknown session|session \S{1,128} (?:was )?not found|requires a valid session id|not a valid (?:uuid|session id)|is not a uuid|does not match any session/i;
const POISONED_SESSION = /previous_message_id.{0,200}msg_/i;
const UNPROCESSABLE_IMAGE = /could not process image/i;

/** The structured answer; its text only from a CLI that says no `terminal_reason`, so that an answer about turns is no failure. */
function isMaxTurns(verdict: ClaudeVerdict): boolean {
  const result = verdict.result;
  if (result === null) return false;
  const reasons = [result.subtype, result.terminalReason, result.stopReason].map((each) => (each ?? "").toLowerCase());
  if (reasons.some((each) => /^(?:error_max_turns|max_turns(?:_exhausted)?|turn_limit(?:_exhausted)?)$/.test(each))) {
    return true;
  }
  return (
    result.isError &&
    result.terminalReason === null &&
    result.apiErrorStatus === null &&
    result.errors.some((text) => /max(?:imum)?(?: number of)? turns?/i.test(text))
  );
}

/** What the CLI said of itself: errors, the text of a failed result, lines beside the events. */
function ownWords(verdict: ClaudeVerdict): string[] {
  const result = verdict.result;
  const words = [...(result?.errors ?? [])];
  if (result?.isError && result.text !== null) words.push(result.text);
  if (verdict.apiFailure?.message) words.push(verdict.apiFailure.message);
  // With a result at hand that says why, stderr is only noise (warnings of tools, of the shell, of hooks).
  if (words.length === 0) words.push(...verdict.plainLines);
  return words;
}

/** A link of a text that looks like a login page, else any link. */
export function findLoginUrl(texts: readonly string[]): string | null {
  const urls = texts.flatMap((text) => text.match(/https?:\/\/[^\s'"`<>()[\]{}]+/gi) ?? []).map(withoutPunctuation);
  return urls.find((url) => /claude|anthropic|auth/i.test(url)) ?? urls[0] ?? null;
}

function withoutPunctuation(url: string): string {
  return url.replace(/[.,;:!?]+$/, "");
}
