import { readFileSync } from "node:fs";
import { Pool } from "undici";
import { SHARD_VARIABLE } from "../../src/adapter/start/site.ts";
import { FleetRun } from "../../src/cli/fleet/fleet-run.ts";
import {
  type EngineStats,
  type JobManifest,
  leaseEngine,
  RunEngine,
  type RunEngineOptions,
  stopSharedEngines,
} from "../../src/engine/index.ts";
import { createServerAdapter } from "../../src/index.ts";
import { monotonicMs } from "../harness/child.ts";
import { CONTAINER, jobManifest, LABELS, type RunPlan } from "./job.ts";
import { type Endpoint, exportKubeConfig, kubeConfigFor } from "./kube-config.ts";
import { PollingRuns } from "./polling.ts";

/** When a client knew that the container runs, and that it has ended, in `monotonicMs`. */
export interface RunTimes {
  job: string;
  readyAt: number;
  endedAt: number;
}

export type RunnerKind = "adapter" | "engine" | "polling" | "floor";

export interface RunnerOptions {
  kind: RunnerKind;
  endpoint: Endpoint;
  timeScale: number;
  /** Whether the logs are followed; the adapter always does. */
  logs: boolean;
  shard?: RunEngineOptions["shard"];
}

/** Something that runs Jobs and waits for them, as each contestant does it. */
export interface Runner {
  /** `onReady` is called when the container is known to run. */
  run(plan: RunPlan, onReady: () => void): Promise<RunTimes>;
  stats(): EngineStats | null;
  stop(): Promise<void>;
}

export async function openRunner(options: RunnerOptions): Promise<Runner> {
  switch (options.kind) {
    case "adapter":
      return await adapter(options);
    case "engine":
      return await engine(options);
    case "polling": {
      // What client-node's Log throws past its caller would end the process.
      process.on("uncaughtException", () => undefined);
      const runs = new PollingRuns(kubeConfigFor(options.endpoint), options);
      return { run: (plan, onReady) => runs.run(plan, onReady), stats: () => null, stop: async () => undefined };
    }
    case "floor":
      return await floor(options);
  }
}

async function engine({ endpoint, logs, shard }: RunnerOptions): Promise<Runner> {
  const runs = await RunEngine.start({
    kubeConfig: kubeConfigFor(endpoint),
    namespace: endpoint.namespace,
    labels: LABELS,
    ...(shard === undefined ? {} : { shard }),
  });
  return {
    run: async (plan, onReady) => {
      const run = await runs.launch(jobManifest(plan));
      const ready = run.podReady({ container: CONTAINER }).then(() => {
        onReady();
        return monotonicMs();
      });
      const ended = run.terminated({ container: CONTAINER }).then(() => monotonicMs());
      if (logs) for await (const _ of run.logs({ container: CONTAINER }).batches());
      const times = { job: plan.jobName, readyAt: await ready, endedAt: await ended };
      await run.delete();
      run.release();
      return times;
    },
    stats: () => runs.stats(),
    stop: () => runs.stop(),
  };
}

/** The whole adapter, called as Paperclip calls it. */
async function adapter({ endpoint, shard }: RunnerOptions): Promise<Runner> {
  const kubeconfig = exportKubeConfig(endpoint);
  if (shard !== undefined) process.env[SHARD_VARIABLE] = shard.value;
  const module = createServerAdapter();
  // The engine that the runs share, kept from run to run as a server that always has some keeps it.
  const lease = await leaseEngine({
    kubeConfig: kubeConfigOfPath(kubeconfig),
    namespace: endpoint.namespace,
    labels: LABELS,
    ...(shard === undefined ? {} : { shard }),
  });
  return {
    run: async ({ jobName, namespace, runMs, lineMs }, onReady) => {
      const env = {
        // Each run has one, and it travels in a Secret.
        ANTHROPIC_API_KEY: `sk-ant-bench-${jobName}`,
        ...(runMs === null ? {} : { BENCH_RUN_MS: String(runMs) }),
        ...(lineMs === undefined ? {} : { BENCH_LINE_MS: String(lineMs) }),
      };
      const config = {
        kubeconfig,
        namespace,
        image: "bench/claude:1",
        env,
        "resources.requests.cpu": "10m",
        "resources.requests.memory": "16Mi",
      };
      let readyAt = Number.NaN;
      const order = { runId: jobName, agentId: jobName, taskId: jobName, config };
      const result = await new FleetRun().execute(module, order, {
        event: (eventType) => {
          if (eventType !== "k8s.pod_running") return;
          readyAt = monotonicMs();
          onReady();
        },
      });
      if (result.errorMessage != null || result.exitCode !== 0)
        throw new Error(`${jobName}: ${result.errorCode}: ${result.errorMessage}`);
      return { job: jobName, readyAt, endedAt: monotonicMs() };
    },
    stats: () => lease.engine.stats(),
    stop: async () => {
      lease.release();
      await stopSharedEngines();
    },
  };
}

function kubeConfigOfPath(path: string) {
  const kubeConfig = kubeConfigFor({ url: "https://127.0.0.1", ca: "", namespace: "" });
  kubeConfig.loadFromString(readFileSync(path, "utf8"));
  return kubeConfig;
}

/** One watch, each line parsed, promises by the name of the Job: the least that can tell anyone of an end. */
async function floor({ endpoint: { url, ca, namespace } }: RunnerOptions): Promise<Runner> {
  const pool = new Pool(url, { connect: { ca }, allowH2: true, headersTimeout: 0, bodyTimeout: 0 });
  const headers = { authorization: "Bearer bench", "content-type": "application/json" };
  const jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`;
  const waiting = new Map<string, (state: { running?: object; terminated?: object }) => void>();
  const selector = encodeURIComponent(
    Object.entries(LABELS)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
  );
  const watch = await pool.request({
    method: "GET",
    path: `/api/v1/namespaces/${namespace}/pods?watch=true&labelSelector=${selector}`,
    headers,
  });
  readLines(watch.body, (text) => {
    const { metadata, status } = (JSON.parse(text) as { object: FloorPod }).object;
    const state = status?.containerStatuses?.find(({ name }) => name === CONTAINER)?.state;
    if (state !== undefined) waiting.get(metadata.ownerReferences?.[0]?.name ?? "")?.(state);
  }).catch(() => undefined);
  const send = async (method: "POST" | "DELETE", path: string, body: object) => {
    const answer = await pool.request({ method, path, headers, body: JSON.stringify(body) });
    await answer.body.dump();
    if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode}`);
  };
  return {
    run: async (plan, onReady) => {
      const times: RunTimes = { job: plan.jobName, readyAt: Number.NaN, endedAt: Number.NaN };
      const ended = new Promise<void>((resolve) => {
        waiting.set(plan.jobName, ({ running, terminated }) => {
          if (running !== undefined && Number.isNaN(times.readyAt)) {
            times.readyAt = monotonicMs();
            onReady();
          }
          if (terminated === undefined || !Number.isNaN(times.endedAt)) return;
          times.endedAt = monotonicMs();
          resolve();
        });
      });
      await send("POST", jobs, jobManifest(plan) satisfies JobManifest);
      await ended;
      waiting.delete(plan.jobName);
      await send("DELETE", `${jobs}/${plan.jobName}`, {
        kind: "DeleteOptions",
        apiVersion: "v1",
        propagationPolicy: "Background",
      });
      return times;
    },
    stats: () => null,
    stop: () => pool.destroy(),
  };
}

interface FloorPod {
  metadata: { ownerReferences?: { name: string }[] };
  status?: { containerStatuses?: { name: string; state?: { running?: object; terminated?: object } }[] };
}

/** Calls with each line of a body, without its newline. */
export async function readLines(body: AsyncIterable<Buffer>, onLine: (text: string) => void): Promise<void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of body) {
    const buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = buffer.indexOf(10); end !== -1; end = buffer.indexOf(10, start)) {
      onLine(buffer.toString("utf8", start, end));
      start = end + 1;
    }
    rest = buffer.subarray(start);
  }
}
