import { EventEmitter } from "eventemitter3";
import type { KubeObject } from "../kubernetes.ts";
import { type Cluster, isForbidden, isUnauthorized } from "../transport/index.ts";
import { Reflector, type ReflectorCounts, type ReflectorOptions } from "./reflector.ts";
import { compareVersions, type Indexers, keyOf, Store, type StoreChange } from "./store.ts";
import type { Trim } from "./trim.ts";

export interface Resource<T> {
  /** Plural name, e.g. `pods`. */
  plural: string;
  /** `/api/v1`, `/apis/batch/v1` */
  root: string;
  trim: Trim<T>;
}

export interface InformerOptions<T extends KubeObject>
  extends Pick<ReflectorOptions<T>, "progressTimeoutMs" | "pageSize" | "maxFrameBytes" | "backoff"> {
  cluster: Cluster;
  resource: Resource<T>;
  /** One watch a namespace; null = one watch over all namespaces. */
  namespaces: readonly string[] | null;
  labelSelector: string;
  indexers?: Indexers<T>;
  /** Told of what a subscriber threw. Default: a process warning. */
  onSubscriberError?: (error: unknown) => void;
}

/** How old the truth in the cache is. */
export interface Freshness {
  /** The first list is complete. */
  synced: boolean;
  /** Every watch is open now. */
  connected: boolean;
  /** Milliseconds since the last byte of the quietest watch; bookmarks keep it under about 60 s. Infinity before the first. */
  ageMs: number;
  /** What is wrong now, if anything. */
  error: Error | null;
}

export interface InformerStats extends ReflectorCounts {
  resource: string;
  objects: number;
  subscribers: number;
}

export interface SubscribeOptions<T> {
  /** Only these; an object that begins or ceases to match is told as added or deleted. */
  filter?: (object: T) => boolean;
  /** First tell of everything there is, as added. Default true. */
  replay?: boolean;
}

interface InformerEvents {
  synced: () => void;
  /** A list is complete: what the cache does not hold was not there. */
  listed: () => void;
  /** `freshness()` may have changed: a watch opened, closed or failed. */
  status: () => void;
  /** Nothing more is told. */
  stopped: () => void;
}

/**
 * One shared cache of one resource and its subscribers. Changes are delivered synchronously and in order, each once; what
 * happened in a gap is delivered as the difference between the cache and the new list.
 */
export class Informer<T extends KubeObject> extends EventEmitter<InformerEvents> {
  readonly #options: InformerOptions<T>;
  readonly #store: Store<T>;
  readonly #reflectors: Reflector<T>[] = [];
  readonly #unsynced = new Set<Reflector<T>>();
  readonly #subscribers = new Set<(change: StoreChange<T>) => void>();
  /** Those of `whenSynced`, told before everyone's listeners: one that throws keeps EventEmitter from telling those after it. */
  readonly #waiting = new Set<(event: keyof InformerEvents) => void>();
  #stopped = false;

  constructor(options: InformerOptions<T>) {
    super();
    this.#options = options;
    this.#store = new Store(options.indexers);
    for (const namespace of options.namespaces ?? [null]) this.#add(namespace);
  }

  start(): void {
    for (const reflector of this.#reflectors) reflector.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#reflectors.map((each) => each.stop()));
    this.#subscribers.clear();
    this.#emit("stopped");
    this.removeAllListeners();
  }

  get size(): number {
    return this.#store.size;
  }

  get(namespace: string, name: string): T | undefined {
    return this.#store.get(namespace, name);
  }

  list(filter?: (object: T) => boolean): T[] {
    const all = [...this.#store.values()];
    return filter === undefined ? all : all.filter(filter);
  }

  /** @throws RangeError when there is no such index. */
  byIndex(index: string, key: string): readonly T[] {
    return this.#store.byIndex(index, key);
  }

  /** Returns the function that ends the subscription. What `onChange` throws reaches `onSubscriberError` and nobody else. */
  subscribe(
    onChange: (change: StoreChange<T>) => void,
    { filter, replay = true }: SubscribeOptions<T> = {},
  ): () => void {
    const deliver = filter === undefined ? onChange : filtered(onChange, filter);
    if (replay)
      for (const object of this.#store.values()) this.#call(deliver, { type: "added", object, previous: null });
    this.#subscribers.add(deliver);
    return () => {
      this.#subscribers.delete(deliver);
    };
  }

  get synced(): boolean {
    return this.#unsynced.size === 0;
  }

  /**
   * Resolves when the first list of every namespace is complete.
   * @throws ApiError at once while the server says 401 or 403; it goes on trying all the same, so calling again is fine.
   * InformerStoppedError; the signal's reason.
   */
  async whenSynced(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.synced) return;
    if (this.#stopped) throw new InformerStoppedError();
    await new Promise<void>((resolve, reject) => {
      const settle = (finish: () => void) => {
        this.#waiting.delete(onEvent);
        signal?.removeEventListener("abort", onAbort);
        finish();
      };
      const onAbort = () => settle(() => reject(signal?.reason));
      const onStatus = () => {
        const { error } = this.freshness();
        if (error !== null && (isForbidden(error) || isUnauthorized(error))) settle(() => reject(error));
      };
      const onEvent = (event: keyof InformerEvents) => {
        if (event === "synced") settle(resolve);
        else if (event === "stopped") settle(() => reject(new InformerStoppedError()));
        else if (event === "status") onStatus();
      };
      this.#waiting.add(onEvent);
      signal?.addEventListener("abort", onAbort, { once: true });
      onStatus();
    });
  }

  freshness(): Freshness {
    const now = performance.now();
    const freshness: Freshness = { synced: this.synced, connected: true, ageMs: 0, error: null };
    for (const { status } of this.#reflectors) {
      freshness.connected &&= status.connected && status.state === "Watching";
      freshness.ageMs = Math.max(
        freshness.ageMs,
        status.lastProgressAt === 0 ? Number.POSITIVE_INFINITY : now - status.lastProgressAt,
      );
      freshness.error ??= status.error;
    }
    return freshness;
  }

  /**
   * Is a backlog older than this version still being told? Versions of resources that share an etcd are ordered between each
   * other, watches are not: on a busy server the pods' may be seconds behind the Jobs'. A watch that is open and has told nothing
   * for `quietMs` has no backlog; one that is down may have.
   */
  isBehind(resourceVersion: string, quietMs: number): boolean {
    if (!/^\d+$/.test(resourceVersion)) return false;
    const since = performance.now() - quietMs;
    return this.#reflectors.some(
      ({ version: told, status }) =>
        told !== null &&
        compareVersions(told, resourceVersion) < 0 &&
        (!status.connected || status.lastProgressAt > since),
    );
  }

  /**
   * Has the cache been told all that happened up to this version of an object of its own? One that it then does not hold has been
   * deleted since, or is not selected.
   */
  isPast(namespace: string, resourceVersion: string): boolean {
    if (!/^\d+$/.test(resourceVersion)) return false;
    const { namespaces } = this.#options;
    const told = this.#reflectors[namespaces === null ? 0 : namespaces.indexOf(namespace)]?.version ?? null;
    return told !== null && compareVersions(told, resourceVersion) >= 0;
  }

  stats(): InformerStats {
    const stats: InformerStats = {
      resource: this.#options.resource.plural,
      objects: this.#store.size,
      subscribers: this.#subscribers.size,
      lists: 0,
      watches: 0,
      frames: 0,
      bookmarks: 0,
      bytes: 0,
      badFrames: 0,
      errors: 0,
    };
    for (const { counts } of this.#reflectors) {
      for (const key of Object.keys(counts) as (keyof ReflectorCounts)[]) stats[key] += counts[key];
    }
    return stats;
  }

  #add(namespace: string | null): void {
    const { resource, cluster, labelSelector, progressTimeoutMs, pageSize, maxFrameBytes, backoff } = this.#options;
    const scope = namespace === null ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
    /** Keys that the list under way has named, and objects in it that are older than the cache's. */
    let listed = new Set<string>();
    let older: T[] = [];
    const reflector = new Reflector<T>({
      cluster,
      path: `${resource.root}${scope}/${resource.plural}`,
      labelSelector,
      trim: resource.trim,
      handler: {
        init: () => {
          listed = new Set();
          older = [];
        },
        initApply: (object) => {
          listed.add(keyOf(object));
          const changes = this.#store.apply(object);
          if (changes.length === 0) older.push(object);
          this.#dispatch(changes);
        },
        initDone: (isOlder) => {
          if (isOlder) for (const object of older) this.#dispatch(this.#store.apply(object, true));
          for (const known of [...this.#store.values()]) {
            const isInScope = namespace === null || known.metadata.namespace === namespace;
            if (isInScope && !listed.has(keyOf(known))) this.#dispatch(this.#store.delete(known));
          }
          listed = new Set();
          older = [];
          this.#emit("listed");
          if (this.#unsynced.delete(reflector) && this.synced) this.#emit("synced");
        },
        apply: (object) => this.#dispatch(this.#store.apply(object)),
        delete: (object) => {
          listed.delete(keyOf(object));
          older = older.filter(({ metadata }) => metadata.uid !== object.metadata.uid);
          this.#dispatch(this.#store.delete(object));
        },
        status: () => {
          if (!this.#stopped) this.#emit("status");
        },
      },
      ...(progressTimeoutMs === undefined ? {} : { progressTimeoutMs }),
      ...(pageSize === undefined ? {} : { pageSize }),
      ...(maxFrameBytes === undefined ? {} : { maxFrameBytes }),
      ...(backoff === undefined ? {} : { backoff }),
    });
    this.#reflectors.push(reflector);
    this.#unsynced.add(reflector);
  }

  #emit(event: keyof InformerEvents): void {
    for (const onEvent of [...this.#waiting]) onEvent(event);
    try {
      this.emit(event);
    } catch (error) {
      this.#report(error);
    }
  }

  #dispatch(changes: readonly StoreChange<T>[]): void {
    if (this.#stopped || changes.length === 0) return;
    // Who subscribes meanwhile is told by the replay.
    const subscribers = [...this.#subscribers];
    for (const change of changes)
      for (const deliver of subscribers) if (this.#subscribers.has(deliver)) this.#call(deliver, change);
  }

  #call(deliver: (change: StoreChange<T>) => void, change: StoreChange<T>): void {
    try {
      deliver(change);
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    const { onSubscriberError = warn } = this.#options;
    try {
      onSubscriberError(error);
    } catch (thrown) {
      warn(thrown);
    }
  }
}

export class InformerStoppedError extends Error {
  override readonly name = "InformerStoppedError";
  constructor() {
    super("The informer was stopped before its first list was complete");
  }
}

function filtered<T extends KubeObject>(
  onChange: (change: StoreChange<T>) => void,
  filter: (object: T) => boolean,
): (change: StoreChange<T>) => void {
  return (change) => {
    const { type, object, previous } = change;
    const matched = previous !== null && filter(previous);
    const matches = type !== "deleted" && filter(object);
    if (matches && matched) onChange(change);
    else if (matches) onChange({ type: "added", object, previous: null });
    else if (matched) onChange({ type: "deleted", object, previous });
  };
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : new Error(String(error)), { type: "InformerSubscriberError" });
}
