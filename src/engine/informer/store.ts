import type { KubeObject } from "../kubernetes.ts";

/** What changed in a store. `previous` is null for an addition; of a deletion `object` is the last known state. */
export interface StoreChange<T extends KubeObject> {
  type: "added" | "updated" | "deleted";
  object: T;
  previous: T | null;
}

/** Keys under which an object is found besides its name. Null = not in this index. */
export type Indexers<T> = Readonly<Record<string, (object: T) => string | null>>;

/**
 * The last known state of every object, by namespace/name and by index. It decides what is news: an older or equal version
 * of the same object is none, another uid under the same name is a deletion and an addition.
 */
export class Store<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #indexers: [string, (object: T) => string | null][];
  readonly #indices = new Map<string, Map<string, T[]>>();

  constructor(indexers: Indexers<T> = {}) {
    this.#indexers = Object.entries(indexers);
    for (const [name] of this.#indexers) this.#indices.set(name, new Map());
  }

  get size(): number {
    return this.#objects.size;
  }

  get(namespace: string, name: string): T | undefined {
    return this.#objects.get(`${namespace}/${name}`);
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  /** @throws RangeError when there is no such index. */
  byIndex(index: string, key: string): readonly T[] {
    const found = this.#indices.get(index);
    if (found === undefined)
      throw new RangeError(`no index ${index}; there are: ${[...this.#indices.keys()].join(", ")}`);
    return found.get(key) ?? NOTHING;
  }

  /** `isAuthoritative`: the server was asked for its newest state, so that a lower version is a restored server's truth. */
  apply(object: T, isAuthoritative = false): StoreChange<T>[] {
    const key = keyOf(object);
    const known = this.#objects.get(key);
    if (known === undefined) {
      this.#objects.set(key, object);
      this.#index(object);
      return [{ type: "added", object, previous: null }];
    }
    if (known.metadata.uid !== object.metadata.uid) {
      // A deletion missed in a gap. An old object under this name cannot come back: uids are never used twice.
      this.#replace(key, known, object);
      return [
        { type: "deleted", object: known, previous: known },
        { type: "added", object, previous: null },
      ];
    }
    const order = compareVersions(object.metadata.resourceVersion, known.metadata.resourceVersion);
    if (order === 0 || (order < 0 && !isAuthoritative)) return [];
    this.#replace(key, known, object);
    return [{ type: "updated", object, previous: known }];
  }

  /** A deletion whose object was replaced by another uid meanwhile, or that was never known, is no news. */
  delete(object: T): StoreChange<T>[] {
    const key = keyOf(object);
    const known = this.#objects.get(key);
    if (known === undefined || known.metadata.uid !== object.metadata.uid) return [];
    this.#objects.delete(key);
    this.#unindex(known);
    return [{ type: "deleted", object, previous: known }];
  }

  #replace(key: string, known: T, object: T): void {
    this.#objects.set(key, object);
    for (const [name, keyOfIndex] of this.#indexers) {
      const before = keyOfIndex(known);
      const after = keyOfIndex(object);
      if (before === after) this.#exchange(name, before, known, object);
      else {
        this.#removeFrom(name, before, known);
        this.#addTo(name, after, object);
      }
    }
  }

  #index(object: T): void {
    for (const [name, keyOfIndex] of this.#indexers) this.#addTo(name, keyOfIndex(object), object);
  }

  #unindex(object: T): void {
    for (const [name, keyOfIndex] of this.#indexers) this.#removeFrom(name, keyOfIndex(object), object);
  }

  /** In its place: almost no change of an object changes its keys. */
  #exchange(name: string, key: string | null, known: T, object: T): void {
    if (key === null) return;
    const entries = this.#indices.get(name)?.get(key) ?? [];
    entries[entries.indexOf(known)] = object;
  }

  #addTo(name: string, key: string | null, object: T): void {
    if (key === null) return;
    const index = this.#indices.get(name) as Map<string, T[]>;
    const entries = index.get(key);
    if (entries === undefined) index.set(key, [object]);
    else entries.push(object);
  }

  #removeFrom(name: string, key: string | null, object: T): void {
    if (key === null) return;
    const index = this.#indices.get(name) as Map<string, T[]>;
    const entries = index.get(key) ?? [];
    const at = entries.indexOf(object);
    if (at >= 0) entries.splice(at, 1);
    if (entries.length === 0) index.delete(key);
  }
}

const NOTHING: readonly never[] = [];

export function keyOf(object: KubeObject): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}

/**
 * Resource versions of one resource are ordered integers (KEP-5504 makes that a promise for built-in types). Longer is
 * larger, so that no version is rounded.
 */
export function compareVersions(a: string, b: string): number {
  if (a === b) return 0;
  if (a.length !== b.length) return a.length < b.length ? -1 : 1;
  return a < b ? -1 : 1;
}
