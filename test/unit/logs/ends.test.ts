/** The end of a log that comes late, is refused, or lies behind a clock that was set back. */
import { describe, expect, test } from "vitest";
import { ENDED_GIVE_UP_MS } from "../../../src/engine/logs/follow-policy.ts";
import { followLogs, type LogGap, type LogOptions } from "../../../src/engine/logs/index.ts";
import { NO_LATE_LINES, startLogServer, type TestContainer, testClock, until } from "./log-server.ts";

const { server, cluster, container } = await startLogServer();

function follow(c: TestContainer, options: LogOptions = {}) {
  const texts: string[] = [];
  const gaps: LogGap[] = [];
  const stream = followLogs(cluster, c, { onGap: (gap) => void gaps.push(gap), ...options });
  const done = stream.forEach(({ text }) => void texts.push(text));
  done.catch(() => undefined);
  return { texts, gaps, done, stream };
}

const LONGER_THAN_A_TEST = 600_000;

describe("lines that come after the container's end", () => {
  test("up to seconds later: all of them are read, each once", async () => {
    const { stop, forward } = testClock();
    const c = container().lines(["one"]);
    const f = follow(c);
    /** The follow has read the log so many times and rests, and so many seconds go by. */
    const rests = async (reads: number, seconds: number) => {
      await until(() => c.requests.length === reads && f.stream.stats.state === "resting");
      forward(seconds * 1_000);
      // It looks at the clock when the pod changes.
      c.tell({});
    };
    await until(() => f.texts.length === 1);
    stop();
    c.exit().tell({ phase: "ended" });
    await rests(1, 1.5);
    c.lines(["two"]);
    await rests(1, 1.5);
    // New lines put the end off again.
    await rests(2, 2.5);
    c.lines(["three"]);
    await rests(2, 0.5);
    await rests(3, 3);
    // Streams have ended before the log did: that it is all takes one more read.
    await rests(4, 1);
    await f.done;
    expect(f.texts).toEqual(["one", "two", "three"]);
    expect(f.gaps).toEqual([]);
  });

  test("are not waited for behind the line that marks the end of the output", async () => {
    const c = container().lines(["one"]);
    const f = follow(c, { isLastLine: (text) => text === "result", lateLinesMs: LONGER_THAN_A_TEST });
    await until(() => f.texts.length === 1);
    c.lines(["result"]).exit().tell({ phase: "ended" });
    await f.done;
    expect(f.texts).toEqual(["one", "result"]);
    expect(c.requests.length).toBe(1);
  });

  test("are not waited for in the log of a container that ended long ago", async () => {
    const c = container().lines(["one"]).exit();
    c.tell({ phase: "ended" });
    await follow(c, { lateLinesMs: LONGER_THAN_A_TEST }).done;
    expect(c.requests.length).toBe(2);
  });
});

test("the stream ends cleanly behind a first result, and the container goes on: its second result is read, too", async () => {
  let ns = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
  const c = container(() => (ns += 1_000_000n)).lines(["working", "result 1"]);
  const f = follow(c, { ...NO_LATE_LINES, isLastLine: (text) => text.startsWith("result") });
  await until(() => f.texts.length === 2);
  c.restartKubelet();
  await until(() => server.openRequests === 0);
  ns += 3_000_000_000n;
  c.lines(["tests are done", "result 2"]).exit().tell({ phase: "ended" });
  await f.done;
  expect(f.texts).toEqual(["working", "result 1", "tests are done", "result 2"]);
  expect(f.gaps).toEqual([]);
});

describe("the log of a container that has ended is refused", () => {
  test("for a while, with whatever status: it is asked again, and nothing is missing", async () => {
    const c = container().lines(["one", "result"]).exit();
    const refusals = [401, 403, 500, 404, 429].map((status) => ({ status, message: "not now" }));
    c.refuse = ({ index }) => refusals[index];
    c.tell({ phase: "ended" });
    const f = follow(c, NO_LATE_LINES);
    await f.done;
    expect(c.requests.length).toBeGreaterThan(refusals.length);
    expect(f.texts).toEqual(["one", "result"]);
    expect(f.gaps).toEqual([]);
  });

  test.each([401, 403, 500])("for two minutes (%i): given up, in the server's words", async (status) => {
    const { forward } = testClock();
    const c = container().lines(["one"]);
    const f = follow(c, NO_LATE_LINES);
    await until(() => f.texts.length === 1);
    c.refuse = () => ({ status, message: "the proxy to the node is being replaced" });
    server.resetConnections();
    c.tell({ phase: "ended" });
    await until(() => c.requests.length >= 3);
    expect(f.gaps).toEqual([]);
    forward(ENDED_GIVE_UP_MS);
    await f.done;
    expect(f.gaps).toMatchObject([{ reason: "unreachable", certain: false, before: null }]);
    expect(f.gaps[0]?.message).toContain("the proxy to the node is being replaced");
  });
});

describe("the node's clock is set back while the follow is cut", () => {
  const at = (seconds: number) => BigInt(Date.parse("2026-11-24T10:01:00Z") + seconds * 1_000) * 1_000_000n;

  // So far, and of so much time after it, of which the last two seconds may be silent.
  test.each([
    [30, 3],
    [3, 1],
    [600, 5],
  ])("by %i s, and the container ends %i s later: every line comes", async (back, lasts) => {
    const c = container().write("one\n", at(0)).write("two\n", at(0.5));
    c.refuse = ({ index }) => (index === 1 ? { status: 500, message: "connection refused" } : null);
    const f = follow(c, NO_LATE_LINES);
    await until(() => f.texts.length === 2);
    server.resetConnections();
    await until(() => c.requests.length === 2);
    c.write("three\n", at(1 - back))
      .write("result\n", at(1.4 - back))
      .exit();
    const finishedAt = new Date(Date.parse("2026-11-24T10:01:00Z") + (1 - back + lasts) * 1_000).toISOString();
    c.tell({ phase: "ended", finishedAt });
    await f.done;
    expect(f.texts).toEqual(["one", "two", "three", "result"]);
    expect(f.gaps).toEqual([]);
  });

  test("and catches up before the container ends: the lines between are missing, and that is said", async () => {
    const c = container().write("one\n", at(0)).write("two\n", at(0.5));
    c.refuse = ({ index }) => (index === 1 ? { status: 500, message: "connection refused" } : null);
    const f = follow(c, NO_LATE_LINES);
    await until(() => f.texts.length === 2);
    server.resetConnections();
    await until(() => c.requests.length === 2);
    c.write("hidden\n", at(-29)).write("three\n", at(2));
    await until(() => f.texts.length === 3);
    c.exit().tell({ phase: "ended" });
    await f.done;
    expect(f.texts).toEqual(["one", "two", "three"]);
    expect(f.gaps).toMatchObject([{ reason: "clock_stepped", certain: true }]);
  });
});
