import { equalJson } from "../../json/json-object.ts";
import { validateDefinition } from "./custom-resources.ts";
import { type Fields, fields, forbidden, immutable, push, required } from "./field-errors.ts";
import { validateJobSpec, validateJobUpdate } from "./job-validation.ts";
import { DATA_KEY, DATA_KEY_RULE, validateMetadata, validateName } from "./name-rules.ts";
import type { NewObject, StoredObject } from "./objects.ts";
import { validatePodSpec, validatePodUpdate } from "./pod-validation.ts";
import { type ResourceName, typeOf } from "./resources.ts";
import { invalid, type StatusCause, StatusError } from "./status-error.ts";

/** What the API server refuses: 400 for values of a wrong type, 422 with one cause for each field that is invalid. */

const MAX_SECRET_BYTES = 1_048_576;

/** Throws `StatusError` 422 when the object, defaults applied, cannot be created. */
export function validate(resource: ResourceName, object: NewObject): void {
  const causes: StatusCause[] = [];
  const name = object.metadata?.name ?? "";
  if (name === "") required(causes, "metadata.name", ": name or generateName is required");
  else validateName(resource, name, causes);
  validateMetadata("metadata", object.metadata ?? {}, causes);
  if (resource === "jobs") validateJobSpec(fields(object.spec), causes);
  else if (resource === "pods") validatePodSpec("spec", fields(object.spec), causes);
  else if (resource === "leases") validateLeaseSpec(fields(object.spec), causes);
  else if (resource === "customresourcedefinitions") validateDefinition(name, fields(object.spec), causes);
  else if (resource === "secrets" || resource === "configmaps") validateData(object, causes);
  if (causes.length > 0) throw invalid(resource, name, causes);
}

/** Throws `StatusError` 422 when an update changes what cannot change. */
export function validateUpdate(resource: ResourceName, before: StoredObject, after: StoredObject): void {
  const causes: StatusCause[] = [];
  validateMetadata("metadata", after.metadata, causes);
  if (before.metadata.uid !== after.metadata.uid) immutable(causes, "metadata.uid", after.metadata.uid);
  if (resource === "jobs") validateJobUpdate(before, after, causes);
  else if (resource === "pods") validatePodUpdate(fields(before.spec), fields(after.spec), causes);
  else if (resource === "leases") {
    validateLeaseSpec(fields(after.spec), causes);
  } else if (resource === "secrets" || resource === "configmaps") {
    if (before.immutable === true && !equalJson([before.data, before.binaryData], [after.data, after.binaryData])) {
      forbidden(causes, "data", "field is immutable when `immutable` is set");
    }
    validateData(after, causes);
  }
  if (causes.length > 0) throw invalid(resource, after.metadata.name, causes);
}

function validateLeaseSpec(
  { leaseDurationSeconds: duration, leaseTransitions: transitions }: Fields,
  causes: StatusCause[],
) {
  if (typeof duration === "number" && duration <= 0) {
    push(causes, "spec.leaseDurationSeconds", duration, "must be greater than 0");
  }
  if (typeof transitions === "number" && transitions < 0) {
    push(causes, "spec.leaseTransitions", transitions, "must be greater than or equal to 0");
  }
}

function validateData(object: Fields, causes: StatusCause[]): void {
  let bytes = 0;
  for (const key of Object.keys(fields(object.data))) {
    if (!DATA_KEY.test(key)) push(causes, `data[${key}]`, key, DATA_KEY_RULE);
    const value = String(fields(object.data)[key]);
    bytes += object.kind === "Secret" ? Buffer.byteLength(value, "base64") : Buffer.byteLength(value);
  }
  if (bytes > MAX_SECRET_BYTES) {
    const message = `Too long: may not be more than ${MAX_SECRET_BYTES} bytes`;
    causes.push({ reason: "FieldValueTooLong", message, field: object.kind === "Secret" ? "data" : "" });
  }
}

/** The 403 with which a namespace that is being deleted refuses new objects. */
export function namespaceTerminating(resource: ResourceName, name: string, namespace: string): StatusError {
  return new StatusError(
    403,
    "Forbidden",
    `${typeOf(resource).name} "${name}" is forbidden: unable to create new content in namespace ${namespace} because it is being terminated`,
    {
      name,
      kind: typeOf(resource).name,
      causes: [
        {
          reason: "NamespaceTerminating",
          message: `namespace ${namespace} is being terminated`,
          field: "metadata.namespace",
        },
      ],
    },
  );
}
