import type { StoredObject } from "./objects.ts";

/** Each version of an object is serialised once for all watches, lists and reads that carry it. */

const cache = new WeakMap<object, Buffer>();

/** `{"kind":"Pod","apiVersion":"v1","metadata":…}` */
export function objectJson(object: object): Buffer {
  let json = cache.get(object);
  if (json === undefined) {
    json = Buffer.from(JSON.stringify(object));
    cache.set(object, json);
  }
  return json;
}

const OPEN_BRACE = Buffer.from("{");
const prefixLengths = new Map<string, number>();

/** The object as an item of a list, where the server leaves `kind` and `apiVersion` out: two pieces to write. */
export function itemJson(object: StoredObject): [Buffer, Buffer] {
  let length = prefixLengths.get(object.kind);
  if (length === undefined) {
    length = Buffer.byteLength(
      `{"kind":${JSON.stringify(object.kind)},"apiVersion":${JSON.stringify(object.apiVersion)},`,
    );
    prefixLengths.set(object.kind, length);
  }
  return [OPEN_BRACE, objectJson(object).subarray(length)];
}
