import { expect, test } from "vitest";
import { INITIAL_TOP, type Key, press, renderTop, type TopRow, type TopState } from "../../../src/cli/top/top-view.ts";
import { quantity } from "../../../src/cli/top/usage.ts";

const row = (name: string, over: Partial<TopRow> = {}): TopRow => ({
  name,
  agent: "Ada",
  phase: "running",
  text: `pod ${name}-x: claude is running`,
  ageMs: 1_000,
  restarts: 0,
  node: "node-1",
  pod: `${name}-x`,
  ...over,
});
const ROWS = [
  row("a", { ageMs: 3_000 }),
  row("b", { ageMs: 2_000, agent: "東京" }),
  row("c", { restarts: 2, phase: "pending" }),
];
const SIZE = { columns: 80, height: 12 };

function keys(state: TopState, ...pressed: (string | Key)[]): TopState | null {
  let now: TopState | null = state;
  for (const each of pressed) {
    const key = typeof each === "string" ? { name: each, sequence: each } : each;
    now = now === null ? null : press(now, key, ROWS);
  }
  return now;
}

const names = (state: TopState | null) =>
  renderTop(state as TopState, ROWS, "title", SIZE)
    .lines.slice(2, -2)
    .map((line) => line.split(" ")[0]);

test("the newest run stands first; s changes the order", () => {
  expect(names(INITIAL_TOP)).toEqual(["c", "b", "a"]);
  expect(names(keys(INITIAL_TOP, "s"))).toEqual(["c", "b", "a"]);
  expect(names(keys(INITIAL_TOP, "s", "s", "s"))).toEqual(["c", "b", "a"]);
  expect(names(keys(INITIAL_TOP, "s", "s"))).toEqual(["c", "a", "b"]);
});

test("the cursor follows its run and stays in the table", () => {
  const down = keys(INITIAL_TOP, "down", "down", "down", "down");
  expect(down?.selected).toBe("a");
  expect(keys(down as TopState, "up")?.selected).toBe("b");
  expect(renderTop(down as TopState, ROWS, "title", SIZE).cursor).toBe(4);
  expect(renderTop(INITIAL_TOP, ROWS, "title", SIZE).cursor).toBeNull();
});

test("a filter is typed, kept and cleared", () => {
  const typing = keys(INITIAL_TOP, "/", "p", "e", "n", "x", "backspace");
  expect(renderTop(typing as TopState, ROWS, "title", SIZE).lines.at(-1)).toMatch(/^filter: pen_/);
  const kept = keys(typing as TopState, "d", "return");
  expect(names(kept)).toEqual(["c"]);
  expect(renderTop(kept as TopState, ROWS, "title", SIZE).lines.at(-1)).toMatch(/^1 of 3 runs \(filter: pend\)/);
  expect(names(keys(kept as TopState, "/", "escape"))).toHaveLength(3);
});

test("enter opens a run, escape goes back, and only q, escape and Ctrl-C leave", () => {
  const open = keys(INITIAL_TOP, "down", "return");
  expect(open).toMatchObject({ isOpen: true, selected: "c" });
  expect(keys(open as TopState, "escape")).toMatchObject({ isOpen: false });
  expect(keys(INITIAL_TOP, "return")).toMatchObject({ isOpen: false });
  expect(keys(INITIAL_TOP, "q")).toBeNull();
  expect(keys(open as TopState, "q")).toBeNull();
  expect(keys(INITIAL_TOP, { name: "c", ctrl: true })).toBeNull();
  expect(keys(INITIAL_TOP, "/", "q")).toMatchObject({ filter: "q" });
});

test("many runs scroll with the cursor, and every line fits", () => {
  const rows = Array.from({ length: 100 }, (_, index) =>
    row(`run-${index}`, { ageMs: index * 1_000, text: "東京 ".repeat(60) }),
  );
  const { lines, cursor } = renderTop({ ...INITIAL_TOP, selected: "run-50" }, rows, "title", SIZE);
  expect(lines).toHaveLength(SIZE.height);
  expect(lines[cursor ?? 0]).toMatch(/^run-50 /);
});

test("CPU and memory stand there when metrics-server has said something", () => {
  const { lines } = renderTop(INITIAL_TOP, [row("a", { cpuMillicores: 250.4, memoryBytes: 64 * 2 ** 20 })], "t", {
    ...SIZE,
    columns: 120,
  });
  expect(lines[1]).toMatch(/CPU {3}MEMORY {2}WHAT$/);
  expect(lines[2]).toMatch(/250m {2}64Mi/);
});

test.each([
  ["12345678n", 0.012345678],
  ["250m", 0.25],
  ["2", 2],
  ["64Mi", 67_108_864],
  ["1Gi", 1_073_741_824],
])("the quantity %s is %d", (text, value) => {
  expect(quantity(text)).toBeCloseTo(value, 9);
});
