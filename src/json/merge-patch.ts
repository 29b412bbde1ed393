import { cloneJson, define } from "./json-object.ts";
import { isRecord } from "./read-json.ts";

type Fields = Record<string, unknown>;

/** RFC 7386. A new value; neither argument is changed. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return cloneJson(patch);
  const result: Fields = isRecord(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else define(result, key, mergePatch(result[key], value));
  }
  return result;
}

/** The lists of pod specs and metadata that are merged by a key of their items; other lists are replaced. */
export const MERGE_KEYS: Readonly<Record<string, string>> = {
  conditions: "type",
  containers: "name",
  env: "name",
  ephemeralContainers: "name",
  hostAliases: "ip",
  imagePullSecrets: "name",
  initContainers: "name",
  ownerReferences: "uid",
  ports: "containerPort",
  resourceClaims: "name",
  schedulingGates: "name",
  topologySpreadConstraints: "topologyKey",
  volumeDevices: "devicePath",
  volumeMounts: "mountPath",
  volumes: "name",
};

/**
 * The strategic merge patch of Kubernetes, with its directives (`$patch`, `$retainKeys`, `$deleteFromPrimitiveList`): as a merge
 * patch, but lists with a merge key are merged item by item. A new value; neither argument is changed.
 */
export function strategicMerge(target: unknown, patch: unknown, field = ""): unknown {
  if (Array.isArray(patch)) {
    const key = MERGE_KEYS[field];
    const given = patch.filter((item) => !isDirective(item));
    if (field === "finalizers") return [...new Set([...(Array.isArray(target) ? target : []), ...patch])];
    const replaces = patch.some((item) => isDirective(item) && item.$patch === "replace");
    if (key === undefined) return cloneJson(given);
    return mergeList(replaces || !Array.isArray(target) ? [] : target, replaces ? given : patch, key);
  }
  if (!isRecord(patch)) return cloneJson(patch);
  if (patch.$patch === "delete") return {};
  if (patch.$patch === "replace") {
    const { $patch: _directive, ...replacement } = patch;
    return cloneJson(replacement);
  }
  const result: Fields = isRecord(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === "$patch" || key.startsWith("$setElementOrder/") || key === "$retainKeys") continue;
    if (key.startsWith("$deleteFromPrimitiveList/")) {
      const list = key.slice(key.indexOf("/") + 1);
      const deleted = Array.isArray(value) ? value : [];
      if (Array.isArray(result[list])) result[list] = result[list].filter((item) => !deleted.includes(item));
    } else if (value === null) delete result[key];
    else define(result, key, strategicMerge(result[key], value, key));
  }
  if (Array.isArray(patch.$retainKeys)) {
    for (const key of Object.keys(result)) if (!patch.$retainKeys.includes(key)) delete result[key];
  }
  return result;
}

function isDirective(item: unknown): item is Fields {
  return isRecord(item) && item.$patch !== undefined;
}

function mergeList(target: readonly unknown[], patch: readonly unknown[], key: string): unknown[] {
  const result = [...target];
  for (const item of patch) {
    if (!isRecord(item)) continue;
    const index = result.findIndex((other) => isRecord(other) && other[key] === item[key]);
    if (item.$patch === "delete") {
      if (index >= 0) result.splice(index, 1);
    } else if (index < 0) result.push(strategicMerge({}, item));
    else result[index] = strategicMerge(result[index], item);
  }
  return result;
}
