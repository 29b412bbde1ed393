import { StatusError } from "../objects/status-error.ts";
import type { FaultScope } from "./rule-set.ts";

/** What the server sends in place of its own answer. */
export type RequestFault = ErrorAnswer | { kind: "reset" };

export interface ErrorAnswer {
  kind: "error";
  status: number;
  headers: Record<string, string>;
  contentType: string;
  body: string;
}

export interface ErrorRate extends FaultScope {
  /** HTTP status. Default 500. */
  status?: number;
  reason?: string;
  message?: string;
  /** Sent as `Retry-After` and in the details. */
  retryAfterSeconds?: number;
  /** An answer that is no Status, as a proxy sends it. */
  body?: string;
  contentType?: string;
}

const REASONS: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Expired",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

const MESSAGES: Readonly<Record<number, string>> = {
  403: 'forbidden: User "anyone" cannot access resource "any": fault injected by the test',
  429: "Too many requests, please try again later.",
};

export function errorAnswer(fault: ErrorRate): RequestFault {
  const { status = 500, retryAfterSeconds } = fault;
  const reason = fault.reason ?? REASONS[status] ?? "";
  const message = fault.message ?? MESSAGES[status] ?? "fault injected by the test";
  const details = retryAfterSeconds === undefined ? undefined : { retryAfterSeconds };
  return {
    kind: "error",
    status,
    headers: retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) },
    contentType: fault.contentType ?? (fault.body === undefined ? "application/json" : "text/plain; charset=utf-8"),
    body: fault.body ?? statusBody(new StatusError(status, reason, message, details)),
  };
}

/** A page of HTML, as the login of a proxy. */
export function htmlAnswer(status: number): RequestFault {
  return {
    kind: "error",
    status,
    headers: {},
    contentType: "text/html; charset=utf-8",
    body: "<!doctype html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>\n",
  };
}

/** The body of the 409 of admission's quota plugin, which gives up when the quota's status was changed three times in between. */
export function quotaConflictBody(quota: string): string {
  return statusBody(
    new StatusError(
      409,
      "Conflict",
      `Operation cannot be fulfilled on resourcequotas ${JSON.stringify(quota)}: the object has been modified; please apply your changes to the latest version and try again`,
      { name: quota, kind: "resourcequotas" },
    ),
  );
}

function statusBody(error: StatusError): string {
  return `${JSON.stringify(error.body())}\n`;
}
