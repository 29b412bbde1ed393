import { saysRightIsMissing } from "./advice.ts";
import { ApiError, isApiException, statusObjectOf, toApiError } from "./api-error.ts";
import { connectionFailure } from "./connection-failure.ts";
import { parseResourcePath } from "./resource-path.ts";

/**
 * The object asked for does not exist. A 404 that speaks of something else is not meant: a proxy's page (`PageNotFound`), an
 * access layer's Status about a cluster that it does not know, a kubelet that knows no such log.
 */
export function isNotFound(error: unknown): boolean {
  const facts = factsOf(error);
  return facts.reason === "NotFound" && isAbout(facts) === true;
}

/** The object was changed or is not in the state expected; not `AlreadyExists`, and not a conflict about another object. */
export function isConflict(error: unknown): boolean {
  const facts = factsOf(error);
  return facts.reason === "Conflict" && isAbout(facts) !== false;
}

export function isAlreadyExists(error: unknown): boolean {
  return factsOf(error).reason === "AlreadyExists";
}

/**
 * The quota admission plugin could not note its use, since many wrote at the same moment: nothing was stored, and the same
 * request may be sent again (kubernetes/kubernetes#67761).
 */
export function isQuotaConflict(error: unknown): boolean {
  const { reason, kind, message } = factsOf(error);
  return reason === "Conflict" && (/^resourcequotas?$/i.test(kind) || /\bon resourcequotas? "/i.test(message));
}

/** The version or continue token asked for is gone: HTTP 410, `Expired`, also as a `Status` object or an ERROR frame. */
export function isGone(error: unknown): boolean {
  const { code, reason } = factsOf(error);
  return code === 410 || reason === "Expired" || reason === "Gone";
}

export function isForbidden(error: unknown): boolean {
  return factsOf(error).code === 403;
}

/** Refused for a right that is missing, which a Role grants: not by admission, a kubelet or a proxy. */
export function lacksRight(error: unknown): boolean {
  const { code, message } = factsOf(error);
  return code === 403 && saysRightIsMissing(message);
}

export function isUnauthorized(error: unknown): boolean {
  return factsOf(error).code === 401;
}

/**
 * Kubernetes' own word on the object of the request: there is none, it may not be touched, it was changed meanwhile. What names
 * another object, or none, may be an access layer's.
 */
export function speaksOfObject(error: unknown): boolean {
  return isAbout(factsOf(error)) === true || lacksRight(error);
}

/**
 * An answer that is not the API server's word on the object: a tunnel or proxy that does not reach the server for a moment may answer
 * with anything. The object may be as it was.
 */
export function isStrayAnswer(error: unknown): boolean {
  return error instanceof ApiError && ![0, 401].includes(error.status) && !speaksOfObject(error);
}

const RETRYABLE_FAILURE = new Set([
  "ConnectionRefused",
  "ConnectionReset",
  "ConnectionLost",
  "HostNotFound",
  "HostUnreachable",
  "Timeout",
  "ConnectTimeout",
  "ProxyError",
  "ProtocolError",
  "TruncatedAnswer",
]);

/** The same request may succeed later. Whether it is *safe* to send it again is another question. */
export function isRetryable(error: unknown): boolean {
  const { code, reason } = factsOf(error);
  return isPassing(code) || RETRYABLE_FAILURE.has(reason);
}

/** Nobody can say whether the request was carried out. */
export function isAmbiguous(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  const { status, sent, retryAfterMs } = error;
  // 429: turned away by priority and fairness before it did anything; 503 with Retry-After: likewise, the server starts or stops.
  const wasRefused = !sent || status === 429 || (status === 503 && retryAfterMs !== undefined);
  // Below 300: no answer, or one that cannot be read.
  return !wasRefused && (status < 300 || isPassing(status));
}

/**
 * Also what is in no standard: 499 (nginx), 460 (AWS), 520 to 530 (Cloudflare), 598 and 599. Not 501 and 505, which say that the
 * server will never do it.
 */
function isPassing(status: number): boolean {
  return [408, 425, 429, 460, 499].includes(status) || (status >= 500 && status !== 501 && status !== 505);
}

interface Facts {
  code: number;
  reason: string;
  message: string;
  /** What the Status' details name. */
  kind: string;
  name: string;
  /** Of the request; "" = not known. */
  path: string;
}

function factsOf(error: unknown): Facts {
  const none = { code: 0, reason: "", message: "", kind: "", name: "", path: "" };
  const status = statusObjectOf(error);
  if (status !== null) {
    const { code = 0, reason = "", message = "", details } = status;
    return { ...none, code, reason, ...namesOf(message, details) };
  }
  const apiError = error instanceof ApiError ? error : isApiException(error) ? toApiError(error) : null;
  if (apiError !== null) {
    const { status: code, reason, message, details, path } = apiError;
    return { code, reason, path, ...namesOf(message, details) };
  }
  return { ...none, reason: error instanceof Error ? connectionFailure(error).reason : "" };
}

function namesOf(message: string, details: unknown): Pick<Facts, "kind" | "name" | "message"> {
  const { kind, name, causes } = (details ?? {}) as { kind?: unknown; name?: unknown; causes?: unknown };
  // An access layer built on client-go makes a Status of whatever page it met, with the names of the request.
  if (Array.isArray(causes) && causes.some((cause) => cause?.reason === "UnexpectedServerResponse"))
    return { kind: "", name: "", message: "" };
  return { kind: typeof kind === "string" ? kind : "", name: typeof name === "string" ? name : "", message };
}

/** Whether a Status speaks of the object of its request; null where it does not say of what. */
function isAbout({ message, path, ...details }: Facts): boolean | null {
  // `jobs.batch "x" not found`, `Operation cannot be fulfilled on jobs.batch "x": …`
  const [, quotedKind = "", quotedName = ""] = /([\w.-]+) "([^"]*)"(?: not found| is forbidden|: )/.exec(message) ?? [];
  const kind = (details.kind || (details.name === "" ? quotedKind : "")).split(".")[0] ?? "";
  const name = details.name || quotedName;
  if (kind === "" && name === "") return null;
  const asked = parseResourcePath(path);
  if (asked === null) return true;
  const { resource, namespace } = asked;
  // A create misses the namespace. Of an object in one that is gone, Kubernetes says that the object is.
  if (asked.name === undefined) return isKind(kind, "namespaces") && name === namespace;
  return (kind === "" || isKind(kind, resource)) && name === decodeURIComponent(asked.name);
}

/** `pods`, and `Pod` as some servers write it. */
function isKind(kind: string, resource: string): boolean {
  const lower = kind.toLowerCase();
  return lower === resource || `${lower}s` === resource;
}
