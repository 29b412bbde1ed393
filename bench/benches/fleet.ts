import { type Bench, type Goal, inTurns, type Series, type Table } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { countsBetween, Kubernetes, type ServerCounts } from "../harness/kubernetes.ts";
import { format, formatBytes, median, ratio } from "../harness/stats.ts";
import type { RunsResult } from "../subjects/runs.ts";

const SUBJECT = new URL("../subjects/runs.ts", import.meta.url);
const PROCESSES = [1, 4, 16] as const;
const MODES = ["every process watches all", "sharded"] as const;
type Mode = (typeof MODES)[number];

interface Measured {
  counts: ServerCounts;
  serverCpuMs: number;
  clientCpuMs: number;
}

/** Processes that share a namespace, with the same runs between them. */
export const fleet: Bench = {
  name: "fleet",
  title: "Several processes in one namespace",
  run: async (context) => {
    const total = context.quick ? 160 : 2_000;
    const rounds = { ...context, quick: true, rounds: 1 };
    const contestants = PROCESSES.flatMap((processes) => MODES.map((mode) => `${processes} ${mode}`));
    const results = await inTurns(contestants, rounds, (name) => {
      const [processes = "", ...mode] = name.split(" ");
      return measure(Number(processes), mode.join(" ") as Mode, total);
    });
    const of = (processes: number, mode: Mode, take: (measured: Measured) => number) =>
      median((results[`${processes} ${mode}`] ?? []).map(take));
    const bytes = (processes: number, mode: Mode) => of(processes, mode, ({ counts }) => counts.bytesSent);
    const base = bytes(1, "every process watches all");
    const table: Table = {
      title: `${total.toLocaleString("en-US")} runs in all, without their logs`,
      columns: [
        "processes",
        "watches",
        "requests",
        "bytes sent",
        "against one process",
        "API server's CPU s",
        "clients' CPU s",
      ],
      rows: MODES.flatMap((mode) =>
        PROCESSES.map((processes) => [
          `${processes}, ${mode}`,
          format(2 * processes),
          format(of(processes, mode, ({ counts }) => counts.total)),
          formatBytes(bytes(processes, mode)),
          ratio(bytes(processes, mode) / base),
          format(of(processes, mode, ({ serverCpuMs }) => serverCpuMs / 1000)),
          format(of(processes, mode, ({ clientCpuMs }) => clientCpuMs / 1000)),
        ]),
      ),
    };
    const unsharded = bytes(16, "every process watches all") / base;
    const sharded = bytes(16, "sharded") / bytes(1, "sharded");
    const goals: Goal[] = [
      {
        what: "bytes sent to 16 processes, each watching all",
        goal: "grow no faster than processes (≤ 16.8×)",
        figure: ratio(unsharded),
        // How many changes a busy server tells of as one varies by a few percent.
        met: unsharded <= 16.8,
      },
      {
        what: "bytes sent to 16 sharded processes",
        goal: "do not grow (≤ 1.05×)",
        figure: ratio(sharded),
        met: sharded <= 1.05,
      },
    ];
    const series: Series[] = MODES.map((mode) => ({
      name: `k8s-run-informer, ${mode}`,
      size: "processes",
      unit: "MB sent",
      points: PROCESSES.map((processes) => [processes, bytes(processes, mode) / 1e6]),
    }));
    return { tables: [table], goals, series };
  },
};

async function measure(processes: number, mode: Mode, total: number): Promise<Measured> {
  const kubernetes = await Kubernetes.start({ delays: "fast" });
  const subjects = Array.from({ length: processes }, () => new Child(SUBJECT));
  try {
    await Promise.all(
      subjects.map(async (subject, at) => {
        const shard = mode === "sharded" ? { shard: { value: `paperclip-${at}` } } : {};
        await subject.call("open", {
          kind: "engine",
          endpoint: kubernetes.endpoint,
          timeScale: 1,
          logs: false,
          ...shard,
        });
      }),
    );
    const cpu = async () => {
      const clients = await Promise.all(subjects.map((subject) => subject.call<number>("cpuMs")));
      return { server: await kubernetes.cpuMs(), clients: clients.reduce((sum, each) => sum + each, 0) };
    };
    const before = { counts: await kubernetes.counts(), ...(await cpu()) };
    const results = await Promise.all(
      subjects.map((subject, at) =>
        subject.call<RunsResult>("run", {
          count: total / processes,
          // Faster, and the embedded server would fall behind and tell of several changes at once.
          rampMs: total * 10,
          runMs: [1_000, 2_000],
          prefix: `p${at}`,
        }),
      ),
    );
    const [error] = results.flatMap(({ errors }) => errors);
    if (error !== undefined) throw new Error(error);
    await kubernetes.child.call("empty");
    const after = { counts: await kubernetes.counts(), ...(await cpu()) };
    return {
      counts: countsBetween(before.counts, after.counts),
      serverCpuMs: after.server - before.server,
      clientCpuMs: after.clients - before.clients,
    };
  } finally {
    await Promise.all(subjects.map((subject) => subject.stop()));
    await kubernetes.stop();
  }
}
