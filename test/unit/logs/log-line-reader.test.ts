import { describe, expect, test } from "vitest";
import { decodeText, LogLineReader, type RawLine } from "../../../src/engine/logs/log-line-reader.ts";
import fc from "../property.ts";

const bytesOf = (line: RawLine) => Buffer.from(line.bytes.subarray(line.start, line.end));
const textOf = (line: RawLine) => line.bytes.toString("utf8", line.start, line.end);

function chunksOf(bytes: Buffer, cuts: number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((start, i) => bytes.subarray(start, at[i] ?? bytes.length));
}

describe("LogLineReader", () => {
  test("any bytes in any chunks give the same lines", () => {
    const content = fc.array(fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constant(Uint8Array.of(10))), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(content, fc.array(fc.nat(1000), { maxLength: 20 }), (parts, cuts) => {
        const bytes = Buffer.concat(parts);
        const reader = new LogLineReader(1 << 20);
        const lines = chunksOf(bytes, cuts).flatMap((chunk) => reader.push(chunk).map(bytesOf));
        const rest = reader.unfinished();
        const rebuilt = Buffer.concat([
          ...lines.flatMap((line) => [line, Buffer.from("\n")]),
          ...(rest ? [bytesOf(rest)] : []),
        ]);
        expect(rebuilt.equals(bytes)).toBe(true);
        expect(lines.every((line) => !line.includes(10))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test("characters split at every byte stay whole; \\r and empty lines are kept", () => {
    const text = "größe €\r\n\n😀 日本\n\u0000\u0007\n";
    const bytes = Buffer.from(text);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const reader = new LogLineReader(1000);
      const lines = [...reader.push(bytes.subarray(0, cut)), ...reader.push(bytes.subarray(cut))];
      expect(lines.map(textOf)).toEqual(["größe €\r", "", "😀 日本", "\u0000\u0007"]);
      expect(reader.unfinished()).toBeNull();
    }
  });

  test("a line of 1 MB over many chunks", () => {
    const reader = new LogLineReader(4 << 20);
    const chunk = Buffer.alloc(1000, "x");
    for (let i = 0; i < 1000; i++) expect(reader.push(chunk)).toEqual([]);
    const [line] = reader.push(Buffer.from("y\nz"));
    expect(line && line.end - line.start).toBe(1_000_001);
    expect(line && textOf(line).endsWith("xy")).toBe(true);
    expect(reader.unfinished() && textOf(reader.unfinished() as RawLine)).toBe("z");
  });

  test("beyond the limit a line is cut, what was left out is counted, and the next line is whole", () => {
    const bytes = Buffer.from(`${"a".repeat(25)}\nnext\n${"b".repeat(10)}\n`);
    for (let size = 1; size <= bytes.length; size++) {
      const reader = new LogLineReader(10);
      const lines: RawLine[] = [];
      for (let i = 0; i < bytes.length; i += size) lines.push(...reader.push(bytes.subarray(i, i + size)));
      expect(lines.map((line) => [textOf(line), line.omitted])).toEqual([
        ["a".repeat(10), 15],
        ["next", 0],
        ["b".repeat(10), 0],
      ]);
    }
  });

  test("an unfinished line does not keep its chunk alive", () => {
    const reader = new LogLineReader(1000);
    const chunk = Buffer.from(`${"x".repeat(60_000)}\nabc`);
    reader.push(chunk);
    expect(reader.unfinished()?.bytes.buffer.byteLength).toBeLessThan(100);
    expect(reader.unfinished()?.bytes.buffer).not.toBe(chunk.buffer);
  });
});

describe("decodeText", () => {
  test("cuts between characters and counts the bytes left out", () => {
    const bytes = Buffer.from("aé€😀");
    expect([1, 2, 3, 4, 5, 6, 7, 9, 10].map((max) => decodeText(bytes, 0, bytes.length, max))).toEqual([
      { text: "a", cut: 9 },
      { text: "a", cut: 9 },
      { text: "aé", cut: 7 },
      { text: "aé", cut: 7 },
      { text: "aé", cut: 7 },
      { text: "aé€", cut: 4 },
      { text: "aé€", cut: 4 },
      { text: "aé€", cut: 4 },
      { text: "aé€😀", cut: 0 },
    ]);
  });

  test("bytes that are not UTF-8 become U+FFFD", () => {
    expect(decodeText(Buffer.from([0x61, 0xff, 0x62, 0xc3]), 0, 4, 99).text).toBe("a\ufffdb\ufffd");
  });
});
