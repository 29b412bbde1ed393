/** How it ended: `error` is what the consumer gets once; without it there is nothing more. */
export interface Ended {
  error?: unknown;
}

/**
 * What a consumer holds until the next item comes. A class, for V8 makes what a literal makes in its old space, once those made at
 * first have lived long; there it would keep each line in memory until a full collection.
 */
class Item<T> implements IteratorYieldResult<T> {
  readonly value: T;
  readonly done = false;
  constructor(value: T) {
    this.value = value;
  }
}

type Taker<T> = (result: IteratorResult<T, void> | Promise<IteratorResult<T, void>>) => void;

/**
 * Hands items from one producer to one consumer, one at a time: whatever the consumer does, at most one waits. What a generator
 * would do in six turns of the event loop's microtasks it does in one, for each chunk of each of thousands of logs; and leaving
 * takes effect at once, where a generator's `return` waits for a `next` that is pending.
 */
export class Handoff<T> implements AsyncGenerator<T, void> {
  readonly #onFirst: () => void;
  readonly #onLeave: () => void;
  #state: "idle" | "open" | "left" = "idle";
  #item: Item<T> | null = null;
  /** The call of `next` that waits, and those after it: hardly any consumer has more than one. */
  #taker: Taker<T> | null = null;
  readonly #laterTakers: Taker<T>[] = [];
  #room: (() => void) | null = null;
  #ended: Ended | null = null;

  /** `onFirst`: the first item is asked for; what it throws rejects. `onLeave`: the consumer wants no more. */
  constructor(onFirst: () => void, onLeave: () => void) {
    this.#onFirst = onFirst;
    this.#onLeave = onLeave;
  }

  /** Undefined: the consumer was waiting for it. Else resolves when it is taken or dropped. Never rejects. */
  put(value: T): Promise<void> | undefined {
    if (this.#ended) return undefined;
    const taker = this.#nextTaker();
    if (taker !== null) {
      taker(new Item(value));
      return undefined;
    }
    this.#item = new Item(value);
    return new Promise((resolve) => {
      this.#room = resolve;
    });
  }

  /** An item that waits can still be taken; `discard` drops it. */
  end(ended: Ended, discard: boolean): void {
    if (this.#ended !== null) return;
    this.#ended = ended;
    if (discard) this.#empty();
    for (let taker = this.#nextTaker(); taker !== null; taker = this.#nextTaker()) taker(this.#last());
  }

  next(): Promise<IteratorResult<T, void>> {
    if (this.#state === "idle") {
      try {
        this.#state = "open";
        this.#onFirst();
      } catch (error) {
        this.#state = "left";
        this.end({ error }, true);
      }
    }
    const item = this.#item;
    if (item !== null) {
      this.#empty();
      return Promise.resolve(item);
    }
    if (this.#ended !== null) return this.#last();
    return new Promise((resolve) => {
      if (this.#taker === null) this.#taker = resolve;
      else this.#laterTakers.push(resolve);
    });
  }

  return(): Promise<IteratorResult<T, void>> {
    this.#leave();
    return Promise.resolve({ value: undefined, done: true });
  }

  throw(error: unknown): Promise<IteratorResult<T, void>> {
    this.#leave();
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leave();
  }

  #nextTaker(): Taker<T> | null {
    const taker = this.#taker;
    this.#taker = this.#laterTakers.shift() ?? null;
    return taker;
  }

  #leave(): void {
    const wasOpen = this.#state === "open";
    this.#state = "left";
    this.end({}, true);
    this.#ended = {};
    this.#empty();
    if (wasOpen) this.#onLeave();
  }

  /** An error is told once; after that it is done. */
  #last(): Promise<IteratorResult<T, void>> {
    const ended = this.#ended ?? {};
    this.#ended = {};
    return "error" in ended ? Promise.reject(ended.error) : Promise.resolve({ value: undefined, done: true });
  }

  #empty(): void {
    this.#item = null;
    this.#room?.();
    this.#room = null;
  }
}
