import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { ConnectionError } from "./connection-failure.ts";
import { KEEP_ALIVE_DELAY_MS } from "./connector.ts";
import { type Connection, Exchange, type Incoming, type Outgoing, UnseenError } from "./exchange.ts";

export interface Http1ConnectionOptions {
  origin: string;
  /** The request line names the whole URL, and these headers go along: a proxy passes the request on. */
  forward?: Record<string, string> | undefined;
  /** `available` or `isOpen` has changed. */
  onChange(connection: Connection): void;
}

/** HTTP/1.1 has no GOAWAY, so a create is lost on a connection that the server is just closing. Servers close after 5 s and more. */
const IDLE_TIMEOUT_MS = 4_000;

/** Loaded with the first connection that speaks HTTP/1.1: most never do. */
const http = () => process.getBuiltinModule("node:http");

/** One HTTP/1.1 connection: one request at a time, kept for the next one for four seconds. */
export class Http1Connection implements Connection {
  readonly limit = 1;
  readonly #options: Http1ConnectionOptions;
  readonly #socket: Socket;
  /** Node sets `socket.closed` some time before its "close". */
  readonly #closed: Promise<void>;
  readonly #agent: Agent;
  readonly #host: string;
  #exchange: Exchange | null = null;
  #isOpen = true;
  #failure: Error | null = null;

  constructor(socket: Socket, options: Http1ConnectionOptions) {
    this.#options = options;
    this.#socket = socket;
    this.#host = new URL(options.origin).host;
    this.#agent = agentOf(socket);
    this.#closed = new Promise((resolve) => void socket.once("close", () => resolve()));
    // Without a request it must not hold the process. The agent does the same between two requests.
    socket.unref();
    socket.setTimeout(IDLE_TIMEOUT_MS, () => {
      if (this.#exchange === null) this.close();
    });
    socket.once("close", () => this.#retire());
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get available(): number {
    return this.#isOpen && this.#exchange === null && this.#socket.writable ? 1 : 0;
  }

  get failure(): Error | null {
    return this.#failure;
  }

  request(outgoing: Outgoing): Promise<Incoming> {
    const { method, target, headers, body } = outgoing;
    const { origin, forward } = this.#options;
    const exchange = new Exchange(outgoing, () => request.destroy());
    let request: ClientRequest;
    try {
      request = http().request({
        agent: this.#agent,
        method,
        path: forward ? origin + target : target,
        // Node itself gives no length to the body of a DELETE.
        headers: {
          host: this.#host,
          ...headers,
          ...forward,
          ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }),
        },
      });
    } catch (error) {
      // A header that is no header.
      exchange.fail(new UnseenError(error));
      return exchange.incoming;
    }
    this.#exchange = exchange;
    this.#socket.ref();
    request.on("response", (response) => this.#answer(exchange, response));
    request.on("error", (error) => exchange.fail(error));
    request.once("close", () => {
      exchange.fail(new ConnectionError("ConnectionReset", "the connection was closed"));
      this.#exchange = null;
      if (!this.#isOpen) this.#socket.destroySoon();
      this.#options.onChange(this);
    });
    request.end(body);
    return exchange.incoming;
  }

  close(): void {
    this.#retire();
    if (this.#exchange === null) this.#socket.destroySoon();
  }

  async destroy(error: Error): Promise<void> {
    this.#failure ??= error;
    this.#retire();
    this.#exchange?.fail(error);
    this.#socket.destroy();
    await this.#closed;
  }

  #answer(exchange: Exchange, response: IncomingMessage): void {
    exchange.answer(response.statusCode ?? 0, response.headers, response);
    response.on("error", (error) => exchange.fail(error));
    // Without this the end of a connection reads as the end of the answer.
    response.once("end", () => {
      if (response.complete) exchange.end();
    });
  }

  #retire(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#options.onChange(this);
  }
}

/** Keeps the one socket between requests, less long where the server's `keep-alive: timeout=` says so. */
function agentOf(socket: Socket): Agent {
  const { Agent: HttpAgent } = http();
  const agent = new HttpAgent({
    keepAlive: true,
    keepAliveMsecs: KEEP_ALIVE_DELAY_MS,
    maxSockets: 1,
    timeout: IDLE_TIMEOUT_MS,
  });
  agent.createConnection = (_, callback) => {
    if (!socket.destroyed) return socket;
    callback?.(new UnseenError(), socket);
    return undefined;
  };
  return agent;
}
