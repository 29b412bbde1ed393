import type { StoredObject } from "../objects/objects.ts";
import type { ResourceName } from "../objects/resources.ts";

interface Place {
  readonly resource: ResourceName;
  readonly namespace: string;
  readonly name: string;
}

/** Which objects name which owner: looked up by the owner's uid, never scanned. */
export class OwnerIndex {
  readonly #byOwner = new Map<string, Map<string, Place>>();

  dependents(uid: string): readonly Place[] {
    return [...(this.#byOwner.get(uid)?.values() ?? [])];
  }

  /** `object` is undefined for one that was removed, `previous` for one that is new. */
  update(resource: ResourceName, object: StoredObject | undefined, previous: StoredObject | undefined): void {
    const owners = object?.metadata.ownerReferences;
    const before = previous?.metadata.ownerReferences;
    if (owners === undefined && before === undefined) return;
    const { namespace = "", name } = (object ?? previous)?.metadata ?? { name: "" };
    const key = `${resource}/${namespace}/${name}`;
    for (const { uid } of before ?? []) {
      const places = this.#byOwner.get(uid);
      places?.delete(key);
      if (places?.size === 0) this.#byOwner.delete(uid);
    }
    for (const { uid } of owners ?? []) {
      let places = this.#byOwner.get(uid);
      if (places === undefined) {
        places = new Map();
        this.#byOwner.set(uid, places);
      }
      places.set(key, { resource, namespace, name });
    }
  }
}
