import type { Status } from "../kubernetes.ts";
import { adviceFor } from "./advice.ts";
import { adviceForConnection, connectionFailure } from "./connection-failure.ts";

export interface ApiErrorOptions {
  /** HTTP status; 0 = there was no HTTP answer. */
  status: number;
  /** Kubernetes' own reason (`NotFound`, `AlreadyExists`, `Expired` …), or for status 0 one of `ConnectionFailureReason`. */
  reason: string;
  message: string;
  method?: string;
  /** Without query. */
  path?: string;
  details?: Status["details"];
  retryAfterMs?: number;
  /** False: the request certainly never left this process. Default true. */
  sent?: boolean;
  cause?: unknown;
}

/**
 * Every failure of a request to the Kubernetes API, answered or not. The message names method, path and, where it helps,
 * what to do; it never holds a credential. Classify with `isNotFound` and the like (`error-kinds.ts`), not by text.
 */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code = "api_error";
  readonly status: number;
  readonly reason: string;
  readonly method: string;
  readonly path: string;
  readonly details: Status["details"];
  /** What the server asked to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  readonly sent: boolean;

  constructor({
    status,
    reason,
    message,
    method = "",
    path = "",
    details,
    retryAfterMs,
    sent = true,
    cause,
  }: ApiErrorOptions) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.reason = reason;
    this.method = method;
    this.path = path;
    this.details = details;
    this.retryAfterMs = retryAfterMs;
    this.sent = sent;
  }
}

/** The request that failed. */
export interface RequestName {
  method: string;
  path: string;
}

type Headers = Record<string, string | string[] | undefined>;

/** From an answer that is no 2xx: a `Status` object, a proxy's HTML page, text or nothing. */
export function errorFromResponse(request: RequestName, status: number, headers: Headers, body: string): ApiError {
  const answer = parseStatus(body);
  const retryAfter = parseRetryAfter(headers["retry-after"]) ?? secondsToMs(answer?.details?.retryAfterSeconds);
  const reason = cut(answer?.reason, 100) || plainReason(status);
  // An admission webhook may quote the whole object.
  const said =
    cut(answer?.message, 2_000) || redirection(status, headers) || (answer === null ? readable(body, headers) : "");
  const options: ApiErrorOptions = {
    ...request,
    status,
    reason,
    message: compose(request, `${status} ${reason}`, said, adviceFor(status, answer?.message)),
  };
  if (answer?.details !== undefined) options.details = answer.details;
  if (retryAfter !== undefined) options.retryAfterMs = retryAfter;
  return new ApiError(options);
}

/** From an exception without an HTTP answer: refused, reset, timed out, TLS … */
export function errorFromException(request: RequestName, exception: unknown, sent: boolean): ApiError {
  if (exception instanceof ApiError) return exception;
  const { reason, message } = connectionFailure(exception);
  return new ApiError({
    ...request,
    status: 0,
    reason,
    message: compose(request, reason, message, adviceForConnection(reason, exception)),
    sent,
    cause: exception,
  });
}

/**
 * Anything that was thrown by a request as an `ApiError`: client-node's `ApiException` (`{ code, body, headers }`), a `Status`
 * object, a watch's ERROR frame, a network error. An `ApiError` comes back as it is.
 */
export function toApiError(error: unknown, request: RequestName = { method: "", path: "" }): ApiError {
  if (error instanceof ApiError) return error;
  const status = statusObjectOf(error);
  if (status !== null) return errorFromResponse(request, status.code ?? 0, {}, JSON.stringify(status));
  if (isApiException(error)) {
    const body = typeof error.body === "string" ? error.body : (JSON.stringify(error.body) ?? "");
    return errorFromResponse(request, error.code, lowerCased(error.headers), body);
  }
  return errorFromException(request, error, true);
}

/** What the server asked to wait, in milliseconds, from the header or the `Status` details. */
export function retryAfterMs(error: unknown): number | undefined {
  if (error instanceof ApiError) return error.retryAfterMs;
  const status = statusObjectOf(error);
  if (status !== null) return secondsToMs(status.details?.retryAfterSeconds);
  return isApiException(error) ? toApiError(error).retryAfterMs : undefined;
}

/** A `Status`, or the ERROR frame that holds one. */
export function statusObjectOf(value: unknown): Status | null {
  if (typeof value !== "object" || value === null) return null;
  if (isStatus(value)) return value;
  const frame = value as { type?: unknown; object?: unknown };
  return frame.type === "ERROR" && isStatus(frame.object) ? frame.object : null;
}

function isStatus(value: unknown): value is Status {
  return typeof value === "object" && value !== null && (value as Status).kind === "Status";
}

interface ApiException {
  code: number;
  body: unknown;
  headers?: Record<string, string>;
}

/** By shape: a host may bring its own copy of client-node. */
export function isApiException(error: unknown): error is ApiException {
  return error instanceof Error && typeof (error as Partial<ApiException>).code === "number" && "body" in error;
}

function parseStatus(body: string): Status | null {
  const value = parseObject(body);
  return isStatus(value) ? value : null;
}

function parseObject(body: string): object | null {
  if (!body.startsWith("{") && !body.trimStart().startsWith("{")) return null;
  try {
    return JSON.parse(body) as object;
  } catch {
    return null;
  }
}

/** None of them is the reason of a Status that says what became of an object: NotFound, AlreadyExists, Conflict. */
const PLAIN_REASONS: Record<number, string> = {
  301: "Redirect",
  302: "Redirect",
  303: "Redirect",
  307: "Redirect",
  308: "Redirect",
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "PageNotFound",
  405: "MethodNotAllowed",
  406: "NotAcceptable",
  408: "Timeout",
  410: "Gone",
  413: "RequestEntityTooLarge",
  415: "UnsupportedMediaType",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  502: "BadGateway",
  503: "ServiceUnavailable",
  504: "Timeout",
};

function plainReason(status: number): string {
  return PLAIN_REASONS[status] ?? (status >= 500 ? "InternalError" : "Unknown");
}

/** What an answer that is no `Status` says to a person: an HTML page's title, the message of other JSON, or the start of the text. */
function readable(body: string, headers: Headers): string {
  const isHtml = String(headers["content-type"] ?? "").includes("html") || /^\s*<(!doctype|html)/i.test(body);
  if (!isHtml) return excerpt(messageOf(body) ?? body);
  const title = /<title[^>]*>([^<]*)/i.exec(body)?.[1] ?? /<h1[^>]*>([^<]*)/i.exec(body)?.[1] ?? "";
  return `an HTML page ${JSON.stringify(excerpt(title))}, so a proxy or load balancer answered, not Kubernetes`;
}

/** The API server does not redirect, and kubectl does not follow. Without the query, which may hold a login's state. */
function redirection(status: number, headers: Headers): string {
  const to = String(headers.location ?? "");
  if (status < 300 || status > 399 || to === "") return "";
  return `it redirects to ${cut(to.replace(/[?#].*/, ""), 200)}, so a gateway answered that wants a login in a browser, not Kubernetes`;
}

/** Gateways answer in JSON of their own: Rancher, Cloudflare, cloud load balancers. */
function messageOf(body: string): string | undefined {
  const { message, error } = (parseObject(body) ?? {}) as { message?: unknown; error?: unknown };
  return [message, error].find((each): each is string => typeof each === "string" && each !== "");
}

function excerpt(text: string): string {
  return cut(text.slice(0, 2_000).replace(/\s+/g, " ").trim(), 300);
}

/** Of what claims to be a text. */
function cut(text: unknown, max: number): string {
  if (typeof text !== "string") return "";
  return text.length > max ? `${text.slice(0, max)}…` : text;
}

function compose({ method, path }: RequestName, what: string, said: string, hint: string): string {
  const subject = [method, path].filter(Boolean).join(" ");
  const parts = [subject, what, said].filter(Boolean).join(": ");
  return hint === "" ? parts : `${parts} (${hint})`;
}

/** Five minutes at most: gateways are known to send dates far off, and beyond 24 days a timer of Node's fires at once. */
function bounded(retryAfterMs: number): number {
  return Math.min(5 * 60_000, Math.max(0, retryAfterMs));
}

/** RFC 9110: seconds or an HTTP date. At most five minutes. */
function parseRetryAfter(value: string | string[] | undefined): number | undefined {
  const text = (Array.isArray(value) ? value[0] : value)?.trim();
  if (text === undefined || text === "") return undefined;
  if (/^\d+$/.test(text)) return bounded(Number(text) * 1_000);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : bounded(date - Date.now());
}

function secondsToMs(seconds: number | undefined): number | undefined {
  return typeof seconds === "number" && seconds > 0 ? bounded(seconds * 1_000) : undefined;
}

function lowerCased(headers: Record<string, string> | undefined): Headers {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
}
