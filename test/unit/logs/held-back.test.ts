/** A connection breaks while what it has brought is still held back: by a slow consumer, or by the doubt about a gap. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { followLogs, type LogGap, type LogLine } from "../../../src/engine/logs/index.ts";
import { NO_LATE_LINES, startLogServer, type TestContainer, until } from "./log-server.ts";

const { server, cluster, container } = await startLogServer();

const idle = () => until(() => server.openRequests === 0);

/** The lines and gaps in the order in which they are told. */
function told(c: TestContainer) {
  const events: string[] = [];
  const lines: LogLine[] = [];
  const stream = followLogs(cluster, c, {
    ...NO_LATE_LINES,
    onGap: ({ reason, after, before }: LogGap) => {
      const isOrdered = after === null || before === null || after < before;
      events.push(isOrdered ? `gap: ${reason}` : `gap: ${reason}, after ${after} and before ${before}`);
    },
  });
  const done = stream.forEach((line) => {
    lines.push(line);
    events.push(line.text);
  });
  /** The follow waits whether the pod tells of a restart: beside its read it listens for that. */
  const isInDoubt = () => c.listeners === 2;
  return { events, lines, done, isInDoubt };
}

test("while the follow waits whether a gap is a restart: told once, and no piece of a line", async () => {
  const c = container().lines(["one", "two"]);
  c.refuse = ({ index }) => (index === 1 ? { status: 500, message: "connection refused" } : null);
  const f = told(c);
  await until(() => f.lines.length === 2);
  server.resetConnections();
  c.lines(["three"]).rotate().lines(["four", "five"]).write("six, of which half ");
  // The third read shows `four`, and it is not yet clear whether that is a new instance's.
  await until(() => c.requests.length === 3 && f.isInDoubt() && c.isSent);
  server.resetConnections();
  await idle();
  c.write("has come\n").lines(["seven"]);
  await until(() => f.lines.length >= 6);
  c.exit().tell({ phase: "ended" });
  await f.done;
  expect(f.events).toEqual(["one", "two", "gap: rotated", "four", "five", "six, of which half has come", "seven"]);
});

test("while a slow consumer has not taken its lines: none is lost", async () => {
  const c = container().lines(["one"]);
  const stream = followLogs(cluster, c, NO_LATE_LINES);
  const batches = stream.batches();
  const texts: string[] = [];
  const take = async () => {
    const { value } = await batches.next();
    for (const { text } of value ?? []) texts.push(text);
    return value !== undefined;
  };
  await take();
  for (const line of ["two", "three", "four"]) {
    c.lines([line]);
    // It has the first of these lines, and nobody takes it.
    await until(() => stream.stats.lines > 1);
    server.resetConnections();
    await idle();
    // As long as a follow that was not held back would take to come again.
    await sleep(400);
  }
  c.exit().tell({ phase: "ended" });
  await sleep(400);
  while (await take());
  expect(texts).toEqual(["one", "two", "three", "four"]);
});

test("a line that was cut off is the first of a rotated file: it comes whole, once, and nothing is missing", async () => {
  const c = container().lines(["one"]);
  const f = told(c);
  await until(() => f.lines.length === 1);
  c.rotate().write("two, of which half ");
  await until(() => c.isSent);
  server.resetConnections();
  await idle();
  c.write("has come\n").lines(["three"]);
  await until(() => f.lines.length >= 3);
  c.exit().tell({ phase: "ended" });
  await f.done;
  expect(f.events).toEqual(["one", "two, of which half has come", "three"]);
});

test("a line of which nothing but its time had come before it was rotated away is no empty line", async () => {
  const c = container().lines(["one", "two"]).write("three\n");
  const timeBytes = "2026-11-24T00:00:00.000000000Z ".length;
  const atByte = 3 * timeBytes + "one\ntwo\n".length;
  c.cut = ({ index }) => (index === 0 ? { atByte, how: "clean" } : null);
  c.refuse = ({ index }) => (index === 1 ? { status: 500, message: "connection refused" } : null);
  const f = told(c);
  await until(() => c.requests.length === 2);
  c.rotate().lines(["four"]).exit().tell({ phase: "ended" });
  await f.done;
  expect(f.events).toEqual(["one", "two", "gap: rotated", "four"]);
});

test("a new instance's first lines, cut off before the pod tells of it, are no rest of the earlier one", async () => {
  const c = container().lines(["one"]);
  const f = told(c);
  await until(() => f.lines.length === 1);
  c.restart();
  c.time = (
    (ns) => () =>
      (ns += 1_000_000n)
  )(BigInt(Date.parse("2026-11-24T01:00:00Z")) * 1_000_000n);
  c.lines(["of the second life"]).write("the second line, of which half ");
  await until(() => c.requests.length === 2 && f.isInDoubt() && c.isSent);
  server.resetConnections();
  c.write("has come\n");
  c.tell({ restartCount: 1, startedAt: "2026-11-24T01:00:00Z" });
  await until(() => f.lines.length >= 3);
  c.exit().tell({ phase: "ended" });
  await f.done;
  expect(f.events).toEqual(["one", "of the second life", "the second line, of which half has come"]);
});

test.each([
  ["of which the first line had come in half", []],
  ["of which a line and half of the next had come", ["zero"]],
])("a log %s before its file was rotated away: the rest is a gap, not the end", async (_, before) => {
  const c = container().lines(before).write("one, of which ");
  const f = told(c);
  await until(() => f.lines.length === before.length && c.isSent);
  server.resetConnections();
  c.write("half has come\n").lines(["two"]).rotate();
  c.exit().tell({ phase: "ended" });
  await f.done;
  expect(f.events).toEqual([...before, "one, of which ", "gap: rotated"]);
});

test("a last line without newline that came in half is waited for, and is no gap", async () => {
  const c = container().write("one, of which ");
  const f = told(c);
  await until(() => c.isSent);
  server.resetConnections();
  c.write("half has come");
  c.exit().tell({ phase: "ended" });
  await f.done;
  expect(f.events).toEqual(["one, of which half has come"]);
});
