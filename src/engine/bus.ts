import { EventEmitter } from "eventemitter3";
import { Link } from "./transport/index.ts";

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

/** One topic of a bus, for a publisher or subscriber that need not know the others. */
export interface Topic<E> {
  publish(event: E, key?: string): void;
  /** Returns the function that ends the subscription. `first`: delivered to this listener before anything else. */
  subscribe(listener: (event: E) => unknown, to?: SubscribeTo, first?: Iterable<E>): () => void;
  when<R>(wait: WaitFor<R>): Promise<R>;
  /** How many are subscribed to all of it. */
  readonly subscribers: number;
}

export interface WaitFor<T> extends WaitLimits {
  /** Only events published with this key wake the wait. */
  key?: string | undefined;
  /** Asked now and after each event. Null: nothing yet. What it throws rejects the wait. */
  take: () => { value: T } | null;
  /** The publisher's end: rejects the wait with its reason, unless `take` has an answer first. */
  ended?: AbortSignal | undefined;
  /** Makes the error of a wait that took longer than `timeoutMs`. */
  timedOut?: (timeoutMs: number) => Error;
}

/**
 * The one event bus. Informers and runs publish on it; everything else subscribes, to one key of a topic or to all of it.
 *
 * Delivery is synchronous, in the order of subscription. A listener that throws, or whose promise rejects, harms no other: the
 * error goes to `report`. Who subscribes during a delivery gets the next event; who unsubscribes gets nothing more.
 */
export class Bus<Topics extends object> {
  readonly #emitter = new EventEmitter<string>();
  readonly #report: (error: unknown, topic: keyof Topics & string) => void;
  #published = 0;

  /** @param report is called with what a listener threw, and the topic that it listens to */
  constructor(report: (error: unknown, topic: keyof Topics & string) => void) {
    this.#report = report;
  }

  publish<T extends keyof Topics & string>(topic: T, event: Topics[T], key?: string): void {
    this.#published += 1;
    const serial = this.#published;
    if (key !== undefined) this.#emitter.emit(nameOf(topic, key), event, serial);
    this.#emitter.emit(nameOf(topic), event, serial);
  }

  /** Returns the function that ends the subscription. `first`: delivered to this listener before anything else. */
  subscribe<T extends keyof Topics & string>(
    topic: T,
    listener: (event: Topics[T]) => unknown,
    { key, signal }: SubscribeTo = {},
    first: Iterable<Topics[T]> = [],
  ): () => void {
    if (signal?.aborted === true) return () => undefined;
    const subscription = this.#subscribe(topic, listener, key, first);
    const link = signal === undefined ? null : new Link([signal], undefined, () => this.#end(subscription));
    return () => {
      this.#end(subscription);
      link?.release();
    };
  }

  topic<T extends keyof Topics & string>(topic: T): Topic<Topics[T]> {
    const emitter = this.#emitter;
    return {
      publish: (event, key) => this.publish(topic, event, key),
      subscribe: (listener, to, first) => this.subscribe(topic, listener, to, first),
      when: (wait) => this.when(topic, wait),
      get subscribers() {
        return emitter.listenerCount(topic);
      },
    };
  }

  /** Is anyone subscribed to events of this topic and key? For events that are costly to make. */
  hasSubscribers(topic: keyof Topics & string, key?: string): boolean {
    if (this.#emitter.listenerCount(nameOf(topic)) > 0) return true;
    return key !== undefined && this.#emitter.listenerCount(nameOf(topic, key)) > 0;
  }

  /** Resolves with the first answer of `take`. @throws what `take` throws, `timedOut`, or the reason of `signal` or `ended`. */
  when<R>(
    topic: keyof Topics & string,
    { key, take, signal, ended, timeoutMs, timedOut = tooLong }: WaitFor<R>,
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason);
      let subscription: Subscription | null = null;
      let link: Link | null = null;
      const settle = () => {
        try {
          const taken = take();
          if (taken === null) return false;
          resolve(taken.value);
        } catch (error) {
          reject(error);
        }
        this.#end(subscription);
        link?.release();
        return true;
      };
      if (settle()) return;
      if (ended?.aborted === true) return reject(ended.reason);
      subscription = this.#subscribe(topic, settle, key);
      if (signal === undefined && ended === undefined && timeoutMs === undefined) return;
      const limit = timeoutMs === undefined ? undefined : { ms: timeoutMs, reason: () => timedOut(timeoutMs) };
      link = new Link([signal, ended], limit, (reason) => {
        this.#end(subscription);
        reject(reason);
      });
    });
  }

  /** Ends every subscription. */
  close(): void {
    this.#emitter.removeAllListeners();
  }

  #subscribe<T extends keyof Topics & string>(
    topic: T,
    listener: (event: Topics[T]) => unknown,
    key: string | undefined,
    first: Iterable<Topics[T]> = [],
  ): Subscription {
    const subscription: Subscription = {
      name: nameOf(topic, key),
      topic,
      listener: listener as Subscription["listener"],
      report: this.#report as Subscription["report"],
      since: this.#published,
      isActive: true,
    };
    for (const event of first) deliver.call(subscription, event, Number.POSITIVE_INFINITY);
    this.#emitter.on(subscription.name, deliver, subscription);
    return subscription;
  }

  #end(subscription: Subscription | null): void {
    if (subscription === null) return;
    subscription.isActive = false;
    this.#emitter.off(subscription.name, deliver, subscription);
  }
}

/** Plain data, and one function for all of them: a process has tens of thousands. */
interface Subscription {
  readonly name: string;
  readonly topic: string;
  readonly listener: (event: unknown) => unknown;
  readonly report: (error: unknown, topic: string) => void;
  /** How many events had been published before it. */
  readonly since: number;
  isActive: boolean;
}

/** What the emitter calls. */
function deliver(this: Subscription, event: unknown, serial: number): void {
  // An event that is being delivered to its key now is not yet delivered to all.
  if (!this.isActive || serial <= this.since) return;
  const { listener, report, topic } = this;
  try {
    const result = listener(event);
    if (result instanceof Promise) result.catch((error) => report(error, topic));
  } catch (error) {
    report(error, topic);
  }
}

function tooLong(timeoutMs: number): Error {
  return new Error(`it did not happen within ${timeoutMs} ms`);
}

function nameOf(topic: string, key?: string): string {
  return key === undefined ? topic : `${topic} ${key}`;
}
