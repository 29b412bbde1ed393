import { timestamp } from "../clock.ts";
import { define } from "../objects/custom-resources.ts";
import type { ResourceName } from "../objects/resources.ts";
import type { StoreEvent } from "../store/change-feed.ts";
import type { ObjectStore } from "../store/store.ts";

/** Establishes a CustomResourceDefinition at once, and deletes the objects of one that is deleted. */
export class DefinitionController {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  handle({ type, resource, object }: StoreEvent): void {
    if (resource !== "customresourcedefinitions") return;
    if (type === "DELETED") {
      const custom = object.metadata.name as ResourceName;
      for (const { metadata } of this.#store.list(custom))
        this.#store.remove(custom, metadata.namespace, metadata.name);
      return;
    }
    define(object);
    if (type === "MODIFIED") return;
    const { names, versions } = object.spec as { names: unknown; versions: { name: string; storage?: boolean }[] };
    const condition = (name: string, reason: string) => ({
      type: name,
      status: "True",
      lastTransitionTime: timestamp(this.#store.now()),
      reason,
      message: reason === "NoConflicts" ? "no conflicts found" : "the initial names have been accepted",
    });
    this.#store.update("customresourcedefinitions", "", object.metadata.name, (draft) => {
      draft.status = {
        conditions: [condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")],
        acceptedNames: names,
        storedVersions: versions.filter(({ storage }) => storage).map(({ name }) => name),
      };
    });
  }
}
