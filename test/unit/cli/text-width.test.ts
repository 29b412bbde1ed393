import stringWidth from "string-width";
import { expect, test } from "vitest";
import { cell, cut, formatAge, formatTable } from "../../../src/cli/text-width.ts";
import fc from "../property.ts";

test("text is cut by the columns that a terminal needs for it", () => {
  expect(cut("hello", 5)).toBe("hello");
  expect(cut("hello!", 5)).toBe("hell…");
  expect(cut("東京タワー", 5)).toBe("東京…");
  expect(cell("東京", 6)).toBe("東京  ");
  expect(cut("👩‍👩‍👧 family", 4)).toBe("👩‍👩‍👧 …");
});

test("no text is wider than its columns", () => {
  const text = fc.string({ unit: "grapheme" });
  fc.assert(
    fc.property(text, fc.nat(40), (each, columns) => {
      expect(stringWidth(cut(each, columns))).toBeLessThanOrEqual(columns);
      if (!/[\p{Cc}]/u.test(each)) expect(stringWidth(cell(each, columns))).toBe(columns);
    }),
  );
});

test("a table lines up under its titles and fits the terminal", () => {
  const rows = [
    ["run-1", "東京", "running"],
    ["run-22", "a", "a long text that is cut"],
  ];
  expect(formatTable(["RUN", "AGENT", "PHASE"], rows, 30)).toEqual([
    "RUN     AGENT  PHASE",
    "run-1   東京   running",
    "run-22  a      a long text th…",
  ]);
});

test.each([
  [0, "0s"],
  [119_000, "119s"],
  [120_000, "2m"],
  [7_200_000, "2h"],
  [11_520_000, "3h12m"],
  [187_200_000, "2d4h"],
])("an age of %d ms is %s", (ms, text) => {
  expect(formatAge(ms)).toBe(text);
});

test("on 80 columns the name is whole and the words have room; what matters least is left out, then the second column cut", () => {
  const titles = ["RUN", "AGENT", "AGE", "RESTARTS", "NODE", "WHAT"];
  const words = "claude: ImagePullBackOff: no such image";
  const row = ["agent-claude-5aad-image", "東京タワー見学案内係", "12m", "0", "node-pool-a-7f3a9c", words];
  const [head = "", line = ""] = formatTable(titles, [row], 80, ["NODE", "RESTARTS"]);
  expect(head).toBe("RUN                      AGENT               AGE  WHAT");
  expect(line).toBe("agent-claude-5aad-image  東京タワー見学案…   12m  claude: ImagePullBackOff: no …");
  const [, narrow = ""] = formatTable(titles, [row], 66, ["NODE", "RESTARTS"]);
  expect(narrow).toBe("agent-claude-5aad-image  東京タ…   12m  claude: ImagePullBackOff:…");
  expect(formatTable(titles, [row], 200, ["NODE", "RESTARTS"])[0]).toContain("NODE");
});
