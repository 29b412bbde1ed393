/** A log is read on in another process, behind the line whose `position` was kept. */
import { describe, expect, test } from "vitest";
import { followLogs, type LogGap, type LogLine, type LogOptions } from "../../../src/engine/logs/index.ts";
import { NO_LATE_LINES, startLogServer, type TestContainer, until } from "./log-server.ts";

const { cluster, container } = await startLogServer();

const BEGIN = BigInt(Date.parse("2026-11-24T10:00:00.900Z")) * 1_000_000n;

/** Reads up to `count` lines and leaves, or to the end. */
async function read(c: TestContainer, options: LogOptions = {}, count = Number.POSITIVE_INFINITY) {
  const lines: LogLine[] = [];
  const gaps: LogGap[] = [];
  const onGap = (gap: LogGap) => void gaps.push(gap);
  if (count === 0) return { lines, gaps, position: undefined };
  for await (const line of followLogs(cluster, c, { ...NO_LATE_LINES, onGap, ...options })) {
    lines.push(line);
    if (lines.length >= count) break;
  }
  const position = lines.at(-1)?.position;
  return {
    lines,
    gaps,
    position: position === undefined ? undefined : (JSON.parse(JSON.stringify(position)) as string),
  };
}

const texts = ({ lines }: { lines: LogLine[] }) => lines.map(({ text }) => text);
const after = (position: string | undefined): LogOptions => (position === undefined ? {} : { after: position });

test("behind any line, of lines with equal times, equal texts and long lines: the rest, each once", async () => {
  const long = "x".repeat(40_000);
  const written: [string, number][] = [
    ["one", 0],
    ["same", 0],
    ["same", 0],
    ["same", 50],
    ["same", 50],
    [long, 400],
    ["", 400],
    ["", 2_500],
    ["😀", 2_500],
    ["last", 2_600],
  ];
  const all = written.map(([text]) => text);
  const c = container();
  for (const [text, ms] of written) c.write(`${text}\n`, BEGIN + BigInt(ms) * 1_000_000n);
  c.exit().tell({ phase: "ended" });
  for (let count = 0; count <= all.length; count++) {
    const first = await read(c, {}, count);
    const second = await read(c, after(first.position));
    expect([...texts(first), ...texts(second)], `left after ${count} lines`).toEqual(all);
    expect(second.gaps).toEqual([]);
  }
});

test("again and again, one line a time, and while the container writes", async () => {
  const c = container(() => BEGIN);
  const got: string[] = [];
  let position: string | undefined;
  for (let i = 0; i < 20; i++) {
    c.lines([`${i}`]);
    const part = await read(c, after(position), 1);
    got.push(...texts(part));
    position = part.position;
  }
  expect(got).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`));
});

test("behind a last line that has no newline there is nothing", async () => {
  const c = container().write("one\ntwo").exit();
  c.tell({ phase: "ended" });
  const first = await read(c);
  expect(texts(first)).toEqual(["one", "two"]);
  expect(texts(await read(c, after(first.position)))).toEqual([]);
});

test("the container was started again meanwhile: the rest of its earlier instance, then the new one", async () => {
  const c = container().lines(["one", "two", "three"]);
  const first = await read(c, {}, 2);
  c.restart();
  c.time = () => BEGIN + 3_600_000_000_000n;
  c.lines(["second life"]);
  c.tell({ restartCount: 1, startedAt: "2026-11-24T11:00:00Z" });
  const restarts: number[] = [];
  const onRestart = ({ restartCount }: { restartCount: number }) => void restarts.push(restartCount);
  const second = await read(c, { ...after(first.position), onRestart }, 2);
  expect(texts(second)).toEqual(["three", "second life"]);
  expect(restarts).toEqual([1]);
  c.lines(["goes on"]);
  const third = await read(c, after(second.position), 1);
  expect(texts(third)).toEqual(["goes on"]);
  expect([...second.gaps, ...third.gaps]).toEqual([]);
});

test("the line was rotated away: a gap behind it, then what there is", async () => {
  const c = container().lines(["one", "two", "three"]);
  const first = await read(c, {}, 2);
  c.rotate().lines(["four"]).exit().tell({ phase: "ended" });
  const second = await read(c, after(first.position));
  expect(texts(second)).toEqual(["four"]);
  expect(second.gaps).toMatchObject([
    { reason: "rotated", after: first.lines[1]?.time, before: second.lines[0]?.time },
  ]);
});

describe("what is no position of this log is refused, by its name", () => {
  const c = container();
  const place = `${c.podName}/claude/0/1/2026-11-24T10:00:00Z`;
  test.each<[string, LogOptions, RegExp]>([
    ["text", { after: "yesterday" }, /after: got "yesterday"; give the position of a line/],
    ["a bad time", { after: `${c.podName}/claude/0/1/2026-13-24T10:00:00Z` }, /after: got/],
    ["more than a time", { after: `${place} ` }, /after: got/],
    ["no line", { after: `${c.podName}/claude/0/0/2026-11-24T10:00:00Z` }, /after: got/],
    ["another container", { after: place.replace("claude", "proxy") }, /container proxy/],
    ["another pod", { after: place.replace(c.podName, "other") }, /pod other/],
    ["a second start", { after: place, tailLines: 1 }, /without tailLines and since/],
    ["another second start", { after: place, since: new Date() }, /without tailLines and since/],
  ])("%s", (_, options, words) => {
    expect(() => followLogs(cluster, c, options)).toThrow(TypeError);
    expect(() => followLogs(cluster, c, options)).toThrow(words);
  });
});

test("a follow that goes on behind a position is not taken for one whose head is missing", async () => {
  const c = container().lines(["one", "two"]);
  const first = await read(c, {}, 1);
  c.exit().tell({ phase: "ended" });
  const second = await read(c, { ...after(first.position), isFirstLine: () => false });
  expect(texts(second)).toEqual(["two"]);
  expect(second.gaps).toEqual([]);
  await until(() => c.listeners === 0);
});
