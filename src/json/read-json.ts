/** Reading JSON that someone else wrote: every answer is checked, nothing throws, nothing is kept longer than asked. */

import { storable } from "./storable.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An own property only: what a line calls `constructor` or `__proto__` must not reach the prototype. */
export function field(object: unknown, name: string): unknown {
  return isObject(object) && Object.hasOwn(object, name) ? object[name] : undefined;
}

/** A text that is not blank, storable, trimmed and cut to `max` characters; else null. */
export function text(value: unknown, max: number): string | null {
  if (typeof value !== "string") return null;
  const trimmed = storable(cutEnd(value, max + 64)).trim();
  return trimmed === "" ? null : cutEnd(trimmed, max);
}

/** A short word such as a code or an id, untouched; null when it is none or too long to be one. */
export function word(value: unknown, max = 256): string | null {
  return typeof value === "string" && value.trim() !== "" && value.length <= max ? value.trim() : null;
}

export function finite(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** A count: negative ones and anything that is no number are 0. */
export function count(value: unknown): number {
  return Math.max(0, finite(value) ?? 0);
}

/** The first `max` characters, never half a surrogate pair. */
export function cutEnd(value: string, max: number): string {
  if (value.length <= max) return value;
  const isSplit = isHighSurrogate(value.charCodeAt(max - 1));
  return value.slice(0, isSplit ? max - 1 : max);
}

/** The last `max` characters, never half a surrogate pair. */
export function cutStart(value: string, max: number): string {
  if (value.length <= max) return value;
  const start = value.length - max;
  const isSplit = isHighSurrogate(value.charCodeAt(start - 1));
  return value.slice(isSplit ? start + 1 : start);
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
