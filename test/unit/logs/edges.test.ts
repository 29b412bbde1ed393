import { performance } from "node:perf_hooks";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import {
  followLogs,
  type LogGap,
  type LogLine,
  type LogOptions,
  type LogTransport,
} from "../../../src/engine/logs/index.ts";
import { startLogServer, type TestContainer } from "./log-server.ts";

const { server, cluster, container } = await startLogServer();
const lineTexts = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);
const ended = { phase: "ended" } as const;
const until = (condition: () => boolean) =>
  vi.waitFor(() => expect(condition()).toBe(true), { timeout: 10_000, interval: 5 });

function follow(source: TestContainer, options: LogOptions = {}, transport: LogTransport = cluster) {
  const lines: LogLine[] = [];
  const gaps: LogGap[] = [];
  const stream = followLogs(transport, source, { onGap: (gap) => void gaps.push(gap), ...options });
  const done = stream.forEach((line) => void lines.push(line));
  done.catch(() => {});
  return {
    stream,
    lines,
    gaps,
    done,
    texts: () => lines.map((line) => line.text),
    seen: (n: number) => until(() => lines.length >= n),
  };
}

test("next() called again before the last one was answered: every line once and in order", {
  timeout: 3_000,
}, async () => {
  const c = container().lines(lineTexts(3));
  const stream = followLogs(cluster, c);
  const lines = stream[Symbol.asyncIterator]();
  const asked = [lines.next(), lines.next(), lines.next(), lines.next(), lines.next()];
  await asked[0];
  await sleep(50);
  c.lines(lineTexts(3, 3));
  const got = (await Promise.all(asked)).map(({ value }) => value?.text);
  got.push((await lines.next()).value?.text);
  expect(got).toEqual(lineTexts(6));
  stream.close();
});

test("tailLines: a try that is refused after a while is no empty tail", async () => {
  let now = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;
  const c = container(() => (now += 1_000_000n)).lines(lineTexts(10));
  let tries = 0;
  const transport: LogTransport = {
    async open(request) {
      tries++;
      if (tries === 1) {
        const body = new Readable({ read: () => body.destroy(new Error("reset")) });
        return { status: 200, headers: { date: new Date().toUTCString() }, body };
      }
      if (tries === 2) {
        await sleep(1_100);
        throw Object.assign(new Error("the request could not be sent"), { status: 0 });
      }
      return cluster.open(request);
    },
  };
  const f = follow(c, { tailLines: 3 }, transport);
  await until(() => tries === 3);
  await sleep(100);
  now = BigInt(Date.now()) * 1_000_000n;
  c.lines(lineTexts(1, 10)).exit().tell(ended);
  await f.done;
  expect(f.texts()).toEqual(lineTexts(4, 7));
});

test("lines that a stepped clock hid are reported once, however many reads show them", async () => {
  let now = 0n;
  const c = container(() => now);
  const at = (seconds: number) => {
    now = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n + BigInt(Math.round(seconds * 1000)) * 1_000_000n;
  };
  at(100);
  c.write("A\n");
  at(105);
  c.write("B\n");
  const f = follow(c);
  await f.seen(2);
  server.resetConnections();
  at(101.5);
  c.write("C\n");
  at(103);
  c.write("E\n");
  await f.seen(3);
  server.resetConnections();
  await until(() => f.gaps.length > 0);
  c.exit().tell(ended);
  await f.done;
  expect(f.texts()).toEqual(["A", "B", "E"]);
  expect(f.gaps.map(({ reason }) => reason)).toEqual(["clock_stepped"]);
});

test("the last line of an earlier instance marks no end of the next", async () => {
  const c = container().lines(["result"]);
  const f = follow(c, { isLastLine: (text) => text === "result" });
  await f.seen(1);
  c.restart();
  c.tell({ restartCount: 1, startedAt: "2026-11-25T00:00:00Z" });
  const followed = () => c.requests.filter((query) => !query.has("previous") && query.get("follow") === "true").length;
  await until(() => followed() === 2);
  await sleep(50);
  c.restartKubelet();
  await sleep(100);
  c.lines(["second life"]).exit().tell(ended);
  await f.done;
  expect(f.texts()).toEqual(["result", "second life"]);
});

test("since: an unterminated last line before it is not delivered", async () => {
  let now = BigInt(Date.parse("2026-11-24T10:00:00.200Z")) * 1_000_000n;
  const c = container(() => now)
    .write("before")
    .exit();
  c.tell(ended);
  const f = follow(c, { since: new Date("2026-11-24T10:00:00.500Z") });
  await f.done;
  expect(f.texts()).toEqual([]);
  now++;
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

test("a consumer that was slow for minutes after the container's end: one refusal is no reason to give up", async () => {
  const c = container()
    .lines(["first"])
    .lines(Array.from({ length: 2_000 }, (_, i) => `${i} ${"x".repeat(1_000)}`))
    .exit();
  c.tell(ended);
  c.cut = ({ index }) => (index === 0 ? { atByte: 300_000, how: "reset" } : null);
  c.refuse = ({ index }) => (index === 1 ? { status: 503, message: "the API server starts" } : null);
  const now = performance.now.bind(performance);
  let later = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => now() + later);
  const gaps: LogGap[] = [];
  let count = 0;
  await followLogs(cluster, c, { onGap: (gap) => void gaps.push(gap) }).forEach(async () => {
    count++;
    if (count > 1) return;
    await sleep(50);
    later = 150_000;
  });
  clock.mockRestore();
  expect(gaps).toEqual([]);
  expect(count).toBe(2_001);
});

test("maxLineBytes: between characters also where the node's time has an offset", async () => {
  const { readLog } = await import("../../../src/engine/logs/log-read.ts");
  const { LogPosition } = await import("../../../src/engine/logs/log-position.ts");
  const text = `2026-11-24T12:00:00.123456789+02:00 ${"a".repeat(9)}€${"b".repeat(100)}\n`;
  const got: string[] = [];
  await readLog(
    {
      open: async () => ({ status: 200, headers: {}, body: Readable.from([Buffer.from(text)], { objectMode: false }) }),
    },
    {
      path: "/",
      container: "c",
      follow: true,
      previous: false,
      since: null,
      notBefore: undefined,
      tailLines: undefined,
      maxLineBytes: 10,
    },
    new LogPosition(),
    {
      lines: (lines) => void got.push(...lines.map((line) => line.text)),
      gap: async () => true,
      passedOver() {},
      answered() {},
      active() {},
      held() {},
    },
    new AbortController().signal,
  );
  expect(got).toEqual(["a".repeat(9)]);
});
