/**
 * The log of one container instance, as the container runtime writes it and the kubelet serves it.
 *
 * Modelled on the CRI log file, since its corners are what a log follower has to survive: each entry has its own time in
 * nanoseconds; output becomes an entry at a newline, in parts of 16 KiB when the line is longer, and at the end of the
 * container; a part that ends no line is served without a newline and the next one without a time; rotation starts an
 * empty file, and only those who read already still see the old one.
 */

export interface LogReadOptions {
  /** Stay and deliver what is written later, until the container ends (or `endFollows`). */
  follow?: boolean;
  /** Put the RFC 3339 time and a space before each line. */
  timestamps?: boolean;
  /** The server's parameter loses its fraction in parsing: lines from the start of that second on are served. */
  sinceTime?: string | Date;
  sinceSeconds?: number;
  /** Counted in entries of the current file, as the kubelet does: a long line counts once per 16 KiB. */
  tailLines?: number;
  limitBytes?: number;
  signal?: AbortSignal;
}

export interface ContainerLogOptions {
  /** Nanoseconds since the epoch by the node's clock. */
  now: () => bigint;
  /** Bytes after which the file is rotated. Default 10 MiB (kubelet `containerLogMaxSize`). */
  maxSize?: number;
  onRotate?: () => void;
}

const partBytes = 16 * 1024;
const newline = 0x0a;
/** `2026-11-23T10:44:36.123456789Z` */
const timeLength = 30;
const prefixLength = timeLength + 1;

export class ContainerLog {
  readonly #options: ContainerLogOptions;
  readonly #maxSize: number;
  #file = new LogFile();
  readonly #writers: LogWriter[] = [];
  readonly #output: LogWriter;
  #lastTime = 0n;
  #closed = false;
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
    const writer: LogWriter = new LogWriter(
      (parts, endsLine, timeNs) => {
        if (!this.#closed) this.#write(parts, endsLine, timeNs);
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
    const next = new LogFile();
    this.#file.next = next;
    this.#file = next;
    this.#options.onRotate?.();
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
    while (left > 0 && !signal?.aborted) {
      if (index < file.count) {
        const chunk = file.render(index, timestamps, lineStart);
        index = chunk.next;
        lineStart = chunk.lineStart;
        const bytes = chunk.bytes.length > left ? chunk.bytes.subarray(0, left) : chunk.bytes;
        left -= bytes.length;
        if (bytes.length > 0) yield bytes;
      } else if (file.next !== null && follow) {
        file = file.next;
        index = 0;
      } else if (!follow || this.#closed || epoch !== this.#epoch) {
        return;
      } else {
        await this.#change(signal);
      }
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

  #write(parts: readonly Uint8Array[], endsLine: boolean, timeNs: bigint | undefined): void {
    let time = timeNs ?? this.#options.now();
    if (timeNs === undefined && time <= this.#lastTime) time = this.#lastTime + 1n;
    const sorted = time >= this.#lastTime;
    if (sorted) this.#lastTime = time;
    this.#file.write(time, parts, endsLine, sorted);
    if (this.#file.size > this.#maxSize) this.rotate();
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

type WriteEntry = (parts: readonly Uint8Array[], endsLine: boolean, timeNs: bigint | undefined) => void;

/** Cuts a stream into entries: at newlines, and at 16 KiB of a longer line. */
export class LogWriter {
  readonly #write: WriteEntry;
  readonly #written: () => void;
  /** Bytes of a line that has not ended: not in the file yet, as the runtime buffers them. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  constructor(write: WriteEntry, written: () => void) {
    this.#write = write;
    this.#written = written;
  }

  append(output: string | Uint8Array, timeNs?: bigint): void {
    const bytes = typeof output === "string" ? Buffer.from(output) : output;
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(newline, start);
      if (end === -1) break;
      this.#buffer(bytes.subarray(start, end), timeNs);
      this.#flush(true, timeNs);
      start = end + 1;
    }
    if (start < bytes.length) {
      // Callers may reuse their buffer once `append` has returned.
      this.#buffer(Uint8Array.prototype.slice.call(bytes, start), timeNs);
    }
    this.#written();
  }

  /** What is left becomes an entry that ends no line. */
  end(): void {
    if (this.#pendingBytes > 0) this.#flush(false);
  }

  #buffer(bytes: Uint8Array, timeNs: bigint | undefined): void {
    let rest = bytes;
    while (this.#pendingBytes + rest.length > partBytes) {
      const part = rest.subarray(0, partBytes - this.#pendingBytes);
      rest = rest.subarray(part.length);
      this.#pending.push(part);
      this.#flush(false, timeNs);
    }
    if (rest.length === 0) return;
    this.#pending.push(rest);
    this.#pendingBytes += rest.length;
  }

  #flush(endsLine: boolean, timeNs?: bigint): void {
    this.#write(this.#pending, endsLine, timeNs);
    this.#pending = [];
    this.#pendingBytes = 0;
  }
}

/**
 * One file: the bytes as `timestamps=true` serves them, so that the common read is a slice. Append-only: slices that were
 * handed out stay valid when the buffer grows.
 */
class LogFile {
  next: LogFile | null = null;
  size = 0;
  #bytes: Buffer = Buffer.allocUnsafe(512);
  readonly #starts: number[] = [];
  #sorted = true;
  /** Entries from here on all end a line and follow one that did: they can be served in one slice. */
  #wholeFrom = 0;

  get count(): number {
    return this.#starts.length;
  }

  write(time: bigint, parts: readonly Uint8Array[], endsLine: boolean, sorted: boolean): void {
    let length = prefixLength + (endsLine ? 1 : 0);
    for (const part of parts) length += part.length;
    this.#reserve(length);
    this.#starts.push(this.size);
    writeTime(this.#bytes, this.size, time);
    let at = this.size + timeLength;
    this.#bytes[at++] = 0x20;
    for (const part of parts) {
      this.#bytes.set(part, at);
      at += part.length;
    }
    if (endsLine) this.#bytes[at++] = newline;
    else this.#wholeFrom = this.#starts.length + 1;
    this.size = at;
    if (!sorted) this.#sorted = false;
  }

  /** The next piece from entry `index` on; `lineStart` says whether the entry before it ended a line. */
  render(
    index: number,
    timestamps: boolean,
    lineStart: boolean,
  ): { bytes: Uint8Array; next: number; lineStart: boolean } {
    if (timestamps && lineStart && index >= this.#wholeFrom) {
      const start = this.#starts[index] as number;
      // Bounded, so that a reader of a large file yields to others and can be slowed by its own consumer.
      const next = this.#entryAt(start + 64 * 1024, index + 1);
      return { bytes: this.#bytes.subarray(start, this.#end(next - 1)), next, lineStart: true };
    }
    const pieces: Uint8Array[] = [];
    let next = index;
    let starts = lineStart;
    for (let bytes = 0; next < this.count && bytes < 64 * 1024; next++) {
      const start = this.#starts[next] as number;
      const end = this.#end(next);
      const piece = this.#bytes.subarray(timestamps && starts ? start : start + prefixLength, end);
      starts = this.#bytes[end - 1] === newline && end > start + prefixLength;
      pieces.push(piece);
      bytes += piece.length;
    }
    return { bytes: pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces), next, lineStart: starts };
  }

  /** The first entry from `first` on whose time is not before `time`. */
  firstSince(first: number, time: string): number {
    const wanted = Buffer.from(time, "latin1");
    const isBefore = (index: number) => {
      const start = this.#starts[index] as number;
      return this.#bytes.compare(wanted, 0, timeLength, start, start + timeLength) < 0;
    };
    if (!this.#sorted) {
      let index = first;
      while (index < this.count && isBefore(index)) index++;
      return index;
    }
    let low = first;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(middle)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #end(index: number): number {
    return this.#starts[index + 1] ?? this.size;
  }

  /** The first entry at or after byte `at`, at least `from`. */
  #entryAt(at: number, from: number): number {
    if (at >= this.size) return this.count;
    let low = from;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] as number) < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #reserve(length: number): void {
    if (this.size + length <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.size + length));
    this.#bytes.copy(grown, 0, 0, this.size);
    this.#bytes = grown;
  }
}

let cachedSecond = -1;
let cachedPrefix = "";

/** RFC 3339 with nine digits, as the kubelet writes it: its fixed width makes order of bytes the order of time. */
export function formatTime(timeNs: bigint): string {
  const second = Number(timeNs / 1_000_000_000n);
  if (second !== cachedSecond) {
    cachedSecond = second;
    cachedPrefix = new Date(second * 1000).toISOString().slice(0, 20);
  }
  return `${cachedPrefix}${String(timeNs % 1_000_000_000n).padStart(9, "0")}Z`;
}

function writeTime(into: Buffer, at: number, timeNs: bigint): void {
  into.write(formatTime(timeNs), at, timeLength, "latin1");
}
