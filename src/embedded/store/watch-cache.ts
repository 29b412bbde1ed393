import type { StoredObject } from "../objects/objects.ts";
import { RESOURCE_NAMES, type ResourceName } from "../objects/resources.ts";
import { type ObjectSelector, type ObjectView, selects, viewOf } from "../objects/selectors.ts";
import { expired, type StatusError } from "../objects/status-error.ts";
import type { StoreEvent } from "./change-feed.ts";
import type { ObjectStore } from "./store.ts";

export type WatchEventType = StoreEvent["type"];

/** One change as watches need it: what selectors read, and the object that all of them send. */
export interface WatchEvent {
  readonly type: WatchEventType;
  readonly resourceVersion: number;
  readonly view: ObjectView;
  readonly previous: ObjectView | undefined;
  readonly object: StoredObject;
  /** The state before, for those whose selector it matched and the new one does not. */
  readonly before: StoredObject | undefined;
}

/** Gets the changes that the history has, and then each new one. */
export interface WatchListener {
  readonly selector: ObjectSelector;
  /** Told of changes after this version only: it may lie in the future. */
  readonly after: number;
  event(type: WatchEventType, object: StoredObject): void;
}

export interface WatchCacheOptions {
  /** Changes of a resource that are remembered, for watches from older versions. */
  maxEvents: number;
}

class History {
  readonly listeners = new Set<WatchListener>();
  events: WatchEvent[] = [];
  /** The oldest version from which a watch can start. */
  oldest: number;

  constructor(oldest: number) {
    this.oldest = oldest;
  }
}

/** The window of recent changes, and the fan-out to the watches: one pass for all. */
export class WatchCache {
  readonly #options: WatchCacheOptions;
  readonly #store: ObjectStore;
  readonly #histories = new Map<ResourceName, History>();
  readonly #unsubscribe: () => void;

  constructor(store: ObjectStore, options: WatchCacheOptions) {
    this.#options = options;
    this.#store = store;
    for (const name of RESOURCE_NAMES) this.#histories.set(name, new History(store.resourceVersion));
    this.#unsubscribe = store.subscribe((event) => this.#publish(event));
  }

  /**
   * Delivers the changes after `listener.after` that are remembered, and from then on every change, until the returned
   * function is called. Throws `StatusError` 410 when they are not remembered any more.
   */
  watch(resource: ResourceName, listener: WatchListener): () => void {
    const history = this.#history(resource);
    if (listener.after < history.oldest) throw tooOld(listener.after, history.oldest);
    for (const event of history.events) deliver(event, listener);
    history.listeners.add(listener);
    return () => history.listeners.delete(listener);
  }

  /** Forgets all changes up to now, as a compaction and a restart of the server do. Open watches go on. */
  expire(): void {
    for (const history of this.#histories.values()) {
      history.events = [];
      history.oldest = this.#store.resourceVersion;
    }
  }

  close(): void {
    this.#unsubscribe();
  }

  #history(resource: ResourceName): History {
    let history = this.#histories.get(resource);
    if (history === undefined) {
      // Of a kind that has just been defined: nothing has happened to it that is not remembered.
      history = new History(0);
      this.#histories.set(resource, history);
    }
    return history;
  }

  #publish({ type, resource, object, previous, resourceVersion }: StoreEvent): void {
    const history = this.#history(resource);
    const event: WatchEvent = {
      type,
      resourceVersion,
      view: viewOf(resource, object),
      previous: previous === undefined ? undefined : viewOf(resource, previous),
      object,
      before: previous,
    };
    history.events.push(event);
    this.#trim(history);
    for (const listener of history.listeners) deliver(event, listener);
  }

  #trim(history: History): void {
    const { events } = history;
    const { maxEvents } = this.#options;
    // A quarter more before it is cut: so not every event costs a copy.
    if (events.length <= maxEvents * 1.25) return;
    const first = events.length - maxEvents;
    history.oldest = (events[first - 1] as WatchEvent).resourceVersion;
    history.events = events.slice(first);
  }
}

/** A change into the selection is an addition, one out of it a deletion. */
function deliver(event: WatchEvent, listener: WatchListener): void {
  const { selector } = listener;
  if (event.resourceVersion <= listener.after) return;
  const now = selects(selector, event.view);
  if (event.type !== "MODIFIED") {
    if (now) listener.event(event.type, event.object);
    return;
  }
  const before = event.previous !== undefined && selects(selector, event.previous);
  if (now) listener.event(before ? "MODIFIED" : "ADDED", event.object);
  else if (before) listener.event("DELETED", withVersion(event.before as StoredObject, event.resourceVersion));
}

function withVersion(object: StoredObject, resourceVersion: number): StoredObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(resourceVersion) } };
}

function tooOld(wanted: number, oldest: number): StatusError {
  return expired(`too old resource version: ${wanted} (${oldest})`);
}
