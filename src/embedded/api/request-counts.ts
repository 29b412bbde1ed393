import type { RequestInfo } from "../objects/request-info.ts";

/** What the server has seen: requests by verb and resource, connections, bytes. */
export class RequestCounts {
  readonly #byVerb = new Map<string, number>();
  #total = 0;
  /** TCP connections accepted since the start (or `reset`). */
  connectionsOpened = 0;
  /** TCP connections that are open now. */
  connectionsOpen = 0;
  #bytesOfClosed = 0;
  readonly #openBytes: () => number;

  /** `openBytes`: bytes written so far to connections that are open. */
  constructor(openBytes: () => number) {
    this.#openBytes = openBytes;
  }

  get total(): number {
    return this.#total;
  }

  /** Bytes sent, TLS included. */
  get bytesSent(): number {
    return this.#bytesOfClosed + this.#openBytes();
  }

  /** `create jobs`, `list pods`, `watch pods`, `get pods/log`, `get /version`, … */
  get byVerb(): Record<string, number> {
    return Object.fromEntries([...this.#byVerb].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** How often such a request came, e.g. `count("create jobs")`. */
  count(verbAndResource: string): number {
    return this.#byVerb.get(verbAndResource) ?? 0;
  }

  snapshot() {
    const { total, byVerb, connectionsOpened, connectionsOpen, bytesSent } = this;
    return { total, byVerb, connectionsOpened, connectionsOpen, bytesSent };
  }

  /** Sets the counts to 0. Connections that are open stay counted as open. */
  reset(): void {
    this.#byVerb.clear();
    this.#total = 0;
    this.connectionsOpened = 0;
    this.#bytesOfClosed = -this.#openBytes();
  }

  /** @internal */
  add(request: RequestInfo): void {
    const key = requestKey(request);
    this.#byVerb.set(key, (this.#byVerb.get(key) ?? 0) + 1);
    this.#total++;
  }

  /** @internal */
  connectionClosed(bytesWritten: number): void {
    this.connectionsOpen--;
    this.#bytesOfClosed += bytesWritten;
  }
}

function requestKey({ verb, resource, subresource, path }: RequestInfo): string {
  if (resource === undefined) return `${verb} ${path}`;
  return `${verb} ${subresource === undefined ? resource : `${resource}/${subresource}`}`;
}
