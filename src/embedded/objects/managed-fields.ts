import { isRecord } from "../../json/read-json.ts";
import type { ManagedFieldsEntry } from "./objects.ts";

/**
 * Plausible `metadata.managedFields`: about a third of an object's bytes on the wire, which is why clients trim them.
 * A writer owns what it ever changed and what is still there; that another writer takes fields over is not modelled.
 */

type FieldSet = { [path: string]: FieldSet };

/** Lists whose items are told apart by a key, and by which; all other lists are owned as a whole. */
const LIST_KEYS: Readonly<Record<string, readonly string[]>> = {
  conditions: ["type"],
  containers: ["name"],
  env: ["name"],
  ephemeralContainers: ["name"],
  hostAliases: ["ip"],
  imagePullSecrets: ["name"],
  podIPs: ["ip"],
  initContainers: ["name"],
  ownerReferences: ["uid"],
  ports: ["containerPort", "protocol"],
  volumeMounts: ["mountPath"],
  volumes: ["name"],
};
/** Structs that are always there: owned through their fields only, without the `.` entry. */
const WITHOUT_SELF = new Set([
  "metadata",
  "spec",
  "status",
  "template",
  "containers",
  "selector",
  "involvedObject",
  "source",
]);

/** The fields in which `after` differs from `before`, both taken at `name`. */
function changedFields(name: string, before: unknown, after: unknown): FieldSet | undefined {
  if (before === after) return undefined;
  if (Array.isArray(after)) return changedItems(name, Array.isArray(before) ? before : [], after);
  if (!isRecord(after)) return typeof before === "object" || before !== after ? {} : undefined;
  const old = isRecord(before) ? before : {};
  const set: FieldSet = {};
  let changed = false;
  for (const key of Object.keys(after).sort()) {
    const value = after[key];
    if (value === undefined) continue;
    const child = changedFields(key, old[key], value);
    if (child === undefined) continue;
    set[`f:${key}`] = child;
    changed = true;
  }
  if (!isRecord(before)) {
    if (Object.keys(after).length > 0 && !WITHOUT_SELF.has(name)) return { ".": {}, ...set };
    return set;
  }
  return changed ? set : undefined;
}

function changedItems(name: string, before: readonly unknown[], after: readonly unknown[]): FieldSet | undefined {
  const set: FieldSet = {};
  const keys = LIST_KEYS[name];
  if (name === "finalizers") {
    for (const item of after) if (!before.includes(item)) set[`v:${JSON.stringify(item)}`] = {};
  } else if (keys !== undefined) {
    for (const item of after) {
      if (!isRecord(item)) continue;
      const old = before.find((other) => isRecord(other) && keys.every((key) => other[key] === item[key]));
      // An owner reference is owned as a whole.
      const child = name === "ownerReferences" && old === undefined ? {} : changedFields("", old, item);
      if (child === undefined) continue;
      const key: Record<string, unknown> = {};
      for (const part of keys) if (item[part] !== undefined) key[part] = item[part];
      set[`k:${JSON.stringify(key)}`] = child;
    }
  } else {
    return before.length === after.length && JSON.stringify(before) === JSON.stringify(after) ? undefined : {};
  }
  if (Object.keys(set).length === 0) return undefined;
  return before.length === 0 && !WITHOUT_SELF.has(name) ? { ".": {}, ...set } : set;
}

/** `base` plus what is new in `more`; `base` itself when there is nothing new. */
function union(base: FieldSet, more: FieldSet): FieldSet {
  let result = base;
  for (const key of Object.keys(more)) {
    const left = base[key];
    const right = more[key] as FieldSet;
    const merged = left === undefined ? right : union(left, right);
    if (merged === left) continue;
    if (result === base) result = { ...base };
    result[key] = merged;
  }
  return result;
}

/** What of `set` is still there in `value`; `set` itself if all is. */
function existing(set: FieldSet, value: unknown): FieldSet {
  let result = set;
  for (const key of Object.keys(set)) {
    const child = childOf(value, key);
    const left = set[key] as FieldSet;
    const kept = child === undefined ? undefined : child === SELF ? left : existing(left, child);
    if (kept === left) continue;
    if (result === set) result = { ...set };
    if (kept === undefined) delete result[key];
    else result[key] = kept;
  }
  return result;
}

const SELF = Symbol("self");

function childOf(value: unknown, key: string): unknown {
  if (key === ".") return SELF;
  const text = key.slice(2);
  if (key.startsWith("f:")) return isRecord(value) ? value[text] : undefined;
  if (!Array.isArray(value)) return undefined;
  const wanted = parsedKey(text);
  if (key.startsWith("v:")) return value.includes(wanted) ? SELF : undefined;
  if (!isRecord(wanted)) return undefined;
  const names = Object.keys(wanted);
  return value.find((item) => isRecord(item) && names.every((name) => item[name] === wanted[name]));
}

const parsedKeys = new Map<string, unknown>();

/** `{"type":"Ready"}` and the like come again and again. */
function parsedKey(text: string): unknown {
  let key = parsedKeys.get(text);
  if (key === undefined) {
    key = JSON.parse(text);
    if (parsedKeys.size > 1_000) parsedKeys.clear();
    parsedKeys.set(text, key);
  }
  return key;
}

const METADATA_FIELDS = ["annotations", "finalizers", "generateName", "labels", "ownerReferences"] as const;
const NOT_OWNED = new Set(["apiVersion", "kind", "metadata"]);

/** What of an object can be owned: the metadata that people write, and every field beside it. */
function ownable(object: { [field: string]: unknown; metadata?: unknown }, subresource: string | undefined) {
  if (subresource !== undefined) return { [subresource]: object[subresource] };
  const fields: Record<string, unknown> = {};
  const metadata = isRecord(object.metadata) ? object.metadata : {};
  const written: Record<string, unknown> = {};
  for (const key of METADATA_FIELDS) if (metadata[key] !== undefined) written[key] = metadata[key];
  if (Object.keys(written).length > 0) fields.metadata = written;
  for (const key of Object.keys(object)) if (!NOT_OWNED.has(key) && key !== "status") fields[key] = object[key];
  return fields;
}

/** Unlike a pod's, a Job's conditions are owned as a whole. */
function withAtomicConditions(status: FieldSet): FieldSet {
  return status["f:conditions"] === undefined ? status : { ...status, "f:conditions": {} };
}

/** The entries of `before` with what changed up to `after` added to `manager`'s; `entries` itself if nothing changed. */
export function withManager(
  entries: readonly ManagedFieldsEntry[],
  change: {
    manager: string;
    operation?: "Apply" | "Update";
    apiVersion: string;
    time: string;
    subresource?: string | undefined;
    before: { [field: string]: unknown };
    after: { [field: string]: unknown };
  },
): readonly ManagedFieldsEntry[] {
  const { manager, subresource, operation = "Update" } = change;
  const set: FieldSet = {};
  const isJob = change.apiVersion === "batch/v1";
  const before = ownable(change.before, subresource);
  const after = ownable(change.after, subresource);
  for (const key of Object.keys(after).sort()) {
    const fields = changedFields(key, before[key], after[key]);
    if (fields !== undefined) set[`f:${key}`] = isJob && key === "status" ? withAtomicConditions(fields) : fields;
  }
  const index = entries.findIndex(
    (entry) => entry.manager === manager && entry.operation === operation && entry.subresource === subresource,
  );
  const old = entries[index];
  const fieldsV1 = existing(union((old?.fieldsV1 ?? {}) as FieldSet, set), after);
  // The time moves with each change, also of fields that the manager owned before (fieldmanager `managedFieldsUpdater`).
  if (Object.keys(set).length === 0 && (old === undefined || fieldsV1 === old.fieldsV1)) return entries;
  const entry: ManagedFieldsEntry = {
    manager,
    operation,
    apiVersion: change.apiVersion,
    time: change.time,
    fieldsType: "FieldsV1",
    fieldsV1,
    ...(subresource === undefined ? {} : { subresource }),
  };
  return [...entries.filter((other) => other !== old), entry];
}
