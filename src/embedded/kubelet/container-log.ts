import type { LogReadOptions, ReadableLog } from "../api/log-source.ts";
import { formatTime, LogFile } from "./log-file.ts";
import { LogWriter } from "./log-writer.ts";

/**
 * The log of one container instance, as the container runtime writes it and the kubelet serves it.
 *
 * Modelled on the CRI log file, since its corners are what a log follower has to survive: each entry has its own time in
 * nanoseconds; output becomes an entry at a newline, in parts of 16 KiB when the line is longer, and at the end of the
 * container; a part that ends no line is served without a newline and the next one without a time; rotation starts an
 * empty file, and only those who read already still see the old one. A follow goes on as cri-client's `ReadLogs` does, which
 * loses and repeats lines when its reader is slow.
 */

export interface ContainerLogOptions {
  /** Nanoseconds since the epoch by the node's clock. */
  now: () => bigint;
  /** Bytes after which the file is rotated. Default 10 MiB (kubelet `containerLogMaxSize`). */
  maxSize?: number;
  /** Rotates a file that has grown too large at the kubelet's next look at it. Default: at once. */
  rotateLater?: (rotate: () => void) => void;
  /** Output reaches the file later, the last of it after the container's end. Default: at once. */
  writeLater?: (write: () => void) => void;
}

/** A clock that goes back by more than this was set; by less, entries of one moment are told apart. */
const clockStepNs = 50_000_000n;

/** What one follow knows of the file's directory. */
interface Follow {
  /** New files that it has not looked at. It begins to watch the directory at its first end of file, and misses earlier ones. */
  created: number;
  watching: boolean;
}

export class ContainerLog implements ReadableLog {
  readonly #options: ContainerLogOptions;
  readonly #maxSize: number;
  #file = new LogFile();
  readonly #writers: LogWriter[] = [];
  readonly #output: LogWriter;
  #lastTime = 0n;
  #lastWritten = 0n;
  #closed = false;
  #rotationDue = false;
  readonly #follows = new Set<Follow>();
  readonly #waiting = new Set<() => void>();
  /** Raised by `endFollows`: a follow that began under an older number ends. */
  #epoch = 0;

  constructor(options: ContainerLogOptions) {
    this.#options = options;
    this.#maxSize = options.maxSize ?? 10 * 1024 * 1024;
    this.#output = this.writer();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Output of the container. Without `timeNs` each entry gets the node's time, made distinct. */
  append(output: string | Uint8Array, timeNs?: bigint): void {
    this.#output.append(output, timeNs);
  }

  /** A stream with an unfinished line of its own: a process has two, and its lines are not mixed. */
  writer(): LogWriter {
    const { writeLater } = this.#options;
    const writer: LogWriter = new LogWriter(
      (parts, endsLine, timeNs) => {
        if (this.#closed) return;
        const time = this.#stamp(timeNs);
        if (writeLater === undefined) this.#write(parts, endsLine, time);
        else {
          const copy = Buffer.concat(parts);
          writeLater(() => {
            this.#write([copy], endsLine, time);
            this.#notify();
          });
        }
      },
      () => this.#notify(),
    );
    this.#writers.push(writer);
    return writer;
  }

  /** The container has ended: what is left is written without a newline, and follows end. */
  close(): void {
    if (this.#closed) return;
    for (const writer of this.#writers) writer.end();
    this.#closed = true;
    this.#notify();
  }

  /** Starts an empty file; follows that are open still get the rest of the old one. */
  rotate(): void {
    this.#file = new LogFile();
    for (const follow of this.#follows) if (follow.watching) follow.created++;
    this.#notify();
  }

  /** Ends every open follow with a clean end of stream, as a restart of the kubelet does. */
  endFollows(): void {
    this.#epoch++;
    this.#notify();
  }

  async *read(options: LogReadOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const { follow = false, timestamps = false, signal } = options;
    const epoch = this.#epoch;
    let file = this.#file;
    let index = this.#firstEntry(file, options);
    let left = options.limitBytes ?? Number.POSITIVE_INFINITY;
    let lineStart = true;
    let hasEnded = false;
    const watch: Follow = { created: 0, watching: false };
    if (follow) this.#follows.add(watch);
    try {
      while (left > 0 && !signal?.aborted) {
        if (index < file.count) {
          const chunk = file.render(index, timestamps, lineStart);
          index = chunk.next;
          lineStart = chunk.lineStart;
          const bytes = chunk.bytes.length > left ? chunk.bytes.subarray(0, left) : chunk.bytes;
          left -= bytes.length;
          if (bytes.length > 0) yield bytes;
        } else if (!follow || hasEnded || epoch !== this.#epoch) return;
        else if (!watch.watching) watch.watching = true;
        // An ended container is seen before a new file is: what was rotated last is then not read.
        else if (this.#closed) hasEnded = true;
        else if (watch.created > 0) {
          // One event a new file, and each opens the newest from its beginning: a reader that was blocked over several
          // rotations loses the files between, and gets the newest as often as there were rotations.
          watch.created--;
          file = this.#file;
          index = 0;
        } else await this.#change(signal);
      }
    } finally {
      this.#follows.delete(watch);
    }
  }

  /** Everything that a read without `follow` delivers, decoded. */
  async text(options: Omit<LogReadOptions, "follow"> = {}): Promise<string> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.read(options)) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  }

  #firstEntry(file: LogFile, options: LogReadOptions): number {
    let first = 0;
    if (options.tailLines !== undefined) first = Math.max(0, file.count - options.tailLines);
    const since = this.#since(options);
    return since === null ? first : file.firstSince(first, formatTime(since));
  }

  #since({ sinceTime, sinceSeconds }: LogReadOptions): bigint | null {
    if (sinceSeconds !== undefined) return this.#options.now() - BigInt(Math.round(sinceSeconds * 1e9));
    if (sinceTime === undefined) return null;
    return BigInt(Math.floor(new Date(sinceTime).getTime() / 1000)) * 1_000_000_000n;
  }

  /** The entry's time: the node's clock, made distinct. A clock that was set back goes back here. */
  #stamp(timeNs: bigint | undefined): bigint {
    let time = timeNs ?? this.#options.now();
    const behind = this.#lastTime - time;
    if (timeNs === undefined && behind >= 0n && behind < clockStepNs) time = this.#lastTime + 1n;
    if (timeNs === undefined || behind <= 0n) this.#lastTime = time;
    return time;
  }

  #write(parts: readonly Uint8Array[], endsLine: boolean, time: bigint): void {
    const sorted = time >= this.#lastWritten;
    if (sorted) this.#lastWritten = time;
    this.#file.write(time, parts, endsLine, sorted);
    if (this.#file.size > this.#maxSize) this.#rotateLater();
  }

  #rotateLater(): void {
    const { rotateLater } = this.#options;
    if (rotateLater === undefined) this.rotate();
    else if (!this.#rotationDue) {
      this.#rotationDue = true;
      rotateLater(() => {
        this.#rotationDue = false;
        // The kubelet rotates the logs of running containers only.
        if (!this.#closed) this.rotate();
      });
    }
  }

  #notify(): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal?.addEventListener("abort", wake, { once: true });
    });
  }
}
