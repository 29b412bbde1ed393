import { bounded as boundedBy, type Bound as EngineBound } from "../engine/index.ts";

/** The time of a wait is over. */
export class LateError extends Error {
  override readonly name = "LateError";
  constructor(ms: number) {
    super(`not done within ${ms / 1000} s`);
  }
}

/** The engine's `bounded`; `late` is a `LateError` by default. */
export function bounded<T>(
  bound: Partial<EngineBound> & { ms: number },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return boundedBy({ late: () => new LateError(bound.ms), ...bound }, work);
}

/** Whether the promise settled in time, resolved or rejected. The timer does not hold the process. */
export async function settlesWithin(promise: Promise<unknown>, ms: number, signal?: AbortSignal): Promise<boolean> {
  const settled = promise.then(isSettled, isSettled);
  return await bounded({ signal, ms }, () => settled).catch(() => false);
}

function isSettled(): true {
  return true;
}
