import { abortable, LinkedAbort } from "../engine/index.ts";

export interface Bound {
  /** Ends the wait with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly ms: number;
  /** What the wait rejects with when the time is over. Default: `LateError`. */
  readonly late?: () => Error;
}

/** The time of a wait is over. */
export class LateError extends Error {
  override readonly name = "LateError";
  constructor(ms: number) {
    super(`not done within ${ms / 1000} s`);
  }
}

/**
 * The adapter's one way to bound a wait: settles with `work`, or rejects when the signal aborts or the time is over. `work` gets a
 * signal that aborts then, and is no longer waited for if it does not heed it.
 */
export async function bounded<T>(
  { signal, ms, late = () => new LateError(ms) }: Bound,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new LinkedAbort([signal], { ms, reason: late });
  try {
    abort.signal.throwIfAborted();
    return await abortable(work(abort.signal), abort.signal);
  } finally {
    abort.release();
  }
}

/** Whether the promise settled in time, resolved or rejected. The timer does not hold the process. */
export async function settlesWithin(promise: Promise<unknown>, ms: number, signal?: AbortSignal): Promise<boolean> {
  const settled = promise.then(isSettled, isSettled);
  return await bounded({ signal, ms }, () => settled).catch(() => false);
}

function isSettled(): true {
  return true;
}
