import { setTimeout as delay } from "node:timers/promises";
import pRetry from "p-retry";
import { ApiError } from "./api-error.ts";
import { isAmbiguous, isNotFound, isQuotaConflict, isRetryable } from "./error-kinds.ts";
import type { ApiRequest } from "./types.ts";

export interface RetryOptions {
  /** How often a request is sent at most. Default 5; 1 = never again. */
  maxAttempts?: number;
  /** First ceiling of the delay in milliseconds; doubles with each attempt. Default 800. */
  baseMs?: number;
  /** Last ceiling in milliseconds. Default 30 000. */
  maxMs?: number;
}

/** A server that asks for a longer wait gets its error reported instead: a one-shot request has someone waiting for it. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * Runs `attempt` until it succeeds, fails for good or was tried `maxAttempts` times. Before each retry it waits what the server
 * asked for (`Retry-After`) plus a random part of a ceiling that doubles (full jitter).
 */
export function withRetries<T>(
  request: ApiRequest,
  { maxAttempts = 5, baseMs = 800, maxMs = 30_000 }: RetryOptions,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  return pRetry(attempt, {
    retries: (request.maxAttempts ?? maxAttempts) - 1,
    // p-retry's own delays know neither full jitter nor Retry-After: the wait is in `shouldRetry`.
    minTimeout: 0,
    maxTimeout: 0,
    signal,
    shouldRetry: async ({ error, attemptNumber }) => {
      if (!isSafeToRetry(request, error)) return false;
      const { retryAfterMs = 0 } = error as ApiError;
      if (retryAfterMs > MAX_RETRY_AFTER_MS) return false;
      const ceiling = Math.min(maxMs, baseMs * 2 ** (attemptNumber - 1));
      await delay(retryAfterMs + Math.random() * ceiling, undefined, { signal }).catch(() => undefined);
      return true;
    },
  });
}

/** May the same request be sent again after this error, without the risk of doing something twice? */
export function isSafeToRetry(request: ApiRequest, error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  if (isQuotaConflict(error)) return true;
  // A tunnel or proxy that does not reach the API server for a moment may say so with a 404. The object may still stand there.
  if (error.status === 404 && request.method === "DELETE") return !isNotFound(error);
  return isRetryable(error) && (!isAmbiguous(error) || isIdempotent(request));
}

function isIdempotent({ method = "GET", body, contentType = "" }: ApiRequest): boolean {
  switch (method) {
    case "GET":
    case "PUT":
    case "DELETE":
      return true;
    case "PATCH":
      // A merge says what shall be; a JSON patch may add twice, unless it tests what it found.
      return (
        contentType.includes("merge-patch") ||
        contentType.includes("apply-patch") ||
        (Array.isArray(body) && body.some((operation) => (operation as { op?: unknown } | null)?.op === "test"))
      );
    case "POST":
      return false;
  }
}
