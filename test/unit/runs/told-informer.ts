import type { WatchEvent } from "../../../src/engine/index.ts";
import type { Informer } from "../../../src/engine/informer/informer.ts";
import { type Indexers, Store, type StoreChange } from "../../../src/engine/informer/store.ts";
import type { KubeObject } from "../../../src/engine/kubernetes.ts";

interface Told<T> {
  type: "applied" | "deleted";
  object: T;
}

/**
 * An informer that is told what happened, late and with gaps: the engine's own store behind a watch made of timers. Each change
 * comes in order and `lagMs` after it happened; while the watch is down nothing comes, and afterwards all of it or a list.
 */
export class ToldInformer<T extends KubeObject> {
  readonly #store: Store<T>;
  readonly #truth: () => Iterable<T>;
  readonly #subscribers = new Set<(change: StoreChange<T>) => void>();
  readonly #onWatch = new Set<(event: WatchEvent) => void>();
  #queue: Told<T>[] = [];
  #timer: NodeJS.Timeout | null = null;
  #isUp = true;
  #lastProgressAt = performance.now();
  #toldVersion = 0;
  lagMs = 0;

  constructor(truth: () => Iterable<T>, indexers: Indexers<T> = {}) {
    this.#truth = truth;
    this.#store = new Store(indexers);
  }

  asInformer(): Informer<T> {
    // The registry uses of an informer what stands below.
    return this as unknown as Informer<T>;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  tell(told: Told<T>): void {
    this.#queue.push(told);
    if (this.#isUp) this.#flushLater();
  }

  down(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#clear();
    this.#tellWatch("lost");
  }

  /** `relist`: what happened meanwhile is too old for the server; only what is true now is told. */
  up(how: "resume" | "relist"): void {
    if (this.#isUp) return;
    this.#isUp = true;
    if (how === "relist") {
      for (const { object } of this.#queue) this.#toldUpTo(object);
      this.#queue = [];
      const listed = new Set<string>();
      for (const object of this.#truth()) {
        listed.add(object.metadata.uid);
        this.#toldUpTo(object);
        this.#dispatch(this.#store.apply(object));
      }
      for (const known of [...this.#store.values()])
        if (!listed.has(known.metadata.uid)) this.#dispatch(this.#store.delete(known));
      this.#tellWatch("listed");
    } else this.#flushLater();
    this.#tellWatch("open");
  }

  stop(): void {
    this.#clear();
    this.#subscribers.clear();
    this.#onWatch.clear();
  }

  subscribe(onChange: (change: StoreChange<T>) => void): () => void {
    this.#subscribers.add(onChange);
    return () => this.#subscribers.delete(onChange);
  }

  onWatch(listener: (event: WatchEvent) => void): () => void {
    this.#onWatch.add(listener);
    return () => this.#onWatch.delete(listener);
  }

  get(namespace: string, name: string): T | undefined {
    return this.#store.get(namespace, name);
  }

  byIndex(index: string, key: string): readonly T[] {
    return this.#store.byIndex(index, key);
  }

  whenSynced(): Promise<void> {
    return Promise.resolve();
  }

  told(): { version: string; at: number } {
    return { version: String(this.#toldVersion), at: this.#lastProgressAt };
  }

  #flushLater(): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      const queue = this.#queue;
      this.#queue = [];
      for (const { type, object } of queue) {
        this.#toldUpTo(object);
        this.#dispatch(type === "deleted" ? this.#store.delete(object) : this.#store.apply(object));
      }
    }, this.lagMs);
  }

  #dispatch(changes: readonly StoreChange<T>[]): void {
    for (const change of changes) {
      this.#lastProgressAt = performance.now();
      for (const deliver of [...this.#subscribers]) deliver(change);
    }
  }

  #toldUpTo({ metadata }: T): void {
    this.#toldVersion = Math.max(this.#toldVersion, Number(metadata.resourceVersion));
  }

  #clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #tellWatch(type: WatchEvent["type"]): void {
    for (const listener of [...this.#onWatch])
      listener({ type, resource: "", namespace: null, error: null, at: performance.now() });
  }
}
