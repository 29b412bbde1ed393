import { FrameError } from "./json-lines.ts";

const LENGTH_BYTES = 4;

/**
 * Splits chunks of a protobuf watch into frames, each behind its length (four bytes, big-endian). A frame inside one chunk is
 * handed on in place; only one that spans chunks is joined. A length above the limit is refused before its bytes are kept.
 *
 * `push` and `end` throw `FrameError`, and whatever `onFrame` throws; the stream must be given up then.
 */
export class ProtobufFrames {
  readonly #maxFrameBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Bytes that the frame under way has, with its length; the length alone until that has come. */
  #wanted = LENGTH_BYTES;

  constructor({ maxFrameBytes = 16 * 1024 * 1024 }: { maxFrameBytes?: number | undefined } = {}) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  push(chunk: Uint8Array, onFrame: (frame: Buffer) => void): void {
    const buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (at < buffer.length) {
      if (this.#bytes === 0 && buffer.length - at >= LENGTH_BYTES) {
        const end = at + this.#sizeAt(buffer, at);
        if (end <= buffer.length) {
          onFrame(buffer.subarray(at + LENGTH_BYTES, end));
          at = end;
          continue;
        }
        this.#wanted = end - at;
      }
      at += this.#keep(buffer.subarray(at, at + this.#wanted - this.#bytes));
      if (this.#bytes < this.#wanted) continue;
      const joined = Buffer.concat(this.#parts, this.#bytes);
      this.#wanted = this.#sizeAt(joined, 0);
      if (this.#bytes < this.#wanted) {
        this.#parts = [joined];
        continue;
      }
      this.#parts = [];
      this.#bytes = 0;
      this.#wanted = LENGTH_BYTES;
      onFrame(joined.subarray(LENGTH_BYTES));
    }
  }

  /** The stream has ended cleanly. */
  end(): void {
    if (this.#bytes === 0) return;
    const rest = Buffer.concat(this.#parts, this.#bytes);
    const detail = `the stream ended inside a frame, after ${rest.length} of its bytes`;
    throw new FrameError("truncated", rest.length, rest.toString("hex", 0, 40), detail);
  }

  #keep(part: Buffer): number {
    this.#parts.push(part);
    this.#bytes += part.length;
    return part.length;
  }

  /** Of a frame with its length. */
  #sizeAt(buffer: Buffer, at: number): number {
    const length = buffer.readUInt32BE(at);
    if (length <= this.#maxFrameBytes) return length + LENGTH_BYTES;
    const excerpt = buffer.toString("hex", at, at + 40);
    // What it says in place of a length is text: a proxy's, or JSON.
    const kind = length > MAX_SENSIBLE_BYTES ? "invalid_protobuf" : "too_large";
    throw new FrameError(
      kind,
      length,
      excerpt,
      `a frame of ${length} bytes is larger than ${this.#maxFrameBytes} bytes`,
    );
  }
}

/** The four first bytes of any printable text say more. */
const MAX_SENSIBLE_BYTES = 0x0900_0000;
