import { expect, test } from "vitest";
import { followLogs, type LogGap } from "../../../src/engine/logs/index.ts";
import fc from "../property.ts";
import { type Cut, NO_LATE_LINES, startLogServer, type TestContainer } from "./log-server.ts";

const { cluster, container } = await startLogServer();

const start = BigInt(Date.parse("2026-11-24T10:00:00.900Z")) * 1_000_000n;

/** A log with what is hard to cut: characters of 2–4 bytes, equal times, equal lines, empty lines, times in the text. */
function writeSample(c: TestContainer): void {
  const at = (ms: number) => start + BigInt(ms) * 1_000_000n;
  c.write("größe €\r\n", at(0));
  c.write("\n", at(0));
  c.write("same\n", at(50)).write("same\n", at(50)).write("same\n", at(50));
  c.write("2026-11-24T10:00:00.950000000Z same\n", at(50));
  c.write("\n", at(400)).write("\n", at(400));
  c.write("😀 日本語\n", at(2500));
  c.write(Buffer.from([0xff, 0x00, 0x0a]), at(2500));
  c.write("tail without newline €", at(2600));
}
const sample = [
  "größe €\r",
  "",
  "same",
  "same",
  "same",
  "2026-11-24T10:00:00.950000000Z same",
  "",
  "",
  "😀 日本語",
  "\ufffd\0",
];
const sampleEnd = "tail without newline €";
/** Bytes of the sample as served: 11 times of 31 bytes, texts, 10 newlines. */
const sampleBytes =
  11 * 31 + 10 + [...sample.slice(0, -1), sampleEnd].reduce((sum, t) => sum + Buffer.byteLength(t), 2);

interface Scenario {
  /** What becomes of the n-th request. */
  cuts: (Cut | null)[];
  /** The container has ended before anyone looks; else it ends once all whole lines were delivered. */
  ended: boolean;
}

/** Follows the sample through the scenario; what was delivered, as text. */
async function run({ cuts, ended }: Scenario): Promise<{ texts: string[]; gaps: LogGap[]; requests: number }> {
  const c = container();
  writeSample(c);
  c.cut = ({ index }) => cuts[index] ?? null;
  if (ended) c.exit().tell({ phase: "ended" });
  const texts: string[] = [];
  const gaps: LogGap[] = [];
  await followLogs(cluster, c, { ...NO_LATE_LINES, onGap: (gap) => gaps.push(gap) }).forEach((line) => {
    texts.push(line.terminated ? line.text : `${line.text}<`);
    if (texts.length === sample.length && !ended) c.exit().tell({ phase: "ended" });
  });
  return { texts, gaps, requests: c.requests.length };
}

const whole = { texts: [...sample, `${sampleEnd}<`], gaps: [] as LogGap[] };

test("the size of the sample is known, so that every offset is cut", async () => {
  const c = container();
  writeSample(c);
  c.exit();
  const stream = await cluster.open({
    path: `/api/v1/namespaces/ns/pods/${c.podName}/log`,
    query: { timestamps: true },
  });
  let bytes = 0;
  for await (const chunk of stream.body) bytes += (chunk as Buffer).length;
  expect(bytes).toBe(sampleBytes);
});

for (const how of ["clean", "reset"] as const) {
  for (const ended of [false, true]) {
    const name = `cut at every byte, ${how === "clean" ? "with a clean end" : "by a reset"}, of a container that ${ended ? "has ended" : "runs"}`;
    test(name, async () => {
      const offsets = Array.from({ length: sampleBytes + 1 }, (_, atByte) => atByte);
      const results = await Promise.all(offsets.map((atByte) => run({ cuts: [{ atByte, how }], ended })));
      results.forEach(({ texts, gaps, requests }, atByte) => {
        expect({ atByte, texts, gaps }).toEqual({ atByte, ...whole });
        // The cut took place: without one, two reads do.
        if (atByte < sampleBytes) expect(requests, `cut at ${atByte}`).toBeGreaterThan(2);
      });
    });
  }
}

test("two cuts, each anywhere: the second falls into what the first makes the server repeat", async () => {
  const step = 7;
  const pairs: Scenario[] = [];
  for (let first = 1; first <= sampleBytes; first += step) {
    for (const second of [first - 3, first, first + 2, 31, 60]) {
      const cuts: Cut[] = [
        { atByte: first, how: "reset" },
        { atByte: Math.max(0, second), how: second % 2 ? "clean" : "reset" },
      ];
      pairs.push({ cuts, ended: false });
    }
  }
  for (const [i, { texts, gaps }] of (await Promise.all(pairs.map(run))).entries()) {
    expect({ cuts: pairs[i]?.cuts, texts, gaps }).toEqual({ cuts: pairs[i]?.cuts, ...whole });
  }
});

test("any log, any cuts, any pace of writing: every line once, in order, no gap", async () => {
  const text = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom("same", "", "{}", "é€😀") },
    {
      weight: 3,
      arbitrary: fc.string({ unit: "binary", maxLength: 40 }).map((s) => s.replaceAll("\n", " ").toWellFormed()),
    },
    { weight: 1, arbitrary: fc.integer({ min: 16_000, max: 40_000 }).map((n) => "long€".repeat(n / 5)) },
  );
  const line = fc.record({
    text,
    stepMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 900 })),
    pauseMs: fc.constantFrom(0, 0, 0, 0, 5),
  });
  const cut = fc.option(
    fc.record({ atByte: fc.integer({ min: 0, max: 3000 }), how: fc.constantFrom("clean" as const, "reset" as const) }),
    { freq: 4 },
  );
  const scenario = fc.record({
    lines: fc.array(line, { minLength: 1, maxLength: 40 }),
    cuts: fc.array(cut, { maxLength: 4 }),
    kubeletRestartAt: fc.nat(60),
    unterminated: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(scenario, { minLength: 25, maxLength: 25 }), async (scenarios) => {
      const got = await Promise.all(
        scenarios.map(async ({ lines, cuts, kubeletRestartAt, unterminated }) => {
          const c = container();
          // What a follow relies on: two reads in a row do not both end cleanly, by accident, where there is more.
          let wasClean = false;
          c.cut = ({ index }) => {
            const cut = cuts[index] ?? null;
            const isClean = cut?.how === "clean" && !wasClean;
            wasClean = isClean;
            return cut && { ...cut, how: isClean ? "clean" : "reset" };
          };
          const texts: string[] = [];
          let gaps = 0;
          const done = followLogs(cluster, c, { ...NO_LATE_LINES, onGap: () => gaps++ }).forEach(
            (l) => void texts.push(l.text),
          );
          let now = start;
          for (const [i, { text, stepMs, pauseMs }] of lines.entries()) {
            now += BigInt(stepMs) * 1_000_000n;
            c.write(unterminated && i === lines.length - 1 && text !== "" ? text : `${text}\n`, now);
            if (i === kubeletRestartAt) c.restartKubelet();
            if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
          }
          c.exit().tell({ phase: "ended" });
          await done;
          return { texts, gaps };
        }),
      );
      scenarios.forEach(({ lines }, i) => {
        expect(got[i]).toEqual({ texts: lines.map((l) => l.text), gaps: 0 });
      });
    }),
    // A scenario takes seconds, so it is not shrunk: the seed is printed.
    { numRuns: 8, endOnFailure: true },
  );
});
