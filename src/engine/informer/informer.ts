import { Bus, type Topic } from "../bus.ts";
import type { KubeObject } from "../kubernetes.ts";
import type { WatchEvent } from "../topics.ts";
import { asError } from "../transport/as-error.ts";
import { type Cluster, isForbidden, isUnauthorized, type Kinds } from "../transport/index.ts";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { NO_COUNTS, type ReflectorCounts } from "./reflector-status.ts";
import { type Indexers, keyOf, Store, type StoreChange } from "./store.ts";
import type { Trim } from "./trim.ts";

export interface Resource<T> {
  /** Plural name, e.g. `pods`. */
  plural: string;
  /** `/api/v1`, `/apis/batch/v1` */
  root: string;
  trim: Trim<T>;
  /** What `trim` reads, by kind: the resource is asked for as protobuf then. */
  kinds?: Kinds;
}

export interface InformerOptions<T extends KubeObject>
  extends Pick<ReflectorOptions<T>, "progressTimeoutMs" | "pageSize" | "maxFrameBytes" | "backoff"> {
  cluster: Cluster;
  resource: Resource<T>;
  /** One watch a namespace; null = one watch over all namespaces. */
  namespaces: readonly string[] | null;
  /** Default: all objects. */
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
  indexers?: Indexers<T> | undefined;
  /** Where it publishes. Default: a bus of its own. */
  publishTo?: InformerTopics<T>;
  /** Of its own bus: called with what a subscriber threw. Default: a process warning. */
  onSubscriberError?: (error: unknown) => void;
}

export interface InformerTopics<T extends KubeObject> {
  changes: Topic<StoreChange<T>>;
  /** The key with which changes of this object are published. */
  changeKey?: (object: T) => string | null;
  watches: Topic<WatchEvent>;
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
  /** Only these; an object that begins or ceases to match comes as added or deleted. */
  filter?: (object: T) => boolean;
  /** First everything that the cache holds, as added. Default true. */
  replay?: boolean;
}

/**
 * One shared cache of one resource. It publishes each change synchronously and in order, each once; what happened in a gap
 * is published as the difference between the cache and the new list.
 */
export class Informer<T extends KubeObject> {
  readonly #options: InformerOptions<T>;
  readonly #topics: InformerTopics<T>;
  readonly #store: Store<T>;
  readonly #reflectors: Reflector<T>[] = [];
  readonly #unsynced = new Set<Reflector<T>>();
  readonly #stopped = new AbortController();
  /** Changes that the store has, and that are published after the one that is published now. */
  #unpublished = 0;

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.#topics = options.publishTo ?? ownTopics(options.onSubscriberError ?? warn);
    this.#store = new Store(options.indexers);
    for (const namespace of options.namespaces ?? [null]) this.#add(namespace);
  }

  start(): void {
    for (const reflector of this.#reflectors) reflector.start();
  }

  /** Aborts when the informer is stopped. */
  get stopped(): AbortSignal {
    return this.#stopped.signal;
  }

  /** Ends its watches; nothing more is published. */
  async stop(): Promise<void> {
    this.#stopped.abort(new InformerStoppedError());
    await Promise.all(this.#reflectors.map((each) => each.stop()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
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

  /** Returns the function that ends the subscription. What `onChange` throws harms no other subscriber. */
  subscribe(
    onChange: (change: StoreChange<T>) => unknown,
    { filter, replay = true }: SubscribeOptions<T> = {},
  ): () => void {
    const deliver = filter === undefined ? onChange : filtered(onChange, filter);
    let skipped = 0;
    const onNews = (change: StoreChange<T>) => {
      if (skipped === 0) return deliver(change);
      skipped -= 1;
    };
    const stop = this.#topics.changes.subscribe(onNews, {}, replay ? additions(this.#store.values()) : []);
    // The replay had them.
    if (replay) skipped = this.#unpublished;
    return stop;
  }

  /** Is called whenever a watch of this informer opens, is lost or has listed. Returns the function that ends it. */
  onWatch(listener: (event: WatchEvent) => unknown): () => void {
    return this.#topics.watches.subscribe(listener, { key: this.#options.resource.plural });
  }

  get synced(): boolean {
    return this.#unsynced.size === 0;
  }

  /**
   * Resolves when the first list of every namespace is complete.
   * @throws ApiError at once while the server says 401 or 403; it goes on trying all the same, so calling again is fine.
   * NotReadyError when the signal aborts; InformerStoppedError.
   */
  async whenSynced(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const take = () => {
      if (this.synced) return { value: undefined };
      const { error } = this.freshness();
      if (error !== null && (isForbidden(error) || isUnauthorized(error))) throw error;
      return null;
    };
    const { cluster, resource } = this.#options;
    try {
      await this.#topics.watches.when({ key: resource.plural, take, signal, ended: this.#stopped.signal });
    } catch (error) {
      if (signal?.aborted !== true || error !== signal.reason) throw error;
      throw new NotReadyError(resource.plural, cluster.server, this.freshness().error, signal.reason);
    }
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
   * Up to which version the watch of this namespace has told all that happened, and when the server last sent something. Null
   * before the first list, and where versions are no integers.
   */
  told(namespace: string): { version: string; at: number } | null {
    const { namespaces } = this.#options;
    const reflector = this.#reflectors[namespaces === null ? 0 : namespaces.indexOf(namespace)];
    const version = reflector?.version ?? null;
    return reflector === undefined || version === null ? null : { version, at: reflector.status.lastProgressAt };
  }

  stats(): InformerStats {
    const stats: InformerStats = {
      resource: this.#options.resource.plural,
      objects: this.#store.size,
      subscribers: this.#topics.changes.subscribers,
      ...NO_COUNTS,
    };
    for (const { counts } of this.#reflectors) {
      for (const key of Object.keys(counts) as (keyof ReflectorCounts)[]) stats[key] += counts[key];
    }
    return stats;
  }

  #add(namespace: string | null): void {
    const { resource, cluster, labelSelector, fieldSelector } = this.#options;
    const { progressTimeoutMs, pageSize, maxFrameBytes, backoff } = this.#options;
    const scope = namespace === null ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
    /** Keys that the list under way has named, and objects in it that are older than the cache's. */
    let listed = new Set<string>();
    let older: T[] = [];
    const reflector = new Reflector<T>({
      cluster,
      path: `${resource.root}${scope}/${resource.plural}`,
      selectors: { labelSelector, fieldSelector },
      trim: resource.trim,
      kinds: resource.kinds,
      handler: {
        init: () => {
          listed = new Set();
          older = [];
        },
        initApply: (object) => {
          listed.add(keyOf(object));
          const changes = this.#store.apply(object);
          if (changes.length === 0) older.push(object);
          this.#publish(changes);
        },
        initDone: (isOlder) => {
          if (isOlder) for (const object of older) this.#publish(this.#store.apply(object, true));
          for (const known of [...this.#store.values()]) {
            const isInScope = namespace === null || known.metadata.namespace === namespace;
            if (isInScope && !listed.has(keyOf(known))) this.#publish(this.#store.delete(known));
          }
          listed = new Set();
          older = [];
          this.#unsynced.delete(reflector);
        },
        apply: (object) => this.#publish(this.#store.apply(object)),
        delete: (object) => {
          listed.delete(keyOf(object));
          older = older.filter(({ metadata }) => metadata.uid !== object.metadata.uid);
          this.#publish(this.#store.delete(object));
        },
        watch: (type, error) => {
          if (this.#stopped.signal.aborted) return;
          const event = { type, resource: resource.plural, namespace, error, at: performance.now() };
          this.#topics.watches.publish(event, resource.plural);
        },
      },
      progressTimeoutMs,
      pageSize,
      maxFrameBytes,
      backoff,
    });
    this.#reflectors.push(reflector);
    this.#unsynced.add(reflector);
  }

  #publish(changes: readonly StoreChange<T>[]): void {
    if (this.#stopped.signal.aborted) return;
    const { changes: topic, changeKey } = this.#topics;
    this.#unpublished = changes.length;
    for (const change of changes) {
      this.#unpublished -= 1;
      topic.publish(change, changeKey?.(change.object) ?? undefined);
    }
  }
}

/**
 * The wait for a first list was given up. `cause` is the last problem of its watch; where no request has failed yet, the reason
 * of the signal that ended the wait.
 */
export class NotReadyError extends Error {
  override readonly name = "NotReadyError";
  readonly code = "not_ready";
  constructor(resource: string, server: string, problem: Error | null, reason: unknown) {
    const why = problem?.message ?? "no answer yet";
    const givenUp = reason instanceof Error ? reason.message : String(reason);
    super(`${resource} could not be listed from ${server}: ${why} (given up: ${givenUp})`, {
      cause: problem ?? reason,
    });
  }
}

export class InformerStoppedError extends Error {
  override readonly name = "InformerStoppedError";
  readonly code = "informer_stopped";
  constructor() {
    super("The informer was stopped before its first list was complete");
  }
}

function filtered<T extends KubeObject>(
  onChange: (change: StoreChange<T>) => unknown,
  filter: (object: T) => boolean,
): (change: StoreChange<T>) => unknown {
  return (change) => {
    const { type, object, previous } = change;
    const matched = previous !== null && filter(previous);
    const matches = type !== "deleted" && filter(object);
    if (matches && matched) return onChange(change);
    if (matches) return onChange({ type: "added", object, previous: null });
    if (matched) return onChange({ type: "deleted", object, previous });
  };
}

function ownTopics<T extends KubeObject>(report: (error: unknown) => void): InformerTopics<T> {
  const bus = new Bus<{ change: StoreChange<T>; watch: WatchEvent }>((error) => {
    try {
      report(error);
    } catch (thrown) {
      warn(thrown);
    }
  });
  return { changes: bus.topic("change"), watches: bus.topic("watch") };
}

function* additions<T extends KubeObject>(objects: Iterable<T>): Generator<StoreChange<T>> {
  for (const object of objects) yield { type: "added", object, previous: null };
}

function warn(error: unknown): void {
  process.emitWarning(asError(error), { type: "InformerSubscriberError" });
}
