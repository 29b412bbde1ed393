import { setTimeout as delay } from "node:timers/promises";
import type { Bus } from "./bus.ts";
import type { Informer } from "./informer/informer.ts";
import type { KubeObject } from "./kubernetes.ts";
import type { EngineTopics, WatchEvent } from "./topics.ts";
import { ApiError, LinkedAbort } from "./transport/index.ts";

/** Within this time those that waited for the server ask it again, in milliseconds. */
const SPREAD_MS = 2_000;

/**
 * What the engine's watches know of the API server. Whoever has a request of its own that was lost in an outage waits here: then
 * the server is asked by the watches alone while it is down, and not by all the others at once when it is back.
 */
export class ServerState {
  readonly #bus: Bus<EngineTopics>;
  readonly #stopped: AbortSignal;
  /** The last event of each watch. */
  readonly #watches = new Map<string, WatchEvent>();

  constructor(bus: Bus<EngineTopics>, stopped: AbortSignal) {
    this.#bus = bus;
    this.#stopped = stopped;
    bus.subscribe("watch", (event) => {
      if (event.type === "listed") return;
      const watch = keyOf(event);
      // Set again, so that the newest is the last.
      this.#watches.delete(watch);
      this.#watches.set(watch, event);
    });
  }

  /** No watch is open, and one of them failed for want of an answer: a lost connection, a 5xx, a proxy's page. */
  get isDown(): boolean {
    const watches = [...this.#watches.values()];
    return (
      watches.every(({ type }) => type !== "open") && watches.some(({ error }) => error !== null && !isAnswer(error))
    );
  }

  /** The newest reason why a watch is not open; null: there is none. A refusal (403) is one although the server is not down. */
  get problem(): Error | null {
    return [...this.#watches.values()].findLast(({ error }) => error !== null)?.error ?? null;
  }

  /**
   * Resolves when the server is not down: at once, or at a random moment up to 2 s after a watch is open again.
   * @throws the signal's reason; EngineStoppedError
   */
  async whenBack(signal?: AbortSignal): Promise<void> {
    if (!this.isDown) return signal?.throwIfAborted();
    const take = () => (this.isDown ? null : { value: undefined });
    await this.#bus.when("watch", { take, signal, ended: this.#stopped });
    const ended = new LinkedAbort([signal, this.#stopped]);
    try {
      await delay(Math.random() * SPREAD_MS, undefined, { signal: ended.signal });
    } catch {
      throw ended.signal.reason;
    } finally {
      ended.release();
    }
  }
}

/** Publishes the problems of an informer's watches, and their ends. */
export function publishProblems(informer: Pick<Informer<KubeObject>, "onWatch">, bus: Bus<EngineTopics>): void {
  const inTrouble = new Set<string>();
  informer.onWatch((event) => {
    const { type, resource, namespace, error } = event;
    if (error !== null) {
      inTrouble.add(keyOf(event));
      bus.publish("problem", { resource, namespace, error });
    } else if (type === "open" && inTrouble.delete(keyOf(event))) {
      bus.publish("recovered", { resource, namespace });
    }
  });
}

function keyOf({ resource, namespace }: WatchEvent): string {
  return `${resource} ${namespace}`;
}

/** The server itself refuses: it is there. */
function isAnswer(error: Error): boolean {
  return error instanceof ApiError && error.status >= 400 && error.status < 500;
}
