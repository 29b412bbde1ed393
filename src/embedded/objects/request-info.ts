import { type ResourceName, resourceAt } from "./resources.ts";

/** What a request is about, as authorization, counting and faults see it (apiserver `RequestInfo`). */
export interface RequestInfo {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the method in lower case otherwise. */
  readonly verb: string;
  readonly apiGroup: string;
  /** `undefined` for paths outside of the API of objects, such as `/version`. */
  readonly resource: string | undefined;
  /** The resource, if the store keeps it. */
  readonly stored: ResourceName | undefined;
  readonly subresource: string | undefined;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
}

/** Resources that are asked but not kept. */
const VIRTUAL: ReadonlySet<string> = new Set([
  "authorization.k8s.io/v1/selfsubjectaccessreviews",
  "authorization.k8s.io/v1/selfsubjectrulesreviews",
  "authentication.k8s.io/v1/selfsubjectreviews",
]);

/** `undefined` when the path names a resource that does not exist. */
export function requestInfo(method: string, url: string): RequestInfo {
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? "" : url.slice(mark + 1));
  const outside: RequestInfo = {
    method,
    path,
    query,
    verb: method.toLowerCase(),
    apiGroup: "",
    resource: undefined,
    stored: undefined,
    subresource: undefined,
    namespace: undefined,
    name: undefined,
  };
  const parts = path
    .split("/")
    .filter((part) => part !== "")
    .map(decode);
  let group: string;
  const [root] = parts;
  if (root === "api") {
    group = "";
    parts.splice(0, 1);
  } else if (root === "apis") {
    group = parts[1] ?? "";
    parts.splice(0, 2);
  } else return outside;
  const version = parts.shift();
  if (version === undefined || parts.length === 0) return outside;
  let namespace: string | undefined;
  // `/namespaces/{name}` itself, and its status, are about the namespace.
  if (parts[0] === "namespaces" && parts.length > 2 && parts[2] !== "status" && parts[2] !== "finalize") {
    namespace = parts[1];
    parts.splice(0, 2);
  }
  const [resource = "", name, subresource, ...more] = parts;
  const key = `${group}/${version}/${resource}`;
  const stored = resourceAt(group, version, resource);
  if ((stored === undefined && !VIRTUAL.has(key)) || more.length > 0) return { ...outside, apiGroup: group };
  return {
    method,
    path,
    query,
    verb: verbOf(method, name, query),
    apiGroup: group,
    resource,
    stored,
    subresource,
    namespace,
    name,
  };
}

function verbOf(method: string, name: string | undefined, query: URLSearchParams): string {
  switch (method) {
    case "GET":
    case "HEAD":
      if (isTrue(query.get("watch"))) return "watch";
      return name === undefined ? "list" : "get";
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    case "DELETE":
      return name === undefined ? "deletecollection" : "delete";
    default:
      return method.toLowerCase();
  }
}

export function isTrue(value: string | null): boolean {
  return value === "1" || value === "true" || value === "True" || value === "t";
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
