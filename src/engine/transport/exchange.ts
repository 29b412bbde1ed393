import { Readable } from "node:stream";
import { asError } from "./as-error.ts";
import { ConnectionError } from "./connection-failure.ts";

export interface Outgoing {
  method: string;
  /** Path with query. */
  target: string;
  /** In lower case. */
  headers: Record<string, string | string[]>;
  body?: string;
  signal: AbortSignal;
  /** How long the request may wait for a connection, in milliseconds. */
  sendTimeoutMs: number;
  /** Makes the error that reading the body throws. */
  explain(error: unknown): Error;
}

export interface Incoming {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Readable;
}

/** One connection to a server, whatever HTTP it speaks. */
export interface Connection {
  /** How many requests it takes now. */
  readonly available: number;
  /** How many requests it carries at a time; 0 = not yet known. */
  readonly limit: number;
  /** It takes requests, now or when others end. */
  readonly isOpen: boolean;
  /** Why it was given up; null where that is not known. */
  readonly failure: Error | null;
  /** Resolves with the headers of the answer. Rejects with the signal's reason or an `ExchangeError`. Call it only while `available`. */
  request(outgoing: Outgoing): Promise<Incoming>;
  /** Takes no more requests, and closes with its last one. */
  close(): void;
  /** Fails every request with `error`; settles when the socket is closed. */
  destroy(error: Error): Promise<void>;
}

/** How an exchange failed, and whether the server can have seen the request. */
export class ExchangeError extends Error {
  override readonly name = "ExchangeError";
  readonly sent: boolean;
  constructor(cause: unknown, sent: boolean) {
    super("exchange failed", { cause });
    this.sent = sent;
  }
}

/** The server has certainly not acted on the request: it refused the stream, or said GOAWAY before it, or was gone already. */
export class UnseenError extends ConnectionError {
  constructor(cause?: unknown) {
    super("ConnectionReset", "the server is closing this connection and has not seen the request", { cause });
  }
}

/**
 * One request that was sent: first its answer or an error, then the end of the body or an error. What comes after the end is
 * ignored. HTTP/1.1 and HTTP/2 report to it in the same words.
 */
export class Exchange {
  readonly incoming: Promise<Incoming>;
  readonly #outgoing: Outgoing;
  readonly #cancel: () => void;
  readonly #resolve: (incoming: Incoming) => void;
  readonly #reject: (error: unknown) => void;
  #body: Readable | null = null;
  #hasEnded = false;

  /** @param cancel stops the request on the wire; it is called at most once, and not after a whole answer */
  constructor(outgoing: Outgoing, cancel: () => void) {
    const { promise, resolve, reject } = Promise.withResolvers<Incoming>();
    this.incoming = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#outgoing = outgoing;
    this.#cancel = cancel;
    outgoing.signal.addEventListener("abort", this, { once: true });
  }

  /** Wholly answered, failed or cancelled. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get isAnswered(): boolean {
    return this.#body !== null;
  }

  /** The signal's listener. */
  handleEvent(): void {
    const { reason } = this.#outgoing.signal;
    this.#stop(reason, asError(reason));
  }

  /** The headers have come; `source` gives the bytes of the body. */
  answer(status: number, headers: Incoming["headers"], source: Readable): void {
    if (this.#hasEnded) return;
    this.#body = new Body(source, () => this.#stop(null, null));
    this.#resolve({ status, headers, body: this.#body });
  }

  /** The answer is whole. */
  end(): void {
    if (this.#hasEnded) return;
    this.#finish();
    this.#body?.push(null);
  }

  fail(error: unknown): void {
    if (this.#hasEnded) return;
    if (this.#body === null) this.#stop(new ExchangeError(error, !(error instanceof UnseenError)), null);
    else this.#stop(null, this.#outgoing.explain(error));
  }

  #stop(rejection: unknown, bodyError: Error | null): void {
    if (this.#hasEnded) return;
    this.#finish();
    if (this.#body === null) this.#reject(rejection);
    else if (bodyError !== null) this.#body.destroy(bodyError);
    this.#cancel();
  }

  #finish(): void {
    this.#hasEnded = true;
    this.#outgoing.signal.removeEventListener("abort", this);
  }
}

class Body extends Readable {
  readonly #source: Readable;
  readonly #onDestroy: () => void;

  constructor(source: Readable, onDestroy: () => void) {
    super({ highWaterMark: 64 * 1024 });
    this.#source = source;
    this.#onDestroy = onDestroy;
    source.on("data", (chunk: Buffer) => {
      if (this.destroyed) return;
      // What `push` comes to while a listener takes all chunks at once, without its bookkeeping for each of them.
      if (this.readableFlowing && this.readableLength === 0 && this.readableEncoding === null) this.emit("data", chunk);
      else if (!this.push(chunk)) source.pause();
    });
    // The reader gets the error. Without a reader it must not end the process.
    this.on("error", () => {});
  }

  override _read(): void {
    this.#source.resume();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#onDestroy();
    callback(error);
  }
}

/** All of a body, at most `limit` bytes of it. */
export async function readAll(body: Readable, limit = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= limit) break;
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, bytes);
}
