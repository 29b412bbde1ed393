import type { Socket } from "node:net";
import { asError } from "./as-error.ts";
import { ConnectionError } from "./connection-failure.ts";
import { bareHost, type Connector } from "./connector.ts";
import { type Connection, ExchangeError, type Incoming, type Outgoing } from "./exchange.ts";
import { Http1Connection, type Http1ConnectionOptions } from "./http1-connection.ts";
import { Http2Connection, type Http2ConnectionOptions } from "./http2-connection.ts";
import { abortable, LinkedAbort } from "./linked-abort.ts";
import type { RequestCounter } from "./request-counter.ts";

export interface ConnectionPoolOptions extends Omit<Http1ConnectionOptions & Http2ConnectionOptions, "onChange"> {
  /** Of an IPv6 address: `%eth0`. */
  zone?: string;
  connect: Connector;
  requests: RequestCounter;
  /** HTTP/1.1 connections at a time; more requests wait. */
  maxHttp1Connections: number;
}

/** A request that waits for a connection. */
interface Waiting {
  take(connection: Connection): void;
  fail(error: Error): void;
}

/** Handshakes at a time, when many streams are wanted at once. */
const MAX_CONNECTING = 4;

/**
 * Connections to one origin. Fills one HTTP/2 connection to the server's stream limit before it opens another. Each connection
 * speaks what its own handshake (ALPN) chose: behind a load balancer members differ.
 *
 * Why not undici (8.12.4, measured on Node 24): its HTTP/2 client does not reconnect after a GOAWAY while streams that the server
 * still serves are open, so new requests hang until the last watch or log ends; it takes RST_STREAM(CANCEL) for a complete
 * answer; and it never notices that a ping is not answered.
 */
export class ConnectionPool {
  readonly #options: ConnectionPoolOptions;
  readonly #connections = new Set<Connection>();
  readonly #queue = new Set<Waiting>();
  /** Ends handshakes that are under way. */
  readonly #ending = new AbortController();
  #connecting = 0;
  #http1Connections = 0;
  /** Of the latest connection; 0 = none yet. */
  #limit = 0;
  #isClosing = false;

  constructor(options: ConnectionPoolOptions) {
    this.#options = options;
  }

  /** Resolves with the headers of the answer, whatever its status. Rejects with the signal's reason or an `ExchangeError`. */
  async request(outgoing: Outgoing): Promise<Incoming> {
    const { signal, sendTimeoutMs } = outgoing;
    signal.throwIfAborted();
    if (this.#ending.signal.aborted) throw new ExchangeError(this.#ending.signal.reason, false);
    if (this.#queue.size === 0) {
      for (const connection of this.#connections) if (connection.available > 0) return connection.request(outgoing);
    }
    const message = `the request could not be sent within ${sendTimeoutMs} ms`;
    const reason = () => new ExchangeError(new ConnectionError("ConnectTimeout", message), false);
    const wait = new LinkedAbort([signal], { ms: sendTimeoutMs, reason });
    const { promise, resolve, reject } = Promise.withResolvers<Incoming>();
    const waiting: Waiting = {
      take: (connection) => {
        wait.release();
        resolve(connection.request(outgoing));
      },
      fail: (error) => reject(new ExchangeError(error, false)),
    };
    this.#queue.add(waiting);
    this.#pump();
    try {
      return await abortable(promise, wait.signal);
    } finally {
      wait.release();
      this.#queue.delete(waiting);
    }
  }

  /** Ends as its requests do. */
  close(): void {
    this.#isClosing = true;
    this.#pump();
  }

  /** Fails every request with `error`. */
  async destroy(error: Error): Promise<void> {
    this.#ending.abort(error);
    this.#failQueue(error);
    await Promise.all([...this.#connections].map((connection) => connection.destroy(error)));
  }

  /** Nothing is open or under way. */
  get isEmpty(): boolean {
    return this.#connections.size === 0 && this.#connecting === 0 && this.#queue.size === 0;
  }

  #pump(): void {
    for (const connection of this.#connections) {
      if (this.#queue.size === 0) break;
      while (connection.available > 0) {
        const [next] = this.#queue;
        if (next === undefined) break;
        this.#queue.delete(next);
        next.take(connection);
      }
    }
    if (this.#queue.size > 0) {
      const wanted = this.#limit === 0 ? 1 : Math.min(MAX_CONNECTING, Math.ceil(this.#queue.size / this.#limit));
      const mayOpen = this.#options.maxHttp1Connections - this.#http1Connections;
      while (this.#connecting < Math.min(wanted, mayOpen)) void this.#connect();
    } else if (this.#isClosing) {
      for (const connection of this.#connections) if (connection.isOpen) connection.close();
    }
  }

  async #connect(): Promise<void> {
    this.#connecting += 1;
    try {
      this.#connected(await this.#openSocket());
    } catch (error) {
      this.#connecting -= 1;
      this.#failQueue(asError(error));
    }
  }

  async #openSocket(): Promise<Socket> {
    const { protocol, hostname, port } = new URL(this.#options.origin);
    const { zone = "", connect, requests } = this.#options;
    const isTls = protocol === "https:";
    const host = zone === "" ? bareHost(hostname) : hostname.slice(1, -1) + zone;
    const target = { isTls, host, port: Number(port) || (isTls ? 443 : 80) };
    const { signal } = this.#ending;
    const socket = await connect(target, signal);
    // The pool may have ended in the moment in which the socket was connected.
    if (signal.aborted) socket.destroy();
    signal.throwIfAborted();
    requests.connected();
    socket.once("close", () => requests.disconnected());
    return socket;
  }

  #connected(socket: Socket & { alpnProtocol?: unknown }): void {
    let isReady = false;
    const onChange = (connection: Connection) => {
      if (!isReady && (connection.limit > 0 || !connection.isOpen)) {
        isReady = true;
        this.#connecting -= 1;
        if (connection.limit > 0) this.#limit = connection.limit;
        // The server closed it before its settings came.
        else
          this.#failQueue(
            connection.failure ??
              new ConnectionError("ConnectionReset", "the server closed the connection as soon as it stood"),
          );
      }
      this.#pump();
    };
    const isHttp2 = socket.alpnProtocol === "h2";
    const options = { ...this.#options, onChange };
    const connection = isHttp2 ? new Http2Connection(socket, options) : new Http1Connection(socket, options);
    this.#connections.add(connection);
    if (!isHttp2) this.#http1Connections += 1;
    socket.once("close", () => {
      this.#connections.delete(connection);
      if (!isHttp2) this.#http1Connections -= 1;
      this.#pump();
    });
    if (connection.limit > 0) onChange(connection);
  }

  /** No connection can be had: all requests that wait for one fail, instead of each waiting for an attempt of its own. */
  #failQueue(error: Error): void {
    for (const waiting of this.#queue) waiting.fail(error);
    this.#queue.clear();
  }
}
