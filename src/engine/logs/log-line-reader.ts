/** One line as bytes: `bytes[start..end)`, without its newline. Valid until the chunk it stands in is let go. */
export interface RawLine {
  bytes: Buffer;
  start: number;
  end: number;
  /** Bytes at the end of the line that were not kept, because the line is longer than the limit. */
  omitted: number;
}

/** A line as it came, before it is known to be new. */
export interface TimedLine {
  seconds: number;
  nanos: number;
  time: string;
  text: string;
  omittedBytes: number;
  /** Bytes of `text`. */
  bytes: number;
}

/**
 * Cuts a stream of bytes into lines, whatever the chunking. Lines stay bytes until they are whole, so that no character
 * can be split; a line that spans chunks is joined once, when its newline has come.
 *
 * The unfinished line is copied out of its chunk, so an idle stream holds its few bytes and not the socket's buffer.
 */
export class LogLineReader {
  readonly #limit: number;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #omitted = 0;

  /** `limit`: most bytes kept of one line, its time included. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The lines that `chunk` completes. */
  push(chunk: Uint8Array): RawLine[] {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const lines: RawLine[] = [];
    let start = 0;
    for (;;) {
      const newline = bytes.indexOf(NEWLINE, start);
      if (newline < 0) break;
      lines.push(
        this.#heldBytes > 0 || this.#omitted > 0
          ? this.#join(bytes, start, newline)
          : this.#whole(bytes, start, newline),
      );
      start = newline + 1;
    }
    if (start < bytes.length) this.#hold(bytes, start, bytes.length);
    return lines;
  }

  /** The line that has no newline yet, or null. It stays held. */
  unfinished(): RawLine | null {
    if (this.#heldBytes === 0) return null;
    const bytes = this.#held.length === 1 ? (this.#held[0] as Buffer) : Buffer.concat(this.#held, this.#heldBytes);
    return { bytes, start: 0, end: bytes.length, omitted: this.#omitted };
  }

  #whole(bytes: Buffer, start: number, end: number): RawLine {
    const kept = Math.min(end, start + this.#limit);
    return { bytes, start, end: kept, omitted: end - kept };
  }

  #join(bytes: Buffer, start: number, end: number): RawLine {
    const kept = Math.min(end - start, this.#limit - this.#heldBytes);
    this.#held.push(bytes.subarray(start, start + kept));
    const joined = Buffer.concat(this.#held, this.#heldBytes + kept);
    const omitted = this.#omitted + (end - start - kept);
    this.#held = [];
    this.#heldBytes = 0;
    this.#omitted = 0;
    return { bytes: joined, start: 0, end: joined.length, omitted };
  }

  #hold(bytes: Buffer, start: number, end: number): void {
    const kept = Math.min(end - start, this.#limit - this.#heldBytes);
    if (kept > 0) {
      // allocUnsafeSlow: not a slice of the shared 8 KiB pool, which a few held bytes would keep alive.
      const copy = Buffer.allocUnsafeSlow(kept);
      bytes.copy(copy, 0, start, start + kept);
      this.#held.push(copy);
      this.#heldBytes += kept;
    }
    this.#omitted += end - start - kept;
  }
}

const NEWLINE = 0x0a;

/**
 * Decodes `bytes[start..end)` as text of at most `maxBytes`, cut between characters. Returns the text and how many bytes
 * were left out.
 */
export function decodeText(bytes: Buffer, start: number, end: number, maxBytes: number): { text: string; cut: number } {
  let stop = end;
  if (end - start > maxBytes) {
    stop = start + maxBytes;
    // Step back over at most three continuation bytes, to the lead byte of the character that the cut falls into.
    for (let back = 0; back < 3 && stop > start && ((bytes[stop] as number) & 0xc0) === 0x80; back++) stop--;
  }
  return { text: bytes.toString("utf8", start, stop), cut: end - stop };
}
