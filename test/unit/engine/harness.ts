import { KubeConfig } from "@kubernetes/client-node";
import { expect, onTestFinished, vi } from "vitest";
import { EmbeddedKubernetes, type EmbeddedKubernetesOptions, type NewObject } from "../../../src/embedded/index.ts";
import { liveEngines } from "../../../src/engine/diagnostics.ts";
import { PODS } from "../../../src/engine/engine-caches.ts";
import { RunEngine, type RunEngineOptions } from "../../../src/engine/index.ts";
import { Informer, type InformerOptions } from "../../../src/engine/informer/informer.ts";
import type { StoreChange } from "../../../src/engine/informer/store.ts";
import type { Pod } from "../../../src/engine/kubernetes.ts";
import type { JobManifest } from "../../../src/engine/runs/launch.ts";
import { Cluster, type ClusterOptions } from "../../../src/engine/transport/index.ts";
import { watchFaults } from "../injected-faults.ts";

export const LABELS = { "example.com/agent": "yes" };
export const NAMESPACE = "agents";

/** An embedded cluster that is stopped when the test is finished. */
export async function startKubernetes(options: EmbeddedKubernetesOptions = {}): Promise<EmbeddedKubernetes> {
  const k8s = await EmbeddedKubernetes.start({ namespaces: [NAMESPACE, "other"], ...options });
  watchFaults(k8s);
  onTestFinished(() => k8s.stop());
  return k8s;
}

export function kubeConfigOf(k8s: EmbeddedKubernetes, token?: string): KubeConfig {
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(
    JSON.stringify(k8s.kubeconfigFor({ namespace: NAMESPACE, ...(token === undefined ? {} : { token }) })),
  );
  return kubeConfig;
}

/** An engine that is stopped when the test is finished; quick to come back after errors. It has not asked yet when this returns. */
export function createEngine(k8s: EmbeddedKubernetes, options: Partial<RunEngineOptions> = {}): RunEngine {
  const engine = RunEngine.create({
    kubeConfig: kubeConfigOf(k8s),
    namespace: NAMESPACE,
    labels: LABELS,
    backoff: { baseMs: 20, maxMs: 100, minIntervalMs: 20 },
    ...options,
  });
  onTestFinished(() => engine.stop());
  return engine;
}

/** The same, synced. */
export async function startEngine(
  k8s: EmbeddedKubernetes,
  options: Partial<RunEngineOptions> = {},
): Promise<RunEngine> {
  const engine = createEngine(k8s, options);
  await engine.synced();
  return engine;
}

/** An informer of labelled pods that is stopped when the test is finished; quick to come back after errors. */
export function startInformer(
  k8s: EmbeddedKubernetes,
  options: Partial<InformerOptions<Pod>> & { token?: string; transport?: Partial<ClusterOptions> } = {},
): Informer<Pod> {
  const { token, transport, ...rest } = options;
  const cluster = new Cluster({ kubeConfig: kubeConfigOf(k8s, token), ...transport });
  const informer = new Informer<Pod>({
    cluster,
    resource: PODS,
    namespaces: [NAMESPACE],
    labelSelector: "example.com/agent=yes",
    backoff: { baseMs: 20, maxMs: 200, minIntervalMs: 20 },
    ...rest,
  });
  informer.start();
  onTestFinished(async () => {
    await informer.stop();
    await cluster.close();
  });
  return informer;
}

export function podObject(name: string, labels: Record<string, string> = {}, namespace = NAMESPACE): NewObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels: { ...LABELS, ...labels } },
    // Suspended from scheduling: these pods are objects, nothing runs in them.
    spec: { schedulingGates: [{ name: "example.com/never" }], containers: [{ name: "main", image: "none" }] },
  };
}

/** The Job has run for long enough: its deadline is now. */
export function expire(k8s: EmbeddedKubernetes, jobName: string): void {
  k8s.objects.update("jobs", NAMESPACE, jobName, (draft) => {
    (draft.spec as { activeDeadlineSeconds: number }).activeDeadlineSeconds = 1;
  });
}

/** Collects what an informer tells, and waits for it without polling. */
export class Story {
  readonly told: string[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(
    informer: Informer<Pod>,
    describe: (change: StoreChange<Pod>) => string = ({ type, object }) => `${type} ${object.metadata.name}`,
  ) {
    informer.subscribe((change) => {
      this.told.push(describe(change));
      for (const check of [...this.#waiting]) check();
    });
  }

  /** Resolves when `done` holds; asked after every change. */
  until(done: (told: readonly string[]) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!done(this.told)) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** Resolves when `fits` holds; asked after each event of the informer's watches. */
export function status(informer: Pick<Informer<Pod>, "onWatch">, fits: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (!fits()) return;
      stop();
      resolve();
    };
    const stop = informer.onWatch(check);
    check();
  });
}

/** Aborts as `AbortSignal.timeout` does, though not after a time, but when what is awaited has come. */
export function timeoutAfter(event: Promise<unknown>): AbortSignal {
  const abort = new AbortController();
  const timeout = new DOMException("The operation was aborted due to timeout", "TimeoutError");
  void event.then(() => abort.abort(timeout));
  return abort.signal;
}

/** Resolves when both caches of the only engine of this process have a problem. */
export async function cachesFail(): Promise<void> {
  const caches = () => [...liveEngines()].flatMap(({ jobs, pods }) => [jobs, pods]);
  await expect.poll(() => caches().filter((cache) => cache.freshness().error !== null)).toHaveLength(2);
}

/** The time limits of this process stand still, until the test calls what is returned. Requests and intervals go on. */
export function holdTimeouts(): (ms: number) => void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  return (ms) => void vi.advanceTimersByTime(ms);
}

/** A Job of one pod with one container `main`, for the programs of image `agent`. */
export function job(name: string, spec: Record<string, unknown> = {}, pod: Record<string, unknown> = {}): JobManifest {
  return {
    metadata: { name, labels: LABELS },
    spec: {
      backoffLimit: 0,
      ...spec,
      template: {
        metadata: { labels: LABELS },
        spec: {
          restartPolicy: "Never",
          terminationGracePeriodSeconds: 1,
          containers: [{ name: "main", image: "agent" }],
          ...pod,
        },
      },
    },
  };
}
