export interface WaitLimits {
  signal?: AbortSignal;
  /** Give up waiting after so many milliseconds; what is waited for goes on. Default: wait as long as it takes. */
  timeoutMs?: number;
}

interface Waiter {
  /** Looks at the newest state; true when it has settled its promise. */
  check(): boolean;
  fail(error: Error): void;
}

/** Promises of what a state will say: each is asked again after every change, until it has something to say. */
export class Waiters {
  readonly #waiting = new Set<Waiter>();
  #ended: Error | null = null;

  /**
   * `take` looks at the newest state and answers null while there is nothing to say; what it throws rejects the promise.
   * @throws the signal's reason, `timedOut()`, or the error that `end` was called with.
   */
  wait<T>(
    take: () => { value: T } | null,
    { signal, timeoutMs }: WaitLimits,
    timedOut: (timeoutMs: number) => Error,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason);
      let timer: NodeJS.Timeout | undefined;
      const finish = (settle: () => void) => {
        this.#waiting.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        settle();
      };
      const onAbort = () => finish(() => reject(signal?.reason));
      const waiter: Waiter = {
        check: () => {
          try {
            const taken = take();
            if (taken === null) return false;
            finish(() => resolve(taken.value));
          } catch (error) {
            finish(() => reject(error));
          }
          return true;
        },
        fail: (error) => finish(() => reject(error)),
      };
      if (waiter.check()) return;
      if (this.#ended !== null) return waiter.fail(this.#ended);
      this.#waiting.add(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
      if (timeoutMs !== undefined)
        timer = setTimeout(() => waiter.fail(timedOut(timeoutMs)), Math.min(timeoutMs, 2 ** 31 - 1));
    });
  }

  /** The state may have changed. */
  check(): void {
    for (const waiter of [...this.#waiting]) waiter.check();
  }

  /** Nothing will change any more: all that wait, and whoever comes later with a question that is still open, get this error. */
  end(error: Error): void {
    this.#ended ??= error;
    for (const waiter of [...this.#waiting]) waiter.fail(error);
  }
}
