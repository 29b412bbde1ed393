/** A timer that is set for longer fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * A signal that aborts with any of its sources, or when its time is over, until it is released. `AbortSignal.any` cannot be
 * released: each request would stay tied to a signal that lives as long as the engine.
 */
export class LinkedAbort {
  readonly #controller = new AbortController();
  readonly #sources: AbortSignal[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(sources: readonly (AbortSignal | undefined)[], timeout?: { ms: number; reason: () => Error }) {
    for (const source of sources) {
      if (source === undefined) continue;
      if (source.aborted) {
        this.#abort(source.reason);
        return;
      }
      source.addEventListener("abort", this, { once: true });
      this.#sources.push(source);
    }
    if (timeout === undefined) return;
    this.#timer = setTimeout(() => this.#abort(timeout.reason()), Math.min(timeout.ms, MAX_TIMER_MS));
    this.#timer.unref();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The sources' listener. */
  handleEvent(event: Event): void {
    this.#abort((event.target as AbortSignal).reason);
  }

  release(): void {
    clearTimeout(this.#timer);
    for (const source of this.#sources.splice(0)) source.removeEventListener("abort", this);
  }

  #abort(reason: unknown): void {
    this.release();
    this.#controller.abort(reason);
  }
}

/** Settles with `promise`, or rejects with the signal's reason if that comes first. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

export interface Bound {
  /** Ends the wait with its reason. */
  readonly signal?: AbortSignal | undefined;
  readonly ms: number;
  /** What the wait rejects with when the time is over. */
  readonly late: () => Error;
}

/**
 * The one way to bound a wait: settles with `work`, or rejects when the signal aborts or the time is over. `work` gets a signal that
 * aborts then, and is no longer waited for if it does not heed it.
 */
export async function bounded<T>({ signal, ms, late }: Bound, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new LinkedAbort([signal], { ms, reason: late });
  try {
    abort.signal.throwIfAborted();
    return await abortable(work(abort.signal), abort.signal);
  } finally {
    abort.release();
  }
}
