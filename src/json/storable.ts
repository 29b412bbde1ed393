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
