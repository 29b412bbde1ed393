import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { CLEAN_END_TRUST_MS } from "../../../src/engine/logs/follow-policy.ts";
import {
  followLogs,
  type LogGap,
  type LogLine,
  type LogOptions,
  type LogRestart,
  type LogTransport,
} from "../../../src/engine/logs/index.ts";
import { NO_LATE_LINES, startLogServer, type TestContainer, testClock, until } from "./log-server.ts";

const { server, cluster, container } = await startLogServer();

const lineTexts = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);

/** Follows to the end; `seen` can be awaited for a number of lines. */
function follow(
  source: TestContainer,
  options: LogOptions & { signal?: AbortSignal } = {},
  transport: LogTransport = cluster,
) {
  const lines: LogLine[] = [];
  const gaps: LogGap[] = [];
  const restarts: LogRestart[] = [];
  const onGap = (gap: LogGap) => void gaps.push(gap);
  const stream = followLogs(transport, source, {
    ...NO_LATE_LINES,
    onGap,
    onRestart: (restart) => restarts.push(restart),
    ...options,
  });
  const waiting: { count: number; resolve: () => void }[] = [];
  const done = stream.forEach((line) => {
    lines.push(line);
    for (const { count, resolve } of waiting) if (lines.length >= count) resolve();
  });
  done.catch(() => {});
  return {
    stream,
    lines,
    gaps,
    restarts,
    done,
    texts: () => lines.map((line) => line.text),
    seen(count: number): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push({ count, resolve });
      if (lines.length >= count) resolve();
      return promise;
    },
  };
}

const ended = { phase: "ended" } as const;
const gone = { phase: "gone" } as const;

describe("the normal course", () => {
  test("lines arrive while the container runs; its end costs one further read", async () => {
    const c = container().lines(lineTexts(3));
    const f = follow(c);
    await f.seen(3);
    c.write("wird schön €\r\n").write("\n").write("\n");
    await f.seen(6);
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual([...lineTexts(3), "wird schön €\r", "", ""]);
    expect(f.lines.every((line) => line.terminated && line.podName === c.podName)).toBe(true);
    expect(f.lines[0]?.time).toMatch(/^2026-11-24T00:00:00\.\d{9}Z$/);
    expect(f.gaps).toEqual([]);
    expect(c.requests.map((query) => query.get("follow"))).toEqual(["true", null]);
    expect(c.listeners).toBe(0);
  });

  test("a container that ended before anyone looked: all of it, and a read that proves the end", async () => {
    const c = container().lines(lineTexts(500)).exit();
    c.tell(ended);
    const f = follow(c);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(500));
    expect(c.requests.length).toBe(2);
  });

  test("a container without any output", async () => {
    const c = container().exit();
    c.tell(ended);
    const f = follow(c);
    await f.done;
    expect(f.lines).toEqual([]);
    expect(f.gaps).toEqual([]);
  });

  test("a last line without newline is delivered at the end, and said to be so", async () => {
    const c = container().write("one\ntwo");
    const f = follow(c);
    await f.seen(1);
    c.exit().tell(ended);
    await f.done;
    expect(f.lines.map(({ text, terminated }) => [text, terminated])).toEqual([
      ["one", true],
      ["two", false],
    ]);
  });

  test("identical lines are not duplicates, lines of 1 MB and 40 000 characters are one line, bytes stay bytes", async () => {
    const long = "x".repeat(1_000_000);
    const c = container()
      .write("same\nsame\nsame\n")
      .write(`${long}\n`)
      .write(`${"ü".repeat(20_000)}\n`);
    c.write(Buffer.from([0x00, 0x1b, 0xff, 0xfe, 0x0a]))
      .write("same\n")
      .exit()
      .tell(ended);
    const f = follow(c);
    await f.done;
    expect(f.texts()).toEqual(["same", "same", "same", long, "ü".repeat(20_000), "\0\u001b\ufffd\ufffd", "same"]);
  });

  test("silence is no reason for anything", async () => {
    const c = container().lines(["a"]);
    const f = follow(c);
    await f.seen(1);
    await sleep(1500);
    expect(c.requests.length).toBe(1);
    c.lines(["b"]);
    await f.seen(2);
    f.stream.close();
    await f.done;
  });
});

describe("when to read on", () => {
  test("a clean end while the container runs is a kubelet that restarts", async () => {
    const c = container().lines(lineTexts(3));
    const f = follow(c);
    await f.seen(3);
    c.restartKubelet();
    await until(() => c.requests.length === 2);
    c.lines(lineTexts(3, 3));
    await f.seen(6);
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(6));
    expect(f.gaps).toEqual([]);
  });

  test("a container that has not started is waited for without a request", async () => {
    const c = container();
    c.tell({ phase: "waiting" });
    const f = follow(c);
    await sleep(300);
    expect(c.requests.length).toBe(0);
    c.lines(["up"]).tell({ phase: "running" });
    await f.seen(1);
    expect(c.requests.length).toBe(1);
    f.stream.close();
  });

  test("400 waiting to start: asked again when the pod changes, and not before", async () => {
    const c = container();
    const message = `container "claude" in pod "${c.podName}" is waiting to start: ContainerCreating`;
    c.refuse = ({ index }) => (index === 0 ? { status: 400, message } : null);
    // The cache is ahead of the kubelet when the request is made, and behind when the answer comes.
    const f = follow(c);
    await until(() => c.requests.length === 1);
    c.tell({ phase: "waiting" });
    await sleep(700);
    expect(c.requests.length).toBe(1);
    c.lines(["up"]).tell({ phase: "running" });
    await f.seen(1);
    f.stream.close();
  });

  test("400 for a container that runs by the cache is asked again", async () => {
    const c = container().lines(["up"]);
    c.refuse = ({ index }) => (index < 2 ? { status: 400, message: "is waiting to start: ContainerCreating" } : null);
    const f = follow(c);
    await f.seen(1);
    f.stream.close();
  });

  test("404 while the cache has the pod is a kubelet that has just started", async () => {
    const c = container().lines(["up"]);
    c.refuse = ({ index }) => (index < 2 ? { status: 404, message: "not found" } : null);
    const f = follow(c);
    await f.seen(1);
    f.stream.close();
    expect(c.requests.length).toBe(3);
  });

  test("500 and 429 back off, Retry-After is honoured", async () => {
    const c = container().lines(["up"]);
    c.refuse = ({ index }) =>
      [
        { status: 500, message: "dial tcp 10.0.0.1:10250: connect: connection refused" },
        { status: 429, message: "slow down", headers: { "retry-after": "1" } },
      ][index];
    const startedAt = performance.now();
    const f = follow(c);
    await f.seen(1);
    expect(performance.now() - startedAt).toBeGreaterThan(1000);
    expect(c.requests.length).toBe(3);
    f.stream.close();
  });

  test("connections that break all at once", async () => {
    const cs = Array.from({ length: 10 }, () => container().lines(lineTexts(5)));
    const fs = cs.map((c) => follow(c));
    await Promise.all(fs.map((f) => f.seen(5)));
    server.resetConnections();
    for (const c of cs) c.lines(lineTexts(5, 5)).exit().tell(ended);
    await Promise.all(fs.map((f) => f.done));
    for (const f of fs) {
      expect(f.texts()).toEqual(lineTexts(10));
      expect(f.gaps).toEqual([]);
    }
  });

  test("a stream that stays open after the container's end is let go", async () => {
    const c = container().lines(lineTexts(2));
    const f = follow(c);
    await f.seen(2);
    // Not `exit()`: nothing ends the stream.
    c.tell(ended);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(2));
    expect(f.gaps).toEqual([]);
  });

  test("the pod goes while its log is still being read: read to its end", async () => {
    const c = container().lines(lineTexts(2));
    const f = follow(c);
    await f.seen(2);
    c.tell(gone);
    await sleep(100);
    c.lines(lineTexts(2, 2)).exit();
    await f.done;
    expect(f.texts()).toEqual(lineTexts(4));
    expect(f.gaps).toEqual([]);
  });

  test("the pod goes after a break: what was had, its last bytes included, and a gap", async () => {
    const c = container().write("one\nunfinis");
    const f = follow(c);
    await f.seen(1);
    c.refuse = () => ({ status: 500, message: "connection refused" });
    server.resetConnections();
    await until(() => c.requests.length > 1);
    c.tell(gone);
    await f.done;
    expect(f.lines.map(({ text, terminated }) => [text, terminated])).toEqual([
      ["one", true],
      ["unfinis", false],
    ]);
    expect(f.gaps).toMatchObject([{ reason: "pod_gone", after: f.lines[1]?.time, before: null }]);
  });

  test("killed on a deadline: the stream ends cleanly, the pod is gone before the last read, nothing is missing", async () => {
    const c = container().lines(lineTexts(4));
    const f = follow(c);
    await f.seen(4);
    c.refuse = () => ({ status: 404, message: "not found" });
    c.exit().tell(ended);
    await until(() => c.requests.length > 1);
    c.tell(gone);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(4));
    expect(f.gaps).toEqual([]);
  });

  test("the stream is cut cleanly amid a line and the pod is gone before the next read: the line's rest is missing, and that is said", async () => {
    const c = container().write("one\nunfinis");
    const f = follow(c);
    await f.seen(1);
    c.refuse = () => ({ status: 404, message: "not found" });
    c.exit();
    await until(() => c.requests.length > 1);
    c.tell(gone);
    await f.done;
    expect(f.texts()).toEqual(["one", "unfinis"]);
    expect(f.gaps).toMatchObject([{ reason: "pod_gone" }]);
  });

  test("a pod that goes before its container started has no log and no gap", async () => {
    const c = container();
    c.tell({ phase: "waiting", startedAt: null });
    const f = follow(c);
    await sleep(20);
    c.tell(gone);
    await f.done;
    expect(f.gaps).toEqual([]);
    expect(c.requests.length).toBe(0);
  });

  test("what no further try can help rejects, once", async () => {
    const forbidden = container();
    forbidden.refuse = () => ({ status: 403, message: "pods is forbidden: cannot get resource pods/log" });
    await expect(follow(forbidden).done).rejects.toMatchObject({ status: 403 });
    const wrong = container();
    wrong.refuse = () => ({ status: 400, message: `container nope is not valid for pod ${wrong.podName}` });
    await expect(follow(wrong).done).rejects.toMatchObject({ status: 400 });
    expect([forbidden.requests.length, wrong.requests.length]).toEqual([5, 1]);
    expect(forbidden.listeners).toBe(0);
  });

  test("the kubelet's own words in the place of a log are no line of the container", async () => {
    const c = container().lines(["real"]);
    c.say = ({ index }) => (index === 0 ? "failed to create fsnotify watcher: too many open files" : null);
    const f = follow(c);
    await f.seen(1);
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(["real"]);
  });

  test("the log of an ended container that the kubelet cannot find any more is a gap", async () => {
    const c = container().lines(lineTexts(2));
    const f = follow(c);
    await f.seen(2);
    c.say = () => "unable to retrieve container logs for containerd://4f0c";
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(2));
    expect(f.gaps).toMatchObject([{ reason: "unreachable" }]);
  });

  test.each([
    ["cuts of a silent container", () => null],
    ["answers of an overloaded server", () => ({ status: 503, message: "the server is overloaded" })],
  ])("a refusal after many %s is the first one: its last lines are read", async (_, before) => {
    const c = container().lines(["first"]);
    const cuts = 6;
    c.cut = ({ index }) => (index < cuts ? { atByte: index === 0 ? 37 : 0, how: "reset" } : null);
    c.refuse = ({ index }) =>
      index === cuts
        ? { status: 400, message: "unable to retrieve container logs" }
        : index > 0 && index < cuts
          ? before()
          : null;
    const f = follow(c);
    await until(() => c.requests.length === cuts);
    c.lines(["last words"]).exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(["first", "last words"]);
    expect(f.gaps).toEqual([]);
  });
});

describe("gaps", () => {
  test("rotation without a reader: a gap with the times around it, then on", async () => {
    const c = container().lines(lineTexts(3));
    c.refuse = ({ index }) => (index === 1 ? { status: 500, message: "connection refused" } : null);
    const f = follow(c);
    await f.seen(3);
    server.resetConnections();
    c.lines(lineTexts(3, 3)).rotate().lines(lineTexts(3, 6));
    await f.seen(6);
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual([...lineTexts(3), ...lineTexts(3, 6)]);
    expect(f.gaps).toMatchObject([{ reason: "rotated", after: f.lines[2]?.time, before: f.lines[3]?.time }]);
    expect(f.gaps[0]?.message).toContain(c.podName);
  });

  test("rotation with a reader is none", async () => {
    const c = container().lines(lineTexts(3));
    const f = follow(c);
    await f.seen(3);
    c.rotate().lines(lineTexts(3, 3)).rotate().lines(lineTexts(3, 6));
    await f.seen(9);
    // Cut right after a rotation, with the last delivered line in the new file.
    server.resetConnections();
    c.lines(["last"]).exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual([...lineTexts(9), "last"]);
    expect(f.gaps).toEqual([]);
  });

  test("everything was rotated away before the end could be read", async () => {
    const c = container().lines(lineTexts(3));
    c.refuse = ({ index }) => (index === 1 ? { status: 500, message: "connection refused" } : null);
    const f = follow(c);
    await f.seen(3);
    server.resetConnections();
    await until(() => c.requests.length === 2);
    c.lines(["lost"]).rotate().exit();
    c.tell(ended);
    await f.done;
    expect(f.gaps).toMatchObject([{ reason: "rotated", after: f.lines[2]?.time, before: null, certain: false }]);
  });

  test("a rotation in the second after the last line: the follow had read all, so nothing is missing", async () => {
    const c = container().lines(lineTexts(3));
    const f = follow(c);
    await f.seen(3);
    c.rotate().exit();
    // The pod tells a second later, as kubelets do; by then the follow has asked again.
    await until(() => c.requests.length >= 2);
    await sleep(CLEAN_END_TRUST_MS + 100);
    c.tell(ended);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(3));
    expect(f.gaps).toEqual([]);
    expect(c.requests.at(-1)?.get("follow")).toBeNull();
  });

  test("a line that was cut off and then rotated away is delivered as far as it came", async () => {
    const c = container().write("one\ntwo is cut");
    const f = follow(c);
    await f.seen(1);
    server.resetConnections();
    c.write(" off\n").rotate().lines(["three"]);
    await f.seen(3);
    expect(f.lines.map(({ text, terminated }) => [text, terminated])).toEqual([
      ["one", true],
      ["two is cut", false],
      ["three", true],
    ]);
    expect(f.gaps).toMatchObject([{ reason: "rotated", after: f.lines[1]?.time, before: f.lines[2]?.time }]);
    f.stream.close();
  });

  test("a first line that was cut off and then rotated away is a gap, though no line was delivered before it", async () => {
    const c = container().write("the very first");
    const f = follow(c);
    await until(() => c.isSent);
    await server.taken();
    server.resetConnections();
    c.write(" line\n").rotate().lines(["second"]);
    await f.seen(2);
    expect(f.lines.map(({ text, terminated }) => [text, terminated])).toEqual([
      ["the very first", false],
      ["second", true],
    ]);
    expect(f.gaps).toMatchObject([{ reason: "rotated", before: f.lines[1]?.time }]);
    f.stream.close();
  });

  test("a clock that goes back while the follow is cut: lines that the server leaves out are found at the end", async () => {
    let now = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
    const c = container(() => (now += 300_000_000n)).lines(lineTexts(4));
    const f = follow(c);
    await f.seen(4);
    server.resetConnections();
    now -= 3_600_000_000_000n;
    c.lines(lineTexts(4, 4)).exit();
    c.tell({ ...ended, finishedAt: "2026-11-24T09:00:03Z" });
    await f.done;
    expect(f.texts()).toEqual(lineTexts(8));
    expect(f.gaps).toEqual([]);
  });

  test("a clock that goes back by less than the margin costs nothing", async () => {
    let now = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
    const c = container(() => (now += 300_000_000n)).lines(lineTexts(4));
    const f = follow(c);
    await f.seen(4);
    server.resetConnections();
    now -= 2_000_000_000n;
    c.lines(lineTexts(4, 4));
    await f.seen(8);
    f.stream.close();
    expect(f.texts()).toEqual(lineTexts(8));
    expect(f.gaps).toEqual([]);
  });
});

test("lines that a stepped clock hid are reported once, however many reads show them", async () => {
  const start = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
  const at = (seconds: number) => start + BigInt(Math.round(seconds * 1_000)) * 1_000_000n;
  const c = container().write("A\n", at(100)).write("B\n", at(105));
  const f = follow(c);
  await f.seen(2);
  server.resetConnections();
  c.write("C\n", at(101.5)).write("E\n", at(103));
  await f.seen(3);
  server.resetConnections();
  await until(() => f.gaps.length > 0);
  c.exit().tell(ended);
  await f.done;
  expect(f.texts()).toEqual(["A", "B", "E"]);
  expect(f.gaps.map(({ reason }) => reason)).toEqual(["clock_stepped"]);
});

describe("restarts", () => {
  const restarted = (count: number) => ({ restartCount: count, startedAt: "2026-11-25T00:00:00Z" });

  test("the rest of the earlier instance, then the new one", async () => {
    const c = container().lines(lineTexts(3));
    const f = follow(c);
    await f.seen(3);
    server.resetConnections();
    c.lines(lineTexts(2, 3)).restart().lines(["again 0", "again 1"]);
    c.tell(restarted(1));
    await f.seen(7);
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual([...lineTexts(5), "again 0", "again 1"]);
    expect(f.gaps).toEqual([]);
    expect(f.restarts).toEqual([{ podName: c.podName, container: "claude", restartCount: 1 }]);
    expect(c.requests.filter((query) => query.has("previous")).length).toBe(2);
  });

  test("the pod tells of the restart only after the new instance's lines have come", async () => {
    const c = container().lines(lineTexts(3));
    const { stop } = testClock();
    // However long it takes from then on, the follow's patience does not end.
    c.cut = ({ index }) => {
      if (index === 1) stop();
      return null;
    };
    const f = follow(c);
    await f.seen(3);
    server.resetConnections();
    c.lines(["rest"]).restart().lines(["again"]);
    await until(() => c.requests.length > 1 && c.isSent);
    await server.taken();
    expect(f.lines.length).toBe(3);
    c.tell({ ...restarted(1), startedAt: "2026-11-24T00:00:01Z" });
    await f.seen(5);
    f.stream.close();
    expect(f.texts()).toEqual([...lineTexts(3), "rest", "again"]);
    expect(f.gaps).toEqual([]);
  });

  test("an earlier instance that cannot be read any more is a gap", async () => {
    const c = container().lines(lineTexts(3));
    const f = follow(c);
    await f.seen(3);
    c.restart().restart().lines(["third life"]);
    c.tell(restarted(2));
    await f.seen(4);
    f.stream.close();
    expect(f.texts()).toEqual([...lineTexts(3), "third life"]);
    expect(f.gaps).toMatchObject([{ reason: "restarted", after: f.lines[2]?.time }]);
  });
});

test("the last line of an earlier instance marks no end of the next", async () => {
  const c = container().lines(["result"]);
  const f = follow(c, { isLastLine: (text) => text === "result" });
  await f.seen(1);
  c.restart();
  c.tell({ restartCount: 1, startedAt: "2026-11-25T00:00:00Z" });
  const follows = () => c.requests.filter((query) => !query.has("previous") && query.get("follow") === "true").length;
  const cutOff = async (times: number) => {
    await until(() => follows() === times && server.openRequests > 0);
    c.restartKubelet();
  };
  await cutOff(2);
  await until(() => follows() === 3);
  c.lines(["second life"]).exit().tell(ended);
  await f.done;
  expect(f.texts()).toEqual(["result", "second life"]);
});

describe("restarts that were missed", () => {
  test.each([1, 2])(
    "a container that was started again %i times before its follow: what can be read is, the rest is a gap",
    async (times) => {
      const c = container();
      for (let life = 0; life < times; life++) c.lines([`life ${life}`]).restart();
      c.lines([`life ${times}`]);
      c.tell({ restartCount: times, startedAt: "2026-11-25T00:00:00Z" });
      const f = follow(c);
      await f.seen(2);
      f.stream.close();
      expect(f.texts()).toEqual([`life ${times - 1}`, `life ${times}`]);
      expect(f.gaps.map(({ reason }) => reason)).toEqual(times > 1 ? ["restarted"] : []);
      expect(f.restarts).toMatchObject([{ restartCount: times }]);
    },
  );

  test("who asks for the last lines, or for what there is now, means the instance that runs", async () => {
    for (const options of [{ tailLines: 5 }, { follow: false }]) {
      const c = container().lines(["first life"]).restart().lines(["second life"]);
      c.tell({ restartCount: 1, startedAt: "2026-11-25T00:00:00Z" });
      const f = follow(c, options);
      await f.seen(1);
      f.stream.close();
      expect(f.texts()).toEqual(["second life"]);
      expect(f.gaps).toEqual([]);
    }
  });

  test("what there is now of a container that waits to be started again is the log of its last instance", async () => {
    const c = container().lines(["first life"]).restart().lines(["second life"]).exit();
    c.tell({ phase: "waiting", restartCount: 1, startedAt: null });
    const f = follow(c, { follow: false });
    await f.done;
    expect(f.texts()).toEqual(["second life"]);
    expect(f.gaps).toEqual([]);
  });

  test("an instance in between was never seen: a gap, though all that can be read was read", async () => {
    const c = container();
    const f = follow(c);
    await until(() => c.requests.length === 1);
    c.restart().lines(["second life"]).restart().lines(["third life"]);
    c.tell({ restartCount: 2, startedAt: "2026-11-25T00:00:00Z" });
    await f.seen(2);
    f.stream.close();
    expect(f.texts()).toEqual(["second life", "third life"]);
    expect(f.gaps).toMatchObject([{ reason: "restarted" }]);
  });
});

describe("the end of a log", () => {
  test("where one read was cut and the next ended cleanly proves nothing: one more is made", async () => {
    const c = container().lines(lineTexts(2)).exit();
    c.tell(ended);
    const atByte = 31 + Buffer.byteLength(lineTexts(1)[0] as string) + 1;
    c.cut = ({ index }) =>
      [
        { atByte, how: "reset" as const },
        { atByte, how: "clean" as const },
      ][index] ?? null;
    const f = follow(c);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(2));
    expect(f.gaps).toEqual([]);
  });
});

describe("restarts that are told late", () => {
  test("the instance that was to be read had gone before the first answer: a gap, told as soon as it is known", async () => {
    const c = container();
    c.refuse = ({ index }) => (index === 0 ? { status: 500, message: "not now" } : null);
    const f = follow(c);
    await until(() => c.requests.length === 1);
    c.lines(["first life"]).restart().lines(["second life"]);
    await f.seen(1);
    const [line] = f.lines;
    c.tell({ restartCount: 1, startedAt: String(line?.time).replace(/\.\d+/, "") });
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(["second life"]);
    expect(f.gaps).toMatchObject([{ reason: "restarted", after: null, before: line?.time }]);
  });

  // The pod's times have whole seconds: they do not tell of which instance the lines are that were read.
  describe("and it ended in the second in which the next one was started", () => {
    const BEGIN = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
    const startedAt = "2026-11-24T10:00:00Z";
    const inOneSecond = () => {
      let ns = BEGIN;
      return container(() => (ns += 10_000_000n));
    };

    test.each<[string, TestContainer["refuse"], string[]]>([
      ["", () => null, ["restarted"]],
      [
        ", whose log is not there any more",
        ({ query }) =>
          query.has("previous") ? { status: 400, message: "previous terminated container not found" } : null,
        ["restarted"],
      ],
    ])("nothing of it was read%s: each line of the next one comes once", async (_, refuse, reasons) => {
      const c = inOneSecond();
      c.refuse = (served) => (served.index === 0 ? { status: 500, message: "not now" } : refuse(served));
      const f = follow(c, { isFirstLine: (text) => text === "first 0" });
      await until(() => c.requests.length === 1);
      c.lines(["first 0", "first 1"]).restart().lines(["second 0", "second 1"]);
      await f.seen(2);
      c.tell({ phase: "waiting", finishedAt: startedAt });
      c.tell({ phase: "running", restartCount: 1, startedAt, finishedAt: null });
      await until(() => c.requests.some((query) => query.has("previous")));
      c.lines(["second 2"]);
      await f.seen(3);
      c.exit().tell(ended);
      await f.done;
      expect(f.texts()).toEqual(["second 0", "second 1", "second 2"]);
      expect(f.gaps.filter(({ certain }) => !certain).map(({ reason }) => reason)).toEqual(reasons);
      expect(f.gaps.every(({ before }) => before === f.lines[0]?.time)).toBe(true);
    });

    test("it was read: its rest comes, then the next one", async () => {
      const c = inOneSecond().lines(["first 0"]);
      const f = follow(c);
      await f.seen(1);
      server.resetConnections();
      c.lines(["first 1"]).restart().lines(["second 0", "second 1"]);
      c.tell({ phase: "running", restartCount: 1, startedAt, finishedAt: null });
      await f.seen(4);
      c.exit().tell(ended);
      await f.done;
      expect(f.texts()).toEqual(["first 0", "first 1", "second 0", "second 1"]);
      expect(f.gaps).toEqual([]);
      expect(f.restarts).toMatchObject([{ restartCount: 1 }]);
    });
  });
});

describe("where to start, where to stop", () => {
  test("tailLines, and a cut after it", async () => {
    const c = container().lines(lineTexts(10));
    const f = follow(c, { tailLines: 3 });
    await f.seen(3);
    server.resetConnections();
    c.lines(lineTexts(2, 10)).exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(5, 7));
    expect(f.gaps).toEqual([]);
  });

  describe("tailLines amid a burst of lines of one time", () => {
    const at = BigInt(Date.parse("2026-11-24T00:00:10Z")) * 1_000_000n;
    const burst = () => container(() => at).lines(lineTexts(20));

    test("of an ended container", async () => {
      const c = burst().exit();
      c.tell(ended);
      const f = follow(c, { tailLines: 5 });
      await f.done;
      expect(f.texts()).toEqual(lineTexts(5, 15));
      expect(f.gaps).toEqual([]);
    });

    test("of a container that prints more", async () => {
      const c = burst();
      const f = follow(c, { tailLines: 5 });
      await f.seen(5);
      c.restartKubelet();
      await until(() => c.requests.length === 2);
      c.write("later\n", at + 1n);
      await f.seen(6);
      c.exit().tell(ended);
      await f.done;
      expect(f.texts()).toEqual([...lineTexts(5, 15), "later"]);
      expect(f.gaps).toEqual([]);
    });

    test("identical lines are not doubled", async () => {
      const c = container(() => at)
        .write("same\n".repeat(20))
        .exit();
      c.tell(ended);
      const f = follow(c, { tailLines: 5 });
      await f.done;
      expect(f.texts()).toEqual(Array(5).fill("same"));
    });

    test.each(["clean", "reset"] as const)("cut at every byte (%s)", async (how) => {
      const bytes = 5 * (31 + "line 15\n".length);
      const cutAt = async (atByte: number) => {
        const c = burst().exit();
        c.tell(ended);
        c.cut = ({ index }) => (index === 0 ? { atByte, how } : null);
        const f = follow(c, { tailLines: 5 });
        await f.done;
        return { atByte, texts: f.texts(), gaps: f.gaps };
      };
      // A clean cut behind a newline cannot be told from the end, and one before the first byte not from an empty tail.
      const offsets = Array.from({ length: bytes }, (_, i) => i).filter(
        (i) => i > 0 && (how === "reset" || i % 39 !== 0),
      );
      for (const { atByte, texts, gaps } of await Promise.all(offsets.map(cutAt))) {
        expect({ atByte, texts, gaps }).toEqual({ atByte, texts: lineTexts(5, 15), gaps: [] });
      }
    });
  });

  test("tailLines of a line longer than 16 KiB: its last part, and no gap", async () => {
    const long = `${"x".repeat(40_000)}\n`;
    const rest = long.slice(2 * 16_384, -1);
    const over = container().lines(["one", "two"]).write(long).exit();
    over.tell(ended);
    const f = follow(over, { tailLines: 1 });
    await f.done;
    expect([f.texts(), f.gaps]).toEqual([[rest], []]);

    for (const how of ["clean", "reset"]) {
      const c = container().lines(["one", "two"]).write(long);
      const g = follow(c, { tailLines: 1 });
      await g.seen(1);
      if (how === "clean") c.restartKubelet();
      else server.resetConnections();
      await until(() => c.requests.length === 2);
      c.lines(["next"]);
      await g.seen(2);
      c.exit().tell(ended);
      await g.done;
      expect([g.texts(), g.gaps], how).toEqual([[rest, "next"], []]);
    }
  });

  test("tailLines, cut before the first line: asked for again", async () => {
    const c = container().lines(lineTexts(10)).exit();
    c.tell(ended);
    c.cut = ({ index }) => (index === 0 ? { atByte: 10, how: "reset" } : null);
    const f = follow(c, { tailLines: 3 });
    await f.done;
    expect(f.texts()).toEqual(lineTexts(3, 7));
  });

  test("tailLines of an empty log: what is printed while the follow is cut is not passed over", async () => {
    const wallClock = () => BigInt(Date.now()) * 1_000_000n;
    let now = wallClock();
    const c = container(() => (now += 1_000_000n)).lines(lineTexts(5));
    // The first line of a follow comes with the headers; here the headers come alone.
    const f = follow(c, { tailLines: 0 });
    await until(() => c.isSent);
    await server.taken();
    server.resetConnections();
    // After the second in which the server has answered.
    now = wallClock() + 1_500_000_000n;
    c.lines(lineTexts(3, 5));
    await f.seen(3);
    f.stream.close();
    expect(f.texts().slice(-3)).toEqual(lineTexts(3, 5));
  });

  test("tailLines: a try that could not be sent for a while after the first was cut is no empty tail", async () => {
    const c = container().lines(lineTexts(10));
    let tries = 0;
    const transport: LogTransport = {
      async open(request) {
        tries += 1;
        if (tries > 2) return await cluster.open(request);
        if (tries === 1) {
          const body = new Readable({ read: () => body.destroy(new Error("reset")) });
          return { status: 200, headers: { date: new Date().toUTCString() }, body };
        }
        // Longer than the second by which the server counts.
        await sleep(1_100);
        throw Object.assign(new Error("the request could not be sent"), { status: 0 });
      },
    };
    const f = follow(c, { tailLines: 3 }, transport);
    await f.seen(3);
    c.lines(lineTexts(1, 10)).exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(4, 7));
  });

  test("tailLines: a read that was cut amid its first line, long after its beginning, has found no empty tail", async () => {
    const c = container().lines(lineTexts(10));
    let isFirst = true;
    const transport: LogTransport = {
      async open(request) {
        if (!isFirst) return await cluster.open(request);
        isFirst = false;
        const body = new Readable({ read: () => undefined });
        body.push("2026-");
        // Longer than the second after which a tail that shows nothing is taken for empty.
        setTimeout(() => body.push(null), 1_100);
        return { status: 200, headers: { date: new Date().toUTCString() }, body };
      },
    };
    const f = follow(c, { tailLines: 3 }, transport);
    await f.seen(1);
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(3, 7));
  });

  test("since: to the millisecond, though the server counts in seconds", async () => {
    let now = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
    const c = container(() => (now += 200_000_000n)).lines(lineTexts(10));
    const f = follow(c, { since: new Date("2026-11-24T10:00:01.500Z") });
    await f.seen(3);
    server.resetConnections();
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(lineTexts(3, 7));
    expect(f.gaps).toEqual([]);
  });

  test("since: an unterminated last line before it is not delivered", async () => {
    const now = BigInt(Date.parse("2026-11-24T10:00:00.200Z")) * 1_000_000n;
    const c = container(() => now)
      .write("before")
      .exit();
    c.tell(ended);
    const f = follow(c, { since: new Date("2026-11-24T10:00:00.500Z") });
    await f.done;
    expect(f.texts()).toEqual([]);
  });

  test("limitBytes ends the stream and says so", async () => {
    const c = container().lines(["12345", "12345", "12345"]);
    const f = follow(c, { limitBytes: 10 });
    await f.done;
    expect(f.texts()).toEqual(["12345", "12345"]);
    expect(f.gaps).toMatchObject([{ reason: "limit_reached" }]);
    await until(() => server.openRequests === 0);
  });

  test("limitBytes: of an unterminated last line, too", async () => {
    const c = container()
      .write(`12345\n${"x".repeat(1000)}`)
      .exit();
    c.tell(ended);
    const f = follow(c, { limitBytes: 10 });
    await f.done;
    expect(f.texts()).toEqual(["12345"]);
    expect(f.gaps).toMatchObject([{ reason: "limit_reached" }]);
  });

  test("maxLineBytes: the line is cut between characters, the rest is counted", async () => {
    const c = container()
      .lines([`${"a".repeat(9)}€${"b".repeat(50_000)}`, "short"])
      .exit();
    c.tell(ended);
    const f = follow(c, { maxLineBytes: 10 });
    await f.done;
    expect(f.lines.map(({ text, omittedBytes }) => [text, omittedBytes])).toEqual([
      ["a".repeat(9), 50_003],
      ["short", undefined],
    ]);
  });

  test("maxLineBytes: between characters also where the node's time has an offset", async () => {
    const c = container().exit();
    c.say = () => `2026-11-24T12:00:00.123456789+02:00 ${"a".repeat(9)}€${"b".repeat(100)}\n`;
    c.tell(ended);
    const f = follow(c, { maxLineBytes: 10 });
    await f.done;
    expect(f.texts()).toEqual(["a".repeat(9)]);
  });

  test("options that make no sense are named", () => {
    const c = container();
    expect(() => followLogs(cluster, c, { tailLines: -1 })).toThrow(/tailLines: got -1/);
    expect(() => followLogs(cluster, c, { limitBytes: Number.NaN })).toThrow(/limitBytes: got NaN/);
    expect(() => followLogs(cluster, c, { since: new Date("x") })).toThrow(/since: got Invalid Date/);
  });
});

test("a consumer that was slow for minutes after the container's end: one refusal is no reason to give up", async () => {
  const c = container()
    .lines(["first"])
    .lines(Array.from({ length: 2_000 }, (_, i) => `${i} ${"x".repeat(1_000)}`))
    .exit();
  c.tell(ended);
  c.cut = ({ index }) => (index === 0 ? { atByte: 300_000, how: "reset" } : null);
  c.refuse = ({ index }) => (index === 1 ? { status: 503, message: "the API server starts" } : null);
  const { forward } = testClock();
  const gaps: LogGap[] = [];
  let count = 0;
  await followLogs(cluster, c, { ...NO_LATE_LINES, onGap: (gap) => void gaps.push(gap) }).forEach(async () => {
    count += 1;
    if (count > 1) return;
    // The rest lies ready, and the follow waits for its consumer.
    await until(() => c.requests.length === 1 && server.openRequests === 0);
    forward(150_000);
  });
  expect(gaps).toEqual([]);
  expect(count).toBe(2_001);
});

describe("re-reads of long lines", () => {
  test("the tail of a line whose first part is before the second asked for is no line", async () => {
    let now = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
    // A second and a half apart, parts too: a resume asks for a second that begins within the long line.
    const c = container(() => (now += 1_500_000_000n)).lines(["first", "y".repeat(40_000), "third", "fourth"]);
    const f = follow(c);
    await f.seen(4);
    for (let i = 0; i < 3; i++) {
      server.resetConnections();
      c.lines([`more ${i}`]);
      await f.seen(5 + i);
    }
    c.exit().tell(ended);
    await f.done;
    expect(f.texts()).toEqual(["first", "y".repeat(40_000), "third", "fourth", "more 0", "more 1", "more 2"]);
    expect(f.gaps).toEqual([]);
  });
});

test("the tail of a long line at the head of the read that proves the end is no word of the kubelet", async () => {
  let now = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
  // Parts at 3.0, 4.5 and 6.0 s, the last line at 7.5 s: the last read asks from 5 s on, amid the long line.
  const c = container(() => (now += 1_500_000_000n)).lines(["first", "z".repeat(40_000), "third"]);
  const f = follow(c);
  await f.seen(3);
  c.exit().tell(ended);
  await f.done;
  expect(f.texts()).toEqual(["first", "z".repeat(40_000), "third"]);
  expect(f.gaps).toEqual([]);
  expect(c.requests.length).toBe(2);
});
