/** Whatever a container prints: the parsers of the run, of the terminal and of the browser never throw, and stay small. */

import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { classifyRun } from "../../../src/claude/classify.ts";
import { formatClaudeStreamEvent } from "../../../src/claude/format-event.ts";
import { isResultLine } from "../../../src/claude/result-event.ts";
import { ClaudeResultParser } from "../../../src/claude/stream-json.ts";
import { parseStdoutLine } from "../../../src/claude/ui-parser.ts";
import { outcomeOf, recording } from "../claude/runs.ts";
import { cpuMs } from "../cpu-time.ts";
import fc from "../property.ts";
import { isPolluted } from "./values.ts";

afterEach(() => expect(isPolluted()).toBe(false));

function readAll(lines: readonly string[]): void {
  const parser = new ClaudeResultParser();
  for (const line of lines) {
    const event = parser.push(line);
    if (event !== null) {
      expect(event.eventType.length).toBeLessThanOrEqual(120);
      JSON.stringify(event);
    }
    isResultLine(line);
    for (const entry of parseStdoutLine(line, "t")) expect(entry.ts).toBe("t");
    for (const text of formatClaudeStreamEvent(line, true)) expect(typeof text).toBe("string");
  }
  parser.finish();
  const result = classifyRun(outcomeOf(lines), new Date("2026-11-24T00:00:00Z"));
  // The host stores it.
  expect(JSON.stringify(result).length).toBeLessThan(1_000_000);
}

/** Events with the CLI's own field names and values of any type. */
const NAMES = [
  "type",
  "subtype",
  "message",
  "content",
  "text",
  "thinking",
  "id",
  "name",
  "input",
  "usage",
  "input_tokens",
  "output_tokens",
  "result",
  "is_error",
  "errors",
  "error",
  "session_id",
  "model",
  "total_cost_usd",
  "api_error_status",
  "terminal_reason",
  "rate_limit_info",
  "resetsAt",
  "status",
  "stop_reason",
  "modelUsage",
  "permission_denials",
  "attempt",
  "retry_delay_ms",
  "__proto__",
  "constructor",
  "toString",
  "length",
];
const TYPES = [
  "system",
  "assistant",
  "user",
  "result",
  "rate_limit_event",
  "stream_event",
  "init",
  "api_retry",
  "text",
  "tool_use",
  "success",
];
const eventLine = fc
  .letrec<{ node: unknown }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 5, depthSize: "small" },
      fc.constantFrom(...TYPES, "", 0, -1, 1e308, null, true, "2026-11-24T00:00:00Z", "\ud800"),
      fc.string({ unit: "binary", maxLength: 20 }),
      fc.dictionary(fc.constantFrom(...NAMES), tie("node"), { maxKeys: 6 }),
      fc.array(tie("node"), { maxLength: 3 }),
    ),
  }))
  .node.map((node) => JSON.stringify(node) ?? "");

describe("stream-json", () => {
  test("events of the right names and any values", () => {
    fc.assert(fc.property(fc.array(eventLine, { maxLength: 8 }), readAll), { numRuns: 1_000 });
  });

  test("recordings with any of their values replaced", () => {
    const lines = ["tool", "auth-error", "max-turns"].flatMap(recording);
    const values = fc.oneof(
      fc.constantFrom<unknown>(null, 0, -1, "", [], {}, true, "x".repeat(5_000), [[]], { a: 1 }),
      fc.jsonValue(),
    );
    fc.assert(
      fc.property(fc.nat(), fc.nat(), values, (at, field, value) => {
        const mutated = lines.map((line, i) => {
          if (i !== at % lines.length) return line;
          let left = field % 40;
          return JSON.stringify(JSON.parse(line), (key, each) => (key !== "" && left-- === 0 ? value : each));
        });
        readAll(mutated);
      }),
      { numRuns: 500 },
    );
  });

  test("recordings cut at any byte, with any byte changed", () => {
    const bytes = Buffer.from(recording("auth-error").join("\n"));
    fc.assert(
      fc.property(fc.nat(bytes.length), fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }), (end, at, byte) => {
        const copy = Buffer.from(bytes.subarray(0, end));
        if (at < copy.length) copy[at] = byte;
        readAll(copy.toString("utf8").split("\n"));
      }),
      { numRuns: 300 },
    );
  });

  test.each<[string, () => string]>([
    [
      "10 MB of text",
      () =>
        JSON.stringify({
          type: "assistant",
          message: { id: "m", content: [{ type: "text", text: "x".repeat(10_000_000) }] },
        }),
    ],
    [
      "10 MB of a result",
      () =>
        JSON.stringify({
          type: "result",
          subtype: "success",
          is_error: false,
          result: "é".repeat(10_000_000),
          errors: ["x".repeat(1_000_000)],
        }),
    ],
    ["10 MB that are no JSON", () => "{".repeat(10_000_000)],
    ["10 MB of blanks", () => " ".repeat(10_000_000)],
    ["100 000 levels deep", () => `{"type":"result","result":${"[".repeat(100_000)}${"]".repeat(100_000)}}`],
    [
      "100 000 errors",
      () =>
        JSON.stringify({
          type: "result",
          subtype: "error_during_execution",
          is_error: true,
          errors: Array.from({ length: 100_000 }, (_, i) => `error ${i}`),
        }),
    ],
    [
      "100 000 fields",
      () =>
        JSON.stringify(
          Object.fromEntries([["type", "result"], ...Array.from({ length: 100_000 }, (_, i) => [`f${i}`, i])]),
        ),
    ],
    [
      "__proto__ at every level",
      () =>
        '{"type":"result","__proto__":{"polluted":1},"usage":{"__proto__":{"polluted":1}},"errors":[{"__proto__":{"polluted":1}}]}',
    ],
    [
      "a name that matches slowly, if at all",
      () =>
        JSON.stringify({
          type: "result",
          is_error: true,
          result: `resets ${"9".repeat(50_000)} ${"at ".repeat(20_000)}`,
        }),
    ],
    ["links without end", () => "http://".repeat(100_000)],
    ["lone surrogates", () => `{"type":"result","is_error":true,"result":"\ud800\udfff\udc00"}`],
  ])("%s, within seconds", (_, line) => {
    const text = line();
    const began = cpuMs();
    readAll([text, text]);
    expect(cpuMs() - began).toBeLessThan(10_000);
  });
});

describe("memory", () => {
  let gc: () => void;
  beforeAll(async () => {
    const { setFlagsFromString } = await import("node:v8");
    const { runInNewContext } = await import("node:vm");
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as () => void;
  });

  test("of a parser does not grow with the run", () => {
    const parser = new ClaudeResultParser();
    const push = (count: number) => {
      for (let i = 0; i < count; i += 1) {
        parser.push(
          JSON.stringify({
            type: "assistant",
            message: { id: `m${i}`, content: [{ type: "text", text: `${i} ${"x".repeat(2_000)}` }] },
          }),
        );
        parser.push(`stderr ${i} ${"y".repeat(2_000)}`);
      }
      gc();
      return process.memoryUsage().heapUsed;
    };
    const early = push(2_000);
    const late = push(20_000);
    // 80 MB have gone by.
    expect(late - early).toBeLessThan(8 * 2 ** 20);
    parser.finish();
  });
});
