import { isRecord } from "../../json/read-json.ts";
import { type Fields, fields, isAbsent, list } from "../objects/field-errors.ts";
import { JOB_NUMBERS } from "../objects/job-validation.ts";
import type { NewObject } from "../objects/objects.ts";
import { QUANTITY } from "../objects/quantity.ts";
import { apiVersionOf, qualifiedKind, type ResourceName, typeOf } from "../objects/resources.ts";
import { badRequest, type StatusError } from "../objects/status-error.ts";

/** `metav1.MicroTime`: exactly six digits of a second. */
const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/;

/** Throws `StatusError` 400 when a field has a type that Go could not decode, which is no 422 on the real server either. */
export function validateTypes(resource: ResourceName, object: unknown): asserts object is NewObject {
  const { kind, version } = typeOf(resource);
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
  const types = new BodyTypes(kind, version);
  types.metadata(object.metadata, "metadata");
  if (resource === "pods") types.podSpec(object.spec, "spec");
  else if (resource === "jobs") types.jobSpec(fields(object.spec));
  else if (resource === "leases") types.leaseSpec(fields(object.spec));
  else if (resource === "secrets" || resource === "configmaps") {
    types.strings(object.data, `${kind}.data`);
    types.strings(object.stringData, `${kind}.stringData`);
    if (resource === "secrets") validateBase64(fields(object.data));
  }
}

/** What Go's decoder refuses in an object of a kind, each with its words. */
class BodyTypes {
  readonly #refusal: string;

  constructor(kind: string, version: string) {
    this.#refusal = `${kind} in version ${JSON.stringify(version)} cannot be handled as a ${kind}`;
  }

  metadata(value: unknown, path: string): void {
    if (isAbsent(value)) return;
    if (!isRecord(value)) throw this.#wrongType(value, path, "v1.ObjectMeta");
    this.strings(value.labels, `ObjectMeta.${path}.labels`);
    this.strings(value.annotations, `ObjectMeta.${path}.annotations`);
    this.#texts(value, `ObjectMeta.${path}`, ["name", "namespace", "generateName", "resourceVersion", "uid"]);
  }

  strings(map: unknown, path: string): void {
    if (isAbsent(map)) return;
    if (!isRecord(map)) throw this.#wrongType(map, path, "map[string]string");
    for (const value of Object.values(map)) if (typeof value !== "string") throw this.#wrongType(value, path, "string");
  }

  jobSpec(spec: Fields): void {
    this.#integers(spec, "JobSpec.spec", JOB_NUMBERS);
    const template = fields(spec.template);
    this.metadata(template.metadata, "spec.template.metadata");
    this.podSpec(template.spec, "spec.template.spec");
  }

  podSpec(spec: unknown, path: string): void {
    if (isAbsent(spec)) return;
    if (!isRecord(spec)) throw this.#wrongType(spec, path, "v1.PodSpec");
    this.strings(spec.nodeSelector, `PodSpec.${path}.nodeSelector`);
    for (const field of ["containers", "initContainers", "volumes", "tolerations"]) {
      const value = spec[field];
      const at = `PodSpec.${path}.${field}`;
      if (isAbsent(value)) continue;
      if (!Array.isArray(value)) throw this.#wrongType(value, at, "[]v1.Container");
      for (const item of value) if (!isRecord(item)) throw this.#wrongType(item, at, "v1.Container");
    }
    for (const container of [...list(spec.containers), ...list(spec.initContainers)]) this.#container(container, path);
  }

  #container(container: Fields, path: string): void {
    for (const field of ["command", "args"]) {
      for (const word of Array.isArray(container[field]) ? container[field] : []) {
        if (typeof word !== "string") throw this.#wrongType(word, `Container.${path}.containers.${field}`, "string");
      }
    }
    for (const entry of list(container.env)) this.#texts(entry, `EnvVar.${path}.containers.env`, ["value"]);
    const { limits, requests } = fields(container.resources);
    for (const amount of [...Object.values(fields(limits)), ...Object.values(fields(requests))]) {
      if (QUANTITY.test(String(amount))) continue;
      throw badRequest(
        `${this.#refusal}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
      );
    }
  }

  leaseSpec(spec: Fields): void {
    this.#texts(spec, "LeaseSpec.spec", ["holderIdentity"]);
    this.#integers(spec, "LeaseSpec.spec", ["leaseDurationSeconds", "leaseTransitions"]);
    for (const value of [spec.acquireTime, spec.renewTime]) {
      if (isAbsent(value) || MICRO_TIME.test(String(value))) continue;
      // Go's layout wants all six digits: a JavaScript date in JSON has three, and is refused.
      const time = JSON.stringify(value);
      throw badRequest(
        `${this.#refusal}: parsing time ${time} as "2006-01-02T15:04:05.000000Z07:00": cannot parse ${time} as ".000000"`,
      );
    }
  }

  #texts(object: Fields, path: string, names: readonly string[]): void {
    for (const name of names) {
      const value = object[name];
      if (!isAbsent(value) && typeof value !== "string") throw this.#wrongType(value, `${path}.${name}`, "string");
    }
  }

  #integers(object: Fields, path: string, names: readonly string[]): void {
    for (const name of names) {
      const value = object[name];
      if (!isAbsent(value) && !Number.isInteger(value)) throw this.#wrongType(value, `${path}.${name}`, "int32");
    }
  }

  #wrongType(got: unknown, field: string, wanted: string): StatusError {
    const what = Array.isArray(got) ? "array" : got === null ? "null" : typeof got === "boolean" ? "bool" : typeof got;
    return badRequest(
      `${this.#refusal}: json: cannot unmarshal ${what} into Go struct field ${field} of type ${wanted}`,
    );
  }
}

function validateBase64(data: Fields): void {
  for (const value of Object.values(data)) {
    const text = String(value);
    const bad = /[^A-Za-z0-9+/=\r\n]/.exec(text);
    if (bad === null && text.replace(/[\r\n]/g, "").length % 4 === 0) continue;
    throw badRequest(
      `Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte ${bad?.index ?? text.length}`,
    );
  }
}
