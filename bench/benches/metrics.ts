import { type Bench, inTurns } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { Kubernetes } from "../harness/kubernetes.ts";
import type { MeasuringCost } from "../harness/messages.ts";
import { format, median } from "../harness/stats.ts";
import type { RunsResult } from "../subjects/runs.ts";

const SUBJECT = new URL("../subjects/runs.ts", import.meta.url);
const TIMES = 20;
/** Prometheus's own default is a minute; many take this. */
const SCRAPE_EVERY_MS = 15_000;

interface Measured extends MeasuringCost {
  runCpuMs: number;
}

/** The share of a run's CPU that counting it takes, both in one process. */
export const metrics: Bench = {
  name: "metrics",
  title: "What metrics cost",
  run: async (context) => {
    const count = context.quick ? 100 : 1_000;
    const results = await inTurns(["metrics"], context, () => measure(count));
    const of = (take: (measured: Measured) => number) => median((results.metrics ?? []).map(take));
    const share = of(({ cpuMs, runCpuMs }) => cpuMs / count / runCpuMs);
    const percent = `${format(share * 100)} %`;
    return {
      tables: [
        {
          title: `${count.toLocaleString("en-US")} runs through execute, 12 lines of log each`,
          columns: ["messages a run", "CPU ms a run", "of it for metrics", "CPU ms a scrape", "of a core, every 15 s"],
          rows: [
            [
              format(of(({ messages }) => messages / count)),
              format(of(({ runCpuMs }) => runCpuMs)),
              percent,
              format(of(({ scrapeMs }) => scrapeMs)),
              `${format((of(({ scrapeMs }) => scrapeMs) / SCRAPE_EVERY_MS) * 100)} %`,
            ],
          ],
        },
      ],
      goals: [{ what: "CPU of a run that metrics take", goal: "< 1 %", figure: percent, met: share < 0.01 }],
      notes: ["The messages of real runs are published to the instruments again, twenty times, without the runs."],
    };
  },
};

async function measure(count: number): Promise<Measured> {
  const kubernetes = await Kubernetes.start({ delays: "fast" });
  const subject = new Child(SUBJECT);
  try {
    await subject.call("open", { kind: "adapter", endpoint: kubernetes.endpoint, timeScale: 1, logs: true });
    await subject.call<RunsResult>("run", { count: 20, rampMs: 200, runMs: [50, 100], prefix: "first" });
    await subject.call("keepMessages");
    const before = await subject.call<number>("cpuMs");
    const options = { count, rampMs: count * 10, runMs: [50, 100], prefix: "run", startingAtOnce: 50 };
    const { errors } = await subject.call<RunsResult>("run", options);
    const [error] = errors;
    if (error !== undefined) throw new Error(error);
    const runCpuMs = ((await subject.call<number>("cpuMs")) - before) / count;
    return { runCpuMs, ...(await subject.call<MeasuringCost>("measuringCost", TIMES)) };
  } finally {
    await subject.stop();
    await kubernetes.stop();
  }
}
