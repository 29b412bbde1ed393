export interface BackoffOptions {
  /** First ceiling in milliseconds, default 800. */
  baseMs?: number;
  /** Last ceiling in milliseconds, default 30 000. */
  maxMs?: number;
  /** Shortest time between two openings of the same watch, in milliseconds, default 1 000. */
  minIntervalMs?: number;
}

/**
 * Exponential backoff with full jitter: each delay is random between 0 and a ceiling that doubles from 0.8 s to 30 s, so
 * that many processes that lost the same server do not come back in step. `random` is from 0 to below 1.
 */
export function backoffMs(attempt: number, { baseMs = 800, maxMs = 30_000 }: BackoffOptions, random: number): number {
  return random * Math.min(maxMs, baseMs * 2 ** attempt);
}

/** A backoff that counts its own attempts. */
export class Backoff {
  readonly #options: BackoffOptions;
  #attempts = 0;

  constructor(options: BackoffOptions = {}) {
    this.#options = options;
  }

  /** The next delay in milliseconds; never shorter than what the server asked for. */
  next(retryAfterMs = 0): number {
    return retryAfterMs + backoffMs(this.#attempts++, this.#options, Math.random());
  }
}
