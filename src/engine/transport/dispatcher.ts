import type { Socket } from "node:net";
import { type buildConnector, Client, type Dispatcher, Pool } from "undici";
import { ConnectionError } from "./connection-failure.ts";
import { type Connector, createConnector } from "./connector.ts";
import type { Credential } from "./credentials.ts";
import type { RequestCounter } from "./request-counter.ts";

export interface DispatcherOptions {
  /** `https://host:6443` */
  origin: string;
  proxyUrl: string | undefined;
  requests: RequestCounter;
  connectTimeoutMs: number;
  pingIntervalMs: number;
  pingTimeoutMs: number;
}

/** One-shot requests and long ones do not share connections. */
export type Lane = "short" | "long";

/** Our own ceiling; the server's SETTINGS_MAX_CONCURRENT_STREAMS (Kubernetes: 100 or 250) may lower it. */
const MAX_STREAMS_PER_CONNECTION = 250;
/** HTTP/1.1 takes a connection a request; one-shots wait for one of these then. */
const MAX_SHORT_CONNECTIONS = 16;
const IDLE_MS = 60_000;

/**
 * The connections to one API server: two undici pools (`short`, `long`) over one connector. HTTP/2 where ALPN agrees to it,
 * with as few sessions as the server's stream limit allows; otherwise HTTP/1.1 with a connection a request.
 *
 * What undici 8.12 does not do is done here:
 * - It sends pings but never misses an answer: `SilenceGuard`.
 * - Its pool would put one-shots behind streams at the limit: two lanes.
 */
export class ClusterDispatcher {
  readonly #options: DispatcherOptions;
  #pools: { fingerprint: string; short: Pool; long: Pool } | null = null;
  /** Of an earlier client certificate; each goes when its last request ends. */
  readonly #retired = new Set<Pool>();
  #closed = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** The dispatcher for a request with this credential. New TLS material means new connections; the old ones finish what they carry. */
  for(credential: Credential, lane: Lane): Dispatcher {
    if (this.#closed) throw new ConnectionError("ClusterClosed", "this cluster was closed");
    if (this.#pools?.fingerprint !== credential.tlsFingerprint) {
      this.#retire();
      this.#pools = {
        fingerprint: credential.tlsFingerprint,
        short: this.#createPool(credential, MAX_SHORT_CONNECTIONS),
        long: this.#createPool(credential, null),
      };
    }
    return this.#pools[lane];
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#retire();
    const error = new ConnectionError("ClusterClosed", "this cluster was closed");
    await Promise.all([...this.#retired].map((pool) => pool.destroy(error)));
  }

  #retire(): void {
    if (this.#pools === null) return;
    for (const pool of [this.#pools.short, this.#pools.long]) {
      this.#retired.add(pool);
      // Rejects when destroyed meanwhile.
      pool.close().then(
        () => this.#retired.delete(pool),
        () => this.#retired.delete(pool),
      );
    }
    this.#pools = null;
  }

  #createPool({ tls }: Credential, connections: number | null): Pool {
    const { origin, proxyUrl, connectTimeoutMs, pingIntervalMs } = this.#options;
    const connector = createConnector({ tls, proxyUrl, connectTimeoutMs });
    return new Pool(origin, {
      connections,
      allowH2: true,
      // The deadline of each request is the caller's.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: IDLE_MS,
      h2Options: { maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION, pingInterval: pingIntervalMs },
      factory: (url: URL, options: object) => this.#createClient(url, options, connector),
    });
  }

  /** A client of its own connector, so that a GOAWAY can be told to the guard of the socket that it came over. */
  #createClient(url: URL, options: object, connector: Connector): Client {
    const { requests, pingIntervalMs, pingTimeoutMs } = this.#options;
    let guard: SilenceGuard | null = null;
    const connect: Connector = (target, callback) => {
      connector(target, ((error: Error | null, socket: Socket | null) => {
        if (error !== null || socket === null) {
          callback(error ?? new ConnectionError("Unknown", "no socket"), null);
          return;
        }
        requests.connected();
        socket.once("close", () => requests.disconnected());
        if (isHttp2(socket)) guard = new SilenceGuard(socket, pingIntervalMs, pingTimeoutMs);
        callback(null, socket);
      }) as buildConnector.Callback);
    };
    const client = new Client(url, { ...options, connect });
    client.on("disconnect", () => guard?.drain());
    return client;
  }
}

function isHttp2(socket: Socket & { alpnProtocol?: unknown }): boolean {
  return socket.alpnProtocol === "h2";
}

/**
 * Ends a connection on which nothing arrives. undici pings every `intervalMs`, so on a live connection at least the answer
 * does; undici itself notices a missing answer never (it only resets requests that have a timeout). Ticks are counted, not
 * time, so that a process that was stopped or blocked does not take its own absence for the server's.
 *
 * After a GOAWAY undici stops pinging while the streams that the server still serves go on: then silence is allowed for five
 * minutes.
 */
class SilenceGuard {
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;
  readonly #intervalMs: number;
  #allowedTicks: number;
  #silentTicks = 0;
  #bytesRead: number;

  constructor(socket: Socket, intervalMs: number, timeoutMs: number) {
    this.#socket = socket;
    this.#intervalMs = intervalMs;
    this.#bytesRead = socket.bytesRead;
    // A ping may have left just before a tick, so the answer has a whole interval before silence counts.
    this.#allowedTicks = Math.max(1, Math.ceil(timeoutMs / intervalMs));
    this.#timer = setInterval(() => this.#tick(), intervalMs);
    this.#timer.unref();
    socket.once("close", () => clearInterval(this.#timer));
  }

  drain(): void {
    this.#allowedTicks = Math.max(this.#allowedTicks, Math.ceil(300_000 / this.#intervalMs));
  }

  #tick(): void {
    const { bytesRead } = this.#socket;
    if (bytesRead !== this.#bytesRead) {
      this.#bytesRead = bytesRead;
      this.#silentTicks = 0;
      return;
    }
    this.#silentTicks += 1;
    if (this.#silentTicks <= this.#allowedTicks) return;
    const ms = this.#silentTicks * this.#intervalMs;
    this.#socket.destroy(
      new ConnectionError("ConnectionLost", `the connection was silent for ${ms} ms, not even answering pings`),
    );
  }
}
