/**
 * Hands each item to every tap, at the pace of the slowest: one item at most waits per tap, and `push` tells its caller
 * to wait until it was taken. So memory is bounded by the size of an item, whatever a consumer does.
 */
export class Fanout<T> {
  readonly #taps = new Set<Tap<T>>();
  readonly #onIdle: () => void;
  #ended: Ended | null = null;
  #room: (() => void) | null = null;

  /** `onIdle`: the last tap has left. */
  constructor(onIdle: () => void) {
    this.#onIdle = onIdle;
  }

  /** A consumer from now on. It holds the others back until it takes its items, or leaves. */
  tap(onFirstPull: () => void): Tap<T> {
    const tap: Tap<T> = new Tap(onFirstPull, {
      taken: () => this.#checkRoom(),
      left: () => {
        if (!this.#taps.delete(tap)) return;
        this.#checkRoom();
        if (this.#taps.size === 0 && this.#ended === null) this.#onIdle();
      },
    });
    if (this.#ended) tap.end(this.#ended, false);
    else this.#taps.add(tap);
    return tap;
  }

  /** Undefined: every tap was waiting for the item. Otherwise resolves once all have taken it. Never rejects. */
  push(item: T): Promise<void> | undefined {
    if (this.#ended) return undefined;
    for (const tap of this.#taps) tap.offer(item);
    if (!this.#isFull()) return undefined;
    return new Promise((resolve) => {
      this.#room = resolve;
    });
  }

  /** What was pushed is still given; `discard` drops it. */
  end(ended: Ended = {}, discard = false): void {
    if (this.#ended) return;
    this.#ended = ended;
    for (const tap of this.#taps) tap.end(ended, discard);
    this.#taps.clear();
    this.#checkRoom();
  }

  #isFull(): boolean {
    for (const tap of this.#taps) if (tap.full) return true;
    return false;
  }

  #checkRoom(): void {
    if (this.#room === null || this.#isFull()) return;
    const room = this.#room;
    this.#room = null;
    room();
  }
}

/** How it ended: `error` is what the taps reject with; without it they are done. */
export interface Ended {
  error?: unknown;
}

interface TapOwner {
  taken(): void;
  left(): void;
}

/** One consumer's end. `return` takes effect at once, also while a `next` is pending (an async generator's would wait for it). */
export class Tap<T> implements AsyncIterableIterator<T, undefined> {
  readonly #owner: TapOwner;
  #onFirstPull: (() => void) | null;
  #item: { value: T } | null = null;
  #waiting: { resolve: (result: IteratorResult<T, undefined>) => void; reject: (error: unknown) => void }[] = [];
  #ended: Ended | null = null;

  constructor(onFirstPull: () => void, owner: TapOwner) {
    this.#onFirstPull = onFirstPull;
    this.#owner = owner;
  }

  get full(): boolean {
    return this.#item !== null;
  }

  offer(value: T): void {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ value, done: false });
    else this.#item = { value };
  }

  end(ended: Ended, discard: boolean): void {
    this.#ended = ended;
    if (discard) this.#item = null;
    const waiting = this.#waiting;
    this.#waiting = [];
    waiting.forEach(({ resolve, reject }, index) => {
      if ("error" in ended && index === 0) {
        this.#ended = {};
        reject(ended.error);
      } else resolve({ value: undefined, done: true });
    });
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const pull = this.#onFirstPull;
    this.#onFirstPull = null;
    if (this.#item) {
      const { value } = this.#item;
      this.#item = null;
      this.#owner.taken();
      return Promise.resolve({ value, done: false });
    }
    if (this.#ended) {
      const ended = this.#ended;
      // An iterator reports its error once and is done after that.
      this.#ended = {};
      return "error" in ended ? Promise.reject(ended.error) : Promise.resolve({ value: undefined, done: true });
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      pull?.();
    });
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#item = null;
    if (this.#ended === null) this.end({}, true);
    this.#ended = {};
    this.#owner.left();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
