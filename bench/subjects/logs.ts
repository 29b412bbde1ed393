import { Pool } from "undici";
import { Cluster, followLogs, type LogStream } from "../../src/engine/index.ts";
import { type CpuSample, monotonicMs, serve, stopwatch } from "../harness/child.ts";
import { heapMethods } from "../harness/heap.ts";
import { type Endpoint, kubeConfigFor } from "../peers/kube-config.ts";
import { readLines } from "../peers/runners.ts";

/** Follows many logs of the replay server, in a process of its own. */

export type LogsKind = "ours" | "floor" | "floor-lines";

export interface LogsResult extends CpuSample {
  lines: number;
  bytes: number;
  /** Against the numbers in the lines; null where nothing is parsed. */
  lost: number | null;
  doubled: number | null;
  connections: number;
  /** Milliseconds from the server's write to the line being delivered. */
  delays: number[];
}

interface Followed {
  lines: number;
  doubled: number;
  lost: number;
}

const logs: Followed[] = [];
let delays: number[] = [];
let lines = 0;
let bytes = 0;
let openings: LogStream[] = [];
let cluster: Cluster | null = null;
let pool: Pool | null = null;
let connections = 0;
let isMeasuring = false;

function takeLine(log: Followed, text: string): void {
  const first = text.indexOf(" ");
  const number = Number(text.slice(0, first));
  if (number <= log.lines) log.doubled += 1;
  else {
    log.lost += number - log.lines - 1;
    log.lines = number;
  }
  lines += 1;
  // One in eight is enough for a quantile, and costs next to nothing.
  if (isMeasuring && (lines & 7) === 0)
    delays.push(monotonicMs() - Number(text.slice(first + 1, text.indexOf(" ", first + 1))));
}

async function openOurs(endpoint: Endpoint, count: number): Promise<void> {
  const opened = new Cluster({ kubeConfig: kubeConfigFor(endpoint) });
  cluster = opened;
  await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const stream = followLogs(opened, {
        namespace: endpoint.namespace,
        podName: `pod-${index}`,
        container: "claude",
        view: () => ({ phase: "running", restartCount: 0, startedAt: null, finishedAt: null }),
        onChange: () => () => undefined,
      });
      openings.push(stream);
      const log: Followed = { lines: 0, doubled: 0, lost: 0 };
      logs.push(log);
      await new Promise<void>((resolve, reject) => {
        const read = async () => {
          for await (const batch of stream.batches()) {
            for (const { text } of batch) takeLine(log, text);
            resolve();
          }
        };
        read().catch(reject);
      });
    }),
  );
}

/** The same requests; the bytes are counted and dropped, or cut into lines of text that a loop of their own takes. */
async function openFloor({ url, ca, namespace }: Endpoint, count: number, asLines: boolean): Promise<void> {
  const opened = new Pool(url, {
    connect: { ca },
    allowH2: true,
    headersTimeout: 0,
    bodyTimeout: 0,
    h2Options: { maxConcurrentStreams: 250 },
  } as Pool.Options);
  pool = opened;
  opened.on("connect", () => {
    connections += 1;
  });
  await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const { body } = await opened.request({
        method: "GET",
        path: `/api/v1/namespaces/${namespace}/pods/pod-${index}/log?container=claude&timestamps=true&follow=true`,
        headers: { authorization: "Bearer bench" },
      });
      if (asLines) {
        const log: Followed = { lines: 0, doubled: 0, lost: 0 };
        readLines(body, (text) => takeLine(log, text.slice(text.indexOf(" ") + 1))).catch(() => undefined);
        return;
      }
      body.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      body.on("error", () => undefined);
    }),
  );
}

serve({
  ...heapMethods(),
  open: async ({ kind, endpoint, count }: { kind: LogsKind; endpoint: Endpoint; count: number }) => {
    await (kind === "ours" ? openOurs(endpoint, count) : openFloor(endpoint, count, kind === "floor-lines"));
  },
  /** Reads for so many milliseconds, of which the CPU time is measured. */
  measure: async (ms: number): Promise<CpuSample> => {
    isMeasuring = true;
    delays = [];
    const stop = stopwatch();
    await new Promise((resolve) => setTimeout(resolve, ms));
    const sample = stop();
    isMeasuring = false;
    return sample;
  },
  totals: (): Omit<LogsResult, keyof CpuSample> => ({
    lines,
    bytes,
    lost: logs.reduce((sum, log) => sum + log.lost, 0),
    doubled: logs.reduce((sum, log) => sum + log.doubled, 0),
    connections: cluster?.requests.snapshot().connectionsOpened ?? connections,
    delays,
  }),
  close: async () => {
    for (const stream of openings) stream.close();
    openings = [];
    await cluster?.close();
    await pool?.destroy();
  },
});
