import http2, {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from "node:http2";
import type { Socket } from "node:net";
import { ConnectionError, connectionFailure } from "./connection-failure.ts";
import type { Controller, RequestHandler, WireRequest } from "./wire.ts";

const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM } = http2.constants;

export interface Http2ConnectionOptions {
  origin: string;
  /** Our own ceiling; the server's SETTINGS_MAX_CONCURRENT_STREAMS (Kubernetes: 100 or 250) may lower it. */
  maxStreams: number;
  /** What the server may send on one stream before we read it; so much memory may a stream hold that nobody reads. */
  streamWindowBytes: number;
  pingIntervalMs: number;
  pingTimeoutMs: number;
  /** Without a stream for so long, the connection is closed. */
  idleTimeoutMs: number;
  /** `available` or `isOpen` has changed. */
  onChange(connection: Http2Connection): void;
}

/** Node gives the connection's window back as bytes arrive, read or not, so this bounds the rate only, never stalls a sibling. */
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const RESET_CHECK_MS = 500;
/** Its type in RFC 9113. */
const HEADERS_FRAME = 1;

/**
 * One HTTP/2 connection: streams up to the server's limit, pings, GOAWAY. After a GOAWAY it takes no new streams, those that the
 * server still serves go on, those that it has not seen fail with `UnseenError`.
 */
export class Http2Connection {
  readonly #options: Http2ConnectionOptions;
  readonly #socket: Socket;
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
    const session = http2.connect(options.origin, {
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

  /** It takes new streams, now or when others end. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** How many streams may be opened now. */
  get available(): number {
    // Node tells of the end of a session a moment after it, when its socket is closed.
    return this.#isOpen && !this.#session.destroyed ? Math.max(0, this.#limit - this.#streams) : 0;
  }

  /** Why it was given up; null where the server said nothing of it. */
  get failure(): Error | null {
    return this.#failure;
  }

  /** The server's stream limit as far as it binds us; 0 = not yet known. */
  get limit(): number {
    return this.#limit;
  }

  send(request: WireRequest, handler: RequestHandler): void {
    const exchange = new StreamExchange(handler, this.#session, () => this.#goawayCode);
    handler.onRequestStart(exchange);
    // Was aborted while it waited for its turn.
    if (exchange.isOver) return;
    const headers: Record<string, string | number> = {
      ":method": request.method,
      ":path": request.path,
      ":scheme": "https",
      ":authority": this.#authority,
      ...request.headers,
    };
    if (request.body !== null) headers["content-length"] = Buffer.byteLength(request.body);
    let stream: ClientHttp2Stream;
    try {
      stream = this.#session.request(headers, { endStream: request.body === null });
    } catch (error) {
      // The session began to close in this very turn, or a header is no header.
      const wasNotSent = isNotSent(error);
      if (wasNotSent) this.#retire();
      exchange.fail(wasNotSent ? new UnseenError(error) : error);
      return;
    }
    if (this.#streams === 0) this.#wake();
    this.#streams += 1;
    stream.once("close", () => {
      this.#streams -= 1;
      if (this.#streams === 0) this.#rest();
      this.#options.onChange(this);
    });
    exchange.attach(stream);
    if (request.body !== null) stream.end(request.body);
  }

  /** No new streams; closes with its last one. */
  close(): void {
    this.#retire();
  }

  /** Fails every stream with `error`; settles when the socket is closed. */
  async destroy(error: Error): Promise<void> {
    this.#failure ??= error;
    this.#retire();
    this.#session.destroy(error);
    if (this.#socket.closed) return;
    await new Promise((resolve) => {
      this.#socket.once("close", resolve).destroy();
    });
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
    this.#idleTimer = setTimeout(() => this.close(), this.#options.idleTimeoutMs);
    this.#idleTimer.unref();
  }

  /** Finds the peer that is gone without a word. */
  #ping(): void {
    if (this.#session.destroyed || this.#ackTimer !== undefined) return;
    const { pingTimeoutMs } = this.#options;
    const bytesRead = this.#socket.bytesRead;
    this.#session.ping(() => {
      clearTimeout(this.#ackTimer);
      this.#ackTimer = undefined;
    });
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

/** The server has certainly not acted on the request: refused the stream, or said GOAWAY before it. */
export class UnseenError extends ConnectionError {
  constructor(cause?: unknown) {
    super("ConnectionReset", "the server is closing this connection and has not seen the request", { cause });
  }
}

/** One stream under its handler. The handler hears of exactly one end. */
class StreamExchange implements Controller {
  readonly #handler: RequestHandler;
  readonly #session: ClientHttp2Session;
  readonly #goawayCode: () => number | null;
  #stream: ClientHttp2Stream | null = null;
  #isOver = false;
  #answered = false;
  #isComplete = false;

  constructor(handler: RequestHandler, session: ClientHttp2Session, goawayCode: () => number | null) {
    this.#handler = handler;
    this.#session = session;
    this.#goawayCode = goawayCode;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  attach(stream: ClientHttp2Stream): void {
    this.#stream = stream;
    // Node ends a stream alike whether the server has ended it (END_STREAM), has reset it with NO_ERROR or CANCEL, or has gone after
    // a GOAWAY. Only in the first case it does so before it calls the stream closed.
    const push = stream.push.bind(stream);
    stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
      if (chunk === null && !stream.closed) this.#isComplete = true;
      return push(chunk, encoding);
    };
    stream.on("response", (headers) => this.#onResponse(stream, headers));
    // Stays to the end: Node may report a session's error to a stream that was closed before.
    stream.on("error", (error) => this.fail(this.#explain(stream, error)));
    stream.once("close", () => this.fail(this.#explain(stream, undefined)));
    // nghttp2 does not send the HEADERS of a stream that was opened just before a GOAWAY came in; nor the body of one that was
    // reset meanwhile, whose HEADERS are with the server.
    stream.once("frameError", (type) =>
      this.fail(
        type === HEADERS_FRAME
          ? new UnseenError()
          : new ConnectionError("ConnectionReset", "the body could not be sent"),
      ),
    );
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  abort(reason: Error): void {
    this.fail(reason);
  }

  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const stream = this.#stream;
    if (stream !== null && !stream.destroyed) {
      if (!stream.closed) stream.close(NGHTTP2_CANCEL);
      // At once, without waiting for data that nobody reads to drain: the RST_STREAM is queued already.
      stream.destroy();
    }
    this.#handler.onResponseError(this, error instanceof Error ? error : new Error(String(error)));
  }

  #onResponse(stream: ClientHttp2Stream, headers: IncomingHttpHeaders & IncomingHttpStatusHeader): void {
    if (this.#isOver) return;
    this.#answered = true;
    const plain: Record<string, string | string[] | undefined> = {};
    for (const name of Object.keys(headers)) if (!name.startsWith(":")) plain[name] = headers[name];
    this.#handler.onResponseStart(this, Number(headers[":status"]), plain);
    stream.on("data", (chunk: Buffer) => {
      if (!this.#isOver) this.#handler.onResponseData(this, chunk);
    });
    stream.once("end", () => {
      if (!this.#isComplete) {
        this.fail(this.#explain(stream, undefined));
        return;
      }
      if (this.#isOver) return;
      this.#isOver = true;
      this.#handler.onResponseEnd();
    });
  }

  #isUnseen(stream: ClientHttp2Stream, error: Error | undefined): boolean {
    if (this.#answered) return false;
    // Node gives the code of a GOAWAY to all streams, those that the server has seen too.
    return (
      isNotSent(error) || (stream.rstCode === NGHTTP2_REFUSED_STREAM && this.#goawayCode() !== NGHTTP2_REFUSED_STREAM)
    );
  }

  #explain(stream: ClientHttp2Stream, error: Error | undefined): Error {
    if (this.#isUnseen(stream, error)) return new UnseenError(error);
    if (error !== undefined && connectionFailure(error).reason !== "Unknown") return error;
    // Node closes the streams of a lost connection with CANCEL, as if the server had reset each.
    const isConnectionLost = this.#session.destroyed;
    const what = isConnectionLost
      ? "the connection was closed"
      : `the server reset the stream (HTTP/2 code ${stream.rstCode})`;
    return new ConnectionError("ConnectionReset", what, { cause: error });
  }
}
