import { describe, expect, test } from "vitest";
import { FrameError, JsonLinesDecoder } from "../../../src/engine/transport/index.ts";
import { cpuMs } from "../cpu-time.ts";
import fc from "../property.ts";

function decode(chunks: Uint8Array[], decoder = new JsonLinesDecoder()) {
  const values: unknown[] = [];
  const sizes: number[] = [];
  const onValue = (value: unknown, bytes: number) => {
    values.push(value);
    sizes.push(bytes);
  };
  for (const chunk of chunks) decoder.push(chunk, onValue);
  decoder.end(onValue);
  return { values, sizes };
}

function cutAt(bytes: Buffer, cuts: number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length));
}

function catching(run: () => unknown): FrameError {
  try {
    run();
  } catch (error) {
    if (error instanceof FrameError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("JsonLinesDecoder", () => {
  test("any chunking of any lines gives the same values, with their sizes", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 30 });
    const object = fc.record({ type: text, object: fc.jsonValue({ maxDepth: 2 }) });
    fc.assert(
      fc.property(
        fc.array(object, { maxLength: 12 }),
        fc.array(fc.nat(), { maxLength: 40 }),
        fc.boolean(),
        (objects, cuts, lastNewline) => {
          const lines = objects.map((each) => JSON.stringify(each));
          const bytes = Buffer.from(lines.join("\n") + (lastNewline && lines.length > 0 ? "\n" : ""));
          const { values, sizes } = decode(cutAt(bytes, cuts));
          expect(values).toEqual(lines.map((line) => JSON.parse(line)));
          expect(sizes).toEqual(lines.map((line) => Buffer.byteLength(line)));
        },
      ),
      { numRuns: 300 },
    );
  });

  test("one byte at a time, also inside a code point", () => {
    const bytes = Buffer.from('{"text":"Grüße 🚀 語"}\n{"n":1}\n');
    const { values } = decode([...bytes].map((byte) => Uint8Array.of(byte)));
    expect(values).toEqual([{ text: "Grüße 🚀 語" }, { n: 1 }]);
  });

  test("takes plain Uint8Arrays that are a part of their buffer", () => {
    const whole = new TextEncoder().encode('xx{"a":1}\nyy');
    expect(decode([whole.subarray(2, 10)]).values).toEqual([{ a: 1 }]);
  });

  test("passes over empty lines and \\r\\n", () => {
    expect(decode([Buffer.from('\n\r\n{"a":1}\r\n \n')]).values).toEqual([{ a: 1 }]);
  });

  test("a frame of 1 MB in 64-byte chunks costs about as much as in one: no quadratic joining", () => {
    const bytes = Buffer.from(`${JSON.stringify({ data: "x".repeat(1_000_000) })}\n`);
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += 64) chunks.push(bytes.subarray(at, at + 64));
    const startedAt = cpuMs();
    for (let round = 0; round < 5; round++) expect(decode(chunks).values).toHaveLength(1);
    // Joining at each chunk would copy 5 × 7.8 GB.
    expect(cpuMs() - startedAt).toBeLessThan(2_000);
  });

  test("a frame above the limit is refused as soon as that is known, with its start", () => {
    const decoder = new JsonLinesDecoder({ maxFrameBytes: 100 });
    const pushed: number[] = [];
    const error = catching(() => {
      for (let n = 0; n < 1_000; n++) {
        pushed.push(n);
        decoder.push(Buffer.from(n === 0 ? '{"type":"ADDED' : "x".repeat(10)), () => {});
      }
    });
    expect(error).toMatchObject({ kind: "too_large", excerpt: expect.stringMatching(/^\{"type":"ADDEDxxx/) });
    expect(pushed.length).toBeLessThan(12);
    expect(error.excerpt.length).toBeLessThanOrEqual(80);
    expect(
      catching(() => new JsonLinesDecoder({ maxFrameBytes: 5 }).push(Buffer.from('"123456"\n'), () => {})).kind,
    ).toBe("too_large");
  });

  test("a line that is no JSON is a FrameError that does not quote all of it", () => {
    const error = catching(() => decode([Buffer.from(`{"ok":1}\n<html>${"secret".repeat(100)}\n`)]));
    expect(error).toMatchObject({ name: "FrameError", kind: "invalid_json", bytes: 606 });
    expect(error.message.length).toBeLessThan(200);
  });

  test("what came before a broken line was delivered", () => {
    const values: unknown[] = [];
    const decoder = new JsonLinesDecoder();
    expect(() => decoder.push(Buffer.from('{"ok":1}\nbroken\n'), (value) => values.push(value))).toThrow(FrameError);
    expect(values).toEqual([{ ok: 1 }]);
  });

  test("a stream that ends inside a frame is truncated, one that only lacks the last newline is not", () => {
    expect(decode([Buffer.from('{"a":1}')]).values).toEqual([{ a: 1 }]);
    expect(catching(() => decode([Buffer.from('{"a":1}\n{"b":')]))).toMatchObject({ kind: "truncated", bytes: 5 });
  });

  test("a limit that is no size is refused", () => {
    expect(() => new JsonLinesDecoder({ maxFrameBytes: -1 })).toThrow(
      "maxFrameBytes must be a positive integer, got -1",
    );
  });
});
