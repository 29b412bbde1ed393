/** The guard while the watches are open and silent: what it must not miss is what the cache was not told. */
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { loadKubeConfig } from "../../../src/adapter/config/kubeconfig.ts";
import type { StoredObject } from "../../../src/embedded/index.ts";
import { Cluster } from "../../../src/engine/index.ts";
import { TYPE } from "./test-definition.ts";
import { adapterOf, crash, NAMESPACE, objectsOf, run, startWorld, type World } from "./world.ts";

let world: World;
beforeEach(async () => {
  world = await startWorld();
});
afterEach(() => world.stop());

const agentId = "agent-behind-a-stalled-watch";

/** A run of the agent that another process starts; resolves when its container runs. Deaf: it lives through its grace period. */
async function startElsewhere(name: string): Promise<void> {
  const { promise: runs, resolve } = Promise.withResolvers<void>();
  world.agents.set(agentId, async function* (container) {
    resolve();
    await container.sleep(3_600_000);
    yield "never";
  });
  createElsewhere(name);
  await runs;
}

function createElsewhere(name: string): void {
  const labels = {
    "paperclip.io/adapter-type": TYPE,
    "paperclip.io/agent-id": agentId,
    "paperclip.io/run-id": "run-elsewhere",
    "paperclip.io/task-id": "task-1",
  };
  world.k8s.objects.create("jobs", {
    metadata: { name, namespace: NAMESPACE, labels },
    spec: {
      backoffLimit: 0,
      template: {
        metadata: { labels },
        spec: { restartPolicy: "Never", containers: [{ name: "agent", image: "agent" }] },
      },
    },
  });
}

/** A Job that gets no pod, and does not go away before its finalizers. */
function createHeld(name: string, finalizers: string[]): void {
  const labels = { "paperclip.io/adapter-type": TYPE, "paperclip.io/agent-id": agentId };
  world.k8s.objects.create("jobs", {
    metadata: { name, namespace: NAMESPACE, labels, finalizers },
    spec: {
      suspend: true,
      template: { metadata: { labels }, spec: { restartPolicy: "Never", containers: [{ name: "agent", image: "a" }] } },
    },
  });
}

async function deleteJob(name: string, propagationPolicy: "Foreground" | "Background"): Promise<void> {
  const cluster = new Cluster({
    kubeConfig: loadKubeConfig({ kubeconfig: world.kubeconfig, kubeContext: undefined }, world.env),
  });
  const path = `/apis/batch/v1/namespaces/${NAMESPACE}/jobs/${name}`;
  await cluster.json({ method: "DELETE", path, query: { propagationPolicy } });
  await cluster.close();
}

/** Pods of the agent that the server has when the next container of it starts. */
function podsAtStart(): Promise<string[]> {
  const { promise, resolve } = Promise.withResolvers<string[]>();
  world.agents.set(agentId, async function* (container) {
    const pods = world.k8s.objects.list("pods", NAMESPACE);
    resolve(
      pods
        .filter(({ metadata }) => metadata.labels?.["paperclip.io/agent-id"] === agentId)
        .map(({ metadata }) => metadata.name),
    );
    yield '{"done":true,"ok":true}';
    await container.sleep(0);
    return 0;
  });
  return promise;
}

test("two are created in a gap of the watch, and the list after it tells of the younger first: that one withdraws", async () => {
  const { adapter } = adapterOf(world);
  await run(world, adapter).result;
  let live = 0;
  let most = 0;
  const { promise: rivalRuns, resolve } = Promise.withResolvers<void>();
  world.agents.set(agentId, async function* (container) {
    live += 1;
    most = Math.max(most, live);
    if (container.pod.labels["paperclip.io/run-id"] === "run-elsewhere") resolve();
    await container.sleep(3_600_000);
    live -= 1;
    yield '{"done":true,"ok":true}';
  });
  const isOurs = ({ metadata }: StoredObject) =>
    metadata.labels?.["paperclip.io/agent-id"] === agentId && metadata.name !== "elsewhere";
  let isFirst = true;
  world.k8s.objects.onCreate((resource, draft) => {
    if (resource !== "jobs" || !isOurs(draft) || !isFirst) return;
    isFirst = false;
    world.k8s.faults.expireVersions();
    world.k8s.faults.cutWatches({ how: "reset" });
    createElsewhere("elsewhere");
    // In no later second of the cluster's, of which twenty pass in one.
    const elsewhere = world.k8s.objects.get("jobs", NAMESPACE, "elsewhere");
    draft.metadata.creationTimestamp = elsewhere?.metadata.creationTimestamp ?? "";
  });
  // The embedded server lists by version.
  let changes = 0;
  world.k8s.objects.onChange(({ type, resource, object }) => {
    if (resource !== "jobs" || type === "DELETED" || !isOurs(object)) return;
    world.k8s.objects.update("jobs", NAMESPACE, "elsewhere", ({ metadata }) => {
      metadata.annotations = { changes: String(++changes) };
    });
  });
  const ours = run(world, adapter, { agentId, taskId: "task-2", config: { concurrencyPolicy: "block" } });
  await rivalRuns;
  expect(await ours.result).toMatchObject({ errorCode: "k8s_concurrent_run_blocked" });
  expect(ours.notes().join("\n")).toContain("is withdrawn");
  expect(most).toBe(1);
});

test("of two that another API server's clock dates the wrong way round, the one that the watch shows later withdraws", async () => {
  const { adapter } = adapterOf(world);
  const ran: string[] = [];
  world.agents.set(agentId, async function* (container) {
    ran.push(container.pod.labels["paperclip.io/run-id"] ?? "");
    await container.sleep(3_600_000);
    yield '{"done":true,"ok":true}';
  });
  let isFirst = true;
  world.k8s.objects.onCreate((resource, draft) => {
    if (resource !== "jobs" || draft.metadata.labels?.["paperclip.io/agent-id"] !== agentId || !isFirst) return;
    isFirst = false;
    createElsewhere("elsewhere");
    const elsewhere = world.k8s.objects.get("jobs", NAMESPACE, "elsewhere")?.metadata.creationTimestamp ?? "";
    draft.metadata.creationTimestamp = new Date(Date.parse(elsewhere) - 1_000).toISOString().replace(".000", "");
  });
  const ours = run(world, adapter, { agentId, taskId: "task-2", config: { concurrencyPolicy: "block" } });
  expect(await ours.result).toMatchObject({ errorCode: "k8s_concurrent_run_blocked" });
  expect(ours.notes().join("\n")).toContain("is withdrawn");
  expect(ran).not.toContain(ours.ctx.runId);
});

describe("while the watches are open and stalled", () => {
  test.each([
    // As this adapter deletes what may run: the one list of Jobs tells.
    ["a Job that is deleted in the foreground", "Foreground", undefined],
    // As a person does: only the pods tell, and their cache has had no word for too long.
    ["the pod of a Job that is deleted in the background", "Background", 0],
  ] as const)("%s is waited for", async (_, propagationPolicy, cacheMaxAgeMs) => {
    const { adapter } = adapterOf(world, {}, cacheMaxAgeMs === undefined ? {} : { cacheMaxAgeMs });
    await run(world, adapter).result;
    // The Jobs' watch goes on: one that does not show the own Job makes the run look at the server again.
    const stall = world.k8s.faults.stallWatches(undefined, { resource: "pods" });
    await startElsewhere("elsewhere");
    await deleteJob("elsewhere", propagationPolicy);
    const pods = podsAtStart();
    const next = run(world, adapter, { agentId });
    expect(await pods).toHaveLength(1);
    stall.release();
    expect(await next.result).toMatchObject({ exitCode: 0 });
  });

  test("where the cache is current, no second list is made", async () => {
    const { adapter } = adapterOf(world, {}, { cacheMaxAgeMs: 60_000 });
    await run(world, adapter).result;
    const before = world.k8s.requests.snapshot();
    await run(world, adapter).result;
    const after = world.k8s.requests.snapshot();
    const lists = (counts: typeof before) => counts.byVerb["list pods"] ?? 0;
    expect(lists(after)).toBe(lists(before));
  });
});

test("what leaves is given its minute, however long the run before it was waited for", async () => {
  const { adapter } = adapterOf(world);
  createHeld("working", []);
  const now = performance.now.bind(performance);
  let aheadMs = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => now() + aheadMs);
  onTestFinished(() => clock.mockRestore());
  const waiting = run(world, adapter, { agentId, config: { concurrencyPolicy: "wait" } });
  await waiting.logged("Waiting for the agent's other run to end: working");
  aheadMs = 61_000;
  // In one turn: the cache says that the way is free, and the list that follows shows another on its way out.
  world.k8s.requests.reset();
  world.k8s.objects.delete("jobs", NAMESPACE, "working");
  createHeld("held", ["example.com/held"]);
  world.k8s.objects.delete("jobs", NAMESPACE, "held");
  await expect.poll(() => world.k8s.requests.count("list jobs")).toBeGreaterThan(0);
  world.k8s.objects.update("jobs", NAMESPACE, "held", ({ metadata }) => {
    metadata.finalizers = [];
  });
  expect(await waiting.result).toMatchObject({ exitCode: 0 });
});

test("a Job that never goes away is not waited for without end, though the cache, behind, says that the way is free", async () => {
  const { adapter } = adapterOf(world);
  await run(world, adapter).result;
  const stall = world.k8s.faults.stallWatches();
  createHeld("held", ["example.com/held"]);
  await deleteJob("held", "Background");
  world.k8s.requests.reset();
  const now = performance.now.bind(performance);
  let aheadMs = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => now() + aheadMs);
  onTestFinished(() => clock.mockRestore());
  const waiting = run(world, adapter, { agentId });
  // The first look and one more: it does wait.
  await expect.poll(() => world.k8s.requests.count("list jobs")).toBeGreaterThan(1);
  aheadMs = 60_000;
  expect(await waiting.result).toMatchObject({
    errorCode: "k8s_concurrent_run_blocked",
    errorMessage: expect.stringContaining("held"),
  });
  stall.release();
});

test("deleteMismatchedOrphans deletes nothing for a run that another one of this process blocks anyway", async () => {
  const { adapter } = adapterOf(world);
  await startElsewhere("orphan");
  const { promise: works, resolve } = Promise.withResolvers<void>();
  world.agents.set(agentId, async function* (container) {
    resolve();
    await container.sleep(3_600_000);
    yield "never";
  });
  const active = run(world, adapter, { agentId, taskId: "task-2", config: { concurrencyPolicy: "parallel" } });
  await works;
  const refused = run(world, adapter, {
    agentId,
    taskId: "task-3",
    config: { concurrencyPolicy: "block", deleteMismatchedOrphans: true },
  });
  expect(await refused.result).toMatchObject({ errorCode: "k8s_concurrent_run_blocked" });
  const orphan = world.k8s.objects.get("jobs", NAMESPACE, "orphan");
  expect(orphan?.metadata).toBeDefined();
  expect(orphan?.metadata.deletionTimestamp).toBeUndefined();
  active.abort.abort();
  await active.result;
});

describe("a run that has ended and that another process has adopted just now", () => {
  const elsewhere = { runId: "run-elsewhere" };
  beforeEach(async () => {
    const { adapter } = adapterOf(world);
    const { promise: isLeft, resolve } = Promise.withResolvers<void>();
    world.agents.set(agentId, async function* () {
      yield '{"session":"S-1"}';
      await isLeft;
      yield '{"done":true,"ok":true}';
    });
    const left = run(world, adapter, { agentId });
    await left.logged("S-1");
    await crash(left);
    resolve();
    await world.k8s.objects.until(() => JSON.stringify(jobs()[0]?.status).includes('"Complete"'));
    adopted(0);
  });
  const jobs = () => objectsOf(world, "jobs", agentId);
  /** As the other process's patch leaves it. */
  function adopted(agoMs: number): void {
    world.k8s.objects.update("jobs", NAMESPACE, jobs()[0]?.metadata.name ?? "", ({ metadata }) => {
      metadata.labels = { ...metadata.labels, "paperclip.io/run-id": elsewhere.runId };
      const adoptedAt = new Date(world.k8s.clock.now() - agoMs).toISOString();
      metadata.annotations = { ...metadata.annotations, "paperclip.io/adopted-at": adoptedAt };
    });
  }

  test("is left to it: its result is handed out once", async () => {
    const { adapter } = adapterOf(world);
    expect(await run(world, adapter, { agentId, config: { concurrencyPolicy: "block" } }).result).toMatchObject({
      errorCode: "k8s_concurrent_run_blocked",
      errorFamily: "transient_upstream",
      executionRecovery: { kind: "bootstrap" },
    });
    expect(jobs().map(({ metadata }) => metadata.deletionTimestamp)).toEqual([undefined]);
    // The other one died before it took it.
    adopted(60_000);
    const next = run(world, adapter, { agentId });
    expect(await next.result).toMatchObject({ exitCode: 0, sessionId: "S-1" });
    expect(next.notes().join("\n")).toContain("whose result nobody took");
  });

  test("is its own run's all the same, when that is tried again", async () => {
    const { adapter } = adapterOf(world);
    const again = run(world, adapter, { agentId, overrides: elsewhere });
    expect(await again.result).toMatchObject({ exitCode: 0, sessionId: "S-1" });
    expect(again.notes().join("\n")).toContain("Reattaching to Job");
  });
});
