import { ConnectionError } from "./connection-failure.ts";
import { ConnectionPool } from "./connection-pool.ts";
import { createConnector, forwardHeaders } from "./connector.ts";
import type { Credential } from "./credential.ts";
import type { RequestCounter } from "./request-counter.ts";

export interface DispatcherOptions {
  /** `https://host:6443` */
  origin: string;
  /** Of an IPv6 address: `%eth0`; mostly empty. */
  zone: string;
  proxyUrl: string | undefined;
  requests: RequestCounter;
  connectTimeoutMs: number;
  pingIntervalMs: number;
  pingTimeoutMs: number;
}

/** One-shot requests and long ones do not share connections, so that a create never waits behind a thousand log streams. */
export type Lane = "short" | "long";

const LANES = {
  // A list should come at the line's speed; 16 connections are enough for one-shots where HTTP/2 is not spoken.
  short: { streamWindowBytes: 1024 * 1024, maxHttp1Connections: 16 },
  // 1 000 logs without a reader hold 250 MB at the most.
  long: { streamWindowBytes: 256 * 1024, maxHttp1Connections: Number.POSITIVE_INFINITY },
} as const;

const MAX_STREAMS_PER_CONNECTION = 250;
const IDLE_TIMEOUT_MS = 60_000;

/** All connections to one API server: a pool a lane, and new pools when the client certificate changes. */
export class ClusterDispatcher {
  readonly #options: DispatcherOptions;
  #pools: { fingerprint: string; short: ConnectionPool; long: ConnectionPool } | null = null;
  /** Of an earlier client certificate: each goes when its last request ends. */
  readonly #retired = new Set<ConnectionPool>();
  #closed: ConnectionError | null = null;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** @throws ConnectionError after `close` */
  for(credential: Credential, lane: Lane): ConnectionPool {
    if (this.#closed !== null) throw this.#closed;
    if (this.#pools?.fingerprint !== credential.tlsFingerprint) {
      this.#retire();
      this.#pools = {
        fingerprint: credential.tlsFingerprint,
        short: this.#createPool(credential, "short"),
        long: this.#createPool(credential, "long"),
      };
    }
    return this.#pools[lane];
  }

  async close(): Promise<void> {
    const error = new ConnectionError("ClusterClosed", "this cluster was closed");
    this.#closed ??= error;
    this.#retire();
    await Promise.all([...this.#retired].map((pool) => pool.destroy(error)));
    this.#retired.clear();
  }

  #retire(): void {
    for (const pool of this.#retired) if (pool.isEmpty) this.#retired.delete(pool);
    if (this.#pools === null) return;
    for (const pool of [this.#pools.short, this.#pools.long]) {
      pool.close();
      this.#retired.add(pool);
    }
    this.#pools = null;
  }

  #createPool({ tls }: Credential, lane: Lane): ConnectionPool {
    const { origin, zone, proxyUrl, requests, connectTimeoutMs, pingIntervalMs, pingTimeoutMs } = this.#options;
    return new ConnectionPool({
      origin,
      zone,
      forward: forwardHeaders(origin, proxyUrl),
      connect: createConnector({ tls, proxyUrl, connectTimeoutMs }),
      requests,
      maxStreams: MAX_STREAMS_PER_CONNECTION,
      pingIntervalMs,
      pingTimeoutMs,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
      ...LANES[lane],
    });
  }
}
