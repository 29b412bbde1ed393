export interface BackoffOptions {
  /** First ceiling in milliseconds, default 800. */
  baseMs?: number;
  /** Last ceiling in milliseconds, default 30 000. */
  maxMs?: number;
}

/** The ceiling is 3.2 s then. */
const RELAXED_ATTEMPTS = 2;

/**
 * Exponential backoff with full jitter: each delay is random between 0 and a ceiling that doubles from 0.8 s to 30 s, so
 * that many processes that lost the same server do not come back in step.
 */
export class Backoff {
  readonly #baseMs: number;
  readonly #maxMs: number;
  #attempts = 0;

  constructor({ baseMs = 800, maxMs = 30_000 }: BackoffOptions = {}) {
    this.#baseMs = baseMs;
    this.#maxMs = maxMs;
  }

  /** The next delay in milliseconds; never shorter than what the server asked for. */
  next(retryAfterMs = 0): number {
    const ceiling = Math.min(this.#maxMs, this.#baseMs * 2 ** this.#attempts);
    this.#attempts += 1;
    return retryAfterMs + Math.random() * ceiling;
  }

  /** The server is there, though not as it should be: it is asked again before long, and not without a pause. */
  relax(): void {
    this.#attempts = Math.min(this.#attempts, RELAXED_ATTEMPTS);
  }

  reset(): void {
    this.#attempts = 0;
  }
}
