import { Readable } from "node:stream";
import { ConnectionError } from "./connection-failure.ts";
import { UnseenError } from "./http2-connection.ts";
import type { Controller, RequestHandler, Wire } from "./wire.ts";

export interface Outgoing {
  method: string;
  /** Path with query. */
  target: string;
  headers: Record<string, string>;
  body?: string;
  signal?: AbortSignal | undefined;
  /** The request must be on its way within so many milliseconds (a connection found, a stream free). */
  sendTimeoutMs: number;
}

export interface Incoming {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Readable;
}

/** How an exchange failed, and whether the server can have seen it. */
export class ExchangeError extends Error {
  override readonly name = "ExchangeError";
  readonly sent: boolean;
  constructor(cause: unknown, sent: boolean) {
    super("exchange failed", { cause });
    this.sent = sent;
  }
}

/**
 * One HTTP request on a wire. Resolves with the headers of the answer, whatever its status. Rejects with the signal's
 * reason, at once also while it still waits for a connection, or with an `ExchangeError`.
 *
 * @param wrap makes the error that reading the body throws
 */
export function exchange(wire: Wire, outgoing: Outgoing, wrap: (error: unknown) => Error): Promise<Incoming> {
  return new Promise((resolve, reject) => {
    if (outgoing.signal?.aborted) {
      reject(outgoing.signal.reason);
      return;
    }
    const { method, target, headers, body, signal } = outgoing;
    const handler = new ExchangeHandler(outgoing, wrap, resolve, reject);
    signal?.addEventListener("abort", handler, { once: true });
    wire.dispatch({ path: target, method, headers, body: body ?? null }, handler);
  });
}

class ExchangeHandler implements RequestHandler {
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: (incoming: Incoming) => void;
  readonly #reject: (error: unknown) => void;
  readonly #wrap: (error: unknown) => Error;
  readonly #sendTimer: NodeJS.Timeout;
  #controller: Controller | null = null;
  #body: ResponseBody | null = null;
  #sent = false;
  /** Set once; what comes later is of no interest. */
  #over: { error: unknown } | null = null;

  constructor(
    { signal, sendTimeoutMs }: Outgoing,
    wrap: (error: unknown) => Error,
    resolve: (incoming: Incoming) => void,
    reject: (error: unknown) => void,
  ) {
    this.#signal = signal;
    this.#wrap = wrap;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#sendTimer = setTimeout(() => {
      this.#fail(
        new ExchangeError(
          new ConnectionError("ConnectTimeout", `the request could not be sent within ${sendTimeoutMs} ms`),
          false,
        ),
      );
    }, sendTimeoutMs);
    this.#sendTimer.unref();
  }

  /** The signal's listener. */
  handleEvent(): void {
    this.#fail(this.#signal?.reason);
  }

  onRequestStart(controller: Controller): void {
    this.#controller = controller;
    clearTimeout(this.#sendTimer);
    if (this.#over !== null) controller.abort(asError(this.#over.error));
    else this.#sent = true;
  }

  onResponseStart(controller: Controller, status: number, headers: Incoming["headers"]): void {
    if (status < 200 || this.#over !== null) return;
    const body = new ResponseBody(controller, (error) => this.#fail(error));
    this.#body = body;
    this.#resolve({ status, headers, body });
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#body?.push(chunk) === false) controller.pause();
  }

  onResponseEnd(): void {
    this.#finish(null);
    this.#body?.push(null);
  }

  onResponseError(_controller: Controller | null, error: Error): void {
    const mayHaveBeenSeen = this.#sent && !(error instanceof UnseenError);
    this.#fail(this.#body === null ? new ExchangeError(error, mayHaveBeenSeen) : this.#wrap(error));
  }

  #fail(error: unknown): void {
    if (this.#over !== null) return;
    this.#finish(error);
    if (this.#body === null) this.#reject(error);
    else this.#body.destroy(asError(error));
    this.#controller?.abort(asError(error));
  }

  #finish(error: unknown): void {
    this.#over ??= { error };
    clearTimeout(this.#sendTimer);
    this.#signal?.removeEventListener("abort", this);
  }
}

class ResponseBody extends Readable {
  readonly #controller: Controller;
  readonly #onDestroy: (error: unknown) => void;

  constructor(controller: Controller, onDestroy: (error: unknown) => void) {
    super({ highWaterMark: 64 * 1024 });
    this.#controller = controller;
    this.#onDestroy = onDestroy;
    // Whoever reads gets the error; whoever has not begun to must not bring the process down.
    this.on("error", () => {});
  }

  override _read(): void {
    this.#controller.resume();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#onDestroy(error ?? new Error("the body was destroyed by its reader"));
    callback(error);
  }
}

/** An AbortSignal's reason may be anything. */
function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason), { cause: reason });
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
