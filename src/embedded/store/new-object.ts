import { randomUUID } from "node:crypto";
import { cloneJson } from "../../json/json-object.ts";
import { isRecord } from "../../json/read-json.ts";
import { timestamp } from "../clock.ts";
import { admit } from "../objects/admission.ts";
import { applyDefaults } from "../objects/defaults.ts";
import { withManager } from "../objects/managed-fields.ts";
import type { Metadata, NewObject, StoredObject } from "../objects/objects.ts";
import { randomSuffix } from "../objects/random-suffix.ts";
import { apiVersionOf, type ResourceName, typeOf } from "../objects/resources.ts";
import { badRequest, notFound } from "../objects/status-error.ts";
import { namespaceTerminating, validate } from "../objects/validation.ts";
import { sortedMap, tidy } from "./metadata.ts";
import { admitPriority } from "./pod-priority.ts";
import type { WriteOptions } from "./writers.ts";

/** What a new object depends on. */
export interface Surroundings {
  now(): number;
  get(resource: ResourceName, namespace: string | undefined, name: string): StoredObject | undefined;
  list(resource: ResourceName): StoredObject[];
}

/** What is stored of a POST: with a name, metadata, defaults, admitted and valid. Throws `StatusError` 400, 403, 404, 422. */
export function prepareObject(
  resource: ResourceName,
  input: NewObject,
  options: WriteOptions,
  store: Surroundings,
): StoredObject {
  const type = typeOf(resource);
  const object = cloneJson(input);
  const given: Partial<Metadata> = isRecord(object.metadata) ? object.metadata : {};
  const generateName = given.generateName === "" ? undefined : given.generateName;
  const name = given.name || (generateName === undefined ? "" : `${generateName.slice(0, 58)}${randomSuffix()}`);
  const namespace = type.namespaced ? given.namespace : undefined;
  if (type.namespaced) {
    if (namespace === undefined || namespace === "") {
      throw badRequest("an empty namespace may not be set during creation");
    }
    const owner = store.get("namespaces", "", namespace);
    if (owner === undefined) throw notFound("namespaces", namespace);
    if (owner.metadata.deletionTimestamp !== undefined) throw namespaceTerminating(resource, name, namespace);
  }
  applyDefaults(resource, object);
  const now = timestamp(store.now());
  const metadata = tidy({
    name,
    generateName,
    namespace,
    uid: randomUUID(),
    resourceVersion: "",
    generation: type.hasGeneration ? 1 : undefined,
    creationTimestamp: now,
    labels: sortedMap(given.labels),
    annotations: sortedMap(given.annotations),
    ownerReferences: given.ownerReferences?.length ? given.ownerReferences : undefined,
    finalizers: given.finalizers?.length ? given.finalizers : undefined,
  });
  // Thousands of Events have the same fields, and no client changes them.
  const managedFields =
    resource === "events"
      ? []
      : withManager([], {
          manager: options.manager ?? "kube-controller-manager",
          operation: options.operation ?? "Update",
          apiVersion: apiVersionOf(resource),
          time: now,
          before: {},
          after: { ...object, metadata: { ...metadata } },
        });
  if (managedFields.length > 0 && resource !== "nodes") metadata.managedFields = [...managedFields];
  const { kind: _kind, apiVersion: _apiVersion, metadata: _metadata, ...rest } = object;
  const draft = { kind: type.kind, apiVersion: apiVersionOf(resource), metadata, ...rest };
  if (type.hasStatus === true) delete (draft as NewObject).status;
  admit(resource, draft);
  if (resource === "pods") admitPriority(draft, store.list("priorityclasses"));
  validate(resource, draft);
  return draft;
}
