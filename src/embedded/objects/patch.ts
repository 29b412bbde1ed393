import { cloneJson, define, equalJson } from "../../json/json-object.ts";
import { mergePatch, strategicMerge } from "../../json/merge-patch.ts";
import { isRecord } from "../../json/read-json.ts";
import { isCustom, type ResourceName } from "./resources.ts";
import { badRequest, invalid, StatusError } from "./status-error.ts";

const PATCH_TYPES = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/apply-patch+yaml",
  "application/apply-patch+cbor",
] as const;

type Fields = Record<string, unknown>;

/** The object with the patch applied, as a new value. Throws `StatusError` 400, 415 or 422. */
export function applyPatch(resource: ResourceName, name: string, contentType: string, object: unknown, patch: unknown) {
  switch (contentType) {
    case "application/json-patch+json":
      return jsonPatch(resource, name, object, patch);
    case "application/merge-patch+json":
      return mergePatch(object, requireObject(patch));
    case "application/strategic-merge-patch+json":
      if (isCustom(resource)) break;
      return strategicMerge(object, requireObject(patch));
    case "application/apply-patch+yaml":
      return strategicMerge(object, requireObject(patch));
  }
  // A custom resource has no schema here that says how its lists are merged.
  const types = isCustom(resource) ? PATCH_TYPES.filter((each) => !each.includes("strategic")) : PATCH_TYPES;
  const message = `the body of the request was in an unknown format - accepted media types include: ${types.join(", ")}`;
  throw new StatusError(415, "UnsupportedMediaType", message, {});
}

function requireObject(patch: unknown): Fields {
  if (!isRecord(patch)) throw badRequest("the patch must be a JSON object");
  return patch;
}

/** RFC 6902, with the one freedom that the API server takes: `replace` of a missing member adds it. */
function jsonPatch(resource: ResourceName, name: string, object: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badRequest("json: cannot unmarshal object into Go value of type jsonpatch.Patch");
  if (patch.length > 10_000) {
    throw new StatusError(
      413,
      "RequestEntityTooLarge",
      `The allowed maximum operations in a JSON patch is 10000, got ${patch.length}`,
    );
  }
  let result = cloneJson(object);
  for (const operation of patch) {
    if (!isRecord(operation))
      throw badRequest("json: cannot unmarshal value into Go value of type jsonpatch.Operation");
    result = applyOperation(resource, name, result, operation);
  }
  return result;
}

function applyOperation(resource: ResourceName, name: string, root: unknown, operation: Fields): unknown {
  const { op, path, from, value } = operation;
  const fail = (message: string) => invalid(resource, name, [{ reason: "FieldValueInvalid", message, field: "patch" }]);
  const pointer = (text: unknown): string[] => {
    if (text === "") return [];
    if (typeof text !== "string" || !text.startsWith("/")) {
      throw fail(
        `Invalid value: ${JSON.stringify(operation)}: ${String(op)} operation does not apply: path ${JSON.stringify(text)} must start with '/'`,
      );
    }
    return text
      .slice(1)
      .split("/")
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  };
  const missing = (text: unknown) =>
    fail(
      `Invalid value: ${JSON.stringify(operation)}: ${String(op)} operation does not apply: doc is missing path: ${JSON.stringify(text)}: missing value`,
    );
  const parentOf = (parts: readonly string[], text: unknown): Fields | unknown[] => {
    let node: unknown = root;
    for (const part of parts.slice(0, -1)) {
      if (Array.isArray(node)) node = node[Number(part)];
      else if (isRecord(node) && Object.hasOwn(node, part)) node = node[part];
      else throw missing(text);
    }
    if (!isRecord(node) && !Array.isArray(node)) throw missing(text);
    return node;
  };
  const read = (text: unknown): unknown => {
    const parts = pointer(text);
    if (parts.length === 0) return root;
    const parent = parentOf(parts, text);
    const key = parts.at(-1) as string;
    if (Array.isArray(parent)) return parent[Number(key)];
    return Object.hasOwn(parent, key) ? parent[key] : undefined;
  };
  const remove = (text: unknown): unknown => {
    const parts = pointer(text);
    const parent = parentOf(parts, text);
    const key = parts.at(-1) as string;
    if (Array.isArray(parent)) {
      const index = Number(key);
      if (!(index >= 0 && index < parent.length)) throw missing(text);
      return parent.splice(index, 1)[0];
    }
    if (!Object.hasOwn(parent, key)) throw missing(text);
    const old = parent[key];
    delete parent[key];
    return old;
  };
  const write = (text: unknown, replacement: unknown, replaces: boolean): void => {
    const parts = pointer(text);
    if (parts.length === 0) {
      root = replacement;
      return;
    }
    const parent = parentOf(parts, text);
    const key = parts.at(-1) as string;
    if (!Array.isArray(parent)) {
      define(parent, key, replacement);
      return;
    }
    const index = key === "-" ? parent.length : Number(key);
    if (!(index >= 0 && index <= parent.length)) throw missing(text);
    if (replaces) parent[index] = replacement;
    else parent.splice(index, 0, replacement);
  };
  switch (op) {
    case "add":
      write(path, cloneJson(value), false);
      break;
    case "replace":
      write(path, cloneJson(value), true);
      break;
    case "remove":
      remove(path);
      break;
    case "move":
      write(path, remove(from), false);
      break;
    case "copy":
      write(path, cloneJson(read(from)), false);
      break;
    case "test":
      if (!equalJson(read(path) ?? null, value ?? null)) {
        throw fail(`Invalid value: ${JSON.stringify(operation)}: testing value ${String(path)} failed: test failed`);
      }
      break;
    default:
      throw fail(`Invalid value: ${JSON.stringify(operation)}: Unexpected kind: ${String(op)}`);
  }
  return root;
}
