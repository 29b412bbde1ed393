import { once } from "node:events";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { followLogs } from "../../../src/engine/logs/index.ts";
import { NO_LATE_LINES, startLogServer, type TestContainer } from "./log-server.ts";

const { server, cluster, container } = await startLogServer();

const lineTexts = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);
const over = (c: TestContainer) => {
  c.exit().tell({ phase: "ended" });
  return c;
};
const noRequestLeft = () => expect.poll(() => server.openRequests).toBe(0);

describe("shapes of consumers", () => {
  test("by line, by batch, by callback, as streams: the same lines", async () => {
    const c = over(container().lines(lineTexts(3)).write("without newline"));
    const expected = [...lineTexts(3), "without newline"];

    const byLine: string[] = [];
    for await (const line of followLogs(cluster, c, NO_LATE_LINES)) byLine.push(line.text);
    expect(byLine).toEqual(expected);

    const byBatch: string[] = [];
    for await (const lines of followLogs(cluster, c, NO_LATE_LINES).batches())
      byBatch.push(...lines.map((line) => line.text));
    expect(byBatch).toEqual(expected);

    const byCallback: string[] = [];
    await followLogs(cluster, c, NO_LATE_LINES).forEach(async (line) => {
      await sleep(1);
      byCallback.push(line.text);
    });
    expect(byCallback).toEqual(expected);

    const asStream = Readable.from(followLogs(cluster, c, NO_LATE_LINES)).map(
      ({ text, terminated }) => text + (terminated ? "\n" : ""),
    );
    expect(await text(asStream)).toBe(expected.join("\n"));
  });

  test("one consumer: a second one is told so, and harms the first in nothing", async () => {
    const c = container().lines(lineTexts(2));
    const stream = followLogs(cluster, c, NO_LATE_LINES);
    const lines = stream.batches();
    expect((await lines.next()).value?.[0]?.text).toBe("line 0");
    await expect(stream.batches().next()).rejects.toThrow("one consumer");
    await expect(stream.forEach((line) => void line)).rejects.toThrow("one consumer");
    over(c.lines(["end"]));
    const rest: string[] = [];
    for await (const batch of lines) rest.push(...batch.map((line) => line.text));
    expect(rest.at(-1)).toBe("end");
  });

  test("nothing is requested before the first line is asked for", async () => {
    const c = container();
    const stream = followLogs(cluster, c, NO_LATE_LINES);
    stream[Symbol.asyncIterator]();
    await sleep(30);
    expect(c.requests.length).toBe(0);
    expect(c.listeners).toBe(0);
    expect(stream.stats).toMatchObject({ state: "idle", reads: 0 });
    stream.close();
  });
});

test("next() asked again before it was answered: every line once and in order", async () => {
  const c = container().lines(lineTexts(3));
  const stream = followLogs(cluster, c, NO_LATE_LINES);
  const lines = stream[Symbol.asyncIterator]();
  const asked = Array.from({ length: 5 }, () => lines.next());
  await asked[2];
  c.lines(lineTexts(3, 3));
  const got = [...(await Promise.all(asked)), await lines.next()];
  expect(got.map(({ value }) => value?.text)).toEqual(lineTexts(6));
  stream.close();
});

describe("back-pressure", () => {
  test("a stalled consumer stops the server; the rest comes when it goes on", async () => {
    const c = container();
    const line = "x".repeat(1000);
    const count = 40_000;
    let written = 0;
    // A container that writes as fast as its reader takes.
    for (; written < count; written++) c.write(`${written} ${line}\n`);
    const stream = followLogs(cluster, c, NO_LATE_LINES);
    const batches = stream.batches();
    const first = await batches.next();
    // The next chunk has come, and nobody takes it.
    await expect.poll(() => stream.stats.lines).toBeGreaterThan(first.value?.length ?? 0);
    const { lines: taken } = stream.stats;
    await sleep(300);
    // 40 MB are waiting; nothing more than a chunk or two has been let in.
    expect(stream.stats.lines).toBe(taken);
    expect(taken).toBeLessThan(2000);
    let got = first.value?.length ?? 0;
    over(c);
    for await (const lines of batches) got += lines.length;
    expect(got).toBe(count);
  });

  test("it stops its own stream only", async () => {
    const stalled = container();
    for (let i = 0; i < 20_000; i++) stalled.write(`${"y".repeat(1000)}\n`);
    const stalledStream = followLogs(cluster, stalled);
    await stalledStream.batches().next();
    const c = over(container().lines(lineTexts(5000)));
    let got = 0;
    await followLogs(cluster, c, NO_LATE_LINES).forEach(() => void got++);
    expect(got).toBe(5000);
    stalledStream.close();
    await noRequestLeft();
  });
});

describe("leaving", () => {
  test("break, return, destroy, cancel and close free the request at once, also amid silence", async () => {
    const leave: ((stream: ReturnType<typeof followLogs>, c: TestContainer) => Promise<void>)[] = [
      async (stream) => {
        for await (const _ of stream) break;
      },
      async (stream) => {
        const lines = stream[Symbol.asyncIterator]();
        await lines.next();
        const pending = lines.next();
        await lines.return?.();
        expect(await pending).toEqual({ value: undefined, done: true });
      },
      async (stream) => {
        const readable = Readable.from(stream);
        await once(readable, "data");
        readable.destroy();
      },
      async (stream) => {
        await using lines = stream[Symbol.asyncIterator]();
        await lines.next();
      },
      async (stream, c) => {
        let got = 0;
        const done = stream.forEach(() => void got++);
        await expect.poll(() => got).toBe(1);
        await stream[Symbol.asyncDispose]();
        // Its request is freed by then, also at the server's end.
        expect(stream.stats.state).toBe("ended");
        c.lines(["late"]);
        await done;
        expect(got).toBe(1);
      },
      async (stream) => {
        await stream.forEach(() => {
          stream.close();
        });
      },
    ];
    for (const way of leave) {
      const c = container().lines(["only"]);
      const stream = followLogs(cluster, c, NO_LATE_LINES);
      await way(stream, c);
      await noRequestLeft();
      await expect.poll(() => [stream.stats.state, c.listeners]).toEqual(["ended", 0]);
      expect(c.requests.length).toBe(1);
    }
  });

  test("an aborted signal rejects with its reason, once, whatever the follow is doing", async () => {
    const reason = new Error("cancelled by its user");
    const waiting = container();
    waiting.tell({ phase: "waiting" });
    const resting = container();
    resting.refuse = () => ({ status: 500, message: "down" });
    const reading = container().lines(["a"]);
    for (const c of [waiting, resting, reading]) {
      const abort = new AbortController();
      const lines = followLogs(cluster, c, { signal: abort.signal }).batches();
      if (c === reading) await lines.next();
      const pending = lines.next();
      await sleep(30);
      abort.abort(reason);
      await expect(pending).rejects.toBe(reason);
      expect(await lines.next()).toEqual({ value: undefined, done: true });
      await expect.poll(() => c.listeners).toBe(0);
    }
    await noRequestLeft();
    const before = followLogs(cluster, reading, { signal: AbortSignal.abort(reason) });
    await expect(before.batches().next()).rejects.toBe(reason);
  });

  test("errors reach whoever consumes, and no one else: no uncaught exception", async () => {
    const c = container();
    c.refuse = () => ({ status: 403, message: "forbidden" });
    await expect(text(Readable.from(followLogs(cluster, c, NO_LATE_LINES)))).rejects.toMatchObject({ status: 403 });

    const gapping = container().lines(["a"]);
    const stream = followLogs(cluster, gapping, {
      onGap: () => {
        throw new Error("listener fails");
      },
    });
    const lines = stream.batches();
    await lines.next();
    gapping.refuse = () => ({ status: 500, message: "down" });
    server.resetConnections();
    gapping.tell({ phase: "gone" });
    await expect(lines.next()).rejects.toThrow("listener fails");

    const throwing = container().lines(["a"]);
    await expect(
      followLogs(cluster, throwing, NO_LATE_LINES).forEach(() => {
        throw new Error("consumer fails");
      }),
    ).rejects.toThrow("consumer fails");

    const fails = () => {
      throw new Error("a question about a line fails");
    };
    for (const options of [{ isFirstLine: fails }, { isLastLine: fails }]) {
      const asked = container().lines(["a"]).exit();
      asked.tell({ phase: "ended" });
      const read = followLogs(cluster, asked, { ...NO_LATE_LINES, ...options });
      await expect(read.forEach(() => {})).rejects.toThrow("a question about a line fails");
      expect(asked.listeners).toBe(0);
    }
    await noRequestLeft();
  });
});
