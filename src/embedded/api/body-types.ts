import { isRecord } from "../../json/read-json.ts";
import { fields, isAbsent, list } from "../objects/field-errors.ts";
import { JOB_NUMBERS } from "../objects/job-validation.ts";
import type { NewObject } from "../objects/objects.ts";
import { QUANTITY } from "../objects/quantity.ts";
import { apiVersionOf, qualifiedKind, type ResourceName, typeOf } from "../objects/resources.ts";
import { badRequest } from "../objects/status-error.ts";

/** `metav1.MicroTime`: exactly six digits of a second. */
const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/;

/** Throws `StatusError` 400 when a field has a type that Go could not decode, which is no 422 on the real server either. */
export function validateTypes(resource: ResourceName, object: unknown): asserts object is NewObject {
  const { kind, version } = typeOf(resource);
  const fail = (got: unknown, field: string, wanted: string) => {
    const what = Array.isArray(got) ? "array" : got === null ? "null" : typeof got === "boolean" ? "bool" : typeof got;
    return badRequest(
      `${kind} in version ${JSON.stringify(version)} cannot be handled as a ${kind}: json: cannot unmarshal ${what} into Go struct field ${field} of type ${wanted}`,
    );
  };
  if (!isRecord(object))
    throw badRequest(
      `the object provided is unrecognized (must be of type ${kind}): couldn't get version/kind; json parse error`,
    );
  if (object.kind !== undefined && object.kind !== kind) {
    throw badRequest(
      `the API version in the data (${String(object.apiVersion)}) and kind (${String(object.kind)}) do not match the expected ${apiVersionOf(resource)}, Kind=${kind} (${qualifiedKind(resource)})`,
    );
  }
  if (object.apiVersion !== undefined && object.apiVersion !== apiVersionOf(resource)) {
    throw badRequest(
      `the API version in the data (${String(object.apiVersion)}) does not match the expected API version (${apiVersionOf(resource)})`,
    );
  }
  const strings = (map: unknown, field: string) => {
    if (isAbsent(map)) return;
    if (!isRecord(map)) throw fail(map, field, "map[string]string");
    for (const value of Object.values(map)) if (typeof value !== "string") throw fail(value, field, "string");
  };
  const metadata = (value: unknown, field: string) => {
    if (isAbsent(value)) return;
    if (!isRecord(value)) throw fail(value, field, "v1.ObjectMeta");
    strings(value.labels, `ObjectMeta.${field}.labels`);
    strings(value.annotations, `ObjectMeta.${field}.annotations`);
    for (const name of ["name", "namespace", "generateName", "resourceVersion", "uid"]) {
      const text = value[name];
      if (!isAbsent(text) && typeof text !== "string") throw fail(text, `ObjectMeta.${field}.${name}`, "string");
    }
  };
  const podSpec = (spec: unknown, path: string) => {
    if (isAbsent(spec)) return;
    if (!isRecord(spec)) throw fail(spec, path, "v1.PodSpec");
    strings(spec.nodeSelector, `PodSpec.${path}.nodeSelector`);
    for (const field of ["containers", "initContainers", "volumes", "tolerations"]) {
      const value = spec[field];
      if (isAbsent(value)) continue;
      if (!Array.isArray(value)) throw fail(value, `PodSpec.${path}.${field}`, "[]v1.Container");
      for (const item of value) if (!isRecord(item)) throw fail(item, `PodSpec.${path}.${field}`, "v1.Container");
    }
    for (const container of [...list(spec.containers), ...list(spec.initContainers)]) {
      for (const field of ["command", "args"]) {
        for (const word of Array.isArray(container[field]) ? container[field] : []) {
          if (typeof word !== "string") throw fail(word, `Container.${path}.containers.${field}`, "string");
        }
      }
      for (const entry of list(container.env)) {
        if (!isAbsent(entry.value) && typeof entry.value !== "string") {
          throw fail(entry.value, `EnvVar.${path}.containers.env.value`, "string");
        }
      }
      for (const amounts of [fields(container.resources).limits, fields(container.resources).requests]) {
        for (const amount of Object.values(fields(amounts))) {
          if (QUANTITY.test(String(amount))) continue;
          throw badRequest(
            `${kind} in version ${JSON.stringify(version)} cannot be handled as a ${kind}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
          );
        }
      }
    }
  };
  metadata(object.metadata, "metadata");
  if (resource === "pods") podSpec(object.spec, "spec");
  if (resource === "jobs") {
    const spec = fields(object.spec);
    for (const field of JOB_NUMBERS) {
      const value = spec[field];
      if (!isAbsent(value) && !Number.isInteger(value)) throw fail(value, `JobSpec.spec.${field}`, "int32");
    }
    metadata(fields(spec.template).metadata, "spec.template.metadata");
    podSpec(fields(spec.template).spec, "spec.template.spec");
  }
  if (resource === "leases") {
    const spec = fields(object.spec);
    const holder = spec.holderIdentity;
    if (!isAbsent(holder) && typeof holder !== "string") {
      throw fail(holder, "LeaseSpec.spec.holderIdentity", "string");
    }
    for (const field of ["leaseDurationSeconds", "leaseTransitions"]) {
      const value = spec[field];
      if (!isAbsent(value) && !Number.isInteger(value)) throw fail(value, `LeaseSpec.spec.${field}`, "int32");
    }
    for (const field of ["acquireTime", "renewTime"]) {
      const value = spec[field];
      if (isAbsent(value) || MICRO_TIME.test(String(value))) continue;
      // Go's layout wants all six digits: a JavaScript date in JSON has three, and is refused.
      throw badRequest(
        `Lease in version "v1" cannot be handled as a Lease: parsing time ${JSON.stringify(value)} as "2006-01-02T15:04:05.000000Z07:00": cannot parse ${JSON.stringify(value)} as ".000000"`,
      );
    }
  }
  if (resource === "secrets" || resource === "configmaps") {
    strings(object.data, `${kind}.data`);
    strings(object.stringData, `${kind}.stringData`);
  }
  if (resource === "secrets") {
    for (const value of Object.values(fields(object.data))) {
      const bad = /[^A-Za-z0-9+/=\r\n]/.exec(String(value));
      if (bad === null && String(value).replace(/[\r\n]/g, "").length % 4 === 0) continue;
      throw badRequest(
        `Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte ${bad?.index ?? String(value).length}`,
      );
    }
  }
}
