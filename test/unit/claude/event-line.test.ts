import { readdir, readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { mayComeFirst, readEvent } from "../../../src/claude/event-line.ts";
import { formatClaudeStreamEvent } from "../../../src/claude/format-event.ts";
import { isResultLine } from "../../../src/claude/result-event.ts";
import { ClaudeResultParser } from "../../../src/claude/stream-json.ts";
import { parseStdoutLine } from "../../../src/claude/ui-parser.ts";
import { cpuMs } from "../cpu-time.ts";
import fc from "../property.ts";

const ESC = "\u001b";
const SAID = "I look at the files.";
const said = JSON.stringify({ type: "assistant", message: { id: "m", content: [{ type: "text", text: SAID }] } });
const result = JSON.stringify({ type: "result", subtype: "success", is_error: false, num_turns: 1, result: SAID });

/** What each of the four readers of a line takes it for. */
function readings(line: string) {
  const parser = new ClaudeResultParser();
  parser.push(line);
  const verdict = parser.finish();
  const transcript = parseStdoutLine(line, "t");
  const terminal = formatClaudeStreamEvent(line, false).join("\n");
  return {
    parser: verdict.summary === SAID && verdict.firstPlainLine === null,
    transcript: transcript.some((entry) => "text" in entry && entry.kind !== "stdout" && entry.text === SAID),
    terminal: terminal.includes(SAID) && !terminal.includes('"type"'),
  };
}

const agreed = (is: boolean) => ({ parser: is, transcript: is, terminal: is });

const controls = fc.oneof(
  fc.constantFrom(
    " ",
    "\t",
    "\r",
    "\0",
    "\u0007",
    "\ufeff",
    "\u00a0",
    "\u2028",
    `${ESC}7`,
    `${ESC}(B`,
    `${ESC}c`,
    `${ESC}>`,
  ),
  fc.constantFrom(
    "\u009b0m",
    "\u009dtitle\u009c",
    `${ESC}Pq#0${ESC}\\`,
    `${ESC}_Gf=100;AAAA${ESC}\\`,
    `${ESC}kwork${ESC}\\`,
  ),
  // CSI: parameters, intermediates, a final character.
  fc
    .tuple(
      fc.string({ unit: fc.constantFrom(..."0123456789;?>"), maxLength: 6 }),
      fc.constantFrom("", " ", "!"),
      fc.constantFrom(..."mHJKhlABCDrsu@~"),
    )
    .map(([parameters, between, final]) => `${ESC}[${parameters}${between}${final}`),
  // OSC: a text, also one with braces, up to BEL or ST.
  fc
    .tuple(fc.string({ unit: fc.constantFrom(...'0;a{}"work') }), fc.constantFrom("\u0007", `${ESC}\\`))
    .map(([text, end]) => `${ESC}]${text}${end}`),
);
const noise = fc.array(controls, { maxLength: 8 }).map((parts) => parts.join(""));

describe("an event on a line", () => {
  test("terminal sequences and byte order marks before or after it do not hide it, for any reader", () => {
    fc.assert(
      fc.property(noise, noise, fc.constantFrom(said, result), (before, after, event) => {
        const line = before + event + after;
        expect(readings(line)).toEqual(agreed(true));
        expect(isResultLine(line)).toBe(event === result);
      }),
      { numRuns: 500 },
    );
  });

  test("anything else before or after it makes the line plain text, for every reader", () => {
    fc.assert(
      fc.property(
        noise,
        fc.constantFrom("x", ">", "1", "]", "}", '"', `${ESC}[`, `${ESC}]0;no end `),
        noise,
        (a, text, b) => {
          const line = a + text + b + said;
          expect(readings(line)).toEqual(agreed(readEvent(line) !== null));
          // A sequence that ends with what follows it has swallowed the text.
          if (!text.startsWith(ESC)) expect(readEvent(line)).toBeNull();
        },
      ),
      { numRuns: 500 },
    );
  });

  test("on any line, the readers agree whether there is an event", () => {
    const anything = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }),
      fc.json(),
      fc.tuple(noise, fc.json(), noise).map((parts) => parts.join("")),
      fc
        .tuple(noise, fc.string({ unit: fc.constantFrom(...`{}[]":,\\${ESC}\ufeff type`) }))
        .map((parts) => parts.join("")),
      fc
        .record({ type: fc.oneof(fc.string(), fc.constant(7), fc.constant(null)) })
        .map((value) => JSON.stringify(value)),
    );
    fc.assert(
      fc.property(anything, (line) => {
        const event = readEvent(line);
        const parser = new ClaudeResultParser();
        parser.push(line);
        const isPlain = parser.finish().firstPlainLine !== null;
        expect(isPlain).toBe(event === null && line.trim() !== "");
        // The transcript shows the line as it is unless it is an event of a known type; the terminal hides unknown ones.
        if (event === null) expect(parseStdoutLine(line, "t")).toEqual([{ kind: "stdout", ts: "t", text: line }]);
        if (isPlain) expect(formatClaudeStreamEvent(line, false)).toHaveLength(1);
        expect(isResultLine(line)).toBe(event?.type === "result");
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ["sequences that never end", `${ESC}]`.repeat(200_000)],
    ["one sequence that never ends", `${ESC}]${"x".repeat(2_000_000)}`],
    ["many sequences", `${ESC}[2J`.repeat(500_000)],
    ["braces without end", "{".repeat(2_000_000)],
    ["an event with a long tail", `${said}${" }".repeat(1_000_000)}`],
  ])("%s are read in linear time", (_what, line) => {
    const began = cpuMs();
    readings(line);
    expect(cpuMs() - began).toBeLessThan(10_000);
  });
});

test("the output begins with no event of the work: one that is read first lost what stood before it", async () => {
  const recordings = new URL("../../fixtures/claude-stream-json/", import.meta.url);
  const files = (await readdir(recordings)).filter((name) => name.endsWith(".jsonl"));
  expect(files.length).toBeGreaterThan(5);
  for (const name of files) {
    const [first = ""] = (await readFile(new URL(name, recordings), "utf8")).split("\n");
    expect(mayComeFirst(first), name).toBe(true);
  }
  expect(["npm warn old", "", `${ESC}[2J`].map(mayComeFirst)).toEqual([true, true, true]);
  expect(mayComeFirst(`${ESC}[2J${said}`)).toBe(false);
  expect(mayComeFirst(JSON.stringify({ type: "user", message: {} }))).toBe(false);
});
