import { equalJson, isRecord } from "./json-object.ts";
import type { NewObject, StoredObject } from "./objects.ts";
import { parseQuantity } from "./quantity.ts";
import { RESOURCES, type ResourceName } from "./resources.ts";
import { invalid, type StatusCause, StatusError } from "./status-error.ts";

/** What the API server refuses: 400 for values of a wrong type, 422 with one cause for each field that is invalid. */

type Fields = Record<string, unknown>;

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const NAME_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const ENV_NAME = /^[ -<>-~]+$/;
const DATA_KEY = /^[-._a-zA-Z0-9]+$/;
export const QUANTITY = /^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?[0-9]+)?$/;

const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS_LABEL_RULE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE_RULE =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART_RULE =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const DATA_KEY_RULE =
  "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

const MAX_SECRET_BYTES = 1_048_576;
const MAX_ANNOTATION_BYTES = 262_144;

/** Throws `StatusError` 422 when the object, defaults applied, cannot be created. */
export function validate(resource: ResourceName, object: NewObject): void {
  const causes: StatusCause[] = [];
  const name = object.metadata?.name ?? "";
  if (name === "") {
    causes.push({
      reason: "FieldValueRequired",
      message: "Required value: name or generateName is required",
      field: "metadata.name",
    });
  } else validateName(resource, name, causes);
  validateMetadata("metadata", object.metadata ?? {}, causes);
  if (resource === "jobs") validateJobSpec(fields(object.spec), causes);
  else if (resource === "pods") validatePodSpec("spec", fields(object.spec), causes);
  else if (resource === "leases") validateLeaseSpec(fields(object.spec), causes);
  else if (resource === "secrets" || resource === "configmaps") validateData(object, causes);
  if (causes.length > 0) throw invalid(resource, name, causes);
}

/** Throws `StatusError` 422 when an update changes what cannot change. */
export function validateUpdate(resource: ResourceName, before: StoredObject, after: StoredObject): void {
  const causes: StatusCause[] = [];
  validateMetadata("metadata", after.metadata, causes);
  if (before.metadata.uid !== after.metadata.uid) causes.push(immutable("metadata.uid", after.metadata.uid));
  if (resource === "jobs") {
    const old = fields(before.spec);
    const spec = fields(after.spec);
    for (const field of ["template", "selector", "completionMode"]) {
      // A suspended Job that never started may still change its template's scheduling; that is not modelled.
      if (!equalJson(old[field], spec[field])) causes.push(immutable(`spec.${field}`, spec[field]));
    }
    validateNumbers(spec, causes);
  } else if (resource === "pods") {
    const {
      activeDeadlineSeconds: _a,
      tolerations: _t,
      terminationGracePeriodSeconds: _g,
      schedulingGates: oldGates,
      ...old
    } = fields(before.spec);
    const {
      activeDeadlineSeconds: _b,
      tolerations: _u,
      terminationGracePeriodSeconds: _h,
      schedulingGates: gates,
      ...spec
    } = fields(after.spec);
    const added = list(gates).filter((gate) => !list(oldGates).some((old) => old.name === gate.name));
    if (added.length > 0) {
      const message = "Forbidden: only deletion is allowed, but found new scheduling gates";
      causes.push({ reason: "FieldValueForbidden", message, field: "spec.schedulingGates" });
    }
    if (!equalJson(withoutImages(old), withoutImages(spec))) {
      const message =
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
      causes.push({ reason: "FieldValueForbidden", message, field: "spec" });
    }
  } else if (resource === "leases") {
    validateLeaseSpec(fields(after.spec), causes);
  } else if (resource === "secrets" || resource === "configmaps") {
    if (before.immutable === true && !equalJson([before.data, before.binaryData], [after.data, after.binaryData])) {
      causes.push({
        reason: "FieldValueForbidden",
        message: "Forbidden: field is immutable when `immutable` is set",
        field: "data",
      });
    }
    validateData(after, causes);
  }
  if (causes.length > 0) throw invalid(resource, after.metadata.name, causes);
}

function withoutImages(spec: Fields): Fields {
  const strip = (list: unknown) =>
    Array.isArray(list) ? list.map((item) => (isRecord(item) ? { ...item, image: undefined } : item)) : list;
  return { ...spec, containers: strip(spec.containers), initContainers: strip(spec.initContainers) };
}

function immutable(field: string, value: unknown): StatusCause {
  return {
    reason: "FieldValueInvalid",
    message: `Invalid value: ${JSON.stringify(value) ?? "null"}: field is immutable`,
    field,
  };
}

function fields(value: unknown): Fields {
  return isRecord(value) ? value : {};
}

function push(causes: StatusCause[], field: string, value: unknown, rule: string): void {
  causes.push({ reason: "FieldValueInvalid", message: `Invalid value: ${JSON.stringify(value)}: ${rule}`, field });
}

function required(causes: StatusCause[], field: string, hint = ""): void {
  causes.push({ reason: "FieldValueRequired", message: `Required value${hint}`, field });
}

function validateName(resource: ResourceName, name: string, causes: StatusCause[]): void {
  if (resource === "namespaces") {
    if (!DNS_LABEL.test(name)) push(causes, "metadata.name", name, DNS_LABEL_RULE);
    if (name.length > 63) push(causes, "metadata.name", name, "must be no more than 63 bytes");
    return;
  }
  if (!SUBDOMAIN.test(name)) push(causes, "metadata.name", name, SUBDOMAIN_RULE);
  if (name.length > 253) push(causes, "metadata.name", name, "must be no more than 253 bytes");
}

function validateMetadata(path: string, metadata: object, causes: StatusCause[]): void {
  const { labels, annotations } = metadata as { labels?: unknown; annotations?: unknown };
  validateLabels(`${path}.labels`, labels, causes);
  let bytes = 0;
  for (const [key, value] of Object.entries(fields(annotations))) {
    validateKey(`${path}.annotations`, key, causes);
    bytes += Buffer.byteLength(key) + Buffer.byteLength(String(value));
  }
  if (bytes > MAX_ANNOTATION_BYTES) {
    const message = `Too long: may not be more than ${MAX_ANNOTATION_BYTES} bytes`;
    causes.push({ reason: "FieldValueTooLong", message, field: `${path}.annotations` });
  }
}

function validateLabels(path: string, labels: unknown, causes: StatusCause[]): void {
  for (const [key, value] of Object.entries(fields(labels))) {
    validateKey(path, key, causes);
    const text = String(value);
    if (text.length > 63) push(causes, path, text, "must be no more than 63 bytes");
    if (text !== "" && !NAME_PART.test(text)) push(causes, path, text, LABEL_VALUE_RULE);
  }
}

function validateKey(path: string, key: string, causes: StatusCause[]): void {
  const slash = key.indexOf("/");
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  const name = slash < 0 ? key : key.slice(slash + 1);
  if (prefix !== undefined && !SUBDOMAIN.test(prefix)) push(causes, path, key, `prefix part ${SUBDOMAIN_RULE}`);
  if (name.length > 63) push(causes, path, key, "name part must be no more than 63 bytes");
  if (!NAME_PART.test(name)) push(causes, path, key, NAME_PART_RULE);
}

function validateJobSpec(spec: Fields, causes: StatusCause[]): void {
  validateNumbers(spec, causes);
  const template = fields(spec.template);
  const podSpec = fields(template.spec);
  validateLabels("spec.template.labels", fields(template.metadata).labels, causes);
  validatePodSpec("spec.template.spec", podSpec, causes);
  if (podSpec.restartPolicy !== "Never" && podSpec.restartPolicy !== "OnFailure") {
    causes.push({
      reason: "FieldValueNotSupported",
      message: `Unsupported value: ${JSON.stringify(podSpec.restartPolicy)}: supported values: "OnFailure", "Never"`,
      field: "spec.template.spec.restartPolicy",
    });
  }
}

function validateNumbers(spec: Fields, causes: StatusCause[]): void {
  for (const field of [
    "parallelism",
    "completions",
    "backoffLimit",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
  ]) {
    const value = spec[field];
    if (typeof value === "number" && value < 0) {
      causes.push({
        reason: "FieldValueInvalid",
        message: `Invalid value: ${value}: must be greater than or equal to 0`,
        field: `spec.${field}`,
      });
    }
  }
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

function validatePodSpec(path: string, spec: Fields, causes: StatusCause[]): void {
  const volumes = new Set<unknown>();
  list(spec.volumes).forEach((volume, i) => {
    const name = String(volume.name ?? "");
    const at = `${path}.volumes[${i}].name`;
    if (name === "") required(causes, at);
    else if (!DNS_LABEL.test(name) || name.length > 63) push(causes, at, name, DNS_LABEL_RULE);
    if (volumes.has(name)) duplicate(causes, at, name);
    volumes.add(name);
  });
  const names = new Set<string>();
  if (list(spec.containers).length === 0) required(causes, `${path}.containers`);
  for (const field of ["containers", "initContainers"]) {
    list(spec[field]).forEach((container, i) => {
      const at = `${path}.${field}[${i}]`;
      const name = String(container.name ?? "");
      if (names.has(name)) duplicate(causes, `${at}.name`, name);
      names.add(name);
      validateContainer(at, name, container, volumes, causes);
    });
  }
}

function validateContainer(
  path: string,
  name: string,
  container: Fields,
  volumes: Set<unknown>,
  causes: StatusCause[],
): void {
  if (name === "") required(causes, `${path}.name`);
  else if (!DNS_LABEL.test(name) || name.length > 63) push(causes, `${path}.name`, name, DNS_LABEL_RULE);
  if (typeof container.image !== "string" || container.image === "") required(causes, `${path}.image`);
  list(container.env).forEach((entry, i) => {
    const key = String(entry.name ?? "");
    if (key === "") required(causes, `${path}.env[${i}].name`);
    else if (!ENV_NAME.test(key)) {
      push(
        causes,
        `${path}.env[${i}].name`,
        key,
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
      );
    }
    if (isRecord(entry.valueFrom) && typeof entry.value === "string" && entry.value !== "") {
      push(causes, `${path}.env[${i}].valueFrom`, "", "may not be specified when `value` is not empty");
    }
  });
  const paths = new Set<unknown>();
  list(container.volumeMounts).forEach((mount, i) => {
    const at = `${path}.volumeMounts[${i}]`;
    if (typeof mount.mountPath !== "string" || mount.mountPath === "") required(causes, `${at}.mountPath`);
    if (!volumes.has(mount.name)) {
      causes.push({
        reason: "FieldValueNotFound",
        message: `Not found: ${JSON.stringify(mount.name)}`,
        field: `${at}.name`,
      });
    }
    if (paths.has(mount.mountPath)) push(causes, `${at}.mountPath`, mount.mountPath, "must be unique");
    paths.add(mount.mountPath);
    if (typeof mount.subPath === "string") {
      if (mount.subPath.startsWith("/")) push(causes, `${at}.subPath`, mount.subPath, "must be a relative path");
      if (mount.subPath.split("/").includes(".."))
        push(causes, `${at}.subPath`, mount.subPath, "must not contain '..'");
    }
  });
  const resources = fields(container.resources);
  const limits = fields(resources.limits);
  for (const [resource, request] of Object.entries(fields(resources.requests))) {
    const limit = limits[resource];
    if (limit !== undefined && parseQuantity(String(request)) > parseQuantity(String(limit))) {
      push(
        causes,
        `${path}.resources.requests`,
        request,
        `must be less than or equal to ${resource} limit of ${limit}`,
      );
    }
  }
}

function duplicate(causes: StatusCause[], field: string, value: string): void {
  causes.push({ reason: "FieldValueDuplicate", message: `Duplicate value: ${JSON.stringify(value)}`, field });
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

function list(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(fields) : [];
}

/** The 403 with which a namespace that is being deleted refuses new objects. */
export function namespaceTerminating(resource: ResourceName, name: string, namespace: string): StatusError {
  return new StatusError(
    403,
    "Forbidden",
    `${RESOURCES[resource].name} "${name}" is forbidden: unable to create new content in namespace ${namespace} because it is being terminated`,
    {
      name,
      kind: RESOURCES[resource].name,
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
