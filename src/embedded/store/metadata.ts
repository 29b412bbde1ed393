import { isRecord } from "../../json/read-json.ts";
import type { Metadata } from "../objects/objects.ts";

export function sortedMap(map: Record<string, string> | undefined): Record<string, string> | undefined {
  if (!isRecord(map)) return undefined;
  const keys = Object.keys(map);
  if (keys.length === 0) return undefined;
  return Object.fromEntries(keys.sort().map((key) => [key, map[key] as string]));
}

const METADATA_ORDER: readonly (keyof Metadata)[] = [
  "name",
  "generateName",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "labels",
  "annotations",
  "ownerReferences",
  "finalizers",
  "managedFields",
];

/** Metadata in the order of fields in which the server writes it, without the empty ones. */
export function tidy(metadata: { [K in keyof Metadata]: Metadata[K] | undefined }): Metadata {
  const result: Record<string, unknown> = {};
  for (const key of METADATA_ORDER) {
    const value = metadata[key];
    if (value !== undefined && value !== null) result[key] = value;
  }
  return result as unknown as Metadata;
}
