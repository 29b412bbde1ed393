const newline = 0x0a;
/** `2026-11-23T10:44:36.123456789Z` */
const timeLength = 30;
const prefixLength = timeLength + 1;

/**
 * One file: the bytes as `timestamps=true` serves them, so that the common read is a slice. Append-only: slices that were
 * handed out stay valid when the buffer grows.
 */
export class LogFile {
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
