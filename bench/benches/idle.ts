import type { Bench, Goal } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { countsBetween, Kubernetes, type ServerCounts } from "../harness/kubernetes.ts";
import { format, formatBytes } from "../harness/stats.ts";
import type { RunsResult } from "../subjects/runs.ts";

const SUBJECT = new URL("../subjects/runs.ts", import.meta.url);

interface Measured {
  counts: ServerCounts;
  cpuMs: number;
  seconds: number;
}

/** An engine that has nothing to do: without a run, and with runs that say nothing. */
export const idle: Bench = {
  name: "idle",
  title: "An hour idle",
  run: async (context) => {
    // The server's hour: its bookmarks and the ends of its watches come so much faster. Pings and timers of the client do not.
    const timeScale = context.quick ? 360 : 60;
    const seconds = 3_600 / timeScale;
    const sizes = context.quick ? [0, 20] : [0, 1_000];
    const measured = new Map<number, Measured>();
    for (const size of sizes) {
      measured.set(size, await measure(size, timeScale, seconds));
      context.log(`  ${size} runs`);
    }
    const of = (size: number) => measured.get(size) as Measured;
    const [none = 0, many = 0] = sizes.map((size) => of(size).counts.total);
    const goals: Goal[] = [
      {
        what: `requests of an hour with ${sizes[1]?.toLocaleString("en-US")} silent runs against none`,
        goal: "no more",
        figure: `${many} against ${none}`,
        // When each of the two watches ends is drawn from five to ten minutes.
        met: many <= Math.max(none, 26),
      },
    ];
    return {
      goals,
      tables: [
        {
          title: `an hour of the server in ${seconds} s (its clock runs ${timeScale}×)`,
          columns: ["silent runs, their logs followed", "requests", "by verb", "bytes sent", "client's CPU ms"],
          rows: sizes.map((size) => [
            size.toLocaleString("en-US"),
            format(of(size).counts.total),
            Object.entries(of(size).counts.byVerb)
              .map(([verb, count]) => `${count} ${verb}`)
              .join(", "),
            formatBytes(of(size).counts.bytesSent),
            format(of(size).cpuMs),
          ]),
        },
      ],
      notes: [
        "Requests and bytes are those of an hour: the two watches, opened again every 5 to 10 minutes, and their bookmarks, one a minute. CPU is that of the time measured, not of an hour: pings, one each 15 s and connection, follow the client's own clock. The adapter renews a Lease every 10 s besides, 360 requests an hour whatever its number of runs.",
      ],
    };
  },
};

async function measure(runs: number, timeScale: number, seconds: number): Promise<Measured> {
  const kubernetes = await Kubernetes.start({ delays: "fast", timeScale });
  const subject = new Child(SUBJECT);
  try {
    await subject.call("open", { kind: "engine", endpoint: kubernetes.endpoint, timeScale, logs: true });
    await kubernetes.child.call("hold");
    const all = subject.call<RunsResult>("run", {
      count: runs,
      rampMs: 0,
      runMs: null,
      prefix: "run",
      startingAtOnce: 50,
    });
    if (runs > 0) await Promise.race([kubernetes.child.call("runningIs", runs), all]);
    // What follows the start of the last comes.
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const before = { counts: await kubernetes.counts(), cpu: await subject.call<number>("cpuMs") };
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
    const after = { counts: await kubernetes.counts(), cpu: await subject.call<number>("cpuMs") };
    await kubernetes.child.call("release");
    const { errors } = await all;
    if (errors.length > 0) throw new Error(errors[0]);
    return { counts: countsBetween(before.counts, after.counts), cpuMs: after.cpu - before.cpu, seconds };
  } finally {
    await subject.stop();
    await kubernetes.stop();
  }
}
