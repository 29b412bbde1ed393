import { setTimeout as delay } from "node:timers/promises";
import pRetry from "p-retry";
import { ApiError, retryAfterMs } from "./api-error.ts";
import { backoffMs, type Ceilings } from "./backoff.ts";
import { isAmbiguous, isConflict, isQuotaConflict, isRetryable, isStrayAnswer } from "./error-kinds.ts";
import type { ApiRequest } from "./types.ts";

export interface RetryOptions extends Ceilings {
  /** How often a request is sent at most. Default 5; 1 = never again. */
  maxAttempts?: number;
}

export interface Attempts extends RetryOptions {
  /** Ends a wait between two attempts. */
  readonly signal?: AbortSignal | undefined;
  readonly refused?: ApiRequest["refused"];
  /** May what failed with this error be tried again? */
  mayRetry(error: unknown): boolean;
}

/** A server that asks for a longer wait gets its error reported instead: a one-shot request has someone waiting for it. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * Runs `attempt` until it succeeds, fails for good or was tried `maxAttempts` times. Before each further one it waits what the server
 * asked for (`Retry-After`) plus `backoffMs`. A success counts though the signal has aborted meanwhile.
 */
export function retried<T>(
  attempt: (attemptNumber: number) => Promise<T>,
  { maxAttempts = 5, signal, refused, mayRetry, ...ceilings }: Attempts,
): Promise<T> {
  return pRetry(attempt, {
    retries: maxAttempts - 1,
    // p-retry's own delays know neither full jitter nor Retry-After: the wait is in `shouldRetry`.
    minTimeout: 0,
    maxTimeout: 0,
    shouldRetry: async ({ error, attemptNumber }) => {
      if (!mayRetry(error)) return false;
      const askedMs = retryAfterMs(error) ?? 0;
      if (askedMs > MAX_RETRY_AFTER_MS) return false;
      const waitMs = askedMs + backoffMs(attemptNumber - 1, ceilings, Math.random());
      if (refused !== undefined && error instanceof ApiError && error.status === 429) await refused(waitMs);
      else await delay(waitMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
      signal?.throwIfAborted();
      return true;
    },
  });
}

/** Sends a one-shot request again as long as that is safe. @throws the signal's reason once it has aborted */
export async function withRetries<T>(
  request: ApiRequest,
  options: RetryOptions,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  const { maxAttempts = options.maxAttempts, refused } = request;
  const attempts = { ...options, ...(maxAttempts === undefined ? {} : { maxAttempts }), signal, refused };
  try {
    signal.throwIfAborted();
    return await retried(attempt, { ...attempts, mayRetry: (error) => isSafeToRetry(request, error) });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** May the same request be sent again after this error, without the risk of doing something twice? */
export function isSafeToRetry(request: ApiRequest, error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  if (isQuotaConflict(error)) return true;
  if (isRetryable(error) && (!isAmbiguous(error) || isIdempotent(request))) return true;
  // It names no version: others wrote the object each of the five times that the server tried it.
  if (isJsonPatch(request) && isConflict(error)) return true;
  return request.method === "DELETE" && isStrayAnswer(error);
}

function isJsonPatch({ method, body }: ApiRequest): boolean {
  return method === "PATCH" && Array.isArray(body);
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
