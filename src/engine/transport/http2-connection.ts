import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from "node:http2";
import type { Socket } from "node:net";
import { ConnectionError, connectionFailure } from "./connection-failure.ts";
import { type Connection, Exchange, ExchangeError, type Incoming, type Outgoing, UnseenError } from "./exchange.ts";
import { timer } from "./timer.ts";

/** Error codes and the type of a frame, in RFC 9113. */
const REFUSED_STREAM = 7;
const CANCEL = 8;
const HEADERS_FRAME = 1;

export interface Http2ConnectionOptions {
  origin: string;
  /** Our own ceiling; the server's SETTINGS_MAX_CONCURRENT_STREAMS (Kubernetes: 100 or 250) may lower it. */
  maxStreams: number;
  /** What the server may send on one stream before we read it; a stream without a reader may hold so much memory. */
  streamWindowBytes: number;
  pingIntervalMs: number;
  pingTimeoutMs: number;
  /** Without a stream for so long, the connection is closed. */
  idleTimeoutMs: number;
  /** `available` or `isOpen` has changed. */
  onChange(connection: Connection): void;
}

/** Node gives the connection's window back as bytes arrive, read or not, so this bounds the rate only, never stalls a sibling. */
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const RESET_CHECK_MS = 500;

/**
 * One HTTP/2 connection: streams up to the server's limit, pings, GOAWAY. After a GOAWAY it takes no new streams, those that the
 * server still serves go on, those that it has not seen fail with `UnseenError`.
 */
export class Http2Connection implements Connection {
  readonly #options: Http2ConnectionOptions;
  readonly #socket: Socket;
  /** Node sets `socket.closed` some time before its "close". */
  readonly #closed: Promise<void>;
  readonly #session: ClientHttp2Session;
  readonly #pingTimer: NodeJS.Timeout;
  readonly #resetTimer: NodeJS.Timeout;
  readonly #authority: string;
  #ackTimer: NodeJS.Timeout | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  /** 0 until the server's settings have come. */
  #limit = 0;
  #streams = 0;
  #isOpen = true;
  #goawayCode: number | null = null;
  #failure: Error | null = null;

  constructor(socket: Socket, options: Http2ConnectionOptions) {
    this.#options = options;
    this.#socket = socket;
    this.#authority = new URL(options.origin).host;
    this.#closed = new Promise((resolve) => void socket.once("close", () => resolve()));
    // Loaded with the first connection: it is a fifth of what the engine takes to import.
    const session = process.getBuiltinModule("node:http2").connect(options.origin, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: options.streamWindowBytes },
      peerMaxConcurrentStreams: options.maxStreams,
    });
    this.#session = session;
    // A TLS error (an alert, a broken record) Node tells of here only: it ends neither socket nor session.
    socket.on("error", (error) => void this.destroy(error));
    // Reaches the streams; here it must only not be uncaught.
    session.on("error", () => {});
    session.once("connect", () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
    session.on("remoteSettings", ({ maxConcurrentStreams }) => {
      this.#limit = Math.min(options.maxStreams, maxConcurrentStreams ?? options.maxStreams);
      options.onChange(this);
      // Until here it holds the process: someone waits for it.
      if (this.#streams === 0) this.#rest();
    });
    // Node itself closes the session now, gracefully after NO_ERROR.
    session.on("goaway", (code) => {
      this.#goawayCode = code;
      this.#retire();
    });
    session.once("close", () => {
      clearInterval(this.#pingTimer);
      clearInterval(this.#resetTimer);
      clearTimeout(this.#ackTimer);
      this.#retire();
    });
    this.#pingTimer = setInterval(() => this.#ping(), options.pingIntervalMs);
    this.#pingTimer.unref();
    this.#resetTimer = setInterval(() => this.#checkReset(), RESET_CHECK_MS);
    this.#resetTimer.unref();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get available(): number {
    // Node tells of the end of a session a moment after it, when its socket is closed.
    return this.#isOpen && !this.#session.destroyed ? Math.max(0, this.#limit - this.#streams) : 0;
  }

  get failure(): Error | null {
    return this.#failure;
  }

  get limit(): number {
    return this.#limit;
  }

  request(outgoing: Outgoing): Promise<Incoming> {
    const { method, target, body } = outgoing;
    const headers: OutgoingHttpHeaders = {
      ":method": method,
      ":path": target,
      ":scheme": "https",
      ":authority": this.#authority,
      ...outgoing.headers,
    };
    if (body !== undefined) headers["content-length"] = Buffer.byteLength(body);
    let stream: ClientHttp2Stream;
    try {
      stream = this.#session.request(headers, { endStream: body === undefined });
    } catch (error) {
      if (!isNotSent(error)) return Promise.reject(new ExchangeError(error, false)); // A header is no header.
      // The session began to close in this very turn.
      this.#retire();
      return Promise.reject(new ExchangeError(new UnseenError(error), false));
    }
    if (this.#streams === 0) this.#wake();
    this.#streams += 1;
    const { incoming } = exchangeOn(stream, outgoing, this.#session, () => this.#goawayCode);
    stream.once("close", () => {
      this.#streams -= 1;
      if (this.#streams === 0) this.#rest();
      this.#options.onChange(this);
    });
    if (body !== undefined) stream.end(body);
    return incoming;
  }

  close(): void {
    this.#retire();
  }

  async destroy(error: Error): Promise<void> {
    this.#failure ??= error;
    this.#retire();
    this.#session.destroy(error);
    this.#socket.destroy();
    await this.#closed;
  }

  #retire(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearTimeout(this.#idleTimer);
    if (this.#streams === 0) this.#finish();
    this.#options.onChange(this);
  }

  /** Node's graceful close leaves the socket half-open until the server closes its side, which some never do. */
  #finish(): void {
    this.#session.close();
    this.#socket.destroySoon();
  }

  #wake(): void {
    clearTimeout(this.#idleTimer);
    this.#session.ref();
  }

  /** Without a stream it must not hold the process. */
  #rest(): void {
    if (!this.#isOpen) {
      this.#finish();
      return;
    }
    this.#session.unref();
    clearTimeout(this.#idleTimer);
    this.#idleTimer = timer(this.#options.idleTimeoutMs, () => this.close());
  }

  /** Finds the peer that is gone without a word. */
  #ping(): void {
    if (this.#session.destroyed || this.#ackTimer !== undefined) return;
    const { pingTimeoutMs } = this.#options;
    const bytesRead = this.#socket.bytesRead;
    const answered = () => {
      clearTimeout(this.#ackTimer);
      this.#ackTimer = undefined;
    };
    // After a GOAWAY Node sends no ping, and says that it was answered. SETTINGS without a change are acknowledged as well.
    if (this.#session.closed) this.#session.settings({}, answered);
    else this.#session.ping(answered);
    this.#ackTimer = setTimeout(() => {
      // After a blocked event loop or a stopped process the timer comes before what the socket has to say: let it speak first.
      setImmediate(() => {
        if (this.#ackTimer === undefined) return;
        this.#ackTimer = undefined;
        // Bytes without the answer: it stands behind other data on a slow line.
        if (this.#socket.bytesRead !== bytesRead) return;
        void this.destroy(
          new ConnectionError(
            "ConnectionLost",
            `the server did not answer a ping within ${pingTimeoutMs} ms; the connection was given up`,
          ),
        );
      });
    }, pingTimeoutMs);
    this.#ackTimer.unref();
  }

  /**
   * Finds the peer whose TCP reset Node did not pass on (nodejs/node#61304; up to one in ten on Node 24.21): a TLS write that
   * was under way never completes, a session does not read while it writes, and so never hears of the end. The kernel knows.
   */
  #checkReset(): void {
    if (this.#session.destroyed || !isPeerGone(this.#socket)) return;
    void this.destroy(new ConnectionError("ConnectionReset", "the connection was reset"));
  }
}

/** `remotePort` is remembered from when the peer was there, so this asks the handle. Where that cannot be asked, pings have to do. */
function isPeerGone(socket: Socket): boolean {
  const { _handle: handle } = socket as { _handle?: { getpeername?: (out: object) => number } };
  return handle?.getpeername !== undefined && handle.getpeername({}) !== 0;
}

/** The session was over, or begins to close in this very turn: Node says so at once or by the stream, as its version pleases. */
function isNotSent(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return /^ERR_HTTP2_(INVALID_SESSION|GOAWAY_SESSION|OUT_OF_STREAMS)$/.test(String(code));
}

/** One request on one stream. */
function exchangeOn(
  stream: ClientHttp2Stream,
  outgoing: Outgoing,
  session: ClientHttp2Session,
  goawayCode: () => number | null,
): Exchange {
  const exchange = new Exchange(outgoing, () => {
    if (!stream.closed) stream.close(CANCEL);
    // At once, without waiting for unread data to drain: the RST_STREAM is queued already.
    stream.destroy();
  });
  // Node ends a stream alike whether the server has ended it (END_STREAM), has reset it with NO_ERROR or CANCEL, or has gone after
  // a GOAWAY. Only in the first case it does so before it calls the stream closed.
  let isWhole = false;
  const { push } = stream;
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk === null && !stream.closed) isWhole = true;
    return push.call(stream, chunk, encoding);
  };
  const explain = (error?: Error): Error => {
    // Node gives the code of a GOAWAY to all streams, also to those that the server has seen.
    const isRefused = stream.rstCode === REFUSED_STREAM && goawayCode() !== REFUSED_STREAM;
    if (!exchange.isAnswered && (isRefused || isNotSent(error))) return new UnseenError(error);
    if (error !== undefined && connectionFailure(error).reason !== "Unknown") return error;
    // Node closes the streams of a lost connection with CANCEL, as if the server had reset each.
    const what = session.destroyed
      ? "the connection was closed"
      : `the server reset the stream (HTTP/2 code ${stream.rstCode})`;
    return new ConnectionError("ConnectionReset", what, { cause: error });
  };
  stream.on("response", (headers) => {
    const plain: Incoming["headers"] = {};
    for (const name of Object.keys(headers)) if (!name.startsWith(":")) plain[name] = headers[name];
    exchange.answer(Number(headers[":status"]), plain, stream);
    stream.once("end", () => (isWhole ? exchange.end() : exchange.fail(explain())));
  });
  // Stays to the end: Node may report a session's error to a stream that was closed before.
  stream.on("error", (error) => exchange.fail(explain(error)));
  // Each whole answer ends so, too: the stack trace of an error would be made for nothing.
  stream.once("close", () => {
    if (!exchange.hasEnded) exchange.fail(explain());
  });
  // nghttp2 does not send the HEADERS of a stream that was opened just before a GOAWAY came in; nor the body of one that was
  // reset meanwhile, whose HEADERS are with the server.
  stream.once("frameError", (type) =>
    exchange.fail(
      type === HEADERS_FRAME ? new UnseenError() : new ConnectionError("ConnectionReset", "the body could not be sent"),
    ),
  );
  return exchange;
}
