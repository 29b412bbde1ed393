import { fields, push } from "./field-errors.ts";
import type { ResourceName } from "./resources.ts";
import type { StatusCause } from "./status-error.ts";

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
export const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const NAME_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
export const ENV_NAME = /^[ -<>-~]+$/;
export const DATA_KEY = /^[-._a-zA-Z0-9]+$/;

const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
export const DNS_LABEL_RULE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE_RULE =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART_RULE =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
export const DATA_KEY_RULE =
  "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

const MAX_ANNOTATION_BYTES = 262_144;

export function validateName(resource: ResourceName, name: string, causes: StatusCause[]): void {
  if (resource === "namespaces") {
    if (!DNS_LABEL.test(name)) push(causes, "metadata.name", name, DNS_LABEL_RULE);
    if (name.length > 63) push(causes, "metadata.name", name, "must be no more than 63 bytes");
    return;
  }
  if (!SUBDOMAIN.test(name)) push(causes, "metadata.name", name, SUBDOMAIN_RULE);
  if (name.length > 253) push(causes, "metadata.name", name, "must be no more than 253 bytes");
}

export function validateMetadata(path: string, metadata: object, causes: StatusCause[]): void {
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

export function validateLabels(path: string, labels: unknown, causes: StatusCause[]): void {
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
