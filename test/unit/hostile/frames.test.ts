/** The two readers of bytes, with bytes that nobody meant to send, cut anywhere. */

import { describe, expect, test } from "vitest";
import { decodeText, LogLineReader } from "../../../src/engine/logs/log-line-reader.ts";
import { FrameError, JsonLinesDecoder } from "../../../src/engine/transport/json-lines.ts";
import fc from "../property.ts";

/** Pieces of what is sent, and of what is not. */
const piece = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc
    .constantFrom(
      "\n",
      "\r\n",
      "{}",
      '{"type":"ADDED","object":{}}\n',
      "é",
      "🚀",
      '"',
      "{",
      "\0",
      "[[[[",
      "null\n",
      "1e999\n",
    )
    .map((text) => Buffer.from(text)),
);
const bytes = fc.array(piece, { maxLength: 30 }).map((pieces) => Buffer.concat(pieces));

/** The same bytes in two pieces or many. */
function* cut(buffer: Buffer, sizes: readonly number[]): Generator<Buffer> {
  let at = 0;
  for (let i = 0; at < buffer.length; i += 1) {
    const size = 1 + ((sizes[i % Math.max(1, sizes.length)] ?? 7) % 64);
    yield buffer.subarray(at, at + size);
    at += size;
  }
}

describe("JSON lines", () => {
  function decode(buffer: Buffer, sizes: readonly number[], maxFrameBytes: number): string {
    const decoder = new JsonLinesDecoder({ maxFrameBytes });
    const values: unknown[] = [];
    const onValue = (value: unknown) => void values.push(value);
    try {
      for (const chunk of cut(buffer, sizes)) decoder.push(chunk, onValue);
      decoder.end(onValue);
    } catch (error) {
      expect(error).toBeInstanceOf(FrameError);
      expect((error as FrameError).excerpt.length).toBeLessThanOrEqual(80);
      values.push((error as FrameError).kind);
    }
    return JSON.stringify(values);
  }

  test("any bytes: values or a FrameError, the same however they are cut", () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(), { minLength: 1, maxLength: 5 }), (buffer, sizes) => {
        const whole = decode(buffer, [63], 1_000);
        expect(decode(buffer, sizes, 1_000)).toBe(whole);
      }),
      { numRuns: 3_000 },
    );
  });

  test("a frame without end is refused before it is kept", () => {
    const decoder = new JsonLinesDecoder({ maxFrameBytes: 100_000 });
    const chunk = Buffer.alloc(10_000, 0x20);
    expect(() => {
      for (let i = 0; i < 1_000; i += 1) decoder.push(chunk, () => undefined);
    }).toThrow(FrameError);
  });
});

describe("log lines", () => {
  function read(buffer: Buffer, sizes: readonly number[], max: number): string[] {
    const reader = new LogLineReader(max);
    const lines: string[] = [];
    for (const chunk of cut(buffer, sizes)) {
      for (const { bytes, start, end, omitted } of reader.push(chunk)) {
        lines.push(`${decodeText(bytes, start, end, max).text} ${omitted}`);
      }
    }
    const rest = reader.unfinished();
    if (rest !== null) lines.push(`(rest) ${decodeText(rest.bytes, rest.start, rest.end, max).text} ${rest.omitted}`);
    return lines;
  }

  test("any bytes: the same lines however they are cut, none lost", () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(), { minLength: 1, maxLength: 5 }), (buffer, sizes) => {
        const lines = read(buffer, sizes, 10_000);
        expect(lines).toEqual(read(buffer, [63], 10_000));
        const newlines = buffer.filter((byte) => byte === 0x0a).length;
        expect(lines.filter((line) => !line.startsWith("(rest)")).length).toBeLessThanOrEqual(newlines);
      }),
      { numRuns: 3_000 },
    );
  });

  test("a line without end costs what a line may cost", () => {
    const reader = new LogLineReader(1_000);
    for (let i = 0; i < 10_000; i += 1) for (const _ of reader.push(Buffer.alloc(10_000, 0x78)));
    const rest = reader.unfinished();
    expect(rest).not.toBeNull();
    expect((rest?.end ?? 0) - (rest?.start ?? 0)).toBeLessThanOrEqual(2_000);
    expect(rest?.omitted).toBeGreaterThan(99_000_000);
  });
});
