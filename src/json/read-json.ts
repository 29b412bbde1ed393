/** Reading JSON that someone else wrote: every answer is checked, nothing throws, nothing is kept longer than asked. */

export type JsonObject = Readonly<Record<string, unknown>>;

/** An object that is no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The objects in a list; none of what is no list. */
export function recordsIn(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

/** An own property only: what a line calls `constructor` or `__proto__` must not reach the prototype. */
export function field(object: unknown, name: string): unknown {
  return isRecord(object) && Object.hasOwn(object, name) ? object[name] : undefined;
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

/**
 * A text without NUL and without halves of surrogate pairs, which show as U+FFFD: no argument or variable of a process can hold the
 * first, UTF-8 has no form of the second, and the host's database takes JSON with neither.
 */
export function storable(text: string): string {
  return isStorable(text) ? text : text.toWellFormed().replaceAll("\0", "\ufffd");
}

export function isStorable(text: string): boolean {
  return !text.includes("\0") && text.isWellFormed();
}

const MAX_DEPTH = 50;

/** A copy of plain data whose texts, and names of fields, are storable. What is nested deeper than anything that is read comes to null. */
export function storableValue<T>(value: T, depth = 0): T {
  if (typeof value === "string") return storable(value) as T;
  if (typeof value !== "object" || value === null) return value;
  if (depth > MAX_DEPTH) return null as T;
  if (Array.isArray(value)) return value.map((each) => storableValue(each, depth + 1)) as T;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [storable(name), storableValue(each, depth + 1)]),
  ) as T;
}
