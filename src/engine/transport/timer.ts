/** Node fires a timer that is set for longer at once, and writes a warning for one that is set for less than nothing. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Calls back after so many milliseconds, 24 days at the most; at once where that time is over. Does not hold the process. */
export function timer(ms: number, call: () => void): NodeJS.Timeout {
  return setTimeout(call, Math.max(0, Math.min(ms, MAX_TIMER_MS))).unref();
}
