import { type Bench, type Goal, inTurns, type Series, type Table } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { Kubernetes } from "../harness/kubernetes.ts";
import { format, quantile, ratio } from "../harness/stats.ts";
import type { RunsOptions, RunsResult } from "../subjects/runs.ts";
import { RUNNER_NAMES } from "./requests.ts";

const CONTESTANTS = ["floor", "engine", "polling"] as const;
type Kind = (typeof CONTESTANTS)[number];
const RUNS = new URL("../subjects/runs.ts", import.meta.url);
/** Rounds with one run at a time, of 60 runs: 600 samples of the floor and of the engine. */
const SINGLE_ROUNDS = 5;

/** From the server's own write (container runs, container ended) to the resolved promise. */
export const latency: Bench = {
  name: "latency",
  title: "Change on the server → promise resolved",
  run: async (context) => {
    const sizes = context.quick ? [1, 50] : [1, 100, 1_000];
    const tables: Table[] = [];
    const goals: Goal[] = [];
    const points: Record<string, [number, number][]> = {};
    for (const active of sizes) {
      const rounds = { ...context, quick: true, rounds: active >= 1_000 ? 1 : Math.min(2, context.rounds) };
      const inRounds = <K extends Kind>(kinds: readonly K[], count = rounds.rounds) =>
        inTurns(kinds, { ...rounds, rounds: count }, (kind) => measure(kind, active, context.quick));
      // One run at a time gives few samples a round: the p99 of one round would be that of its worst moment.
      const results =
        active === 1
          ? {
              ...(await inRounds(["floor", "engine"], context.quick ? 1 : SINGLE_ROUNDS)),
              ...(await inRounds(["polling"])),
            }
          : await inRounds(CONTESTANTS);
      const all = Object.fromEntries(CONTESTANTS.map((kind) => [kind, results[kind].flat()])) as Record<Kind, number[]>;
      tables.push({
        title: `${active.toLocaleString("en-US")} active`,
        columns: ["client", "samples", "median ms", "p99 ms", "max ms"],
        rows: CONTESTANTS.map((kind) => [
          RUNNER_NAMES[kind],
          String(all[kind].length),
          format(quantile(all[kind], 0.5)),
          format(quantile(all[kind], 0.99)),
          format(quantile(all[kind], 1)),
        ]),
      });
      const whole = quantile(all.engine, 0.99);
      const over = whole - quantile(all.floor, 0.99);
      const better = quantile(all.polling, 0.5) / quantile(all.engine, 0.5);
      const wanted = active === 1 ? 5 : active === 1_000 ? 50 : null;
      if (wanted !== null) {
        goals.push({
          what: `p99 over the floor's with ${active.toLocaleString("en-US")} active`,
          goal: `≤ ${wanted} ms`,
          // A floor above what stands on it was measured beside other work. Over an undisturbed one it is at most the whole.
          figure: over >= 0 ? `${format(over)} ms` : `≤ ${format(whole)} ms`,
          met: over >= 0 ? over <= wanted : whole <= wanted || "void",
        });
      }
      goals.push({
        what: `median against polling with ${active.toLocaleString("en-US")} active`,
        goal: "≥ 200× better",
        figure: ratio(better),
        met: better >= 200,
      });
      for (const kind of CONTESTANTS) {
        points[kind] ??= [];
        points[kind].push([active, quantile(all[kind], 0.99)]);
      }
    }
    const series: Series[] = CONTESTANTS.map((kind) => ({
      name: `${RUNNER_NAMES[kind]}, p99`,
      size: "active runs",
      unit: "ms",
      points: points[kind] ?? [],
    }));
    const notes = [
      "A p99 over the floor's that is given with ≤ is the whole p99: the floor's own was disturbed, and came out above it.",
      "Server, client and whatever else runs share the machine's cores: with 1 000 active, the floor's own p99 says how busy they are.",
    ];
    return { tables, goals, series, notes };
  },
};

async function measure(kind: Kind, active: number, quick: boolean): Promise<number[]> {
  const kubernetes = await Kubernetes.start({ delays: "fast" });
  const subject = new Child(RUNS);
  try {
    await subject.call("open", { kind, endpoint: kubernetes.endpoint, timeScale: 1, logs: false });
    const run = async (prefix: string, options: Omit<RunsOptions, "prefix">) => {
      const { times, errors } = await subject.call<RunsResult>("run", { ...options, prefix });
      if (errors.length > 0) throw new Error(`${kind}: ${errors[0]}`);
      return times;
    };
    await run("first", { count: 30, rampMs: 1_000, runMs: [100, 200] });
    const times =
      active === 1
        ? // Polling takes seconds a run; enough of them to hit every part of its period.
          await run("run", {
            count: kind === "polling" ? (quick ? 2 : 4) : quick ? 10 : 60,
            rampMs: 0,
            runMs: [20, kind === "polling" ? 1_000 : 150],
            inSequence: true,
          })
        : await run("run", { count: active, rampMs: active * 15, runMs: [active * 15, active * 22] });
    const server = await kubernetes.times();
    return times.flatMap(({ job, readyAt, endedAt }) => {
      const at = server.get(job);
      return [readyAt - (at?.readyAt ?? Number.NaN), endedAt - (at?.endedAt ?? Number.NaN)].filter(
        (ms) => !Number.isNaN(ms),
      );
    });
  } finally {
    await subject.stop();
    await kubernetes.stop();
  }
}
