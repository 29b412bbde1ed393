import { cloneJson, equalJson } from "../../json/json-object.ts";
import { timestamp } from "../clock.ts";
import type { Metadata, NewObject, StoredObject } from "../objects/objects.ts";
import { RESOURCE_NAMES, type ResourceName, typeOf } from "../objects/resources.ts";
import { alreadyExists, notFound, preconditionFailed } from "../objects/status-error.ts";
import { ChangeFeed, type StoreEvent } from "./change-feed.ts";
import { tidy } from "./metadata.ts";
import { prepareObject } from "./new-object.ts";
import { OwnerIndex } from "./owner-index.ts";
import { manage, type WriteOptions } from "./writers.ts";

export interface DeleteOptions {
  gracePeriodSeconds?: number;
  /** Default: `Background`. (The *API*'s default for Jobs, `Orphan`, is set by the server.) */
  propagationPolicy?: "Background" | "Foreground" | "Orphan";
  preconditions?: { uid?: string; resourceVersion?: string };
}

export interface DeleteResult {
  /** The object as it is now, or its last state if it is gone. */
  object: StoredObject;
  removed: boolean;
}

const EVENT_TTL_MS = 3_600_000;

/**
 * The etcd of the embedded cluster, and what stands directly before it: defaulting, validation, deletion with grace and
 * finalizers. All of it is synchronous; listeners see every change once and in order.
 */
export class ObjectStore {
  readonly #now: () => number;
  readonly #objects = new Map<ResourceName, Map<string, Map<string, StoredObject>>>();
  readonly #owners = new OwnerIndex();
  readonly #feed = new ChangeFeed();
  readonly #admission = new Set<(resource: ResourceName, draft: StoredObject) => void>();
  #resourceVersion: number;
  /** Keys of Event objects, oldest first: etcd forgets them after an hour. */
  #events: { namespace: string; name: string; at: number }[] = [];

  /** `now`: milliseconds, the cluster's (possibly scaled) clock. */
  constructor(options: { now?: () => number; firstResourceVersion?: number } = {}) {
    this.#now = options.now ?? Date.now;
    this.#resourceVersion = options.firstResourceVersion ?? 1000;
    for (const name of RESOURCE_NAMES) this.#objects.set(name, new Map());
  }

  /** The version of the newest change. */
  get resourceVersion(): number {
    return this.#resourceVersion;
  }

  now(): number {
    return this.#now();
  }

  /** Throws `StatusError`: 400, 404 (no such namespace), 409 (name taken), 422. */
  create(resource: ResourceName, object: NewObject, options: WriteOptions = {}): StoredObject {
    const draft = prepareObject(resource, object, options, this);
    const { namespace = "", name } = draft.metadata;
    if (this.#names(resource, namespace).has(name)) throw alreadyExists(resource, name);
    for (const mutate of this.#admission) mutate(resource, draft);
    return this.#write("ADDED", resource, draft);
  }

  /** What `mutate` changes of a new object is stored and answered, as by a mutating admission webhook. Returns the removal. */
  admit(mutate: (resource: ResourceName, draft: StoredObject) => void): () => void {
    this.#admission.add(mutate);
    return () => this.#admission.delete(mutate);
  }

  /** What `create` would store, without storing it (dry run). */
  prepare(resource: ResourceName, object: NewObject, options: WriteOptions = {}): StoredObject {
    const draft = prepareObject(resource, object, options, this);
    if (this.get(resource, draft.metadata.namespace, draft.metadata.name)) {
      throw alreadyExists(resource, draft.metadata.name);
    }
    return draft;
  }

  get(resource: ResourceName, namespace: string | undefined, name: string): StoredObject | undefined {
    return this.#objects.get(resource)?.get(this.#scope(resource, namespace))?.get(name);
  }

  /** In no particular order. Without `namespace`: of all namespaces. */
  list(resource: ResourceName, namespace?: string): StoredObject[] {
    const all = this.#objects.get(resource);
    if (all === undefined) return [];
    if (namespace !== undefined) return [...(all.get(this.#scope(resource, namespace))?.values() ?? [])];
    const objects: StoredObject[] = [];
    for (const names of all.values()) for (const object of names.values()) objects.push(object);
    return objects;
  }

  /** The objects that name `uid` as an owner: an index, not a scan. */
  dependents(uid: string): { resource: ResourceName; object: StoredObject }[] {
    const found: { resource: ResourceName; object: StoredObject }[] = [];
    for (const { resource, namespace, name } of this.#owners.dependents(uid)) {
      const object = this.get(resource, namespace, name);
      if (object !== undefined) found.push({ resource, object });
    }
    return found;
  }

  /**
   * Clones, lets `mutate` change the clone, and stores it under a new version; nothing happens when nothing changed. An
   * object that is being deleted, has no finalizer left and whose grace is over, is removed instead. `undefined` if there
   * is no such object.
   */
  update(
    resource: ResourceName,
    namespace: string | undefined,
    name: string,
    mutate: (draft: StoredObject) => void,
    options: WriteOptions = {},
  ): StoredObject | undefined {
    const current = this.get(resource, namespace, name);
    if (current === undefined) return undefined;
    const managedFields = current.metadata.managedFields;
    const draft = cloneJson(managedFields === undefined ? current : withoutManagedFields(current));
    if (managedFields !== undefined) draft.metadata.managedFields = managedFields;
    mutate(draft);
    return this.#replace(resource, current, draft, options);
  }

  /** As `update`, with the new state given as a whole. */
  replace(resource: ResourceName, object: StoredObject, options: WriteOptions = {}): StoredObject {
    const { namespace, name } = object.metadata;
    const current = this.get(resource, namespace, name);
    if (current === undefined) throw notFound(resource, name);
    return this.#replace(resource, current, cloneJson(object), options);
  }

  /**
   * A DELETE request: Jobs in the background are removed at once (their pods are left to the garbage collector), in the
   * foreground they get a deletionTimestamp and a finalizer; pods on a node get a deletionTimestamp and their grace, and
   * are removed by the kubelet with a grace of 0; all else is removed at once, unless it has finalizers.
   */
  delete(
    resource: ResourceName,
    namespace: string | undefined,
    name: string,
    options: DeleteOptions = {},
  ): DeleteResult {
    const current = this.get(resource, namespace, name);
    if (current === undefined) throw notFound(resource, name);
    this.#checkPreconditions(resource, current, options.preconditions);
    if (resource === "namespaces") return this.#deleteNamespace(current);
    if (options.propagationPolicy === "Orphan") this.#orphanDependents(current.metadata.uid);
    const finalizers = current.metadata.finalizers ?? [];
    const foreground = options.propagationPolicy === "Foreground" && !finalizers.includes("foregroundDeletion");
    if (resource === "pods") return this.#deletePod(current, options, foreground);
    if (finalizers.length === 0 && !foreground) return { object: this.#remove(resource, current), removed: true };
    const object = this.update(resource, namespace, name, ({ metadata }) => {
      this.#markDeleted(metadata, 0);
      if (foreground) metadata.finalizers = [...finalizers, "foregroundDeletion"];
    });
    return { object: object ?? current, removed: false };
  }

  /** Removes the object, also one with finalizers. */
  remove(resource: ResourceName, namespace: string | undefined, name: string): void {
    const current = this.get(resource, namespace, name);
    if (current !== undefined) this.#remove(resource, current);
  }

  /**
   * Called for every change, synchronously and in order. A change that a listener makes is delivered to all after the
   * change that it listens to. What a listener throws is reported as a process warning; the other listeners are called.
   */
  subscribe(listener: (event: StoreEvent) => void): () => void {
    return this.#feed.subscribe(listener);
  }

  #scope(resource: ResourceName, namespace: string | undefined): string {
    return typeOf(resource).namespaced ? (namespace ?? "") : "";
  }

  #names(resource: ResourceName, namespace: string): Map<string, StoredObject> {
    const scope = this.#scope(resource, namespace);
    let all = this.#objects.get(resource);
    if (all === undefined) {
      all = new Map();
      this.#objects.set(resource, all);
    }
    let names = all.get(scope);
    if (names === undefined) {
      names = new Map();
      all.set(scope, names);
    }
    return names;
  }

  #replace(resource: ResourceName, current: StoredObject, draft: StoredObject, options: WriteOptions): StoredObject {
    draft.metadata.resourceVersion = current.metadata.resourceVersion;
    if (equalJson(current, draft)) return current;
    const { metadata } = draft;
    if (metadata.finalizers?.length === 0) delete metadata.finalizers;
    if (metadata.ownerReferences?.length === 0) delete metadata.ownerReferences;
    const graceIsOver = metadata.deletionTimestamp !== undefined && metadata.deletionGracePeriodSeconds === 0;
    if (graceIsOver && metadata.finalizers === undefined && resource !== "namespaces") {
      // The real server reports the state before the last finalizer went.
      return this.#remove(resource, current);
    }
    const isCounted = typeOf(resource).hasGeneration && options.subresource !== "status";
    if (isCounted && metadata.generation === current.metadata.generation && specChanged(current, draft)) {
      metadata.generation = (metadata.generation ?? 0) + 1;
    }
    manage(resource, current, draft, options, this.#now());
    return this.#write("MODIFIED", resource, { ...draft, metadata: tidy(metadata) }, current);
  }

  #deletePod(pod: StoredObject, options: DeleteOptions, foreground: boolean): DeleteResult {
    const { namespace, name, deletionGracePeriodSeconds } = pod.metadata;
    const spec = pod.spec as { nodeName?: string; terminationGracePeriodSeconds?: number };
    const { phase } = (pod.status ?? {}) as { phase?: string };
    const wanted = Math.max(0, options.gracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30);
    // Nothing to wait for: it never ran, or it runs no more.
    const grace = !spec.nodeName || phase === "Succeeded" || phase === "Failed" ? 0 : wanted;
    let object = pod;
    if (deletionGracePeriodSeconds === undefined || grace < deletionGracePeriodSeconds || foreground) {
      // A MODIFIED with the deletionTimestamp comes first even when nothing is waited for, as on the real server.
      const draft = cloneJson(pod);
      if (deletionGracePeriodSeconds === undefined || grace < deletionGracePeriodSeconds) {
        this.#markDeleted(draft.metadata, grace);
      }
      if (foreground) draft.metadata.finalizers = [...(draft.metadata.finalizers ?? []), "foregroundDeletion"];
      object = this.#write("MODIFIED", "pods", { ...draft, metadata: tidy(draft.metadata) }, pod);
    }
    if (grace > 0 || object.metadata.finalizers !== undefined) return { object, removed: false };
    const latest = this.get("pods", namespace, name);
    // A listener may have been quicker.
    if (latest?.metadata.uid !== object.metadata.uid) return { object, removed: true };
    return { object: this.#remove("pods", latest), removed: true };
  }

  #deleteNamespace(namespace: StoredObject): DeleteResult {
    const { name } = namespace.metadata;
    const object =
      this.update("namespaces", "", name, (draft) => {
        this.#markDeleted(draft.metadata, 0);
        draft.status = { phase: "Terminating" };
      }) ?? namespace;
    for (const resource of this.#objects.keys()) {
      if (!typeOf(resource).namespaced) continue;
      for (const content of this.list(resource, name)) {
        if (this.get(resource, name, content.metadata.name) === undefined) continue;
        this.delete(resource, name, content.metadata.name, { propagationPolicy: "Background" });
      }
    }
    this.#finishNamespace(name);
    const left = this.get("namespaces", "", name);
    return { object: left ?? object, removed: left === undefined };
  }

  /** A namespace that is being deleted goes when its last object is gone. */
  #finishNamespace(name: string): void {
    const namespace = this.get("namespaces", "", name);
    if (namespace?.metadata.deletionTimestamp === undefined) return;
    const empty = [...this.#objects.keys()].every(
      (resource) => !typeOf(resource).namespaced || this.#names(resource, name).size === 0,
    );
    if (empty) this.#remove("namespaces", namespace);
  }

  #markDeleted(metadata: Metadata, graceSeconds: number): void {
    if (metadata.deletionTimestamp === undefined && metadata.generation !== undefined) metadata.generation += 1;
    metadata.deletionTimestamp = timestamp(this.#now() + graceSeconds * 1000);
    metadata.deletionGracePeriodSeconds = graceSeconds;
  }

  #orphanDependents(uid: string): void {
    for (const { resource, object } of this.dependents(uid)) {
      this.update(resource, object.metadata.namespace, object.metadata.name, ({ metadata }) => {
        metadata.ownerReferences = (metadata.ownerReferences ?? []).filter((owner) => owner.uid !== uid);
      });
    }
  }

  #checkPreconditions(
    resource: ResourceName,
    { metadata }: StoredObject,
    preconditions: DeleteOptions["preconditions"],
  ): void {
    const { uid, resourceVersion } = preconditions ?? {};
    if (uid !== undefined && uid !== metadata.uid) {
      throw preconditionFailed(resource, metadata.name, "UID", uid, metadata.uid);
    }
    if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion) {
      throw preconditionFailed(resource, metadata.name, "ResourceVersion", resourceVersion, metadata.resourceVersion);
    }
  }

  #write(
    type: "ADDED" | "MODIFIED",
    resource: ResourceName,
    object: StoredObject,
    previous?: StoredObject,
  ): StoredObject {
    const { metadata } = object;
    const { namespace = "", name } = metadata;
    const resourceVersion = ++this.#resourceVersion;
    metadata.resourceVersion = String(resourceVersion);
    this.#names(resource, namespace).set(name, object);
    this.#owners.update(resource, object, previous);
    if (type === "ADDED" && resource === "events") this.#forgetOldEvents(namespace, name);
    this.#feed.publish({ type, resource, object, ...(previous ? { previous } : {}), resourceVersion });
    return object;
  }

  #remove(resource: ResourceName, current: StoredObject): StoredObject {
    const { namespace = "", name } = current.metadata;
    const resourceVersion = ++this.#resourceVersion;
    const object = { ...current, metadata: { ...current.metadata, resourceVersion: String(resourceVersion) } };
    this.#names(resource, namespace).delete(name);
    this.#owners.update(resource, undefined, current);
    this.#feed.publish({ type: "DELETED", resource, object, previous: current, resourceVersion });
    if (typeOf(resource).namespaced) this.#finishNamespace(namespace);
    return object;
  }

  #forgetOldEvents(namespace: string, name: string): void {
    const now = this.#now();
    this.#events.push({ namespace, name, at: now });
    let old = 0;
    while ((this.#events[old]?.at ?? now) < now - EVENT_TTL_MS) old++;
    for (const event of this.#events.splice(0, old)) this.remove("events", event.namespace, event.name);
  }
}

/** Binding a pod to its node is a change of its spec that does not count. */
function specChanged(before: StoredObject, after: StoredObject): boolean {
  if (before.kind !== "Pod") return !equalJson(before.spec, after.spec);
  return !equalJson({ ...(before.spec as object), nodeName: "" }, { ...(after.spec as object), nodeName: "" });
}

function withoutManagedFields(object: StoredObject): StoredObject {
  const { managedFields: _shared, ...metadata } = object.metadata;
  return { ...object, metadata };
}
