import { EventEmitter } from "eventemitter3";
import { LinkedAbort } from "./transport/index.ts";

/** How long to wait. The thing waited for goes on when the wait is given up. */
export interface WaitLimits {
  /** Ends the wait; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Give up waiting after this many milliseconds. Default: no limit. */
  timeoutMs?: number | undefined;
}

export interface SubscribeTo {
  /** Only events published with this key. Default: all events of the topic. */
  key?: string | undefined;
  /** Ends the subscription. */
  signal?: AbortSignal | undefined;
}

interface WaitFor<T> extends WaitLimits {
  /** Only events published with this key wake the wait. */
  key?: string | undefined;
  /** Asked now and after each event. Null: nothing yet. What it throws rejects the wait. */
  take: () => { value: T } | null;
  /** The publisher's end: rejects the wait with its reason, unless `take` has an answer first. */
  ended: AbortSignal;
  timedOut: (timeoutMs: number) => Error;
}

/**
 * The one event bus. Informers and runs publish on it; everything else subscribes, to one key of a topic or to all of it.
 *
 * Delivery is synchronous, in the order of subscription. A listener that throws, or whose promise rejects, harms no other: the
 * error goes to `report`. Who subscribes during a delivery gets the next event; who unsubscribes gets nothing more.
 */
export class Bus<Topics extends object> {
  readonly #emitter = new EventEmitter<string>();
  readonly #report: (error: unknown) => void;

  constructor(report: (error: unknown) => void) {
    this.#report = report;
  }

  publish<T extends keyof Topics & string>(topic: T, event: Topics[T], key?: string): void {
    if (key !== undefined) this.#emitter.emit(nameOf(topic, key), event);
    this.#emitter.emit(nameOf(topic), event);
  }

  /** Returns the function that ends the subscription. */
  subscribe<T extends keyof Topics & string>(
    topic: T,
    listener: (event: Topics[T]) => unknown,
    { key, signal }: SubscribeTo = {},
  ): () => void {
    if (signal?.aborted === true) return () => undefined;
    const name = nameOf(topic, key);
    let isActive = true;
    const deliver = (event: Topics[T]) => {
      if (!isActive) return;
      try {
        const result = listener(event);
        if (result instanceof Promise) result.catch(this.#report);
      } catch (error) {
        this.#report(error);
      }
    };
    const stop = () => {
      isActive = false;
      this.#emitter.off(name, deliver);
      signal?.removeEventListener("abort", stop);
    };
    this.#emitter.on(name, deliver);
    signal?.addEventListener("abort", stop, { once: true });
    return stop;
  }

  /** Is anyone subscribed to events of this topic and key? For events that are costly to make. */
  hasSubscribers(topic: keyof Topics & string, key?: string): boolean {
    if (this.#emitter.listenerCount(nameOf(topic)) > 0) return true;
    return key !== undefined && this.#emitter.listenerCount(nameOf(topic, key)) > 0;
  }

  /** Resolves with the first answer of `take`. @throws what `take` throws, `timedOut`, or the reason of `signal` or `ended`. */
  when<R>(topic: keyof Topics & string, { key, take, signal, ended, timeoutMs, timedOut }: WaitFor<R>): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason);
      const isSettled = () => {
        try {
          const taken = take();
          if (taken === null) return false;
          resolve(taken.value);
        } catch (error) {
          reject(error);
        }
        return true;
      };
      if (isSettled()) return;
      const limit = timeoutMs === undefined ? undefined : { ms: timeoutMs, reason: () => timedOut(timeoutMs) };
      const abort = new LinkedAbort([signal, ended], limit);
      if (abort.signal.aborted) return reject(abort.signal.reason);
      const stop = this.subscribe(
        topic,
        () => {
          if (!isSettled()) return;
          stop();
          abort.release();
        },
        { key },
      );
      abort.signal.addEventListener("abort", () => {
        stop();
        reject(abort.signal.reason);
      });
    });
  }

  /** Ends every subscription. */
  close(): void {
    this.#emitter.removeAllListeners();
  }
}

function nameOf(topic: string, key?: string): string {
  return key === undefined ? topic : `${topic} ${key}`;
}
