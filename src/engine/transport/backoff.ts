/** Between which delays a repetition waits. */
export interface Ceilings {
  /** First ceiling of the delay in milliseconds; doubles with each attempt. Default 800. */
  baseMs?: number;
  /** Last ceiling in milliseconds. Default 30 000. */
  maxMs?: number;
}

/**
 * Exponential backoff with full jitter, as client-go's reflector: each delay is random between 0 and a ceiling that doubles, so that
 * many processes that lost the same server do not come back in step. `random` is from 0 to below 1.
 */
export function backoffMs(attempt: number, { baseMs = 800, maxMs = 30_000 }: Ceilings, random: number): number {
  return random * Math.min(maxMs, baseMs * 2 ** attempt);
}
