import type { Bench, Goal, Series, Table } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { countsBetween, Kubernetes, type ServerCounts } from "../harness/kubernetes.ts";
import { format, formatBytes, ratio } from "../harness/stats.ts";
import type { RunsResult } from "../subjects/runs.ts";

const CONTESTANTS = ["adapter", "sharded", "polling"] as const;
type Kind = (typeof CONTESTANTS)[number];
export const RUNNER_NAMES = {
  adapter: "k8s-run-informer, execute",
  sharded: "k8s-run-informer, execute, in a shard",
  engine: "k8s-run-informer",
  polling: "polling adapter",
  floor: "floor: bare watch",
};
const RUNS = new URL("../subjects/runs.ts", import.meta.url);
const AT_ONCE = 5;

/** Length of the run in seconds of the cluster's clock, the clock's speed, and how many times fewer requests are wanted. */
const LENGTHS = [
  { seconds: 10, timeScale: 2, wanted: null },
  { seconds: 60, timeScale: 5, wanted: 15 },
  { seconds: 600, timeScale: 5, wanted: 150 },
] as const;

/** What one run costs the API server, counted by the server. */
export const requests: Bench = {
  name: "requests",
  title: "API requests and connections a run",
  run: async (context) => {
    const lengths = context.quick ? LENGTHS.slice(0, 2) : LENGTHS;
    const goals: Goal[] = [];
    const tables: Table[] = [];
    const points: Record<Kind, [number, number][]> = { adapter: [], sharded: [], polling: [] };
    let worst = 0;
    for (const { seconds, timeScale, wanted } of lengths) {
      // Counted, not timed: all at once, each with a server of its own, and one round is enough.
      const counted = await Promise.all(
        CONTESTANTS.map(async (kind) => [kind, await measure(kind, seconds, timeScale)]),
      );
      const counts = Object.fromEntries(counted) as Record<Kind, ServerCounts>;
      context.log(`  runs of ${seconds} s`);
      tables.push({
        title: `runs of ${seconds} s (${AT_ONCE} at once; clock ${timeScale}×)`,
        columns: [
          "client",
          "requests a run",
          "shared",
          "TCP connections a run",
          "bytes sent a run",
          "requests by verb (all runs)",
        ],
        rows: CONTESTANTS.map((kind) => [
          RUNNER_NAMES[kind],
          format(perRun(kind, counts[kind])),
          format(shared(kind, counts[kind])),
          format(counts[kind].connectionsOpened / AT_ONCE),
          formatBytes(counts[kind].bytesSent / AT_ONCE),
          Object.entries(counts[kind].byVerb)
            .map(([verb, count]) => `${count} ${verb}`)
            .join(", "),
        ]),
      });
      for (const kind of CONTESTANTS) points[kind].push([seconds, perRun(kind, counts[kind])]);
      const ours = perRun("adapter", counts.adapter);
      worst = Math.max(worst, ours);
      const better = perRun("polling", counts.polling) / ours;
      if (wanted !== null) {
        goals.push({
          what: `requests a run of ${seconds} s against polling`,
          goal: `≥ ${wanted}× fewer`,
          figure: ratio(better),
          met: better >= wanted,
        });
      }
    }
    // The guard's list, the Job, its Secret, its log, its deletion.
    goals.unshift({ what: "requests a run, at any length", goal: "≤ 5", figure: format(worst), met: worst <= 5 });
    const series: Series[] = CONTESTANTS.map((kind) => ({
      name: RUNNER_NAMES[kind],
      size: "length of the run in s",
      unit: "requests",
      points: points[kind],
    }));
    const notes = [
      "Runs on an engine that is open, each with a credential. Its requests: the guard's list, the Job, the Secret of its credential and prompt, its log, its deletion. Shared: its two watches, which serve all runs of the namespace and are opened again every 5 to 10 minutes. So is its Lease, renewed every 10 seconds. The more runs, the less of them falls to each. Connections of k8s-run-informer grow with the followed logs, 100 to a connection (the server's stream limit).",
    ];
    return { tables, goals, notes, series };
  },
};

async function measure(contestant: Kind, seconds: number, timeScale: number): Promise<ServerCounts> {
  const kubernetes = await Kubernetes.start({ timeScale });
  const subject = new Child(RUNS);
  try {
    const kind = contestant === "polling" ? "polling" : "adapter";
    const shard = contestant === "sharded" ? { shard: { value: "bench" } } : {};
    await subject.call("open", { kind, endpoint: kubernetes.endpoint, timeScale, logs: true, ...shard });
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
    if (errors.length > 0) throw new Error(`${contestant}: ${errors[0]}`);
    return countsBetween(before, await kubernetes.counts());
  } finally {
    await subject.stop();
    await kubernetes.stop();
  }
}

/**
 * Requests that serve all runs of a process, however many: its own two watches, and the renewals of its Lease. In a shard each
 * run's start opens two more watches.
 */
function shared(kind: Kind, { byVerb }: ServerCounts): number {
  const of = (verb: string) => byVerb[verb] ?? 0;
  const all = of("watch jobs") + of("watch pods") + of("patch leases");
  return kind === "sharded" ? all - 2 * AT_ONCE : all;
}

function perRun(kind: Kind, counts: ServerCounts): number {
  return (counts.total - shared(kind, counts)) / AT_ONCE;
}
