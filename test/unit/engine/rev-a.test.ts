import { PassThrough } from "node:stream";
import { expect, it, onTestFinished, vi } from "vitest";
import { EngineStoppedError, RunEngine } from "../../../src/engine/index.ts";
import { Informer, type InformerOptions } from "../../../src/engine/informer/informer.ts";
import { trimPod } from "../../../src/engine/informer/trim.ts";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { DEFAULT_POLICY } from "../../../src/engine/runs/policy.ts";
import { Run, type RunHost } from "../../../src/engine/runs/run.ts";
import type { Cluster } from "../../../src/engine/transport/index.ts";
import { kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "./harness.ts";

const turn = () => new Promise((resolve) => setTimeout(resolve, 20));

function watched(options: Partial<InformerOptions<Pod>> = {}) {
  const streams: PassThrough[] = [];
  const cluster = {
    open: async ({ signal }: { signal: AbortSignal }) => {
      const body = new PassThrough();
      signal.addEventListener("abort", () => body.destroy(signal.reason as Error));
      streams.push(body);
      return { status: 200, headers: { "content-type": "application/json" }, body };
    },
  } as unknown as Cluster;
  const informer = new Informer<Pod>({
    cluster,
    resource: { plural: "pods", root: "/api/v1", trim: trimPod },
    namespaces: [NAMESPACE],
    labelSelector: "a=b",
    backoff: { baseMs: 1, maxMs: 2 },
    ...options,
  });
  onTestFinished(() => informer.stop());
  informer.start();
  const send = (...frames: unknown[]) => {
    for (const frame of frames) streams.at(-1)?.write(`${JSON.stringify(frame)}\n`);
  };
  return { informer, send, streams };
}
const pod = (type: string, name: string, rv: number, uid = name) => ({
  type,
  object: { metadata: { name, namespace: NAMESPACE, uid, resourceVersion: String(rv) }, spec: {}, status: {} },
});
const end = (rv: number) => ({
  type: "BOOKMARK",
  object: { metadata: { resourceVersion: String(rv), annotations: { "k8s.io/initial-events-end": "true" } } },
});

it("what is deleted between the objects of a streaming list and its end is deleted", async () => {
  const { informer, send } = watched();
  const told: string[] = [];
  informer.subscribe(({ type, object }) => told.push(`${type} ${object.metadata.name}`));
  await turn();
  send(pod("ADDED", "a", 1), pod("ADDED", "b", 2), pod("DELETED", "a", 3), end(3));
  await informer.whenSynced();
  expect(informer.list().map(({ metadata }) => metadata.name)).toEqual(["b"]);
  expect(told).toEqual(["added a", "added b", "deleted a"]);
});

it("who subscribes while a change is told hears of it once", async () => {
  const { informer, send } = watched();
  const told: string[] = [];
  let isFirst = true;
  informer.subscribe(() => {
    if (isFirst) informer.subscribe(({ type, object }) => told.push(`${type} ${object.metadata.name}`));
    isFirst = false;
  });
  await turn();
  send(pod("ADDED", "a", 1), end(1));
  await informer.whenSynced();
  expect(told).toEqual(["added a"]);
});

it("an error handler that throws loses no event and ends no process", async () => {
  const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  onTestFinished(() => warned.mockRestore());
  const { informer, send, streams } = watched({
    onSubscriberError: (error) => {
      throw error;
    },
  });
  const told: string[] = [];
  informer.subscribe(() => {
    throw new Error("a bug");
  });
  informer.subscribe(({ object }) => told.push(object.metadata.name));
  let isBroken = false;
  informer.on("status", () => {
    if (isBroken) throw new Error("another");
  });
  await turn();
  send(pod("ADDED", "a", 1), end(1));
  await turn();
  expect(told).toEqual(["a"]);
  isBroken = true;
  streams.at(-1)?.destroy(new Error("reset"));
  await turn();
  send(pod("ADDED", "b", 2));
  await turn();
  expect(told).toEqual(["a", "b"]);
});

it("a wait for the caches ends with the engine", async () => {
  const k8s = await startKubernetes();
  k8s.faults.errorRate({ status: 503 });
  const engine = RunEngine.create({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  const waiting = engine.synced().catch((error: unknown) => error);
  const own = engine.pods.whenSynced().catch((error: unknown) => error);
  await engine.stop();
  expect(await waiting).toBeInstanceOf(EngineStoppedError);
  expect(await own).toMatchObject({ name: "InformerStoppedError" });
  await expect(engine.synced()).rejects.toThrow(EngineStoppedError);
}, 5_000);

it("a listener that throws at the end of a run does not keep its log waiting", async () => {
  const host = {
    cluster: {},
    podsOf: () => [],
    pod: () => undefined,
    arePodsBehind: () => false,
    knownUntil: () => performance.now(),
    unknownSince: () => null,
    look: () => Promise.resolve(),
    forget: () => undefined,
    report: () => undefined,
  } as unknown as RunHost;
  const policy = { ...DEFAULT_POLICY, scheduleTimeoutMs: 100 };
  const run = new Run(host, { namespace: "n", jobName: "j", uid: "u", policy });
  run.on("terminated", () => {
    throw new Error("a bug");
  });
  const metadata = { name: "j", namespace: "n", uid: "u", resourceVersion: "1", creationTimestamp: "" };
  const job: Job = { metadata, spec: { backoffLimit: 0 }, status: {} };
  run.frame({ resource: "jobs", type: "applied", object: job, at: performance.now() });
  const scheduling = { type: "PodScheduled", status: "False", reason: "Unschedulable" } as const;
  const pending: Pod = {
    metadata: {
      ...metadata,
      name: "p",
      uid: "p",
      ownerReferences: [{ apiVersion: "batch/v1", kind: "Job", name: "j", uid: "u", controller: true }],
    },
    spec: { containers: [{ name: "main" }] },
    status: { phase: "Pending", conditions: [scheduling] },
  };
  run.frame({ resource: "pods", type: "applied", object: pending, at: performance.now() });
  // The pod is followed and has no log; nothing of it is read.
  run.frame({ resource: "pods", type: "deleted", object: pending, at: performance.now() });
  const reading = (async () => {
    for await (const _ of run.logs({ container: "main" }));
  })();
  await run.terminated({ container: "main" });
  await reading;
}, 9_000);
