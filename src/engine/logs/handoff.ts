/** How it ended: `error` is what the consumer's `take` rejects with; without it there is nothing more. */
export interface Ended {
  error?: unknown;
}

/** Hands items from one producer to one consumer, one at a time: whatever the consumer does, at most one waits. */
export class Handoff<T> {
  #item: { value: T } | null = null;
  #taker: PromiseWithResolvers<T | undefined> | null = null;
  #room: (() => void) | null = null;
  #ended: Ended | null = null;

  /** Undefined: the consumer was waiting for it. Else resolves when it is taken or dropped. Never rejects. */
  put(value: T): Promise<void> | undefined {
    if (this.#ended) return undefined;
    const taker = this.#taker;
    if (taker !== null) {
      this.#taker = null;
      taker.resolve(value);
      return undefined;
    }
    this.#item = { value };
    return new Promise((resolve) => {
      this.#room = resolve;
    });
  }

  /** The next item; undefined when there will be none. One caller at a time. @throws what it was ended with */
  take(): Promise<T | undefined> {
    const item = this.#item;
    if (item !== null) {
      this.#empty();
      return Promise.resolve(item.value);
    }
    if (this.#ended !== null) return settled(this.#ended);
    this.#taker = Promise.withResolvers();
    return this.#taker.promise;
  }

  /** An item that waits can still be taken; `discard` drops it. */
  end(ended: Ended, discard: boolean): void {
    if (this.#ended !== null) return;
    this.#ended = ended;
    if (discard) this.#empty();
    this.#taker?.resolve(settled(ended));
    this.#taker = null;
  }

  #empty(): void {
    this.#item = null;
    this.#room?.();
    this.#room = null;
  }
}

function settled(ended: Ended): Promise<undefined> {
  return "error" in ended ? Promise.reject(ended.error) : Promise.resolve(undefined);
}
