import { warn } from "./warn.ts";

/**
 * The one source of time of the embedded Kubernetes: every delay of its controllers, kubelet and programs goes through
 * it, so that a cluster can run faster than the wall clock, or – stepped – as fast as its events can be computed.
 *
 * All timers stand in one heap behind a single (unref'd) Node timer: thousands of pods cost one timer, and timers fire in
 * the order of their virtual deadlines even when the scale rounds several of them into the same real millisecond.
 */

/** What a `sleep` rejects with when its signal aborts or the clock stops. */
export class SleepAbortedError extends Error {
  override readonly name = "AbortError";
}

/** RFC 3339 with whole seconds, as `metav1.Time` is written. */
export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

export interface Timer {
  /** Does nothing once the timer has fired. */
  cancel(): void;
}

interface Entry extends Timer {
  readonly deadline: number;
  readonly order: number;
  /** `null` once fired or cancelled; the heap drops such entries when they come up. */
  run: (() => void) | null;
  onStop: (() => void) | null;
}

/** Callbacks run in one go before other work of the process gets its turn. */
const batchSize = 512;
/** Node's own limit for a timer. */
const maxRealDelayMs = 2 ** 31 - 1;

export class Clock {
  /** Virtual milliseconds in a real one. 0 for a stepped clock. */
  readonly scale: number;
  readonly #heap: Entry[] = [];
  readonly #startedVirtual: number;
  readonly #startedReal = performance.now();
  #steppedNow: number;
  #order = 0;
  #wake: NodeJS.Timeout | undefined;
  #wakeDeadline = Number.POSITIVE_INFINITY;
  #stopped = false;

  /**
   * @param scale virtual time per real time: 1 is real, 20 is twenty times as fast.
   * @throws RangeError when it is not a number above 0.
   */
  constructor(scale = 1, startAt: number = Date.now()) {
    if (!(scale > 0 && Number.isFinite(scale)) && scale !== 0) {
      throw new RangeError(
        `timeScale must be a number above 0 (1 = real time, 20 = twenty times as fast), got ${scale}`,
      );
    }
    this.scale = scale;
    this.#startedVirtual = startAt;
    this.#steppedNow = startAt;
  }

  /** A clock that stands still until `advance` moves it: for tests that compare sequences and must not depend on load. */
  static stepped(startAt?: number): Clock {
    return new Clock(0, startAt);
  }

  /** Virtual milliseconds since the epoch, with a fraction. */
  now(): number {
    if (this.scale === 0) return this.#steppedNow;
    return this.#startedVirtual + (performance.now() - this.#startedReal) * this.scale;
  }

  date(): Date {
    return new Date(this.now());
  }

  /** `2026-11-23T10:44:33Z`: the precision of `metav1.Time`. */
  timestamp(): string {
    return timestamp(this.now());
  }

  setTimeout(run: () => void, virtualMs: number): Timer {
    return this.#add(run, virtualMs, null);
  }

  /** @throws SleepAbortedError when `signal` aborts or the clock stops first. */
  sleep(virtualMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(new SleepAbortedError("The sleep was aborted"));
    return new Promise((resolve, reject) => {
      const entry = this.#add(
        () => {
          signal?.removeEventListener("abort", abort);
          resolve();
        },
        virtualMs,
        () => {
          signal?.removeEventListener("abort", abort);
          reject(new SleepAbortedError("The clock of the embedded Kubernetes was stopped"));
        },
      );
      const abort = () => {
        entry.cancel();
        reject(new SleepAbortedError("The sleep was aborted"));
      };
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /**
   * Moves a stepped clock forward, firing each timer at its own time; what a timer's callback starts gets its turn (promises
   * and immediates) before the next timer fires.
   */
  async advance(virtualMs: number): Promise<void> {
    if (this.scale !== 0) throw new Error("Clock.advance is for stepped clocks; this one runs by itself");
    const target = this.#steppedNow + virtualMs;
    await settled();
    for (;;) {
      const next = this.#peek();
      if (next === undefined || next.deadline > target) break;
      this.#steppedNow = Math.max(this.#steppedNow, next.deadline);
      this.#pop();
      fire(next);
      await settled();
    }
    this.#steppedNow = target;
  }

  /** Cancels every timer and rejects every sleep; later ones never fire. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#wake);
    for (const entry of this.#heap.splice(0)) {
      const { onStop } = entry;
      entry.cancel();
      onStop?.();
    }
  }

  #add(run: () => void, virtualMs: number, onStop: (() => void) | null): Timer {
    const entry: Entry = {
      // NaN would put the heap out of order for all others.
      deadline: this.now() + (Number.isNaN(virtualMs) ? 0 : Math.max(0, virtualMs)),
      order: this.#order++,
      run,
      onStop,
      cancel: () => {
        entry.run = null;
        entry.onStop = null;
      },
    };
    if (this.#stopped) {
      if (onStop) queueMicrotask(onStop);
      return entry;
    }
    this.#push(entry);
    if (entry.deadline < this.#wakeDeadline) this.#schedule();
    return entry;
  }

  #schedule(): void {
    clearTimeout(this.#wake);
    this.#wake = undefined;
    this.#wakeDeadline = Number.POSITIVE_INFINITY;
    if (this.scale === 0 || this.#stopped) return;
    const next = this.#peek();
    if (next === undefined) return;
    this.#wakeDeadline = next.deadline;
    const realMs = Math.ceil((next.deadline - this.now()) / this.scale);
    this.#wake = setTimeout(() => this.#fireDue(), Math.min(Math.max(realMs, 0), maxRealDelayMs));
    this.#wake.unref();
  }

  #fireDue(): void {
    // While callbacks run, timers that they add need not touch the Node timer: it is set once at the end.
    this.#wakeDeadline = Number.NEGATIVE_INFINITY;
    const now = this.now();
    for (let fired = 0; fired < batchSize; ) {
      const next = this.#peek();
      if (next === undefined || next.deadline > now) break;
      this.#pop();
      fired++;
      fire(next);
    }
    this.#schedule();
  }

  /** The earliest live entry; cancelled ones are dropped on the way. */
  #peek(): Entry | undefined {
    let top = this.#heap[0];
    while (top !== undefined && top.run === null) {
      this.#pop();
      top = this.#heap[0];
    }
    return top;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.push(entry) - 1;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex] as Entry;
      if (!before(entry, parent)) break;
      heap[index] = parent;
      index = parentIndex;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= heap.length) break;
      const right = heap[childIndex + 1];
      if (right !== undefined && before(right, heap[childIndex] as Entry)) childIndex++;
      const child = heap[childIndex] as Entry;
      if (!before(child, last)) break;
      heap[index] = child;
      index = childIndex;
    }
    heap[index] = last;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.deadline === b.deadline ? a.order < b.order : a.deadline < b.deadline;
}

function fire(entry: Entry): void {
  const { run } = entry;
  entry.cancel();
  try {
    run?.();
  } catch (error) {
    warn(error);
  }
}

/** Lets promises that are due resolve, and what they start. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
