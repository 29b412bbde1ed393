import { type Bench, type Goal, inTurns, type Series, type Table } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { countsBetween, Kubernetes, type ServerCounts } from "../harness/kubernetes.ts";
import { format, median, ratio } from "../harness/stats.ts";
import type { RunsResult } from "../subjects/runs.ts";

const CONTESTANTS = ["adapter", "polling"] as const;
export const RUNNER_NAMES = {
  adapter: "k8s-run-informer, execute",
  engine: "k8s-run-informer",
  polling: "polling adapter",
  floor: "floor: bare watch",
};
const RUNS = new URL("../subjects/runs.ts", import.meta.url);
const AT_ONCE = 5;

/** Length of the run in seconds of the cluster's clock, the clock's speed, and how many times fewer requests are wanted. */
const LENGTHS = [
  { seconds: 10, timeScale: 2, wanted: null },
  { seconds: 60, timeScale: 6, wanted: 15 },
  { seconds: 600, timeScale: 20, wanted: 150 },
] as const;

/** What one run costs the API server, counted by the server. */
export const requests: Bench = {
  name: "requests",
  title: "API requests and connections a run",
  run: async (context) => {
    const lengths = context.quick ? LENGTHS.slice(0, 2) : LENGTHS;
    // Counts do not vary as times do: one round is enough.
    const once = { ...context, quick: true, rounds: 1 };
    const goals: Goal[] = [];
    const tables: Table[] = [];
    const points: Record<string, [number, number][]> = { adapter: [], polling: [] };
    let worst = 0;
    for (const { seconds, timeScale, wanted } of lengths) {
      const results = await inTurns(CONTESTANTS, once, (kind) => measure(kind, seconds, timeScale));
      const of = (kind: "adapter" | "polling") => results[kind][0] as ServerCounts;
      tables.push({
        title: `runs of ${seconds} s (${AT_ONCE} at once; clock ${timeScale}×)`,
        columns: ["client", "requests a run", "TCP connections a run", "requests by verb (all runs)"],
        rows: CONTESTANTS.map((kind) => [
          RUNNER_NAMES[kind],
          format(of(kind).total / AT_ONCE),
          format(of(kind).connectionsOpened / AT_ONCE),
          Object.entries(of(kind).byVerb)
            .map(([verb, count]) => `${count} ${verb}`)
            .join(", "),
        ]),
      });
      for (const kind of CONTESTANTS) points[kind]?.push([seconds, of(kind).total / AT_ONCE]);
      const ours = of("adapter").total / AT_ONCE;
      worst = Math.max(worst, ours);
      const better = of("polling").total / of("adapter").total;
      if (wanted !== null) {
        goals.push({
          what: `requests a run of ${seconds} s against polling`,
          goal: `≥ ${wanted}× fewer`,
          figure: ratio(better),
          met: better >= wanted,
        });
      }
    }
    goals.unshift({ what: "requests a run, at any length", goal: "≤ 4", figure: format(worst), met: worst <= 4 });
    const series: Series[] = CONTESTANTS.map((kind) => ({
      name: RUNNER_NAMES[kind],
      size: "length of the run in s",
      unit: "requests",
      points: points[kind] ?? [],
    }));
    const notes = [
      "Runs on an engine that is open: its two watches are shared by all runs of the namespace and opened once for them all. Connections of k8s-run-informer grow with the followed logs, 100 to a connection (the server's stream limit).",
    ];
    return { tables, goals, notes, series };
  },
};

async function measure(kind: "adapter" | "polling", seconds: number, timeScale: number): Promise<ServerCounts> {
  const kubernetes = await Kubernetes.start({ timeScale });
  const subject = new Child(RUNS);
  try {
    await subject.call("open", { kind, endpoint: kubernetes.endpoint, timeScale, logs: true });
    // The first run also reads what a process reads once (its own pod, access reviews).
    await subject.call<RunsResult>("run", { count: 1, rampMs: 0, runMs: [500, 500], prefix: "first" });
    const before = await kubernetes.counts();
    const { errors } = await subject.call<RunsResult>("run", {
      count: AT_ONCE,
      rampMs: 0,
      runMs: [seconds * 1000, seconds * 1000],
      lineMs: 2_000,
      prefix: "run",
    });
    if (errors.length > 0) throw new Error(`${kind}: ${errors[0]}`);
    return countsBetween(before, await kubernetes.counts());
  } finally {
    await subject.stop();
    await kubernetes.stop();
  }
}

/** Median of a list of results' field. */
export function medianOf<R>(results: readonly R[], take: (result: R) => number): number {
  return median(results.map(take));
}
