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
  // So the pointer "", the whole, is a member like any other.
  const root: Fields = { "": cloneJson(object) };
  for (const operation of patch) {
    if (!isRecord(operation))
      throw badRequest("json: cannot unmarshal value into Go value of type jsonpatch.Operation");
    applyOperation(root, operation, (why) => {
      const message = `Invalid value: ${JSON.stringify(operation)}: ${why}`;
      return invalid(resource, name, [{ reason: "FieldValueInvalid", message, field: "patch" }]);
    });
  }
  return root[""];
}

function applyOperation(root: Fields, operation: Fields, failure: (why: string) => StatusError): void {
  const { op, path, from, value } = operation;
  const misplaced = (why: string) => failure(`${String(op)} operation does not apply: ${why}`);
  const missing = (pointer: unknown) => misplaced(`doc is missing path: ${JSON.stringify(pointer)}: missing value`);
  const find = (pointer: unknown): { parent: Fields | unknown[]; key: string } => {
    if (typeof pointer !== "string" || (pointer !== "" && !pointer.startsWith("/"))) {
      throw misplaced(`path ${JSON.stringify(pointer)} must start with '/'`);
    }
    const keys = pointer.split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    const key = keys.pop() as string;
    const parent = keys.reduce(memberOf, root as unknown);
    if (!isRecord(parent) && !Array.isArray(parent)) throw missing(pointer);
    return { parent, key };
  };
  const read = (pointer: unknown): unknown => {
    const { parent, key } = find(pointer);
    return memberOf(parent, key);
  };
  const remove = (pointer: unknown): unknown => {
    const { parent, key } = find(pointer);
    const old = memberOf(parent, key);
    if (old === undefined || parent === root) throw missing(pointer);
    if (Array.isArray(parent)) parent.splice(Number(key), 1);
    else delete parent[key];
    return old;
  };
  const write = (replacement: unknown, replaces: boolean): void => {
    const { parent, key } = find(path);
    if (!Array.isArray(parent)) {
      define(parent, key, replacement);
      return;
    }
    const index = key === "-" ? parent.length : Number(key);
    if (!(index >= 0 && index <= parent.length)) throw missing(path);
    parent.splice(index, replaces ? 1 : 0, replacement);
  };
  switch (op) {
    case "add":
      write(cloneJson(value), false);
      break;
    case "replace":
      write(cloneJson(value), true);
      break;
    case "remove":
      remove(path);
      break;
    case "move":
      write(remove(from), false);
      break;
    case "copy":
      write(cloneJson(read(from)), false);
      break;
    case "test":
      if (!equalJson(read(path) ?? null, value ?? null)) {
        throw failure(`testing value ${String(path)} failed: test failed`);
      }
      break;
    default:
      throw failure(`Unexpected kind: ${String(op)}`);
  }
}

function memberOf(node: unknown, key: string): unknown {
  if (Array.isArray(node)) return node[Number(key)];
  return isRecord(node) && Object.hasOwn(node, key) ? node[key] : undefined;
}
