import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { constants, type Http2ServerRequest, type Http2ServerResponse, type ServerHttp2Stream } from "node:http2";
import type { Clock } from "../clock.ts";
import type { OpenAnswer, Pace } from "../faults/targets.ts";
import { badRequest, StatusError } from "../objects/status-error.ts";

export type AnyRequest = IncomingMessage | Http2ServerRequest;
export type AnyResponse = ServerResponse | Http2ServerResponse;
export type ResponseHeaders = Record<string, string | number>;

const MAX_BODY_BYTES = 3 * 1024 * 1024;

/**
 * One request and its answer, over HTTP/2 or HTTP/1.1. What is written passes a gate, where faults hold it back: stalled
 * (nothing leaves until it is released) or paced (a few bytes at a time). Never throws when the peer is gone.
 */
export class Exchange implements OpenAnswer {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly #request: AnyRequest;
  /** On HTTP/2 the stream itself: its compatibility layer costs more and tells less. */
  readonly #stream: ServerHttp2Stream | undefined;
  readonly #response: ServerResponse | undefined;
  readonly #clock: Clock;
  readonly #closeListeners: (() => void)[] = [];
  readonly #readyListeners: (() => void)[] = [];
  readonly #extraHeaders: ResponseHeaders = {};
  #queue: Buffer[] = [];
  #body: Promise<Buffer> | undefined;
  #ending = false;
  #opened = false;
  #closed = false;
  #stalled = false;
  #pace: Pace | undefined;
  #pausing = false;
  #isAnswerLost = false;
  #corked: { status: number; headers: ResponseHeaders } | undefined;

  constructor(request: AnyRequest, response: AnyResponse, clock: Clock) {
    this.#request = request;
    this.#clock = clock;
    this.method = request.method ?? "GET";
    this.url = request.url ?? "/";
    this.headers = request.headers;
    if (request.httpVersionMajor >= 2) {
      const { stream } = request as Http2ServerRequest;
      this.#stream = stream;
      stream.on("error", ignore);
      stream.on("close", () => this.#onClose());
      stream.on("drain", () => this.#pump());
    } else {
      const http1 = response as ServerResponse;
      this.#response = http1;
      http1.on("error", ignore);
      http1.on("close", () => this.#onClose());
      http1.on("drain", () => this.#pump());
    }
    request.on("error", ignore);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether headers have been written (or are held back by a stall). */
  get opened(): boolean {
    return this.#opened;
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  /** Whether what is written now leaves at once. When not, `onReady` tells. */
  get ready(): boolean {
    return !this.#stalled && !this.#pausing && this.#queue.length === 0 && !this.#needDrain;
  }

  /** Called once, when the exchange has ended: answered, reset or broken. */
  onClose(listener: () => void): void {
    if (this.#closed) listener();
    else this.#closeListeners.push(listener);
  }

  /** Called each time that the way becomes free. */
  onReady(listener: () => void): void {
    this.#readyListeners.push(listener);
  }

  /** Throws `StatusError` 413 for bodies over 3 MiB, 400 when the peer breaks off. */
  readBody(): Promise<Buffer> {
    this.#body ??= this.#readBody();
    return this.#body;
  }

  async #readBody(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of this.#request) {
        bytes += (chunk as Buffer).length;
        if (bytes <= MAX_BODY_BYTES) chunks.push(chunk as Buffer);
      }
    } catch {
      throw badRequest("unexpected EOF");
    }
    if (bytes > MAX_BODY_BYTES) {
      throw new StatusError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${MAX_BODY_BYTES}`);
    }
    return Buffer.concat(chunks);
  }

  /** The peer sees a reset in place of the answer. */
  loseAnswer(): void {
    this.#isAnswerLost = true;
  }

  /** A header of the answer, also of an error. */
  setHeader(name: string, value: string): void {
    this.#extraHeaders[name] = value;
  }

  /** A whole answer. */
  respond(status: number, headers: ResponseHeaders, body: readonly Buffer[]): void {
    let length = 0;
    for (const piece of body) length += piece.length;
    this.open(status, { ...headers, "content-length": length });
    this.write(body.length === 1 ? (body[0] as Buffer) : Buffer.concat(body));
    this.end();
  }

  /** The head of an answer whose body follows. */
  open(status: number, headers: ResponseHeaders): void {
    if (this.#opened || this.#closed) return;
    this.#opened = true;
    if (this.#isAnswerLost) {
      this.reset();
      return;
    }
    const all = { date: httpDate(this.#clock), ...headers, ...this.#extraHeaders };
    if (this.#stalled) this.#corked = { status, headers: all };
    else this.#writeHead(status, all);
  }

  write(chunk: Buffer): void {
    if (this.#closed || this.#ending || chunk.length === 0) return;
    if (this.ready && this.#pace === undefined) this.#writeNow(chunk);
    else {
      this.#queue.push(chunk);
      this.#pump();
    }
  }

  /** As `write`, and waits until more may be written. */
  async send(chunk: Buffer): Promise<void> {
    this.write(chunk);
    if (this.ready || this.#closed) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#readyListeners.splice(this.#readyListeners.indexOf(done), 1);
        resolve();
      };
      this.#readyListeners.push(done);
      this.#closeListeners.push(resolve);
    });
  }

  /** A clean end, after all that was written. */
  end(): void {
    if (this.#ending || this.#closed) return;
    this.#ending = true;
    this.#pump();
  }

  /** Ends the exchange as a failure that the peer sees: RST_STREAM, or a closed connection on HTTP/1.1. */
  reset(): void {
    if (this.#closed) return;
    const stream = this.#stream;
    if (stream !== undefined) {
      // Node's `close` first ends an open stream, which the peer reads as a clean end; RST_STREAM would come too late.
      stream.end = () => stream;
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    } else this.#response?.destroy();
    this.#onClose();
  }

  /** Nothing leaves until `release`. */
  stall(): void {
    this.#stalled = true;
  }

  release(): void {
    if (!this.#stalled) return;
    this.#stalled = false;
    if (this.#corked !== undefined && !this.#closed) this.#writeHead(this.#corked.status, this.#corked.headers);
    this.#corked = undefined;
    this.#pump();
  }

  pace(pace: Pace | undefined): void {
    this.#pace = pace;
    this.#pump();
  }

  get #needDrain(): boolean {
    return this.#stream?.writableNeedDrain ?? this.#response?.writableNeedDrain ?? false;
  }

  #pump(): void {
    if (this.#closed || this.#stalled || this.#pausing) return;
    while (this.#queue.length > 0 && !this.#needDrain) {
      if (this.#pace !== undefined) {
        this.#drip(this.#pace);
        return;
      }
      this.#writeNow(this.#queue.shift() as Buffer);
    }
    if (this.#queue.length > 0) return;
    if (this.#ending) {
      if (this.#stream !== undefined) this.#stream.end();
      else this.#response?.end();
      return;
    }
    if (this.ready) for (const listener of [...this.#readyListeners]) listener();
  }

  #drip({ bytes, everyMs }: Pace): void {
    const chunk = this.#queue[0] as Buffer;
    this.#writeNow(chunk.subarray(0, bytes));
    if (chunk.length > bytes) this.#queue[0] = chunk.subarray(bytes);
    else this.#queue.shift();
    this.#pausing = true;
    this.#clock.setTimeout(() => {
      this.#pausing = false;
      this.#pump();
    }, everyMs);
  }

  #writeHead(status: number, headers: ResponseHeaders): void {
    if (this.#stream !== undefined) {
      if (!this.#stream.destroyed && !this.#stream.closed) this.#stream.respond({ ":status": status, ...headers });
    } else if (this.#response !== undefined && !this.#response.destroyed) {
      this.#response.writeHead(status, headers);
      // A follow or watch may have nothing to say for hours: the client still wants the head.
      if (headers["content-length"] === undefined) this.#response.flushHeaders();
    }
  }

  #writeNow(chunk: Buffer): void {
    if (this.#stream !== undefined) {
      if (this.#stream.writable) this.#stream.write(chunk);
    } else if (this.#response?.writable) this.#response.write(chunk);
  }

  #onClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    for (const listener of this.#closeListeners.splice(0)) listener();
    this.#readyListeners.length = 0;
  }
}

let dateSecond = Number.NaN;
let dateText = "";

/** The `Date` header by the cluster's clock: it tells clients how far their own clock is off. */
function httpDate(clock: Clock): string {
  const second = Math.floor(clock.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}

/** The peer went away: `close` follows, which is what counts. */
function ignore(): void {}
