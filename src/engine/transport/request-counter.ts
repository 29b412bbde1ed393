export interface RequestCounts {
  /** HTTP requests sent, retries included. */
  total: number;
  /** By verb and resource, as RBAC names them: `create jobs`, `watch pods`, `get pods/log`, `deletecollection pods`, `get /version`. */
  byVerb: Record<string, number>;
  connectionsOpened: number;
  connectionsOpen: number;
}

/** What one `Cluster` has asked of its server. */
export class RequestCounter {
  readonly #byVerb = new Map<string, number>();
  #total = 0;
  #opened = 0;
  #open = 0;

  /** `target` is a path with its query. */
  count(method: string, target: string): void {
    this.#total += 1;
    const key = describeRequest(method, target);
    this.#byVerb.set(key, (this.#byVerb.get(key) ?? 0) + 1);
  }

  connected(): void {
    this.#opened += 1;
    this.#open += 1;
  }

  disconnected(): void {
    this.#open -= 1;
  }

  snapshot(): RequestCounts {
    return {
      total: this.#total,
      byVerb: Object.fromEntries(this.#byVerb),
      connectionsOpened: this.#opened,
      connectionsOpen: this.#open,
    };
  }
}

const WRITE_VERBS: Record<string, string> = { POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" };

/** Verb and resource by the rules of the API server's own request info (apiserver `pkg/endpoints/request/requestinfo.go`). */
export function describeRequest(method: string, target: string): string {
  const queryAt = target.indexOf("?");
  const path = queryAt === -1 ? target : target.slice(0, queryAt);
  const segments = path.split("/").filter(Boolean);
  const root = segments.findIndex((segment) => segment === "api" || segment === "apis");
  const resourceAt = root === -1 ? -1 : root + (segments[root] === "api" ? 2 : 3);
  const rest = resourceAt === -1 ? [] : segments.slice(resourceAt);
  const [first, ...others] = rest;
  if (first === undefined) return `${WRITE_VERBS[method] ?? "get"} ${path}`;
  // A namespace itself is the resource only when nothing stands below it.
  const parts = first === "namespaces" && others.length > 1 ? others.slice(1) : rest;
  const [resource = "", name, ...sub] = parts;
  const named = name !== undefined;
  const watches = method === "GET" && /[?&]watch=(true|1)(&|$)/.test(queryAt === -1 ? "" : target.slice(queryAt));
  const verb = watches
    ? "watch"
    : method === "DELETE" && !named
      ? "deletecollection"
      : (WRITE_VERBS[method] ?? (named ? "get" : "list"));
  return `${verb} ${[resource, ...sub.slice(0, 1)].join("/")}`;
}
