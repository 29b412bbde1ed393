import type { ClusterParts } from "../kubelet/cluster-parts.ts";
import type { OwnerReference, StoredObject } from "../objects/objects.ts";
import { apiVersionOf, RESOURCE_NAMES, type ResourceName, typeOf } from "../objects/resources.ts";
import { StatusError } from "../objects/status-error.ts";
import type { StoreEvent } from "../store/change-feed.ts";

const foregroundFinalizer = "foregroundDeletion";

/** Owner kind (`batch/v1 Job`) → resource, to look an owner up. */
const resourceOfKind = new Map<string, ResourceName>(
  RESOURCE_NAMES.map((name) => [`${apiVersionOf(name)} ${typeOf(name).kind}`, name]),
);

/** Deletes what the owner of which is gone, and finishes foreground deletions once the dependents are gone. */
export class GarbageCollector {
  readonly #cluster: ClusterParts;

  constructor(cluster: ClusterParts) {
    this.#cluster = cluster;
  }

  handle({ type, resource, object, previous }: StoreEvent): void {
    const { metadata } = object;
    if (type === "ADDED") {
      const lost = metadata.ownerReferences?.find((owner) => !this.#exists(owner, metadata.namespace));
      if (lost !== undefined) this.#later(() => this.#collect(lost.uid));
    } else if (type === "DELETED") {
      if (this.#cluster.store.dependents(metadata.uid).length > 0) this.#later(() => this.#collect(metadata.uid));
      for (const owner of metadata.ownerReferences ?? []) this.#finishForeground(owner, metadata.namespace);
    } else if (isForeground(object) && !(previous !== undefined && isForeground(previous))) {
      this.#later(() => this.#deleteDependents(resource, object));
    }
  }

  /** Dependents of an owner that is gone; those with another living owner only lose the reference. */
  #collect(ownerUid: string): void {
    for (const { resource, object } of this.#cluster.store.dependents(ownerUid)) {
      const { namespace, name, ownerReferences = [] } = object.metadata;
      const living = ownerReferences.filter((owner) => owner.uid !== ownerUid && this.#exists(owner, namespace));
      if (living.length > 0) {
        this.#cluster.store.update(resource, namespace, name, (draft) => {
          draft.metadata.ownerReferences = living;
        });
      } else {
        this.#delete(resource, object);
      }
    }
  }

  #deleteDependents(resource: ResourceName, owner: StoredObject): void {
    const { uid, name, namespace } = owner.metadata;
    for (const dependent of this.#cluster.store.dependents(uid)) {
      if (dependent.object.metadata.deletionTimestamp === undefined) this.#delete(dependent.resource, dependent.object);
    }
    this.#release(resource, namespace, name, uid);
  }

  #finishForeground(owner: OwnerReference, namespace: string | undefined): void {
    const resource = resourceOfKind.get(`${owner.apiVersion} ${owner.kind}`);
    if (resource === undefined) return;
    const object = this.#cluster.store.get(resource, namespace, owner.name);
    if (object === undefined || object.metadata.uid !== owner.uid || !isForeground(object)) return;
    this.#later(() => this.#release(resource, namespace, owner.name, owner.uid));
  }

  /** Takes the finalizer off, if nothing that blocks the deletion is left. */
  #release(resource: ResourceName, namespace: string | undefined, name: string, uid: string): void {
    const object = this.#cluster.store.get(resource, namespace, name);
    if (object?.metadata.uid !== uid || !isForeground(object)) return;
    const blocked = this.#cluster.store
      .dependents(uid)
      .some(({ object: { metadata } }) =>
        metadata.ownerReferences?.some((owner) => owner.uid === uid && owner.blockOwnerDeletion === true),
      );
    if (blocked) return;
    this.#cluster.store.update(resource, namespace, name, (draft) => {
      draft.metadata.finalizers = draft.metadata.finalizers?.filter((entry) => entry !== foregroundFinalizer) ?? [];
    });
  }

  #delete(resource: ResourceName, { metadata: { namespace, name, uid } }: StoredObject): void {
    try {
      this.#cluster.store.delete(resource, namespace, name, {
        propagationPolicy: "Background",
        preconditions: { uid },
      });
    } catch (error) {
      // Someone was quicker.
      if (!(error instanceof StatusError)) throw error;
    }
  }

  #exists(owner: OwnerReference, namespace: string | undefined): boolean {
    const resource = resourceOfKind.get(`${owner.apiVersion} ${owner.kind}`);
    // An owner of a kind that is not served here cannot be judged: leave its dependents alone.
    if (resource === undefined) return true;
    return this.#cluster.store.get(resource, namespace, owner.name)?.metadata.uid === owner.uid;
  }

  #later(run: () => void): void {
    this.#cluster.clock.setTimeout(() => this.#cluster.gate.pass(run), this.#cluster.delays.garbageCollection);
  }
}

function isForeground({ metadata }: StoredObject): boolean {
  return metadata.deletionTimestamp !== undefined && (metadata.finalizers?.includes(foregroundFinalizer) ?? false);
}
