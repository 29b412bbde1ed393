/** What a path of the Kubernetes API speaks of. */
export interface ResourcePath {
  namespace: string | undefined;
  resource: string;
  /** undefined: the path is of a collection. */
  name: string | undefined;
  subresource: string | undefined;
}

/**
 * By the rules of the API server's own request info (apiserver `pkg/endpoints/request/requestinfo.go`); null for other paths.
 * A path before `/api` or `/apis`, as Rancher has it, is passed over.
 */
export function parseResourcePath(path: string): ResourcePath | null {
  const segments = path.split("/").filter(Boolean);
  const root = segments.findIndex((segment) => segment === "api" || segment === "apis");
  const rest = root === -1 ? [] : segments.slice(root + (segments[root] === "api" ? 2 : 3));
  const [first, namespace, ...below] = rest;
  if (first === undefined) return null;
  // A namespace itself is the resource only when nothing stands below it.
  const isNamespaced = first === "namespaces" && below.length > 0;
  const [resource = "", name, subresource] = isNamespaced ? below : rest;
  return { namespace: isNamespaced ? namespace : undefined, resource, name, subresource };
}
