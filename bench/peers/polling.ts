import { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { BatchV1Api, CoreV1Api, type KubeConfig, Log } from "@kubernetes/client-node";
import { monotonicMs } from "../harness/child.ts";
import { CONTAINER, jobManifest, type RunPlan } from "./job.ts";
import type { RunTimes } from "./runners.ts";

/** The constants of the adapter that polled, in milliseconds of the cluster's clock. */
const POLL_MS = 2_000;
const KEEPALIVE_MS = 15_000;
const LOG_REOPEN_MS = 3_000;
const LOG_OPENINGS = 50;

/**
 * A run as the old adapter made it: the Job is read every 2 s, its pods every 2 s until one runs, the Job again every 15 s for
 * the keepalive, and a followed log is opened every 3 s, up to fifty at once, because the promise of client-node's
 * `Log.log` was taken for the end of the stream.
 */
export class PollingRuns {
  readonly #batch: BatchV1Api;
  readonly #core: CoreV1Api;
  readonly #log: Log;
  readonly #scale: number;
  readonly #withLogs: boolean;

  constructor(kubeConfig: KubeConfig, options: { timeScale: number; logs: boolean }) {
    this.#batch = kubeConfig.makeApiClient(BatchV1Api);
    this.#core = kubeConfig.makeApiClient(CoreV1Api);
    this.#log = new Log(kubeConfig);
    this.#scale = options.timeScale;
    this.#withLogs = options.logs;
  }

  async run(plan: RunPlan, onReady: () => void): Promise<RunTimes> {
    const { namespace, jobName: name } = plan;
    await this.#batch.listNamespacedJob({
      namespace,
      labelSelector: `paperclip.io/agent-id=${name},paperclip.io/adapter-type=claude_k8s`,
    });
    await this.#batch.createNamespacedJob({ namespace, body: jobManifest(plan) as never });
    const podName = await this.#podRunning(namespace, name);
    const readyAt = monotonicMs();
    onReady();
    const state = { isOver: false };
    const keepalive = setInterval(() => {
      this.#batch.readNamespacedJob({ namespace, name }).catch(() => undefined);
    }, this.#virtual(KEEPALIVE_MS));
    const logs = this.#withLogs ? this.#followLogs(namespace, podName, state) : Promise.resolve();
    while (!(await this.#isOver(namespace, name))) await delay(this.#virtual(POLL_MS));
    const endedAt = monotonicMs();
    state.isOver = true;
    clearInterval(keepalive);
    await logs;
    if (this.#withLogs) await this.#core.readNamespacedPodLog({ namespace, name: podName, container: CONTAINER });
    await this.#listPods(namespace, name);
    await this.#batch.deleteNamespacedJob({ namespace, name, propagationPolicy: "Background" });
    return { job: name, readyAt, endedAt };
  }

  async #podRunning(namespace: string, jobName: string): Promise<string> {
    while (true) {
      const [pod] = (await this.#listPods(namespace, jobName)).items;
      const phase = pod?.status?.phase;
      if (pod?.metadata?.name !== undefined && phase !== undefined && phase !== "Pending") return pod.metadata.name;
      await delay(this.#virtual(POLL_MS));
    }
  }

  #listPods(namespace: string, jobName: string) {
    return this.#core.listNamespacedPod({ namespace, labelSelector: `job-name=${jobName}` });
  }

  async #isOver(namespace: string, name: string): Promise<boolean> {
    const { status } = await this.#batch.readNamespacedJob({ namespace, name });
    return (
      status?.conditions?.some((each) => ["Complete", "Failed"].includes(each.type) && each.status === "True") ?? false
    );
  }

  async #followLogs(namespace: string, podName: string, state: { isOver: boolean }): Promise<void> {
    for (let opening = 0; opening < LOG_OPENINGS && !state.isOver; opening += 1) {
      const sink = new Writable({ write: (_chunk, _encoding, done) => done() });
      await this.#log.log(namespace, podName, CONTAINER, sink, { follow: true }).catch(() => undefined);
      await delay(this.#virtual(LOG_REOPEN_MS));
    }
  }

  #virtual(ms: number): number {
    return ms / this.#scale;
  }
}
