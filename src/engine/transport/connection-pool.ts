import type { Socket } from "node:net";
import { type buildConnector, Pool } from "undici";
import { ConnectionError } from "./connection-failure.ts";
import type { Connector } from "./connector.ts";
import { Http2Connection, type Http2ConnectionOptions } from "./http2-connection.ts";
import type { RequestCounter } from "./request-counter.ts";
import type { RequestHandler, Wire, WireRequest } from "./wire.ts";

export interface ConnectionPoolOptions extends Omit<Http2ConnectionOptions, "onChange"> {
  connect: Connector;
  requests: RequestCounter;
  /** Of HTTP/1.1, where a request has a connection to itself; more requests wait. null = any number. */
  maxHttp1Connections: number | null;
}

interface Queued {
  request: WireRequest;
  handler: RequestHandler;
}

/** Handshakes at a time, when many streams are wanted at once. */
const MAX_CONNECTING = 4;

/**
 * Connections to one origin. Fills one HTTP/2 connection to the server's stream limit before it opens another. Where the
 * server's ALPN chooses HTTP/1.1, requests go to an undici pool, for good.
 *
 * Why HTTP/2 is not undici's (8.12.4, measured on Node 24): its client does not reconnect after a GOAWAY while streams that the
 * server still serves are open, so the next request, and those to be repeated, hang until the last watch or log ends; it
 * takes RST_STREAM(CANCEL) for a complete answer; and it never notices that a ping goes unanswered.
 */
export class ConnectionPool implements Wire {
  readonly #options: ConnectionPoolOptions;
  readonly #connections = new Set<Http2Connection>();
  readonly #queue: Queued[] = [];
  #http1: Pool | null = null;
  #connecting = 0;
  /** The stream limit of the latest connection; 0 = not yet known. */
  #limit = 0;
  #closing = false;
  #destroyed: Error | null = null;

  constructor(options: ConnectionPoolOptions) {
    this.#options = options;
    // Without TLS there is no ALPN.
    if (options.origin.startsWith("http:")) this.#useHttp1(null);
  }

  dispatch(request: WireRequest, handler: RequestHandler): void {
    if (this.#destroyed !== null) {
      handler.onResponseError(null, this.#destroyed);
      return;
    }
    this.#queue.push({ request, handler });
    this.#pump();
  }

  /** Ends as its requests do. */
  close(): void {
    this.#closing = true;
    this.#pump();
  }

  /** Fails every request with `error`. */
  async destroy(error: Error): Promise<void> {
    this.#destroyed ??= error;
    this.#failQueue(error);
    await Promise.all([...this.#connections].map((connection) => connection.destroy(error)));
    await this.#http1?.destroy(error);
  }

  /** Nothing is open or under way. */
  get isEmpty(): boolean {
    return (
      this.#connections.size === 0 &&
      this.#connecting === 0 &&
      this.#queue.length === 0 &&
      (this.#http1?.destroyed ?? true)
    );
  }

  #pump(): void {
    if (this.#http1 !== null) {
      for (const { request, handler } of this.#queue.splice(0))
        this.#http1.dispatch(request as Parameters<Pool["dispatch"]>[0], handler);
      if (this.#closing) this.#http1.close().catch(() => undefined);
      return;
    }
    for (const connection of this.#connections) {
      if (this.#queue.length === 0) break;
      for (const { request, handler } of this.#queue.splice(0, connection.available)) connection.send(request, handler);
    }
    if (this.#queue.length > 0) {
      const wanted = this.#limit === 0 ? 1 : Math.min(MAX_CONNECTING, Math.ceil(this.#queue.length / this.#limit));
      while (this.#connecting < wanted) void this.#connect();
    } else if (this.#closing) {
      for (const connection of this.#connections) if (connection.isOpen) connection.close();
    }
  }

  async #connect(): Promise<void> {
    this.#connecting += 1;
    try {
      const socket = await this.#openSocket();
      if (this.#destroyed === null) {
        this.#connected(socket);
        return;
      }
      socket.destroy();
    } catch (error) {
      this.#failQueue(error instanceof Error ? error : new Error(String(error)));
    }
    this.#connecting -= 1;
  }

  async #openSocket(): Promise<Socket> {
    const { protocol, host, hostname, port } = new URL(this.#options.origin);
    const { connect, requests } = this.#options;
    const socket = await connect({ protocol, host, hostname: hostname.replace(/^\[|\]$/g, ""), port });
    // A peer may leave before anyone listens.
    socket.on("error", () => {});
    requests.connected();
    socket.once("close", () => requests.disconnected());
    return socket;
  }

  #connected(socket: Socket & { alpnProtocol?: unknown }): void {
    if (socket.alpnProtocol !== "h2") {
      this.#connecting -= 1;
      if (this.#http1 === null) this.#useHttp1(socket);
      else socket.destroy();
      this.#pump();
      return;
    }
    let isReady = false;
    const onChange = (connection: Http2Connection) => {
      if (!isReady && (connection.limit > 0 || !connection.isOpen)) {
        isReady = true;
        this.#connecting -= 1;
        if (connection.limit > 0) this.#limit = connection.limit;
        // It went before it could say a word.
        else
          this.#failQueue(
            connection.failure ??
              new ConnectionError("ConnectionReset", "the server closed the connection as soon as it stood"),
          );
      }
      this.#pump();
    };
    const connection = new Http2Connection(socket, { ...this.#options, onChange });
    this.#connections.add(connection);
    socket.once("close", () => this.#connections.delete(connection));
  }

  /** No connection can be had: all who wait for one are told, instead of each waiting for an attempt of its own. */
  #failQueue(error: Error): void {
    for (const { handler } of this.#queue.splice(0)) handler.onResponseError(null, error);
  }

  #useHttp1(first: Socket | null): void {
    const { origin, maxHttp1Connections } = this.#options;
    let spare = first;
    const take = async () => {
      const socket = spare;
      spare = null;
      return socket === null || socket.destroyed ? this.#openSocket() : socket;
    };
    const connect: buildConnector.connector = (_, callback) => {
      take().then(
        (socket) => callback(null, socket),
        (error: Error) => callback(error, null),
      );
    };
    this.#http1 = new Pool(origin, {
      connect,
      connections: maxHttp1Connections,
      allowH2: false,
      // The deadline of each request is its sender's.
      headersTimeout: 0,
      bodyTimeout: 0,
      // Idle connections go after undici's 4 s: HTTP/1.1 has no GOAWAY, so on one that the server is just closing a create is lost.
    });
  }
}
