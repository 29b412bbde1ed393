import type { StoredObject } from "../objects/objects.ts";
import type { ResourceName } from "../objects/resources.ts";
import { warn } from "../warn.ts";

export interface StoreEvent {
  type: "ADDED" | "MODIFIED" | "DELETED";
  resource: ResourceName;
  /** For DELETED: the last state, with the version of the deletion. */
  object: StoredObject;
  previous?: StoredObject;
  resourceVersion: number;
}

/** Brings each change to every listener, once and in order. */
export class ChangeFeed {
  readonly #listeners = new Set<(event: StoreEvent) => void>();
  readonly #queue: StoreEvent[] = [];
  #dispatching = false;

  subscribe(listener: (event: StoreEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A change that a listener makes waits until all listeners have seen this one. */
  publish(event: StoreEvent): void {
    this.#queue.push(event);
    if (this.#dispatching) return;
    this.#dispatching = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        for (const listener of [...this.#listeners]) {
          try {
            listener(next);
          } catch (error) {
            warn(error);
          }
        }
      }
    } finally {
      this.#dispatching = false;
    }
  }
}
