import { Readable } from "node:stream";
import { Fanout, type Tap } from "./fanout.ts";
import { LogFollower, type LogStats } from "./log-follower.ts";
import type { LogTransport } from "./log-read.ts";
import type { LogLine, LogOptions, LogSource } from "./types.ts";

/**
 * The lines of one container's log: each once and in order, however often the connection breaks, until the container has
 * ended and its log has been read to the end. What is or may be missing is reported to `onGap`.
 *
 * Reading starts with the first consumer. Every consumer gets every line from the moment that it was added, so add all of
 * them before the first awaits anything. They go at the pace of the slowest: a consumer that stops taking lines stops the
 * others and, over the socket, the server; it costs no more memory than one chunk. When the last consumer leaves (`break`,
 * `destroy()`, `cancel()`), the follow is closed.
 *
 * Iterating rejects with the signal's reason when `options.signal` aborts, and with an `ApiError` where no further try can
 * help (403, a container that the pod does not have). `close()` ends the iteration normally.
 *
 * Known limit: while a stalled consumer holds a follow back, the kubelet may rotate the log file more than once; it then
 * leaves lines out of the stream by itself, and nothing on the wire tells.
 */
export class LogStream implements AsyncIterable<LogLine> {
  readonly #transport: LogTransport;
  readonly #source: LogSource;
  readonly #options: LogOptions & { signal?: AbortSignal };
  readonly #abort = new AbortController();
  readonly #fanout = new Fanout<LogLine[]>(() => this.close());
  readonly #onSignal = () => this.#finish({ error: this.#options.signal?.reason });
  #follower: LogFollower | null = null;
  #ended = false;

  /** Throws a RangeError or TypeError that names the option. */
  constructor(transport: LogTransport, source: LogSource, options: LogOptions & { signal?: AbortSignal } = {}) {
    checkOptions(options);
    this.#transport = transport;
    this.#source = source;
    this.#options = options;
    if (options.signal?.aborted) this.#onSignal();
    else options.signal?.addEventListener("abort", this.#onSignal, { once: true });
  }

  get stats(): LogStats {
    const stats = this.#follower?.stats;
    if (stats) return { ...stats };
    const state = this.#ended ? "ended" : "idle";
    return { state, lines: 0, bytes: 0, reads: 0, repeated: 0, gaps: 0, restarts: 0 };
  }

  /** The lines as they arrive, as many at once as there are: one promise a chunk instead of one a line. */
  batches(): AsyncIterableIterator<readonly LogLine[], undefined> {
    return this.#tap();
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<LogLine, undefined> {
    return new LineIterator(this.#tap());
  }

  /** Calls back with each line, and waits for a promise that the callback returns. Resolves at the end of the log. */
  async forEach(callback: (line: LogLine) => void | Promise<void>): Promise<void> {
    for await (const lines of this.#tap()) {
      for (const line of lines) {
        const done = callback(line);
        if (done) await done;
      }
    }
  }

  /** The text with its newlines, as a stream of bytes; or, with `lines`, an object stream of lines. Destroying it lets go. */
  toReadable({ lines = false }: { lines?: boolean } = {}): Readable {
    const tap = this.#tap();
    const readable = new Readable({
      objectMode: lines,
      read() {
        tap.next().then(
          ({ value, done }) => {
            if (done) this.push(null);
            else if (lines) for (const line of value) this.push(line);
            else this.push(joined(value));
          },
          (error) => this.destroy(error as Error),
        );
      },
      destroy(error, callback) {
        void tap.return();
        callback(error);
      },
    });
    // Without this, an error that comes when nobody listens (any more) would end the process.
    readable.on("error", () => {});
    return readable;
  }

  /** The same as a web stream. */
  toWeb(options?: { lines?: false }): ReadableStream<Uint8Array>;
  toWeb(options: { lines: true }): ReadableStream<LogLine>;
  toWeb({ lines = false }: { lines?: boolean } = {}): ReadableStream<Uint8Array> | ReadableStream<LogLine> {
    const tap = this.#tap();
    return new ReadableStream(
      {
        async pull(controller: ReadableStreamDefaultController<Uint8Array | LogLine>) {
          const { value, done } = await tap.next();
          if (done) controller.close();
          else if (lines) for (const line of value) controller.enqueue(line);
          else controller.enqueue(joined(value));
        },
        cancel() {
          void tap.return();
        },
      },
      { highWaterMark: 0 },
    ) as ReadableStream<Uint8Array> | ReadableStream<LogLine>;
  }

  /** Ends the follow and frees its request at once. Iterations end; lines that nobody took yet are dropped. */
  close(): void {
    this.#finish({});
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #tap(): Tap<LogLine[]> {
    return this.#fanout.tap(() => this.#start());
  }

  #start(): void {
    if (this.#ended || this.#follower) return;
    const { onGap, onRestart } = this.#options;
    const guarded =
      <T>(listener: ((value: T) => void) | undefined) =>
      (value: T) => {
        try {
          listener?.(value);
        } catch (error) {
          // A listener that throws is the consumer's failure: it ends the consumer's iteration, nothing else.
          this.#finish({ error });
        }
      };
    try {
      this.#follower = new LogFollower(
        this.#transport,
        this.#source,
        this.#options,
        { lines: (lines) => this.#fanout.push(lines), gap: guarded(onGap), restart: guarded(onRestart) },
        this.#abort.signal,
      );
    } catch (error) {
      this.#finish({ error });
      return;
    }
    this.#follower.run().then(
      () => this.#finish({}, false),
      (error) => this.#finish({ error }, false),
    );
  }

  #finish(ended: { error?: unknown }, discard = true): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.signal?.removeEventListener("abort", this.#onSignal);
    this.#fanout.end(ended, discard);
    this.#abort.abort();
  }
}

/** Lines one by one, out of batches. */
class LineIterator implements AsyncIterableIterator<LogLine, undefined> {
  readonly #tap: Tap<LogLine[]>;
  #batch: LogLine[] = [];
  #at = 0;
  /** The last `next` that has not been answered yet: whoever asks meanwhile stands in line behind it. */
  #waiting: Promise<unknown> | null = null;

  constructor(tap: Tap<LogLine[]>) {
    this.#tap = tap;
  }

  next(): Promise<IteratorResult<LogLine, undefined>> {
    if (this.#waiting === null && this.#at < this.#batch.length) return this.#take();
    const take = () => this.#take();
    const turn = this.#waiting === null ? this.#take() : this.#waiting.then(take, take);
    const over = () => {
      if (this.#waiting === turn) this.#waiting = null;
    };
    this.#waiting = turn;
    turn.then(over, over);
    return turn;
  }

  #take(): Promise<IteratorResult<LogLine, undefined>> {
    const value = this.#batch[this.#at];
    if (value === undefined) return this.#fill();
    this.#at++;
    return Promise.resolve({ value, done: false });
  }

  async #fill(): Promise<IteratorResult<LogLine, undefined>> {
    const { value: batch, done } = await this.#tap.next();
    if (done) return { value: undefined, done };
    this.#batch = batch;
    this.#at = 0;
    return this.#take();
  }

  return(): Promise<IteratorResult<LogLine, undefined>> {
    this.#batch = [];
    void this.#tap.return();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

function joined(lines: readonly LogLine[]): Buffer {
  let text = "";
  for (const line of lines) text += line.terminated ? `${line.text}\n` : line.text;
  return Buffer.from(text);
}

function checkOptions({ tailLines, since, limitBytes, maxLineBytes }: LogOptions): void {
  const whole = (name: string, value: number | undefined, least: number) => {
    if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return;
    throw new RangeError(`${name}: got ${String(value)}; give a whole number of at least ${least}, or leave it out`);
  };
  whole("tailLines", tailLines, 0);
  whole("limitBytes", limitBytes, 1);
  whole("maxLineBytes", maxLineBytes, 1);
  if (since !== undefined && !(since instanceof Date && !Number.isNaN(since.getTime()))) {
    throw new TypeError(`since: got ${String(since)}; give a valid Date, or leave it out`);
  }
}
