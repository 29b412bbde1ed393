import { Readable } from "node:stream";
import type { Pod } from "../kubernetes.ts";
import { followLogs, type LogLine, type LogOptions } from "../logs/index.ts";
import type { Cluster } from "../transport/index.ts";
import type { Run } from "./run.ts";

/**
 * The log of one run's container: a follow of its pod's, and of the next pod's where one replaces another. Iterate it once,
 * by line or by batch. Gaps and restarts are reported to the options' callbacks and as events of the run.
 */
export class RunLogs implements AsyncIterable<LogLine> {
  readonly #cluster: Cluster;
  readonly #run: Run;
  readonly #options: LogOptions & { container: string; signal?: AbortSignal };
  readonly #closed = new AbortController();

  constructor(cluster: Cluster, run: Run, options: LogOptions & { container: string; signal?: AbortSignal }) {
    this.#cluster = cluster;
    this.#run = run;
    this.#options = options;
  }

  /** Lines as they arrive, as many at once as there are: cheaper than one by one where there are many. */
  async *batches(): AsyncGenerator<readonly LogLine[], void> {
    const { container, signal, onGap, onRestart, ...options } = this.#options;
    const ended = signal === undefined ? this.#closed.signal : AbortSignal.any([signal, this.#closed.signal]);
    let followed: Pod | null = null;
    while (true) {
      const pod = await this.#nextPod(followed, container, ended);
      if (pod === null) break;
      const { tailLines, since, ...rest } = options;
      const stream = followLogs(this.#cluster, this.#run.logSource(pod, container), {
        ...rest,
        // Where to start is said of the first pod; a later one is read from its beginning.
        ...(followed === null && tailLines !== undefined ? { tailLines } : {}),
        ...(followed === null && since !== undefined ? { since } : {}),
        signal: ended,
        onGap: (gap) => {
          onGap?.(gap);
          this.#run.reportGap(gap);
        },
        onRestart: (restart) => {
          onRestart?.(restart);
          this.#run.reportRestart(restart);
        },
      });
      try {
        yield* stream.batches();
      } finally {
        stream.close();
      }
      followed = pod;
    }
    signal?.throwIfAborted();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogLine, void> {
    for await (const lines of this.batches()) yield* lines;
  }

  /** Each line with its newline, as a Node stream of UTF-8 text. Destroying it ends the follow. */
  toReadable(): Readable {
    const text = async function* (logs: RunLogs) {
      for await (const lines of logs.batches()) yield lines.map((line) => (line.terminated ? `${line.text}\n` : line.text)).join("");
    };
    return Readable.from(text(this), { objectMode: false }).once("close", () => this.close());
  }

  toWeb(): ReadableStream<Uint8Array> {
    return Readable.toWeb(this.toReadable()) as ReadableStream<Uint8Array>;
  }

  /** Ends the follow; the iteration ends after the lines that were already read. */
  close(): void {
    this.#closed.abort();
  }

  /** The pod after `followed`; null when the run is over, or the wait is. */
  async #nextPod(followed: Pod | null, container: string, signal: AbortSignal): Promise<Pod | null> {
    while (!signal.aborted && !this.#run.isReleased) {
      const pod = this.#run.pod();
      if (pod !== null && pod.metadata.uid !== followed?.metadata.uid) return pod;
      if (this.#run.endOf(container) !== null) return null;
      await new Promise<void>((resolve) => {
        const settle = () => {
          this.#run.off("change", settle);
          this.#run.off("terminated", settle);
          signal.removeEventListener("abort", settle);
          resolve();
        };
        this.#run.on("change", settle);
        this.#run.on("terminated", settle);
        signal.addEventListener("abort", settle, { once: true });
      });
    }
    return null;
  }
}
