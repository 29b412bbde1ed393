import { type Bench, type Goal, inTurns, type Series } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { Kubernetes } from "../harness/kubernetes.ts";
import { format, formatBytes, formatSpread, median, spread } from "../harness/stats.ts";
import type { RunsResult } from "../subjects/runs.ts";

const SUBJECT = new URL("../subjects/runs.ts", import.meta.url);

interface Measured {
  completed: number;
  errors: string[];
  /** From the moment in which all run to the last result. */
  endingMs: number;
  cpuMsPerRun: number;
  serverCpuMsPerRun: number;
  rssBytes: number;
}

/** All at once: they are started, held until every one of them runs, and end together. */
export const runs: Bench = {
  name: "runs",
  title: "Concurrent runs through execute",
  run: async (context) => {
    const sizes = context.quick ? [20, 100] : [100, 1_000, 5_000];
    const rounds = { ...context, quick: true, rounds: Math.min(2, context.rounds) };
    const results: Record<string, Measured[]> = {};
    for (const size of sizes) {
      const name = String(size);
      // The largest takes minutes; its noise is averaged over thousands of runs.
      const taken = size >= 5_000 ? { ...rounds, rounds: 1 } : rounds;
      Object.assign(results, await inTurns([name], taken, () => measure(size)));
    }
    const of = (size: number, take: (measured: Measured) => number) => (results[String(size)] ?? []).map(take);
    const errors = Object.values(results)
      .flat()
      .flatMap((each) => each.errors);
    const goals: Goal[] = [];
    const largest = sizes.at(-1) ?? 0;
    const done = median(of(largest, ({ completed }) => completed));
    goals.push({
      what: "concurrent runs in one process",
      goal: `${largest.toLocaleString("en-US")} complete`,
      figure: `${done.toLocaleString("en-US")}${errors.length > 0 ? `; ${errors[0]}` : ""}`,
      met: done === largest && errors.length === 0,
    });
    const small = median(of(sizes[0] ?? 0, ({ cpuMsPerRun }) => cpuMsPerRun));
    const large = median(of(largest, ({ cpuMsPerRun }) => cpuMsPerRun));
    goals.push({
      what: "CPU a run as runs grow",
      goal: "falls or stays flat",
      figure: `${format(small)} → ${format(large)} ms`,
      met: large <= small * 1.1,
    });
    const series: Series[] = [
      {
        name: "k8s-run-informer",
        size: "concurrent runs",
        unit: "CPU ms a run",
        points: sizes.map((size) => [size, median(of(size, (each) => each.cpuMsPerRun))]),
      },
    ];
    return {
      tables: [
        {
          title: "Each run: guard, create, 12 lines of log, result, delete; prompt in a Secret",
          columns: [
            "concurrent",
            "completed",
            "completed/s once let go",
            "CPU ms a run",
            "resident memory",
            "server's CPU ms a run",
          ],
          rows: sizes.map((size) => [
            size.toLocaleString("en-US"),
            format(median(of(size, ({ completed }) => completed))),
            formatSpread(spread(of(size, ({ completed, endingMs }) => (completed / endingMs) * 1000))),
            formatSpread(spread(of(size, ({ cpuMsPerRun }) => cpuMsPerRun))),
            formatBytes(median(of(size, ({ rssBytes }) => rssBytes))),
            format(median(of(size, ({ serverCpuMsPerRun }) => serverCpuMsPerRun))),
          ]),
        },
      ],
      goals,
      series,
      notes: [
        "Completed/s is bounded by the embedded server, which has a core of its own and needs more CPU a run than the client.",
      ],
    };
  },
};

async function measure(count: number): Promise<Measured> {
  const kubernetes = await Kubernetes.start({ delays: "fast" });
  const subject = new Child(SUBJECT, { execArgv: ["--max-old-space-size=4096"] });
  try {
    await subject.call("open", { kind: "adapter", endpoint: kubernetes.endpoint, timeScale: 1, logs: true });
    await subject.call<RunsResult>("run", { count: 20, rampMs: 200, runMs: [50, 100], prefix: "first" });
    await kubernetes.child.call("hold");
    const before = { client: await subject.call<number>("cpuMs"), server: await kubernetes.cpuMs() };
    // As fast as the server starts them: no more than some wait for their container, as hosts limit their own starts.
    const all = subject.call<RunsResult>("run", { count, rampMs: 0, runMs: null, prefix: "run", startingAtOnce: 50 });
    await Promise.race([kubernetes.child.call("runningIs", count), all]);
    const rssBytes = await subject.call<number>("rssBytes");
    const at = performance.now();
    await kubernetes.child.call("release");
    const { times, errors } = await all;
    const endingMs = performance.now() - at;
    const after = { client: await subject.call<number>("cpuMs"), server: await kubernetes.cpuMs() };
    return {
      completed: times.length,
      errors,
      endingMs,
      cpuMsPerRun: (after.client - before.client) / count,
      serverCpuMsPerRun: (after.server - before.server) / count,
      rssBytes,
    };
  } finally {
    await subject.stop();
    await kubernetes.stop();
  }
}
