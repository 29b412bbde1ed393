import { isRecord } from "../../json/read-json.ts";
import type { StatusCause } from "./status-error.ts";

/** The causes of a 422, in the words of apimachinery's `field.Error`; and values whose type is not known yet. */

export type Fields = Record<string, unknown>;

export function fields(value: unknown): Fields {
  return isRecord(value) ? value : {};
}

/** Go decodes null as if the field were not there. */
export function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

export function push(causes: StatusCause[], field: string, value: unknown, rule: string): void {
  causes.push({ reason: "FieldValueInvalid", message: `Invalid value: ${JSON.stringify(value)}: ${rule}`, field });
}

export function required(causes: StatusCause[], field: string, hint = ""): void {
  causes.push({ reason: "FieldValueRequired", message: `Required value${hint}`, field });
}

export function duplicate(causes: StatusCause[], field: string, value: string): void {
  causes.push({ reason: "FieldValueDuplicate", message: `Duplicate value: ${JSON.stringify(value)}`, field });
}

export function forbidden(causes: StatusCause[], field: string, rule: string): void {
  causes.push({ reason: "FieldValueForbidden", message: `Forbidden: ${rule}`, field });
}

export function unsupported(causes: StatusCause[], field: string, value: unknown, supported: readonly string[]): void {
  const message = `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((one) => JSON.stringify(one)).join(", ")}`;
  causes.push({ reason: "FieldValueNotSupported", message, field });
}

export function list(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(fields) : [];
}

export function immutable(causes: StatusCause[], field: string, value: unknown): void {
  const message = `Invalid value: ${JSON.stringify(value) ?? "null"}: field is immutable`;
  causes.push({ reason: "FieldValueInvalid", message, field });
}
