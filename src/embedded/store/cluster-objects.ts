import type { NewObject, StoredObject } from "../objects/objects.ts";
import type { ResourceName } from "../objects/resources.ts";
import type { StoreEvent } from "./change-feed.ts";
import type { ObjectStore } from "./store.ts";

/** The cluster's state, directly and synchronously: for assertions, and for waiting without polling. */
export class ClusterObjects {
  readonly #store: ObjectStore;

  /** @internal */
  constructor(store: ObjectStore) {
    this.#store = store;
  }

  get resourceVersion(): number {
    return this.#store.resourceVersion;
  }

  get(resource: ResourceName, namespace: string | undefined, name: string): StoredObject | undefined {
    return this.#store.get(resource, namespace, name);
  }

  list(resource: ResourceName, namespace?: string): StoredObject[] {
    return this.#store.list(resource, namespace);
  }

  /** As a POST to the API would, with the same errors. */
  create(resource: ResourceName, object: NewObject): StoredObject {
    return this.#store.create(resource, object);
  }

  update(
    resource: ResourceName,
    namespace: string | undefined,
    name: string,
    mutate: (draft: StoredObject) => void,
  ): StoredObject | undefined {
    return this.#store.update(resource, namespace, name, mutate);
  }

  delete(resource: ResourceName, namespace: string | undefined, name: string): void {
    this.#store.delete(resource, namespace, name, { propagationPolicy: "Background" });
  }

  /** Changes new objects before they are stored, as a mutating admission webhook does. Returns the removal. */
  onCreate(mutate: (resource: ResourceName, draft: StoredObject) => void): () => void {
    return this.#store.admit(mutate);
  }

  /** Called for every change, synchronously and in order. Returns the unsubscribe. */
  onChange(listener: (event: StoreEvent) => void): () => void {
    return this.#store.subscribe(listener);
  }

  /**
   * Resolves with the first value of `look` that is neither undefined, null nor false; `look` is asked now and after each
   * change. Rejects with the signal's reason.
   */
  until<T>(look: () => T | undefined | null | false, signal?: AbortSignal): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      signal?.throwIfAborted();
      const check = () => {
        try {
          const value = look();
          if (value === undefined || value === null || value === false) return;
          resolve(value);
        } catch (error) {
          reject(error);
        }
        stop();
      };
      const onAbort = () => {
        reject(signal?.reason);
        stop();
      };
      const stop = () => {
        unsubscribe();
        signal?.removeEventListener("abort", onAbort);
      };
      const unsubscribe = this.#store.subscribe(check);
      signal?.addEventListener("abort", onAbort);
      check();
    });
  }
}
