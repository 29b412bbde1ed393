import { Readable } from "node:stream";
import type { Pod } from "../kubernetes.ts";
import { describeGap } from "../logs/gap.ts";
import { followLogs, type LogGap, type LogLine, type LogOptions, type LogStream } from "../logs/index.ts";
import type { Cluster } from "../transport/index.ts";
import type { Run } from "./run.ts";

/**
 * The log of one run's container: a follow of its pod's, and of the next pod's where one replaces another. Iterate it once,
 * by line or by batch. Gaps and restarts are reported to the options' callbacks and as events of the run.
 */
export class RunLogs implements AsyncIterable<LogLine> {
  readonly #cluster: Cluster;
  readonly #run: Run;
  readonly #options: LogOptions & { container: string };
  /** Aborts with the caller's reason, or with EngineStoppedError when the run is released. */
  readonly #signal: AbortSignal;
  readonly #closed = new AbortController();
  #stream: LogStream | null = null;

  constructor(
    cluster: Cluster,
    run: Run,
    { signal, ...options }: LogOptions & { container: string; signal?: AbortSignal },
  ) {
    this.#cluster = cluster;
    this.#run = run;
    this.#options = options;
    this.#signal = signal === undefined ? run.closed : AbortSignal.any([signal, run.closed]);
  }

  /**
   * Lines as they arrive, as many at once as there are: cheaper than one by one where there are many.
   * @throws ApiError where no further try can help; EngineStoppedError; the signal's reason.
   */
  batches(): AsyncGenerator<readonly LogLine[], void> {
    return this.#closedByReturn(this.#batches());
  }

  [Symbol.asyncIterator](): AsyncGenerator<LogLine, void> {
    return this.#closedByReturn(this.#lines());
  }

  /** Each line with its newline, as a Node stream of UTF-8 text. Destroying it ends the follow. */
  toReadable(): Readable {
    const batches = this.batches();
    const readable = new Readable({
      read() {
        batches.next().then(
          ({ value, done }) => this.push(done ? null : joined(value)),
          (error) => this.destroy(error as Error),
        );
      },
      destroy(error, callback) {
        void batches.return();
        callback(error);
      },
    });
    // Without this, an error that comes when nobody listens (any more) would end the process.
    return readable.on("error", () => undefined);
  }

  toWeb(): ReadableStream<Uint8Array> {
    return Readable.toWeb(this.toReadable()) as ReadableStream<Uint8Array>;
  }

  /** Ends the follow and its iteration; lines that nobody took yet are dropped. */
  close(): void {
    this.#closed.abort();
    this.#stream?.close();
  }

  /** A generator's own `return` waits for a `next` that is pending, and so for a line of a container that may be silent for hours. */
  #closedByReturn<T>(generator: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
    const leave = generator.return.bind(generator);
    generator.return = (value) => {
      this.close();
      return leave(value);
    };
    return generator;
  }

  async *#batches(): AsyncGenerator<readonly LogLine[], void> {
    const { container, onGap: _, onRestart, tailLines, since, ...options } = this.#options;
    let isLimited = false;
    for (let pod = await this.#nextPod(null); pod !== null; pod = await this.#nextPod(pod)) {
      const isFirst = this.#stream === null;
      this.#stream = followLogs(this.#cluster, this.#run.logSource(pod, container), {
        ...options,
        // Where to start is said of the first pod; a later one is read from its beginning.
        ...(isFirst && tailLines !== undefined ? { tailLines } : {}),
        ...(isFirst && since !== undefined ? { since } : {}),
        signal: this.#signal,
        onGap: (gap) => {
          if (gap.reason === "limit_reached") isLimited = true;
          this.#onGap(gap);
        },
        onRestart: (restart) => {
          onRestart?.(restart);
          this.#run.reportRestart(restart);
        },
      });
      try {
        yield* this.#stream.batches();
      } finally {
        this.#stream.close();
      }
      if (isLimited) return;
    }
    this.#reportUnread();
  }

  async *#lines(): AsyncGenerator<LogLine, void> {
    for await (const lines of this.#batches()) yield* lines;
  }

  #onGap(gap: LogGap): void {
    this.#options.onGap?.(gap);
    this.#run.reportGap(gap);
  }

  /** A pod can come, run and go while its watch is down: its container is known to have ended, and no one could read its log. */
  #reportUnread(): void {
    const { container } = this.#options;
    const end = this.#run.endOf(container);
    if (this.#closed.signal.aborted || end === null || end.startFailure !== null) return;
    const hasRun = end.exitCode !== null || end.startedAt !== null;
    const { reads = 0, gaps = 0 } = this.#stream?.stats ?? {};
    if (!hasRun || reads > 0 || gaps > 0) return;
    this.#onGap(describeGap({ podName: end.podName ?? "", container }, "pod_gone", null, null));
  }

  /** The pod after `followed`; null when no further one will come. */
  async #nextPod(followed: Pod | null): Promise<Pod | null> {
    while (true) {
      this.#signal.throwIfAborted();
      if (this.#closed.signal.aborted) return null;
      // Who asks for the last lines, or for those since, means the pod that is there now.
      const isOfNow = followed === null && (this.#options.tailLines ?? this.#options.since) !== undefined;
      const pod = isOfNow ? this.#run.pod() : this.#run.podAfter(followed);
      if (pod !== null) return pod;
      if (this.#run.endOf(this.#options.container) !== null) return null;
      await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      const settle = () => {
        unfollow();
        this.#signal.removeEventListener("abort", settle);
        this.#closed.signal.removeEventListener("abort", settle);
        resolve();
      };
      const unfollow = this.#run.onChange(settle);
      this.#signal.addEventListener("abort", settle, { once: true });
      this.#closed.signal.addEventListener("abort", settle, { once: true });
    });
  }
}

function joined(lines: readonly LogLine[]): string {
  return lines.map((line) => (line.terminated ? `${line.text}\n` : line.text)).join("");
}
