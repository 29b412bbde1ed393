/** A run ends, always, and as what it was: over the wire, with the engine and the embedded Kubernetes. */
import { expect, it, onTestFinished } from "vitest";
import type { EmbeddedKubernetes, Program } from "../../../src/embedded/index.ts";
import {
  AttachFailedError,
  type LogLine,
  type Run,
  type RunEngine,
  type RunLogs,
  StartFailedError,
} from "../../../src/engine/index.ts";
import { Cluster } from "../../../src/engine/transport/index.ts";
import { job, kubeConfigOf, LABELS, NAMESPACE, startEngine, startKubernetes } from "../engine/harness.ts";

const MAIN = { container: "main" };

async function start(program?: Program): Promise<{ k8s: EmbeddedKubernetes; engine: RunEngine }> {
  const k8s = await startKubernetes({ delays: "fast" });
  if (program !== undefined) k8s.addProgram("main", program);
  const engine = await startEngine(k8s);
  return { k8s, engine };
}

async function read(logs: RunLogs): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  for await (const line of logs) lines.push(line);
  return lines;
}

it("the log of a container that cannot start throws what podReady throws", async () => {
  const { k8s, engine } = await start();
  k8s.failImagePull("agent");
  const run = await engine.launch(job("no-image"), { policy: { imagePullGraceMs: 50 } });
  const error = await read(run.logs(MAIN)).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(StartFailedError);
  expect(error).toMatchObject({ failure: { code: "image_pull", container: "main" } });
  await expect(run.podReady(MAIN)).rejects.toEqual(error);
});

it("a container that neither the Job nor its pod has is a TypeError at once, which names those there are", async () => {
  const { engine } = await start(async function* (container) {
    yield "started";
    await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
    return 0;
  });
  const run = await engine.launch(job("named"));
  const named = /container must be one of Job agents\/named: main; got "nope"/;
  await expect(run.terminated({ container: "nope" })).rejects.toThrow(named);
  await expect(run.podReady({ container: "nope" })).rejects.toThrow(TypeError);
  expect(() => run.logs({ container: "nope" })).toThrow(named);
  expect(() => run.endOf("nope")).toThrow(named);
  await expect(run.postMortem({ container: "nope" })).rejects.toThrow(named);
  await run.podReady(MAIN);
  const attached = engine.attach({ jobName: "named" });
  await expect(attached.terminated({ container: "nope" })).rejects.toThrow(named);
});

it("a Job of several completions is refused by attach as by launch", async () => {
  const { k8s, engine } = await start();
  const several = { metadata: { name: "several", labels: LABELS, namespace: NAMESPACE } };
  k8s.objects.create("jobs", {
    ...job("several", { completions: 3 }),
    ...several,
    apiVersion: "batch/v1",
    kind: "Job",
  });
  const run = engine.attach({ jobName: "several" });
  const error = await run.terminated(MAIN).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(AttachFailedError);
  expect(error).toMatchObject({
    reason: "several_pods",
    message: expect.stringMatching(/spec\.completions must be 1/),
  });
  await expect(engine.launch(job("more", { completions: 3 }))).rejects.toThrow(/spec\.completions must be 1/);
});

it("a run whose watches are refused from its middle on ends with its exit code: the server is asked", async () => {
  const release = Promise.withResolvers<void>();
  const { k8s, engine } = await start(async function* () {
    yield "result";
    await release.promise;
    return 3;
  });
  const run = await engine.launch(job("revoked"));
  await run.podReady(MAIN);
  const revoked = ["list", "watch"].map((verb) =>
    k8s.authorization.revoke({ apiGroups: ["*"], resources: ["*"], verbs: [verb] }),
  );
  expect(k8s.faults.cutWatches()).toBe(2);
  await expect.poll(() => run.unknownSince()).not.toBeNull();
  release.resolve();
  const end = run.terminated(MAIN);
  expect(await read(run.logs(MAIN))).toMatchObject([{ text: "result" }]);
  expect(await end).toMatchObject({ kind: "failed", exitCode: 3 });
  for (const { hits } of revoked) expect(hits).toBeGreaterThan(0);
});

it("its exit code is asked for where the Job has failed and the pods' watch is silent", async () => {
  const release = Promise.withResolvers<void>();
  const { k8s, engine } = await start(async function* () {
    yield "hello";
    await release.promise;
    return 3;
  });
  const run = await engine.launch(job("silent"));
  await run.podReady(MAIN);
  const stall = k8s.faults.stallWatches(undefined, { resource: "pods" });
  const end = run.terminated(MAIN);
  release.resolve();
  expect(await end).toMatchObject({ kind: "failed", exitCode: 3 });
  expect(stall.hits).toBeGreaterThan(0);
  stall.remove();
});

it("and asked again where the first answer is an error", async () => {
  const release = Promise.withResolvers<void>();
  const { k8s, engine } = await start(async function* (container) {
    yield "hello";
    await release.promise;
    await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
    return 0;
  });
  const run = await engine.launch(job("refused"));
  const pod = await run.podReady(MAIN);
  const stall = k8s.faults.stallWatches(undefined, { resource: "pods" });
  const end = run.terminated(MAIN);
  const match = { verb: "list", resource: "pods" };
  const errors = k8s.faults.errorRate({ status: 500, match });
  k8s.oomKill(NAMESPACE, pod.metadata.name, "main");
  // One question is sent five times at most.
  await expect.poll(() => errors.hits).toBeGreaterThan(6);
  errors.remove();
  expect(await end).toMatchObject({ kind: "failed", exitCode: 137, reason: "OOMKilled" });
  expect(stall.hits).toBeGreaterThan(0);
  stall.remove();
});

it("the log ends of a run whose whole life falls into a gap of the pods' watch", async () => {
  const { k8s, engine } = await start(async function* () {
    yield "hello";
    return 0;
  });
  const stall = k8s.faults.stallWatches(undefined, { resource: "pods" });
  const run = await engine.launch(job("unseen", { ttlSecondsAfterFinished: 0 }));
  const reading = read(run.logs(MAIN)).catch((error: unknown) => error);
  const end = run.terminated(MAIN);
  await run.gone();
  stall.remove();
  expect((await end).kind).toMatch(/succeeded|job_deleted/);
  await reading;
  await expect.poll(() => engine.stats().runs).toBe(0);
});

it("a failed run says in words how it ended, and its post-mortem what there is to know", async () => {
  const { engine } = await start(async function* () {
    for (let line = 1; line <= 30; line += 1) yield `line ${line}`;
    yield "boom: something broke";
    return 7;
  });
  const run = await engine.launch(job("failed"));
  expect(await run.postMortem(MAIN)).toBeNull();
  const end = await run.terminated(MAIN);
  expect(end).toMatchObject({ kind: "failed", message: "container main ended with exit code 7" });
  const found = await run.postMortem(MAIN);
  expect(found).toMatchObject({
    end,
    nodeName: expect.any(String),
    image: "agent",
    restarts: 0,
    memoryLimit: null,
    endedBy: null,
    unanswered: [],
  });
  expect(found?.lastLines).toHaveLength(20);
  expect(found?.lastLines.at(-1)).toBe("boom: something broke");
});

it("the post-mortem of a run that is killed for its memory has its limit; of one that cannot start, the warnings", async () => {
  const { k8s, engine } = await start(async function* (container) {
    yield "started";
    await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
    return 0;
  });
  const limits = { memory: "64Mi" };
  const run: Run = await engine.launch(
    job("hungry", {}, { containers: [{ name: "main", image: "agent", resources: { limits } }] }),
  );
  const pod = await run.podReady(MAIN);
  k8s.oomKill(NAMESPACE, pod.metadata.name, "main");
  expect((await run.terminated(MAIN)).message).toBe("container main was killed for its memory with exit code 137");
  expect(await run.postMortem(MAIN)).toMatchObject({ memoryLimit: "64Mi", lastLines: ["started"] });

  k8s.failImagePull("missing");
  const other = await engine.launch(job("missing", {}, { containers: [{ name: "main", image: "missing" }] }), {
    policy: { imagePullGraceMs: 50 },
  });
  await other.terminated(MAIN);
  const found = await other.postMortem(MAIN);
  expect(found?.lastLines).toEqual([]);
  expect(found?.warnings.map(({ about }) => about)).toContain(`Pod ${found?.podName}`);
});

it("the post-mortem of a run that was ended from outside says by whom", async () => {
  const { k8s, engine } = await start(async function* (container) {
    yield "started";
    await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
    return 143;
  });
  const endedBy = async (name: string, end: (podName: string) => unknown) => {
    const run = await engine.launch(job(name));
    const pod = await run.podReady(MAIN);
    await end(pod.metadata.name);
    await run.terminated(MAIN);
    return (await run.postMortem(MAIN))?.endedBy;
  };
  expect(await endedBy("evicted", (pod) => k8s.evictPod(NAMESPACE, pod))).toMatch(/^(Evicted|TerminationByKubelet): /);
  expect(await endedBy("deleted", (pod) => k8s.objects.delete("pods", NAMESPACE, pod))).toMatch(/^PodDeleted: /);
  expect(await endedBy("stopped", () => k8s.objects.delete("jobs", NAMESPACE, "stopped"))).toMatch(/^JobDeleted: /);
});

it("the post-mortem has the warnings of a pod whose name was cut, with how often and when they were seen last", async () => {
  const { k8s, engine } = await start();
  k8s.failImagePull("agent");
  const name = "long-".padEnd(63, "x");
  const run = await engine.launch(job(name), { policy: { imagePullGraceMs: 0 } });
  await run.terminated(MAIN);
  const { name: pod = "", uid } = run.pod()?.metadata ?? {};
  const at = "2026-11-24T10:00:05.000000Z";
  k8s.objects.create("events", {
    metadata: { name: "series", namespace: NAMESPACE },
    type: "Warning",
    reason: "FailedScheduling",
    involvedObject: { kind: "Pod", name: pod, namespace: NAMESPACE, uid },
    eventTime: "2026-11-24T10:00:00.000000Z",
    series: { count: 7, lastObservedTime: at },
  });
  const warnings = (await run.postMortem(MAIN))?.warnings ?? [];
  expect(warnings).toContainEqual({ about: `Pod ${pod}`, reason: "FailedScheduling", message: "", count: 7, at });
  expect(warnings.map(({ reason }) => reason)).toContain("Failed");
});

it("await using releases a run", async () => {
  const { engine } = await start();
  let closed: AbortSignal;
  {
    await using run = await engine.launch(job("scoped"));
    closed = run.closed;
    expect(closed.aborted).toBe(false);
  }
  expect(closed.aborted).toBe(true);
  expect(engine.stats().runs).toBe(0);
});

it("a Job is deleted and its pod left behind (--cascade=orphan): the run ends, and its log with the container", async () => {
  const release = Promise.withResolvers<void>();
  const { k8s, engine } = await start(async function* () {
    yield "hello";
    await release.promise;
    return 0;
  });
  const run = await engine.launch(job("orphaning"));
  const pod = await run.podReady(MAIN);
  const log = read(run.logs(MAIN));
  const cluster = new Cluster({ kubeConfig: kubeConfigOf(k8s) });
  onTestFinished(() => cluster.close());
  const body = { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Orphan" };
  await cluster.json({ method: "DELETE", path: `/apis/batch/v1/namespaces/${NAMESPACE}/jobs/${run.jobName}`, body });
  expect(await run.terminated(MAIN)).toMatchObject({ kind: "job_deleted", exitCode: null });
  await run.gone();
  const left = k8s.objects.get("pods", NAMESPACE, pod.metadata.name);
  expect(left).toMatchObject({ status: { phase: "Running" } });
  expect(left?.metadata.ownerReferences ?? []).toEqual([]);
  release.resolve();
  expect(await log).toMatchObject([{ text: "hello" }]);
  expect(engine.stats().runs).toBe(0);
});
