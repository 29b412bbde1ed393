import { type Bench, type Goal, inTurns, type Series, type Table } from "../harness/bench.ts";
import { Child, type CpuSample } from "../harness/child.ts";
import { type Replay, startReplay } from "../harness/replay.ts";
import { format, formatSpread, median, quantile, ratio, spread } from "../harness/stats.ts";
import type { LogsKind, LogsResult } from "../subjects/logs.ts";

const CONTESTANTS = ["floor", "floor-lines", "ours"] as const;
const NAMES = {
  floor: "floor: undici, bytes dropped",
  "floor-lines": "undici, lines cut and decoded",
  ours: "k8s-run-informer",
};
const SUBJECT = new URL("../subjects/logs.ts", import.meta.url);

interface Measured extends LogsResult {
  /** Lines that the server wrote but nobody has got in the end. */
  missing: number;
  linesWhileMeasured: number;
}

/** Many followed logs at once. */
export const logs: Bench = {
  name: "logs",
  title: "Followed logs",
  run: async (context) => {
    const streams = context.quick ? 100 : 1_000;
    const forMs = context.quick ? 2_000 : 5_000;
    const tables: Table[] = [];
    const goals: Goal[] = [];
    const points: Record<LogsKind, [number, number][]> = { ours: [], floor: [], "floor-lines": [] };
    for (const linesPerSecond of [1, 20]) {
      const results = await inTurns(CONTESTANTS, context, (kind) => measure(kind, streams, linesPerSecond, forMs));
      const cpu = (kind: LogsKind) => results[kind].map(({ cpuMs, wallMs }) => (cpuMs / wallMs) * 100);
      const delays = results.ours.flatMap((each) => each.delays);
      const lost = results.ours.reduce((sum, each) => sum + (each.lost ?? 0) + each.missing, 0);
      const doubled = results.ours.reduce((sum, each) => sum + (each.doubled ?? 0), 0);
      const total = results.ours.reduce((sum, each) => sum + each.lines, 0);
      const times = median(cpu("ours")) / median(cpu("floor-lines"));
      tables.push({
        title: `${streams.toLocaleString("en-US")} streams of ${linesPerSecond} lines/s`,
        columns: [
          "client",
          "% of one core",
          "against the floor",
          "connections",
          "delay median ms",
          "p99 ms",
          "lost / doubled",
        ],
        rows: CONTESTANTS.map((kind) => [
          NAMES[kind],
          formatSpread(spread(cpu(kind))),
          ratio(median(cpu(kind)) / median(cpu("floor"))),
          format(median(results[kind].map(({ connections }) => connections))),
          kind === "ours" ? format(quantile(delays, 0.5)) : "–",
          kind === "ours" ? format(quantile(delays, 0.99)) : "–",
          kind === "ours" ? `${lost} / ${doubled} of ${total.toLocaleString("en-US")}` : "–",
        ]),
      });
      const connections = Math.max(...results.ours.map((each) => each.connections));
      const at = `${streams.toLocaleString("en-US")} streams of ${linesPerSecond} lines/s`;
      goals.push(
        { what: `connections of ${at}`, goal: "≤ 12", figure: String(connections), met: connections <= 12 },
        {
          what: `lines lost / doubled of ${at}`,
          goal: "0 / 0",
          figure: `${lost} / ${doubled}`,
          met: lost + doubled === 0,
        },
        {
          what: `CPU against undici, lines cut and decoded, ${at}`,
          goal: "≤ 1.15×",
          figure: ratio(times),
          met: times <= 1.15,
        },
      );
      for (const kind of CONTESTANTS) points[kind].push([linesPerSecond * streams, median(cpu(kind))]);
    }
    const series: Series[] = CONTESTANTS.map((kind) => ({
      name: NAMES[kind],
      size: "lines/s",
      unit: "% of one core",
      points: points[kind],
    }));
    const notes = [
      "The delay is from the server's write to the consumer's loop, and includes how long the server's own event loop took to write all lines that were due.",
    ];
    return { tables, goals, notes, series };
  },
};

async function measure(kind: LogsKind, streams: number, linesPerSecond: number, forMs: number): Promise<Measured> {
  const replay: Replay = await startReplay();
  const subject = new Child(SUBJECT);
  try {
    await subject.call("open", { kind, endpoint: replay.endpoint, count: streams });
    await replay.child.call("startLines", { linesPerSecond });
    await subject.call<CpuSample>("measure", 1_000);
    const before = await subject.call<LogsResult>("totals");
    const sample = await subject.call<CpuSample>("measure", forMs);
    const after = await subject.call<LogsResult>("totals");
    const written = await replay.child.call<number>("stopLines");
    // What is on its way arrives.
    await subject.call<CpuSample>("measure", 500);
    const { lines } = await subject.call<LogsResult>("totals");
    return {
      ...after,
      ...sample,
      lines,
      missing: kind === "ours" ? written - lines : 0,
      linesWhileMeasured: after.lines - before.lines,
    };
  } finally {
    await subject.stop();
    await replay.child.stop();
  }
}
