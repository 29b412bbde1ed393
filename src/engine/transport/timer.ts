/** Node fires a timer that is set for longer at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Calls back after so many milliseconds, 24 days at the most. Does not hold the process. */
export function timer(ms: number, call: () => void): NodeJS.Timeout {
  return setTimeout(call, Math.min(ms, MAX_TIMER_MS)).unref();
}
