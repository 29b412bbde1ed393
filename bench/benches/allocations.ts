import type { Table } from "../harness/bench.ts";
import { Child, type CpuSample } from "../harness/child.ts";
import { Kubernetes } from "../harness/kubernetes.ts";
import { startReplay, watchersOpen } from "../harness/replay.ts";
import { formatBytes } from "../harness/stats.ts";
import type { CacheKind } from "../peers/caches.ts";
import type { LogsKind, LogsResult } from "../subjects/logs.ts";
import type { RunsResult } from "../subjects/runs.ts";
import { NAMES } from "./ingest.ts";

/** So large a young generation that nothing is collected meanwhile: what the heap grows by is what was allocated. */
const NO_GC = { execArgv: ["--expose-gc", "--min-semi-space-size=512", "--max-semi-space-size=512"] };
const subjectOf = (name: string) => new Child(new URL(`../subjects/${name}.ts`, import.meta.url), NO_GC);

/** What a frame, a line and a run allocate, most of it to be free again at the next collection. */
export async function allocations(quick: boolean): Promise<Table> {
  const rows: string[][] = [];
  for (const kind of ["floor-http2", "ours", "client-node"] as const)
    rows.push(["watch frame of a pod", NAMES[kind], formatBytes(await ofFrame(kind, quick ? 500 : 5_000))]);
  for (const kind of ["floor-lines", "ours"] as const) {
    const name = kind === "ours" ? NAMES.ours : "undici, lines cut and decoded";
    rows.push(["log line of 170 bytes", name, formatBytes(await ofLine(kind, quick ? 1_000 : 5_000))]);
  }
  rows.push(["run through execute, 12 lines of log", NAMES.ours, formatBytes(await ofRun(quick ? 20 : 100))]);
  return { title: "Allocated on the way", columns: ["for each", "client", "heap and buffers"], rows };
}

async function ofFrame(kind: CacheKind, count: number): Promise<number> {
  const replay = await startReplay({ pods: 500 });
  const subject = subjectOf("cache");
  try {
    await subject.call("open", { kind, endpoint: replay.endpoint });
    await watchersOpen(replay, "pods", 1);
    const burst = async () => {
      await subject.call("arm", count);
      await replay.child.call("modify", { count });
      await subject.call<CpuSample>("taken");
    };
    await burst();
    return (await growth(subject, burst)) / count;
  } finally {
    await subject.stop();
    await replay.child.stop();
  }
}

async function ofLine(kind: LogsKind, forMs: number): Promise<number> {
  const replay = await startReplay();
  const subject = subjectOf("logs");
  try {
    await subject.call("open", { kind, endpoint: replay.endpoint, count: 200 });
    await replay.child.call("startLines", { linesPerSecond: 20 });
    await subject.call("measure", 1_000);
    const before = await subject.call<LogsResult>("totals");
    const bytes = await growth(subject, () => subject.call("measure", forMs));
    const after = await subject.call<LogsResult>("totals");
    return bytes / (after.lines - before.lines);
  } finally {
    await subject.stop();
    await replay.child.stop();
  }
}

async function ofRun(count: number): Promise<number> {
  const kubernetes = await Kubernetes.start({ delays: "fast" });
  const subject = subjectOf("runs");
  try {
    await subject.call("open", { kind: "adapter", endpoint: kubernetes.endpoint, timeScale: 1, logs: true });
    const run = async (prefix: string) => {
      const options = { count, rampMs: count * 20, runMs: [100, 200], lineMs: 10, prefix };
      const { errors } = await subject.call<RunsResult>("run", options);
      if (errors.length > 0) throw new Error(errors[0]);
    };
    await run("first");
    return (await growth(subject, () => run("run"))) / count;
  } finally {
    await subject.stop();
    await kubernetes.stop();
  }
}

async function growth(subject: Child, work: () => Promise<unknown>): Promise<number> {
  await subject.call("collect");
  const before = await subject.call<Heap>("heap");
  await work();
  const after = await subject.call<Heap>("heap");
  if (after.collections !== before.collections) throw new Error("the heap was collected while it was measured");
  return after.bytes - before.bytes;
}

interface Heap {
  bytes: number;
  collections: number;
}
