import { cachedJson, objectJson } from "../objects/object-json.ts";
import type { StoredObject } from "../objects/objects.ts";
import { RESOURCE_NAMES, type ResourceName } from "../objects/resources.ts";
import { type ObjectSelector, type ObjectView, selects, viewOf } from "../objects/selectors.ts";
import { expired, type StatusError } from "../objects/status-error.ts";
import type { StoreEvent } from "./change-feed.ts";
import type { ObjectStore } from "./store.ts";

export type WatchEventType = StoreEvent["type"];

/** One change as watches need it: what selectors read, and the bytes that all of them send. */
export interface WatchEvent {
  readonly type: WatchEventType;
  readonly resourceVersion: number;
  readonly view: ObjectView;
  readonly previous: ObjectView | undefined;
  readonly json: () => Buffer;
  /** The state before, for those whose selector it matched and the new one does not. */
  readonly previousJson: () => Buffer;
  /** What it costs to remember, about. */
  readonly bytes: number;
}

/** Gets the changes that the history has, and then each new one. */
export interface WatchListener {
  readonly selector: ObjectSelector;
  /** Told of changes after this version only: it may lie in the future. */
  readonly after: number;
  event(type: WatchEventType, json: Buffer, resourceVersion: number): void;
}

export interface WatchCacheOptions {
  /** Changes of a resource that are remembered, for watches from older versions. */
  maxEvents: number;
  maxBytes: number;
}

class History {
  readonly listeners = new Set<WatchListener>();
  events: WatchEvent[] = [];
  bytes = 0;
  /** The oldest version from which a watch can start. */
  oldest: number;

  constructor(oldest: number) {
    this.oldest = oldest;
  }
}

/** An object that has not been serialised is reckoned as this. */
const OBJECT_BYTES = 12 * 1024;

/** The window of recent changes, and the fan-out to the watches: one serialisation and one pass for all. */
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
      history.bytes = 0;
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
    // Where somebody watches, bytes are kept: they are shared with the lists, and a third of the size of the object.
    const json = history.listeners.size > 0 ? objectJson(object) : undefined;
    const before = previous === undefined ? undefined : (cachedJson(previous) ?? previous);
    const event: WatchEvent = {
      type,
      resourceVersion,
      view: viewOf(resource, object),
      previous: previous === undefined ? undefined : viewOf(resource, previous),
      json: json === undefined ? () => objectJson(object) : () => json,
      previousJson: () => withVersion(before, resourceVersion),
      bytes: json?.length ?? OBJECT_BYTES,
    };
    history.events.push(event);
    history.bytes += event.bytes;
    this.#trim(history);
    for (const listener of history.listeners) deliver(event, listener);
  }

  #trim(history: History): void {
    const { maxEvents, maxBytes } = this.#options;
    const { events } = history;
    if (events.length <= maxEvents * 1.25 && history.bytes <= maxBytes * 1.25) return;
    let drop = 0;
    while (drop < events.length - 1 && (events.length - drop > maxEvents || history.bytes > maxBytes)) {
      const event = events[drop++] as WatchEvent;
      history.bytes -= event.bytes;
      history.oldest = event.resourceVersion;
    }
    history.events = events.slice(drop);
  }
}

/** A change into the selection is an addition, one out of it a deletion. */
function deliver(event: WatchEvent, listener: WatchListener): void {
  const { selector } = listener;
  if (event.resourceVersion <= listener.after) return;
  const now = selects(selector, event.view);
  if (event.type !== "MODIFIED") {
    if (now) listener.event(event.type, event.json(), event.resourceVersion);
    return;
  }
  const before = event.previous !== undefined && selects(selector, event.previous);
  if (now) listener.event(before ? "MODIFIED" : "ADDED", event.json(), event.resourceVersion);
  else if (before) listener.event("DELETED", event.previousJson(), event.resourceVersion);
}

function withVersion(before: Buffer | StoredObject | undefined, resourceVersion: number): Buffer {
  const object = Buffer.isBuffer(before) ? (JSON.parse(before.toString()) as StoredObject) : before;
  const metadata = { ...object?.metadata, resourceVersion: String(resourceVersion) };
  return Buffer.from(JSON.stringify({ ...object, metadata }));
}

export function tooOld(wanted: number, oldest: number): StatusError {
  return expired(`too old resource version: ${wanted} (${oldest})`);
}
