export type FrameErrorKind = "too_large" | "invalid_json" | "invalid_protobuf" | "truncated";

/** A frame of a stream, or a whole answer, that is not what its content type says. */
export class FrameError extends Error {
  override readonly name = "FrameError";
  readonly code = "frame_invalid";
  readonly kind: FrameErrorKind;
  /** Size of the frame in bytes, as far as it was seen. */
  readonly bytes: number;
  /** How it begins, at most 80 characters; of protobuf in hexadecimal digits. */
  readonly excerpt: string;
  constructor(kind: FrameErrorKind, bytes: number, excerpt: string, detail: string) {
    super(`${detail}; it begins with ${JSON.stringify(excerpt)}`);
    this.kind = kind;
    this.bytes = bytes;
    this.excerpt = excerpt;
  }
}

export interface JsonLinesOptions {
  /** Largest accepted line in bytes. Default 16 MiB; etcd keeps objects below 1.5 MiB. */
  maxFrameBytes?: number;
  /** Names bytes of a line (`buffer[from..to)`) that need not be parsed. What is left has to be JSON, or all of it is parsed. */
  skip?: (buffer: Buffer, from: number, to: number) => readonly [start: number, end: number] | null;
}

/** `bytes` is the line's size without its newline. */
export type OnValue = (value: unknown, bytes: number) => void;

const NEWLINE = 0x0a;

/**
 * Splits chunks of bytes at newlines and parses each line. A line inside one chunk is parsed in place; only one that spans
 * chunks is joined, once, when its newline arrives. UTF-8 may be cut anywhere, since bytes are joined before they are decoded.
 *
 * `push` and `end` throw `FrameError`, and whatever `onValue` throws; what was left of the chunk is dropped then, so the stream
 * must be given up.
 */
export class JsonLinesDecoder {
  readonly #maxFrameBytes: number;
  readonly #skip: JsonLinesOptions["skip"];
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor({ maxFrameBytes = 16 * 1024 * 1024, skip }: JsonLinesOptions = {}) {
    if (!(Number.isSafeInteger(maxFrameBytes) && maxFrameBytes > 0)) {
      throw new RangeError(`maxFrameBytes must be a positive integer, got ${String(maxFrameBytes)}`);
    }
    this.#maxFrameBytes = maxFrameBytes;
    this.#skip = skip;
  }

  push(chunk: Uint8Array, onValue: OnValue): void {
    const buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let start = 0;
    for (let newline = buffer.indexOf(NEWLINE); newline !== -1; newline = buffer.indexOf(NEWLINE, start)) {
      const from = start;
      start = newline + 1;
      if (this.#bytes === 0) this.#parse(buffer, from, newline, onValue);
      else this.#parseJoined(buffer.subarray(from, newline), onValue);
    }
    if (start < buffer.length) this.#keep(buffer.subarray(start));
  }

  /** The stream has ended cleanly: a last line without newline counts if it is whole. */
  end(onValue: OnValue): void {
    if (this.#bytes === 0) return;
    const line = this.#take();
    const text = line.toString("utf8").trim();
    if (text === "") return;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw new FrameError(
        "truncated",
        line.length,
        excerpt(line),
        `the stream ended inside a frame, after ${line.length} of its bytes`,
      );
    }
    onValue(value, line.length);
  }

  #keep(part: Buffer): void {
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes > this.#maxFrameBytes) {
      const line = this.#take();
      throw this.#tooLarge(line, 0, line.length);
    }
  }

  #take(): Buffer {
    const [only] = this.#parts;
    const line = this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts, this.#bytes);
    this.#parts = [];
    this.#bytes = 0;
    return line;
  }

  #parseJoined(last: Buffer, onValue: OnValue): void {
    if (last.length > 0) this.#parts.push(last);
    this.#bytes += last.length;
    const line = this.#take();
    this.#parse(line, 0, line.length, onValue);
  }

  #parse(buffer: Buffer, from: number, to: number, onValue: OnValue): void {
    const bytes = to - from;
    if (bytes > this.#maxFrameBytes) throw this.#tooLarge(buffer, from, to);
    const partly = this.#parsePartly(buffer, from, to);
    if (partly !== undefined) {
      onValue(partly, bytes);
      return;
    }
    const text = buffer.toString("utf8", from, to);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      if (text.trim() === "") return;
      // The engine's own message would quote the frame at length.
      throw new FrameError(
        "invalid_json",
        bytes,
        excerpt(buffer.subarray(from, to)),
        `a frame of ${bytes} bytes is no JSON`,
      );
    }
    onValue(value, bytes);
  }

  #parsePartly(buffer: Buffer, from: number, to: number): unknown {
    const span = this.#skip?.(buffer, from, to) ?? null;
    if (span === null) return undefined;
    try {
      return JSON.parse(buffer.toString("utf8", from, span[0]) + buffer.toString("utf8", span[1], to));
    } catch {
      return undefined;
    }
  }

  #tooLarge(buffer: Buffer, from: number, to: number): FrameError {
    return new FrameError(
      "too_large",
      to - from,
      excerpt(buffer.subarray(from, to)),
      `a frame is larger than ${this.#maxFrameBytes} bytes`,
    );
  }
}

function excerpt(line: Buffer): string {
  return line.toString("utf8", 0, Math.min(line.length, 320)).slice(0, 80);
}
