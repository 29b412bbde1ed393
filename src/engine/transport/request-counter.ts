import { parseResourcePath } from "./resource-path.ts";

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

/** Verb and resource as RBAC names them. */
export function describeRequest(method: string, target: string): string {
  const queryAt = target.indexOf("?");
  const path = queryAt === -1 ? target : target.slice(0, queryAt);
  const parsed = parseResourcePath(path);
  if (parsed === null) return `${WRITE_VERBS[method] ?? "get"} ${path}`;
  const { resource, subresource } = parsed;
  const named = parsed.name !== undefined;
  const watches = method === "GET" && /[?&]watch=(true|1)(&|$)/.test(queryAt === -1 ? "" : target.slice(queryAt));
  const verb = watches
    ? "watch"
    : method === "DELETE" && !named
      ? "deletecollection"
      : (WRITE_VERBS[method] ?? (named ? "get" : "list"));
  return `${verb} ${subresource === undefined ? resource : `${resource}/${subresource}`}`;
}
