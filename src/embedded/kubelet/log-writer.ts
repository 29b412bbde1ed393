/** A longer line is stored in parts of this size, as the CRI log format wants it. */
const partBytes = 16 * 1024;
const newline = 0x0a;

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
