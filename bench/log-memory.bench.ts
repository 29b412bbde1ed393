/**
 * Memory of log follows: one that is idle, and one whose consumer has stalled while megabytes wait for it.
 *
 *   node --expose-gc bench/log-memory.bench.ts [follows] [--json]
 *
 * The server runs in a child process, so that what is measured is the client alone.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { followLogs, type LogStream } from "../src/engine/logs/index.ts";
import { Cluster } from "../src/engine/transport/index.ts";
import { kubeConfigOf, LogServer, type ServerAddress, TestContainer } from "../test/unit/logs/log-server.ts";

const follows = Number(process.argv.slice(2).find((arg) => /^\d+$/.test(arg)) ?? 500);

if (process.send) await serve();
else await measure();

async function serve(): Promise<void> {
  const server = await LogServer.start();
  const waiting = "x".repeat(1000);
  for (let i = 0; i < follows; i++) {
    server.add(new TestContainer(`idle-${i}`).lines(["one line"]));
    // 4 MB each; the same bytes for all, so that the server is not the larger process.
    const stalled = server.add(new TestContainer(`stalled-${i}`));
    for (let line = 0; line < 4000; line++) stalled.write(`${waiting}\n`);
  }
  process.send?.(server.address);
  await once(process, "disconnect");
  await server.stop();
  process.exit(0);
}

async function measure(): Promise<void> {
  if (!globalThis.gc) throw new Error("run it with node --expose-gc");
  const child = fork(import.meta.filename, [String(follows)], { execArgv: [] });
  const [address] = (await once(child, "message")) as [ServerAddress];
  const cluster = new Cluster({ kubeConfig: kubeConfigOf(address) });
  // The connections, the parser and the code are there before anything is counted.
  const warm = await open(cluster, "idle", 10);
  for (const stream of warm) stream.close();
  await sleep(500);

  const results: Record<string, { heapKiB: number; externalKiB: number; rssKiB: number }> = {};
  for (const kind of ["idle", "stalled"]) {
    const before = memory();
    const streams = await open(cluster, kind, follows);
    await sleep(3000);
    const after = memory();
    const per = (key: keyof NodeJS.MemoryUsage) => Math.round(((after[key] - before[key]) / follows / 1024) * 10) / 10;
    results[kind] = { heapKiB: per("heapUsed"), externalKiB: per("external"), rssKiB: per("rss") };
    for (const stream of streams) stream.close();
    await sleep(1000);
  }
  const { connectionsOpened } = cluster.requests.snapshot();
  if (process.argv.includes("--json")) console.log(JSON.stringify({ follows, connectionsOpened, ...results }));
  else {
    console.log(`${follows} follows over ${connectionsOpened} connections; KiB a follow`);
    console.table(results);
  }
  await cluster.close();
  child.disconnect();
}

/** Each has delivered its first lines, and takes no more. */
async function open(cluster: Cluster, kind: string, count: number): Promise<LogStream[]> {
  return await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const stream = followLogs(cluster, {
        namespace: "ns",
        podName: `${kind}-${i}`,
        container: "claude",
        view: () => ({ phase: "running", restartCount: 0, startedAt: null, finishedAt: null }),
        onChange: () => () => {},
      });
      const batches = stream.batches();
      await batches.next();
      // An idle follow has a consumer that waits; a stalled one has a consumer that does not ask.
      if (kind === "idle") batches.next().catch(() => {});
      return stream;
    }),
  );
}

function memory(): NodeJS.MemoryUsage {
  globalThis.gc?.();
  globalThis.gc?.();
  return process.memoryUsage();
}
