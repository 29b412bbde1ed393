/** Files that are rotated while nobody reads, or faster than someone reads: what is lost is said, and nothing comes twice. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { followLogs, type LogGap, type LogLine, type LogOptions } from "../../../src/engine/logs/index.ts";
import fc from "../property.ts";
import { NO_LATE_LINES, startLogServer, type TestContainer, until } from "./log-server.ts";

const { server, cluster, container } = await startLogServer();

const BEGIN = BigInt(Date.parse("2026-11-24T10:00:00Z")) * 1_000_000n;

/** A container that writes fast: numbered lines of 1 KB, 10 µs apart. */
function writer() {
  let ns = BEGIN;
  const c = container(() => (ns += 10_000n));
  c.reopensNewest = true;
  let written = 0;
  return {
    c,
    write(count: number): void {
      for (let i = 0; i < count; i++) c.write(`${written++} ${"x".repeat(1000)}\n`);
    },
    /** Time goes by, here and for the writer. */
    async pause(ms: number): Promise<void> {
      const begin = performance.now();
      await sleep(ms);
      ns += BigInt(Math.round((performance.now() - begin) * 1e6));
    },
    /** Time goes by, more than this machine can stand still for, and the file is rotated. */
    rotate(): void {
      ns += 60_000_000_000n;
      c.rotate();
    },
  };
}

/** A consumer that takes lines only while `taking`, so that the server is held back. */
function held(c: TestContainer, options: LogOptions = {}) {
  const lines: LogLine[] = [];
  const gaps: LogGap[] = [];
  let taking = Promise.withResolvers<void>();
  const stream = followLogs(cluster, c, { ...NO_LATE_LINES, onGap: (gap) => void gaps.push(gap), ...options });
  const done = stream.forEach(async (line) => {
    await taking.promise;
    lines.push(line);
  });
  done.catch(() => undefined);
  return {
    lines,
    gaps,
    done,
    take: () => taking.resolve(),
    hold: () => {
      taking = Promise.withResolvers();
    },
    numbers: () => lines.map(({ text }) => Number.parseInt(text, 10)),
  };
}

/** Each number once and in order; those that are missing stand between the times of a gap. Returns how many are. */
function audit({ lines, gaps, numbers }: ReturnType<typeof held>, written: number): number {
  const seen = numbers();
  let missing = 0;
  for (let i = 0; i <= seen.length; i++) {
    const number = i < seen.length ? (seen[i] as number) : written;
    const last = i === 0 ? -1 : (seen[i - 1] as number);
    expect(number, `line ${i}`).toBeGreaterThan(last);
    if (number === last + 1) continue;
    missing += number - last - 1;
    const [after, before] = [lines[i - 1]?.time ?? "", lines[i]?.time ?? "9"];
    const isSaid = gaps.some((gap) => (gap.after ?? "") <= after && (gap.before ?? "9") >= before);
    expect(isSaid, `${last + 1} to ${number - 1} are missing after ${after} and before ${before}`).toBe(true);
  }
  return missing;
}

describe("a follow that is held back while its log is rotated", () => {
  // More lines than are remembered one by one, and fewer.
  test.each([4_000, 300])(
    "more than once: the files between are lost, and the newest is sent again (%i lines a file)",
    async (size) => {
      const { c, write, rotate } = writer();
      const f = held(c);
      write(10_000);
      await until(() => c.requests.length === 1);
      for (let i = 0; i < 3; i++) {
        rotate();
        write(size);
      }
      f.take();
      await until(() => f.numbers().at(-1) === 10_000 + 3 * size - 1);
      // Also what it sends more than once.
      await until(() => c.isSent);
      write(10);
      rotate();
      write(5);
      c.exit().tell({ phase: "ended" });
      await f.done;
      const written = 10_000 + 3 * size + 15;
      expect(audit(f, written)).toBe(2 * size);
      const [last, next] = [f.lines[9_999], f.lines[10_000]];
      expect(f.gaps).toMatchObject([{ reason: "rotated", certain: true, before: next?.time }]);
      const { after } = f.gaps[0] as LogGap;
      expect(after !== null && after <= String(last?.time)).toBe(true);
      // The gap is as small as what is remembered tells.
      expect(f.lines.findIndex(({ time }) => time === after)).toBeGreaterThan(10_000 - 200);
      expect(c.requests.length).toBe(2);
    },
  );

  /** It stalls in files that it opens as the so many-th, and is rotated then. Missing are lines of these files. */
  interface Stalls {
    rotations: readonly (readonly [opening: number, rotations: number])[];
    missing: readonly number[];
    /** Between the last line of one file and the first of another. */
    gaps: readonly { after: number; before: number; certain: boolean }[];
  }
  const again: readonly [string, Stalls][] = [
    [
      "each time amid what is sent again",
      {
        rotations: [
          [0, 3],
          [2, 3],
          [4, 3],
        ],
        missing: [1, 2, 4, 5, 7, 8],
        gaps: [
          { after: 0, before: 3, certain: true },
          { after: 3, before: 6, certain: true },
          { after: 6, before: 9, certain: true },
        ],
      },
    ],
    [
      "amid what is sent once, since it is rotated again: what is sent twice is another file",
      {
        rotations: [
          [0, 6],
          [1, 3],
        ],
        missing: [1, 2, 3, 4, 5, 7, 8],
        gaps: [
          { after: 0, before: 6, certain: false },
          { after: 6, before: 9, certain: true },
        ],
      },
    ],
    [
      "many times, and no file is sent twice before the last",
      {
        rotations: [
          [0, 2],
          [1, 2],
          [2, 2],
          [3, 2],
        ],
        missing: [1, 3, 5, 7],
        gaps: [
          { after: 0, before: 2, certain: false },
          { after: 2, before: 4, certain: false },
          { after: 4, before: 6, certain: false },
          { after: 6, before: 8, certain: true },
        ],
      },
    ],
  ];
  test.each(again)("again and again, %s", async (_, { rotations, missing, gaps }) => {
    const size = 200;
    const { c, write, rotate } = writer();
    const f = held(c);
    f.take();
    write(size);
    let files = 1;
    let resume = () => {};
    for (const [opening, times] of rotations) {
      const stalled = c.stall(opening);
      resume();
      resume = await stalled;
      for (let i = 0; i < times; i++, files++) {
        rotate();
        write(size);
      }
    }
    resume();
    await until(() => f.numbers().at(-1) === files * size - 1 && c.isSent);
    c.exit().tell({ phase: "ended" });
    await f.done;
    expect(audit(f, files * size)).toBe(missing.length * size);
    const timeOf = (number: number) => f.lines.find(({ text }) => Number.parseInt(text, 10) === number)?.time;
    expect(f.gaps.map(({ after, before, certain }) => ({ after, before, certain }))).toEqual(
      gaps.map(({ after, before, certain }) => ({
        after: timeOf((after + 1) * size - 1),
        before: timeOf(before * size),
        certain,
      })),
    );
    expect(c.requests.length).toBe(2);
  });

  test("a file behind which none is missing is sent again: the loss is said where it was, too", async () => {
    const { c, write, rotate } = writer();
    const f = held(c);
    f.take();
    write(200);
    const first = await c.stall(0);
    rotate();
    write(200);
    rotate();
    write(200);
    const second = c.stall(1);
    first();
    const resume = await second;
    c.rotate();
    write(200);
    resume();
    await until(() => f.numbers().at(-1) === 799 && c.isSent);
    c.exit().tell({ phase: "ended" });
    await f.done;
    expect(audit(f, 800)).toBe(200);
    // At one of the two places it was, and none is known.
    expect(f.gaps).toMatchObject([
      { before: f.lines[200]?.time, certain: false },
      { before: f.lines[400]?.time, certain: false },
    ]);
  });

  test("at any place, any number of times: whatever is lost lies in a gap, and where nothing is, there is none", async () => {
    const round = fc.record({ opening: fc.integer({ min: 0, max: 3 }), rotations: fc.integer({ min: 0, max: 4 }) });
    const rounds = fc.array(round, { minLength: 1, maxLength: 6 });
    let lost = 0;
    const property = fc.asyncProperty(rounds, async (list) => {
      const { c, write, rotate } = writer();
      const f = held(c);
      f.take();
      let written = 0;
      let opening = 0;
      let resume = () => {};
      const writeLines = () => {
        write(3);
        written += 3;
      };
      writeLines();
      for (const { opening: further, rotations } of list) {
        opening += further;
        let next: (() => void) | null = null;
        void c.stall(opening).then((end) => {
          next = end;
        });
        resume();
        // It stalls there, or has not come so far and is in step.
        await until(() => next !== null || c.isSent);
        for (let i = 0; i < rotations; i++) {
          rotate();
          writeLines();
        }
        resume = next ?? (() => {});
      }
      c.endStalls();
      resume();
      await until(() => f.numbers().at(-1) === written - 1 && c.isSent);
      c.exit().tell({ phase: "ended" });
      await f.done;
      const missing = audit(f, written);
      lost += missing;
      if (missing === 0) expect(f.gaps).toEqual([]);
    });
    await fc.assert(property, { numRuns: 40 });
    expect(lost).toBeGreaterThan(0);
  });

  test("a pause of the writer while the follow is in step with it is no place of a loss", async () => {
    const { c, write, rotate, pause } = writer();
    const f = held(c);
    f.take();
    write(1);
    await until(() => f.lines.length === 1);
    await pause(2_100);
    write(200);
    const stalled = await c.stall(0);
    for (let i = 0; i < 2; i++) {
      rotate();
      write(200);
    }
    stalled();
    await until(() => f.numbers().at(-1) === 600 && c.isSent);
    c.exit().tell({ phase: "ended" });
    await f.done;
    expect(audit(f, 601)).toBe(200);
    expect(f.gaps).toMatchObject([{ certain: true, after: f.lines[200]?.time, before: f.lines[201]?.time }]);
  });

  test("once: nothing is lost, and no gap is told", async () => {
    const { c, write, rotate } = writer();
    const f = held(c);
    write(10_000);
    await until(() => c.requests.length === 1);
    rotate();
    write(4_000);
    f.take();
    await until(() => f.lines.length === 14_000);
    c.exit().tell({ phase: "ended" });
    await f.done;
    expect(audit(f, 14_000)).toBe(0);
    expect(f.gaps).toEqual([]);
  });
});

test("a clock that goes back under a follow is no file that is sent again: every line comes", async () => {
  let ns = BEGIN;
  const c = container(() => (ns += 1_000_003n)).lines(Array.from({ length: 3_000 }, (_, i) => `${i}`));
  const f = held(c);
  f.take();
  await until(() => f.lines.length === 3_000);
  ns -= 1_500_000_001n;
  c.lines(Array.from({ length: 3_000 }, (_, i) => `${3_000 + i}`));
  await until(() => f.lines.length === 6_000);
  c.exit().tell({ phase: "ended" });
  await f.done;
  expect(f.numbers()).toEqual(Array.from({ length: 6_000 }, (_, i) => i));
  expect(f.gaps).toEqual([]);
});

describe("a file that begins where the one before it ended", () => {
  /** The follow ends with the old file, and the read after it begins in the new one. */
  async function rotatedAtItsEnd(pauseNs: bigint) {
    let ns = BEGIN;
    const c = container(() => (ns += 20_000n)).lines(["0", "1"]);
    const f = held(c);
    f.take();
    await until(() => f.lines.length === 2);
    // The kubelet ends a follow whose container has ended at the end of the file that it has open.
    c.restartKubelet();
    await until(() => server.openRequests === 0);
    ns += pauseNs;
    c.rotate().lines(["2", "3"]).exit().tell({ phase: "ended" });
    await f.done;
    expect(f.numbers()).toEqual([0, 1, 2, 3]);
    return f;
  }

  test("right after it: nothing is missing", async () => {
    expect((await rotatedAtItsEnd(0n)).gaps).toEqual([]);
  });

  test("some seconds later: lines may be missing between the two", async () => {
    const { gaps, lines } = await rotatedAtItsEnd(3_000_000_000n);
    expect(gaps).toMatchObject([{ reason: "rotated", certain: false, after: lines[1]?.time, before: lines[2]?.time }]);
  });
});

describe("a log whose beginning was rotated away before the first read", () => {
  const MINUTE = 60_000_000_000n;
  async function first(afterStart: bigint, options: LogOptions = {}, seconds = "2026-11-24T10:00:00Z") {
    const c = container(() => BEGIN + afterStart).lines(["assistant 1"]);
    c.tell({ startedAt: seconds });
    const f = held(c, options);
    f.take();
    await until(() => f.lines.length === 1);
    c.exit().tell({ phase: "ended" });
    await f.done;
    return f;
  }

  test("more than a minute after the container's start: its head may be missing", async () => {
    const { gaps, lines } = await first(MINUTE + 1_000_000_000n);
    expect(gaps).toMatchObject([{ reason: "rotated", certain: false, after: null, before: lines[0]?.time }]);
    expect((await first(MINUTE)).gaps).toEqual([]);
  });

  test("who knows the first line is certain of it, whatever the times", async () => {
    const isFirstLine = (text: string) => text === "init";
    const { gaps, lines } = await first(1n, { isFirstLine });
    expect(gaps).toMatchObject([{ reason: "rotated", certain: true, after: null, before: lines[0]?.time }]);
    expect((await first(10n * MINUTE, { isFirstLine: () => true })).gaps).toEqual([]);
  });

  test("who asks for the last lines, or for those since, misses none before them", async () => {
    expect((await first(10n * MINUTE, { tailLines: 5 })).gaps).toEqual([]);
    expect(
      (await first(10n * MINUTE, { since: new Date("2026-11-24T10:01:00Z"), isFirstLine: () => false })).gaps,
    ).toEqual([]);
  });

  test("a container that is silent for long while it is followed misses none", async () => {
    const now = BigInt(Date.now()) * 1_000_000n;
    const c = container(() => now + 1_000_000_000n);
    c.tell({ startedAt: new Date(Date.now() - 600_000).toISOString() });
    const f = held(c);
    f.take();
    await until(() => c.requests.length === 1);
    c.write("at last\n");
    c.tell({ startedAt: new Date(Date.now() - 600_000).toISOString() });
    await until(() => f.lines.length === 1);
    c.exit().tell({ phase: "ended" });
    await f.done;
    expect(f.gaps).toEqual([]);
  });
});
