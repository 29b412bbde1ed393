import { expect, it, onTestFinished } from "vitest";
import { AttachFailedError, type JobManifest, RunEngine, RunTimeoutError } from "../../../src/engine/index.ts";
import { job, kubeConfigOf, LABELS, NAMESPACE, startEngine, startKubernetes } from "./harness.ts";

const MAIN = { container: "main" };

it.each(["pods", "jobs"] as const)("a run goes on whose label is taken off its %s and put back", async (resource) => {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.addProgram("main", async ({ sleep }) => {
    await sleep(1e9, { interruptible: true }).catch(() => undefined);
    return 143;
  });
  const kubeConfig = kubeConfigOf(k8s);
  const engine = await RunEngine.start({ kubeConfig, namespace: NAMESPACE, labels: LABELS, policy: { settleMs: 20 } });
  onTestFinished(() => engine.stop());
  const template = {
    metadata: { labels: LABELS },
    spec: {
      restartPolicy: "Never",
      terminationGracePeriodSeconds: 1,
      containers: [{ name: "main", image: "agent" }],
    },
  };
  const run = await engine.launch({
    metadata: { name: "relabelled", labels: LABELS },
    spec: { backoffLimit: 0, template },
  });
  const pod = await run.podReady(MAIN);
  const told: string[] = [];
  engine[resource].subscribe(({ type }) => told.push(type), { replay: false });
  for (const value of [undefined, "yes"]) {
    k8s.objects.update(resource, NAMESPACE, resource === "pods" ? pod.metadata.name : "relabelled", ({ metadata }) => {
      const { "example.com/agent": _, ...others } = metadata.labels ?? {};
      metadata.labels = value === undefined ? others : { ...others, "example.com/agent": value };
    });
  }
  await expect.poll(() => told.filter((type) => type !== "updated")).toEqual(["deleted", "added"]);
  // Longer than an end waits for its details: `settleMs`, and of a Job that is gone the pod's grace period.
  await expect(run.terminated({ ...MAIN, timeoutMs: resource === "jobs" ? 1_300 : 200 })).rejects.toThrow(
    RunTimeoutError,
  );
  expect(run.liveness()).toBe("alive");
  await run.delete();
  expect(await run.terminated(MAIN)).toMatchObject({ kind: "job_deleted", exitCode: 143 });
});

it.each<[string, AttachFailedError["reason"], (draft: JobManifest) => void]>([
  ["without a label that the watches select by", "not_selected", ({ metadata }) => void delete metadata.labels],
  ["for two pods", "several_pods", ({ spec }) => Object.assign(spec, { completions: 2, parallelism: 2 })],
])("a Job that a webhook creates %s is deleted again, and launch says so", async (_, reason, mutate) => {
  const k8s = await startKubernetes({ delays: "fast" });
  let hits = 0;
  k8s.objects.onCreate((resource, draft) => {
    if (resource !== "jobs") return;
    hits += 1;
    mutate(draft as unknown as JobManifest);
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const error = await engine.launch(job("changed")).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(AttachFailedError);
  expect(error).toMatchObject({ reason, message: expect.stringContaining("it was deleted again") });
  expect(hits).toBe(1);
  expect(k8s.objects.list("jobs", NAMESPACE).filter(({ metadata }) => !metadata.deletionTimestamp)).toEqual([]);
  expect(engine.stats().runs).toBe(0);
});

it("a run whose pod has lost its label ends as it ended: the server is asked for what no watch tells", async () => {
  const k8s = await startKubernetes({ delays: "fast" });
  const release = Promise.withResolvers<number>();
  k8s.addProgram("main", () => release.promise);
  const engine = await startEngine(k8s, { policy: { settleMs: 20 } });
  const run = await engine.launch(job("unlabelled"));
  const { metadata } = await run.podReady(MAIN);
  const deleted = Promise.withResolvers<void>();
  engine.pods.subscribe(({ type }) => type === "deleted" && deleted.resolve(), { replay: false });
  k8s.objects.update("pods", NAMESPACE, metadata.name, (draft) => {
    const { "example.com/agent": _, ...others } = draft.metadata.labels ?? {};
    draft.metadata.labels = others;
  });
  await deleted.promise;
  await expect.poll(() => run.phase().phase).toBe("running");
  release.resolve(3);
  expect(await run.terminated(MAIN)).toMatchObject({ kind: "failed", exitCode: 3 });
});

it.each<[string, number, number[], object]>([
  ["as it ended", 0, [3], { kind: "failed", exitCode: 3 }],
  ["with the pod that its Job makes after the first", 1, [3, 0], { kind: "succeeded", exitCode: 0 }],
])(
  "a run whose Job has lost its label ends %s, and is gone when it is deleted",
  async (_, backoffLimit, exits, end) => {
    const k8s = await startKubernetes({ delays: "fast" });
    const releases = exits.map(() => Promise.withResolvers<number>());
    let started = 0;
    k8s.addProgram("main", async () => (await releases[started++]?.promise) ?? 1);
    const engine = await startEngine(k8s, { policy: { settleMs: 20 } });
    const run = await engine.launch(job("unlabelled-job", { backoffLimit }, { terminationGracePeriodSeconds: 0 }));
    await run.podReady(MAIN);
    const deleted = Promise.withResolvers<void>();
    engine.jobs.subscribe(({ type }) => type === "deleted" && deleted.resolve(), { replay: false });
    k8s.requests.reset();
    k8s.objects.update("jobs", NAMESPACE, "unlabelled-job", ({ metadata }) => {
      metadata.labels = {};
    });
    await deleted.promise;
    const terminated = run.terminated(MAIN);
    // The first pod of the other one ends before its Job is asked for.
    if (backoffLimit === 0) await expect.poll(() => k8s.requests.count("get jobs")).toBeGreaterThan(0);
    for (const [index, exit] of exits.entries()) {
      await expect.poll(() => started).toBe(index + 1);
      releases[index]?.resolve(exit);
    }
    expect(await terminated).toMatchObject(end);
    await run.delete();
    await run.gone();
    expect(k8s.objects.list("jobs", NAMESPACE)).toEqual([]);
  },
);
