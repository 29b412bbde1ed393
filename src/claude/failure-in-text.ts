import type { ApiFailure } from "./result-event.ts";

/** `API Error: 401 {…}`, `API Error (403 The security token …)`, `400 {…}`, `Request rejected (429)`. */
const STATUS =
  /\bapi error(?: \([^()]{1,100}\))?:? \(?(?<said>[45]\d\d)\b|(?:^|\berror: )(?<raw>[45]\d\d) (?=[{<])|request rejected \((?<rejected>[45]\d\d)\)/i;
/** Of the body that follows: that of the error in it, not of the answer. */
const TYPE = /\\?"type\\?":\s*\\?"(?!error\\?")([a-z][a-z0-9_]{0,63})\\?"/;
const CODE = /\\?"error_code\\?":\s*\\?"([a-z][a-z0-9_]{0,63})\\?"/;

/**
 * The fields that stand in the text about a failed request. CLIs before 2.1 print the status and the body of the answer there, and
 * have no fields for them.
 *
 * @returns null when there are none
 */
export function failureInText(text: string): ApiFailure | null {
  const { said, raw, rejected } = STATUS.exec(text)?.groups ?? {};
  const digits = said ?? raw ?? rejected;
  const type = TYPE.exec(text)?.[1] ?? null;
  const code = CODE.exec(text)?.[1] ?? null;
  if (digits === undefined && type === null && code === null) return null;
  const status = digits === undefined ? null : Number(digits);
  return { status, word: null, type, kind: null, code, message: null, isRetried: false, resetsAt: null };
}
