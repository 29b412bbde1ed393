import { expect, test } from "vitest";
import { LineAudit, lostLines, type Numbering } from "../../../src/cli/fleet/line-audit.ts";

const textOf = (seq: number) => (seq < 4 ? `line ${seq} é` : null);
const numbered: Numbering = {
  read: (line) => {
    const [, seq] = /^line (\d+)/.exec(line) ?? [];
    return seq === undefined ? null : { seq: Number(seq), ...(seq === "3" ? { total: 4 } : {}) };
  },
  textOf,
};

function audit(chunks: readonly string[], numbering = numbered) {
  const each = new LineAudit(numbering);
  for (const chunk of chunks) each.push(chunk);
  return each.result;
}
const lines = (...seqs: number[]) => seqs.map((seq) => `${textOf(seq)}\n`);

test("every line once and in order, in any pieces", () => {
  const whole = lines(0, 1, 2, 3).join("");
  for (const size of [1, 3, 1_000]) {
    const result = audit(whole.match(new RegExp(`[^]{1,${size}}`, "gu")) ?? []);
    expect(result).toEqual({
      delivered: 4,
      doubled: 0,
      outOfOrder: 0,
      cut: 0,
      holes: [],
      foreign: [],
      next: 4,
      total: 4,
    });
    expect(lostLines(result)).toBe(0);
  }
});

test.each([
  ["missing in the middle", lines(0, 3), { holes: [[1, 2]], delivered: 2 }, 2],
  ["late: out of order, and no longer missing", lines(0, 3, 1), { holes: [[2, 2]], outOfOrder: 1, delivered: 3 }, 1],
  [
    "late, in the middle of a hole",
    lines(3, 1),
    {
      holes: [
        [0, 0],
        [2, 2],
      ],
      outOfOrder: 1,
      delivered: 2,
    },
    2,
  ],
  ["twice", lines(0, 0, 1), { doubled: 1, delivered: 2, next: 2, total: null }, 0],
  ["late and then twice", lines(0, 2, 1, 1), { doubled: 1, outOfOrder: 1, holes: [] }, 0],
  ["cut in a character", ["line 0 é\n", "line 1 \ufffd\n"], { cut: 1, next: 1, foreign: [] }, 0],
  ["of somebody else", ["line 0 x\n", "hello\n"], { foreign: ["line 0 x", "hello"], delivered: 0 }, 0],
  ["beyond the last", ["line 9 é\n"], { foreign: ["line 9 é"] }, 0],
  ["without its newline", ["line 0 é"], { delivered: 0, foreign: ["(cut) line 0 é"] }, 0],
])("a line %s", (_, chunks, expected, lost) => {
  const result = audit(chunks);
  expect(result).toMatchObject(expected);
  expect(lostLines(result)).toBe(lost);
});

test("where the lines are not known, their numbers tell; the last ones are missing by the agent's own count", () => {
  const counted: Numbering = { read: (line) => (line === "?" ? null : { seq: Number(line), total: 5 }) };
  const result = audit(["0\n1\n?\n"], counted);
  expect(result).toMatchObject({ delivered: 2, next: 2, total: 5, foreign: ["?"] });
  expect(lostLines(result)).toBe(3);
});
