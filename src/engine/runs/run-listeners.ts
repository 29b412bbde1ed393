import type { Bus } from "../bus.ts";
import type { RunEvents, RunTopics } from "./topics.ts";

interface Subscription {
  readonly event: string;
  readonly listener: unknown;
  readonly stop: () => void;
}

/** Who listens to one run: until they stop, or the run is not followed any more. */
export class RunListeners {
  readonly #bus: Bus<RunTopics>;
  readonly #key: string;
  /** Null: ended. */
  #subscriptions: readonly Subscription[] | null = [];

  constructor(bus: Bus<RunTopics>, key: string) {
    this.#bus = bus;
    this.#key = key;
  }

  on<E extends keyof RunEvents>(event: E, listener: (value: RunEvents[E]) => unknown): () => void {
    if (this.#subscriptions === null) return () => undefined;
    const deliver = ({ event: value }: RunTopics[`run.${E}`]) => listener(value as RunEvents[E]);
    const subscription = { event, listener, stop: this.#bus.subscribe(`run.${event}`, deliver, { key: this.#key }) };
    this.#subscriptions = this.#subscriptions.concat(subscription);
    return () => this.#stop((each) => each === subscription);
  }

  off<E extends keyof RunEvents>(event: E, listener: (value: RunEvents[E]) => unknown): void {
    this.#stop((each) => each.event === event && each.listener === listener);
  }

  /** A listener that is added later is not called either. */
  end(): void {
    this.#stop(() => true);
    this.#subscriptions = null;
  }

  #stop(isMeant: (subscription: Subscription) => boolean): void {
    for (const each of this.#subscriptions ?? []) if (isMeant(each)) each.stop();
    this.#subscriptions &&= this.#subscriptions.filter((each) => !isMeant(each));
  }
}
