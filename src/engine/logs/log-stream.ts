import { type LogSink, NEW_STATS } from "./delivery.ts";
import { type Ended, Handoff } from "./handoff.ts";
import { placeAfter } from "./line-place.ts";
import { LogFollower } from "./log-follower.ts";
import type { LogLine, LogOptions, LogSource, LogStats, LogTransport } from "./types.ts";

/**
 * The lines of one container's log: each once and in order, however often the connection breaks, until the container has
 * ended and its log has been read to the end. What is or may be missing is reported to `onGap`.
 *
 * It has one consumer, and reads from when that asks for the first line, at its pace: a consumer that takes no lines stops,
 * over the socket, the server, and costs no more memory than one chunk. One that leaves (`break`) closes the stream.
 * `Readable.from(stream)` makes a Node stream of it.
 *
 * Known limit: a kubelet that is held back passes over files that are begun and rotated away meanwhile. A gap says where, but only
 * when the kubelet then sends another file twice: not if the container ends or the connection breaks before.
 *
 * Consuming rejects with the signal's reason when `options.signal` aborts, and with an `ApiError` where no further try can
 * help (403, a container that the pod does not have). `close()` ends it normally.
 */
export class LogStream implements AsyncIterable<LogLine>, Disposable, AsyncDisposable {
  readonly #transport: LogTransport;
  readonly #source: LogSource;
  readonly #options: LogOptions & { signal?: AbortSignal | undefined };
  readonly #abort = new AbortController();
  readonly #onSignal = () => this.#finish({ error: this.#options.signal?.reason });
  #follower: LogFollower | null = null;
  /** The follow itself: resolves when its request is freed. */
  #run: Promise<void> = Promise.resolve();
  #onEnd: ((ended: Ended, discard: boolean) => void) | null = null;
  #ended: Ended | null = null;

  /** @throws RangeError or TypeError that names the option. */
  constructor(
    transport: LogTransport,
    source: LogSource,
    options: LogOptions & { signal?: AbortSignal | undefined } = {},
  ) {
    checkOptions(options, source);
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
    return { ...NEW_STATS, state };
  }

  /** The lines as they arrive, as many at once as there are: one promise a chunk instead of one a line. */
  batches(): AsyncGenerator<readonly LogLine[], void> {
    const handoff: Handoff<readonly LogLine[]> = new Handoff(
      () => {
        const onEnd = (ended: Ended, discard: boolean) => handoff.end(ended, discard);
        this.#start((lines) => handoff.put(lines), onEnd);
      },
      () => this.close(),
    );
    return handoff;
  }

  [Symbol.asyncIterator](): AsyncGenerator<LogLine, void> {
    return endedByLeaving(linesOf(this.batches()), () => this.close());
  }

  /**
   * Calls back with each line, and waits for a promise that the callback returns. Resolves at the end of the log. What the
   * callback throws ends the stream, and rejects.
   */
  forEach(callback: (line: LogLine) => void | Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => this.#finish({ error });
      const deliver = (lines: readonly LogLine[], from: number): Promise<void> | undefined => {
        for (let at = from; at < lines.length && this.#ended === null; at++) {
          const taken = callback(lines[at] as LogLine);
          if (taken) return Promise.resolve(taken).then(() => deliver(lines, at + 1), fail);
        }
        return undefined;
      };
      const take = (lines: readonly LogLine[]) => {
        try {
          return deliver(lines, 0)?.catch(fail);
        } catch (error) {
          fail(error);
          return undefined;
        }
      };
      this.#start(take, (ended) => ("error" in ended ? reject(ended.error) : resolve()));
    });
  }

  /** Ends the follow and frees its request at once. Iterations end; lines that nobody took yet are dropped. */
  close(): void {
    this.#finish({});
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Closes, and resolves when the request is freed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#run;
  }

  #start(lines: LogSink["lines"], onEnd: (ended: Ended, discard: boolean) => void): void {
    if (this.#onEnd !== null) throw new Error("the log is read already: a LogStream has one consumer");
    this.#onEnd = onEnd;
    if (this.#ended) {
      onEnd(this.#ended, true);
      return;
    }
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
    const sink = { lines, gap: guarded(onGap), restart: guarded(onRestart) };
    try {
      this.#follower = new LogFollower(this.#transport, this.#source, this.#options, sink, this.#abort.signal);
    } catch (error) {
      this.#finish({ error });
      return;
    }
    this.#run = this.#follower.run().then(
      () => this.#finish({}, false),
      (error) => this.#finish({ error }, false),
    );
  }

  #finish(ended: Ended, discard = true): void {
    if (this.#ended) return;
    this.#ended = ended;
    this.#options.signal?.removeEventListener("abort", this.#onSignal);
    this.#onEnd?.(ended, discard);
    this.#abort.abort();
  }
}

/**
 * A generator's own `return` waits for a `next` that is pending, and so for a line of a container that may be silent for hours.
 * `end` ends what the generator waits for.
 */
export function endedByLeaving<T>(generator: AsyncGenerator<T, void>, end: () => void): AsyncGenerator<T, void> {
  const { return: leave, throw: fail } = generator;
  generator.return = (value) => {
    end();
    return leave.call(generator, value);
  };
  generator.throw = (error) => {
    end();
    return fail.call(generator, error);
  };
  // Generators of Node 22 have none.
  generator[Symbol.asyncDispose] ??= async () => void (await generator.return());
  return generator;
}

/** One by one, out of batches. */
export async function* linesOf(batches: AsyncIterable<readonly LogLine[]>): AsyncGenerator<LogLine, void> {
  for await (const lines of batches) yield* lines;
}

function checkOptions(options: LogOptions, source: LogSource): void {
  const { tailLines, since, limitBytes, maxLineBytes, lateLinesMs } = options;
  const whole = (name: string, value: number | undefined, least: number) => {
    if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return;
    throw new RangeError(`${name}: got ${String(value)}; give a whole number of at least ${least}, or leave it out`);
  };
  whole("tailLines", tailLines, 0);
  whole("limitBytes", limitBytes, 1);
  whole("maxLineBytes", maxLineBytes, 1);
  whole("lateLinesMs", lateLinesMs, 0);
  if (since !== undefined && !(since instanceof Date && !Number.isNaN(since.getTime()))) {
    throw new TypeError(`since: got ${String(since)}; give a valid Date, or leave it out`);
  }
  const place = placeAfter(options, source.container);
  if (place !== null && place.podName !== source.podName)
    throw new TypeError(
      `after: got a position in the log of pod ${place.podName}; this is the log of ${source.podName}`,
    );
}
