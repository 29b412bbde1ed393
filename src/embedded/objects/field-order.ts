import { define } from "../../json/json-object.ts";

/** A copy with these fields first, and without those that are undefined. */
export function inOrder(order: readonly string[], object: Record<string, unknown>): Record<string, unknown> {
  const ordered: Record<string, unknown> = {};
  for (const key of [...order, ...Object.keys(object)])
    if (object[key] !== undefined) define(ordered, key, object[key]);
  return ordered;
}
