/** Stop, restart, adoption, and several runs of one agent. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { processState } from "../../../src/adapter/start/process-state.ts";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import { oldJob } from "./old-jobs.ts";
import { TYPE } from "./test-definition.ts";
import {
  adapterOf,
  countedAgent,
  crash,
  missesSecret,
  NAMESPACE,
  objectsOf,
  type Recorded,
  run,
  startWorld,
  type World,
} from "./world.ts";

const BLOCK = { concurrencyPolicy: "block" };

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

const jobsOf = (agentId: string) => objectsOf(world, "jobs", agentId);
const podsOf = (agentId: string) => objectsOf(world, "pods", agentId);
const untilSecretIsMissed = (agentId: string) =>
  world.k8s.objects.until(() => jobsOf(agentId).some(({ metadata }) => missesSecret(world, `${metadata.name}-prompt`)));

/** A Job as it stands when its process died before it created the run's Secret; its pod waits for that. Returns the Job's name. */
async function leftWithoutSecret(agentId: string, marks: Record<string, string> = {}): Promise<string> {
  const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "create", resource: "secrets" } });
  const config = { env: { GITHUB_TOKEN: "ghp_lifecycle-0001" } };
  const first = run(world, adapterOf(world).adapter, { agentId, config });
  await untilSecretIsMissed(agentId);
  const left = structuredClone(jobsOf(agentId)[0]) as unknown as {
    metadata: { name: string; labels: object; annotations: object };
    spec: { selector?: unknown; template: { metadata: { labels: object } } };
  };
  await crash(first);
  fault.remove();
  // As it stood: a process that dies has no time to withdraw it, as one that lost its lease has.
  expect(jobsOf(agentId)).toEqual([]);
  const { name, labels, annotations } = left.metadata;
  delete left.spec.selector;
  left.spec.template.metadata.labels = labels;
  world.k8s.objects.create("jobs", {
    ...left,
    metadata: { name, namespace: NAMESPACE, labels, annotations: { ...annotations, ...marks } },
    status: {},
  } as never);
  return name;
}

/** What `leftWithoutSecret` left is deleted, and this run succeeds. */
async function startsAfresh(agentId: string, next: Recorded): Promise<void> {
  expect(await next.result).toMatchObject({ exitCode: 0 });
  expect(next.notes().join("\n")).toMatch(/Deleted Job \S+: its process ended before it created the run's Secret/);
  expect(jobsOf(agentId)).toEqual([]);
}

let agents = 0;
const fresh = () => `lives-${++agents}`;

const lines = Array.from({ length: 40 }, (_, i) => `{"n":${i}}`);
/** About a second of real time, then done. */
const works: ScriptedProgram = async function* (container) {
  for (const line of lines) {
    yield line;
    await container.sleep(500);
  }
  yield '{"done":true,"ok":true}';
};
const forever: ScriptedProgram = async function* (container) {
  yield '{"session":"S-1"}';
  await container.sleep(3_600_000);
};
/** The agent's processes print a line and then work until what is returned is called. */
function worksUntilLetGo(agentId: string): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  world.agents.set(agentId, async function* () {
    yield '{"session":"S-1"}';
    await promise;
    yield '{"done":true,"ok":true}';
  });
  return resolve;
}

describe("stopped by a person", () => {
  test("while the agent runs: pod and Job are gone before the acknowledgment, session and cost are kept", async () => {
    const agentId = fresh();
    world.agents.set(agentId, forever);
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId });
    await each.logged("S-1");
    each.abort.abort();
    const result = await each.result;
    expect(result).toMatchObject({
      errorCode: "cancelled",
      exitCode: null,
      timedOut: false,
      sessionId: "S-1",
      costUsd: 0.5,
      resultJson: {
        executionCancellation: { state: "acknowledged" },
        conversationContinuation: "continue_conversation_v1",
      },
    });
    expect(result).not.toHaveProperty("executionRecovery");
    expect(result).not.toHaveProperty("errorFamily");
    expect(outcomes).toMatchObject([{ kind: "cancelled" }]);
    expect(jobsOf(agentId)).toEqual([]);
    expect(podsOf(agentId)).toEqual([]);
  });

  test.each<[string, (each: Recorded, agentId: string) => Promise<unknown>]>([
    ["before anything", async () => undefined],
    ["while the Job is being created", async (_, agentId) => world.k8s.objects.until(() => jobsOf(agentId).length > 0)],
    ["while the pod waits for a node", async (_, agentId) => world.k8s.objects.until(() => podsOf(agentId).length > 0)],
  ])("%s: no agent has run, acknowledged", async (_, moment) => {
    const agentId = fresh();
    let ran = false;
    world.agents.set(agentId, async () => {
      ran = true;
    });
    const { adapter } = adapterOf(world);
    const each = run(world, adapter, { agentId, config: { nodeSelector: "disk=none" } });
    await moment(each, agentId);
    each.abort.abort();
    expect(await each.result).toMatchObject({
      errorCode: "cancelled",
      executionRecovery: { kind: "bootstrap", providerWorkStarted: false },
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(ran).toBe(false);
    expect(jobsOf(agentId)).toEqual([]);
    expect(podsOf(agentId)).toEqual([]);
  });

  test("before its pod has begun, of a Job that may have had another pod: not said never to have run", async () => {
    const agentId = fresh();
    const stop = world.k8s.objects.onCreate((resource, draft) => {
      if (resource === "jobs") (draft.spec as { backoffLimit: number }).backoffLimit = 1;
    });
    const each = run(world, adapterOf(world).adapter, { agentId, config: { nodeSelector: "disk=none" } });
    await each.logged("waits for a node");
    each.abort.abort();
    const result = await each.result;
    stop();
    expect(result).toMatchObject({
      errorCode: "cancelled",
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(result).not.toHaveProperty("executionRecovery");
  });

  test("while its Job is deleted after a good end: the result stands, and it is acknowledged", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "delete", resource: "jobs" } });
    const each = run(world, adapterOf(world).adapter, { agentId });
    await expect.poll(() => fault.hits).toBe(1);
    each.abort.abort();
    fault.release();
    const result = await each.result;
    expect(result).toMatchObject({
      exitCode: 0,
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(result).not.toHaveProperty("executionRecovery");
  });

  test("while the Job that is over its time is deleted: acknowledged once it is gone", async () => {
    const agentId = fresh();
    world.agents.set(agentId, forever);
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (type !== "ADDED" || resource !== "jobs" || object.metadata.labels?.["paperclip.io/agent-id"] !== agentId)
        return;
      // So that the adapter's own clock ends it.
      queueMicrotask(() =>
        world.k8s.objects.update("jobs", NAMESPACE, object.metadata.name, ({ spec }) =>
          Reflect.deleteProperty(spec as object, "activeDeadlineSeconds"),
        ),
      );
    });
    const each = run(world, adapterOf(world).adapter, { agentId, config: { timeoutSec: 1, graceSec: 1 } });
    await each.logged("is over its time");
    each.abort.abort();
    const result = await each.result;
    stop();
    expect(result).toMatchObject({ timedOut: true, resultJson: { executionCancellation: { state: "acknowledged" } } });
    expect(podsOf(agentId)).toEqual([]);
  });

  test("already stopped when it begins: no request at all", async () => {
    const { adapter } = adapterOf(world);
    world.k8s.requests.reset();
    const abort = AbortSignal.abort();
    expect(await run(world, adapter, { overrides: { signal: abort } }).result).toMatchObject({
      errorCode: "cancelled",
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(world.k8s.requests.total).toBe(0);
  });

  test("a host that hangs in onLog does not keep the run from being stopped", async () => {
    const agentId = fresh();
    world.agents.set(agentId, forever);
    const { adapter } = adapterOf(world);
    const each = run(world, adapter, {
      agentId,
      onLog: (_, chunk) => (chunk.includes("S-1") ? new Promise(() => undefined) : Promise.resolve()),
    });
    await each.logged("S-1");
    each.abort.abort();
    expect(await each.result).toMatchObject({
      errorCode: "cancelled",
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(podsOf(agentId)).toEqual([]);
  });

  test("the API server does not answer: nothing is acknowledged that was not seen", async () => {
    const other = await startWorld();
    try {
      other.agents.set("away", forever);
      const { adapter } = adapterOf(other);
      const each = run(other, adapter, { agentId: "away" });
      await each.logged("S-1");
      const fault = other.k8s.faults.errorRate({ status: 403, match: { verb: "delete", resource: "jobs" } });
      each.abort.abort();
      const result = await each.result;
      fault.remove();
      expect(result.errorCode).toBe("cancelled");
      expect(result.resultJson).not.toHaveProperty("executionCancellation");
      expect(result).not.toHaveProperty("executionRecovery");
    } finally {
      await other.stop();
    }
  });
});

describe("stopped before it has begun here, and an earlier process had begun it", () => {
  /** The host gives the same run again, and stops it while the guard still looks. */
  async function stopAgain(agentId: string, reason?: Error): Promise<Recorded> {
    world.agents.set(agentId, forever);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged("S-1");
    await crash(first);
    world.k8s.requests.reset();
    const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "list", resource: "jobs" } });
    const again = run(world, adapter, { agentId, overrides: { runId: first.ctx.runId } });
    await expect.poll(() => world.k8s.requests.count("list jobs")).toBe(1);
    again.abort.abort(reason);
    await again.result;
    fault.remove();
    return again;
  }

  test("its agent is stopped, too", async () => {
    const agentId = fresh();
    expect(await (await stopAgain(agentId)).result).toMatchObject({
      errorCode: "cancelled",
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(jobsOf(agentId)).toEqual([]);
    expect(podsOf(agentId)).toEqual([]);
  });

  test("and cannot be: then it is not acknowledged, nor said never to have run", async () => {
    const agentId = fresh();
    const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "delete", resource: "jobs" } });
    const result = await (await stopAgain(agentId)).result;
    fault.remove();
    expect(result.errorCode).toBe("cancelled");
    expect(result.resultJson ?? {}).not.toHaveProperty("executionCancellation");
    expect(result).not.toHaveProperty("executionRecovery");
    expect(podsOf(agentId)).toHaveLength(1);
    world.k8s.objects.delete("jobs", NAMESPACE, jobsOf(agentId)[0]?.metadata.name ?? "");
  });

  test("by a lost lease, which says nothing about the agent: it goes on", async () => {
    const agentId = fresh();
    const result = await (await stopAgain(agentId, new Error("Legacy controller lease lost"))).result;
    expect(result.errorCode).toBe("cancelled");
    expect(result.resultJson ?? {}).not.toHaveProperty("executionCancellation");
    expect(result).not.toHaveProperty("executionRecovery");
    expect(jobsOf(agentId).map(({ metadata }) => metadata.deletionTimestamp)).toEqual([undefined]);
    world.k8s.objects.delete("jobs", NAMESPACE, jobsOf(agentId)[0]?.metadata.name ?? "");
  });
});

/**
 * Runs an agent whose Job is kept, and then its next run: the first one's Secret is deleted, and the next run, of a process that
 * knows nothing of the first, takes nothing of it. Resolves with the annotations of the first Job.
 */
async function keptOf(agentId: string, retainJobs: true | "failed", exitCode = 0): Promise<object> {
  const { adapter } = adapterOf(world);
  const config = { retainJobs };
  const first = run(world, adapter, { agentId, config });
  expect(await first.result).toMatchObject({ exitCode });
  expect(first.notes().join("\n")).toMatch(/Job \S+ is kept \(retainJobs\)/);
  const [job] = jobsOf(agentId);
  expect(world.k8s.objects.get("secrets", NAMESPACE, `${job?.metadata.name}-prompt`)).toBeUndefined();
  processState().collected.clear();
  const next = run(world, adapter, { agentId, config });
  expect(await next.result).toMatchObject({ exitCode });
  expect(next.notes().join("\n")).not.toContain("Reattaching");
  expect(jobsOf(agentId)).toHaveLength(2);
  return job?.metadata.annotations ?? {};
}

describe("the process goes away and another comes", () => {
  test("the run goes on, and the next run of the task gets all of it", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    const { adapter, outcomes } = adapterOf(world);
    const first = run(world, adapter, { agentId, sessionId: "S-old" });
    await first.logged('{"n":10}');
    const lost = await crash(first);
    expect(lost).toMatchObject({ errorCode: "cancelled", errorMessage: expect.stringContaining("goes on") });
    // Nothing was stopped, so nothing is acknowledged.
    expect(lost.resultJson).not.toHaveProperty("executionCancellation");
    expect(jobsOf(agentId)).toHaveLength(1);

    const next = run(world, adapter, { agentId, sessionId: "S-old" });
    await next.logged('{"n":20}');
    const [job] = jobsOf(agentId);
    expect(job?.metadata.labels).toMatchObject({
      "paperclip.io/run-id": next.ctx.runId,
      "paperclip.io/session-id": "S-old",
    });
    expect(job?.metadata.annotations).toMatchObject({
      "paperclip.io/run-id": next.ctx.runId,
      "paperclip.io/adopted-at": expect.any(String),
    });
    expect(await next.result).toMatchObject({ exitCode: 0, summary: "Done." });
    expect(next.output().slice(0, -1)).toEqual(lines);
    expect(outcomes.at(-1)).toMatchObject({
      adopted: true,
      sessionId: "S-old",
      workingDir: "/paperclip",
      carry: { note: "carried" },
    });
    expect(next.calls).toEqual(["ready", "meta"]);
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("whose labels the server will not change (a webhook, a quota) is adopted all the same, and it is said", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged('{"n":10}');
    await crash(first);
    const refused = world.k8s.faults.errorRate({ status: 422, match: { verb: "patch", resource: "jobs" } });
    const next = run(world, adapter, { agentId });
    expect(await next.result).toMatchObject({ exitCode: 0 });
    refused.remove();
    expect(next.notes().join("\n")).toContain(`keeps the labels of run ${first.ctx.runId}`);
  });

  test("it ended while nobody was there: its result is taken once", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged('{"n":5}');
    await crash(first);
    await world.k8s.objects.until(
      () => jobsOf(agentId)[0]?.status && JSON.stringify(jobsOf(agentId)[0]?.status).includes('"Complete"'),
    );
    const next = run(world, adapter, { agentId });
    expect(await next.result).toMatchObject({ exitCode: 0 });
    expect(next.output().slice(0, -1)).toEqual(lines);
    expect(next.notes().join("\n")).toContain("has ended and whose result nobody took");
    const third = run(world, adapter, { agentId });
    await third.result;
    expect(third.notes().join("\n")).not.toContain("Reattaching");
  });

  test("the same run again adopts its own Job without touching its labels", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId, taskId: null });
    await first.logged('{"n":5}');
    await crash(first);
    world.k8s.requests.reset();
    const again = run(world, adapter, { agentId, taskId: null, overrides: { runId: first.ctx.runId } });
    expect(await again.result).toMatchObject({ exitCode: 0 });
    expect(again.output().slice(0, -1)).toEqual(lines);
    // Its name as the owner.
    expect(world.k8s.requests.count("patch jobs")).toBe(1);
  });

  test("without the right to patch it is adopted all the same", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged('{"n":5}');
    await crash(first);
    const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "patch", resource: "jobs" } });
    const next = run(world, adapter, { agentId });
    expect(await next.result).toMatchObject({ exitCode: 0 });
    fault.remove();
    expect(next.notes().join("\n")).toContain("keeps the labels of run");
  });

  test("an adopted run is stopped like any other", async () => {
    const agentId = fresh();
    world.agents.set(agentId, forever);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged("S-1");
    await crash(first);
    const next = run(world, adapter, { agentId });
    await next.logged("S-1");
    next.abort.abort();
    expect(await next.result).toMatchObject({
      errorCode: "cancelled",
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(podsOf(agentId)).toEqual([]);
  });

  test("k8s_pod_reattach_failed: its pod never starts, so its agent has not begun", async () => {
    const agentId = fresh();
    world.k8s.failImagePull("ghcr.io/gone:1");
    const { adapter } = adapterOf(world);
    const config = { image: "ghcr.io/gone:1", imagePullGraceSec: 600 };
    const first = run(world, adapter, { agentId, config });
    await first.logged(/ErrImagePull|ImagePullBackOff/);
    await crash(first);
    const next = run(world, adapter, { agentId, config: { ...config, imagePullGraceSec: 1 } });
    const result = await next.result;
    expect(next.notes().join("\n")).toContain("Reattaching");
    expect(result).toMatchObject({
      errorCode: "k8s_pod_reattach_failed",
      errorFamily: "transient_upstream",
      executionRecovery: { kind: "bootstrap", providerWorkStarted: false },
    });
    expect(result.errorMessage).toMatch(/ErrImagePull|ImagePullBackOff/);
    expect(jobsOf(agentId)).toEqual([]);
    expect(podsOf(agentId)).toEqual([]);
  });

  test("its process died before the run's Secret was there: the Job is deleted, and the run starts afresh", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    await leftWithoutSecret(agentId);
    const config = { env: { GITHUB_TOKEN: "ghp_lifecycle-0001" } };
    const next = run(world, adapter, { agentId, config });
    await startsAfresh(agentId, next);
  });

  const orphaned = { "paperclip.io/owner-lease": "k8s-run-informer-none" };
  test.each([
    ["another task", { taskId: "task-2" }, {}],
    ["no known task", { taskId: null }, {}],
    ["another session", { sessionId: "S-other" }, { "paperclip.io/session-id": "S-first" }],
  ])("nor does one keep a run of %s from starting", async (_, options, labels) => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const left = await leftWithoutSecret(agentId, orphaned);
    world.k8s.objects.update("jobs", NAMESPACE, left, ({ metadata }) => {
      metadata.labels = { ...metadata.labels, ...labels };
    });
    const next = run(world, adapter, { agentId, ...options, config: BLOCK });
    await startsAfresh(agentId, next);
  });

  test("nor where Secrets cannot be read: a dry run of its create tells", async () => {
    const agentId = fresh();
    await leftWithoutSecret(agentId, orphaned);
    const revoked = world.k8s.authorization.revoke({ apiGroups: [""], resources: ["secrets"], verbs: ["get"] });
    await startsAfresh(agentId, run(world, adapterOf(world).adapter, { agentId, taskId: "task-2", config: BLOCK }));
    revoked.remove();
    expect(revoked.hits).toBeGreaterThan(0);
  });

  test("the answer to its deletion is lost, and what is sent again finds it changed by that: a fresh run", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    await leftWithoutSecret(agentId, orphaned);
    const fault = world.k8s.faults.loseAnswers({ match: { verb: "delete", resource: "jobs" }, count: 1 });
    await startsAfresh(agentId, run(world, adapter, { agentId, taskId: "task-2", config: BLOCK }));
    expect(fault.hits).toBe(1);
  });

  test("one of another task that is young and names no process may be about to get its Secret: it blocks", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const left = await leftWithoutSecret(agentId);
    world.k8s.objects.update("jobs", NAMESPACE, left, ({ metadata }) => {
      delete metadata.annotations?.["paperclip.io/owner-lease"];
    });
    expect(await run(world, adapter, { agentId, taskId: "task-2", config: BLOCK }).result).toMatchObject({
      errorCode: "k8s_concurrent_run_blocked",
    });
    expect(jobsOf(agentId)).toHaveLength(1);
  });

  test("a Job whose first pod was lost before its Secret was there, and which a process adopted that died, too: a fresh run", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const left = await leftWithoutSecret(agentId, { ...orphaned, "paperclip.io/adopted-at": new Date().toISOString() });
    world.k8s.objects.update("jobs", NAMESPACE, left, ({ spec }) => {
      (spec as { backoffLimit: number }).backoffLimit = 3;
    });
    // The kubelet has told of its container, and writes no more of it while the Secret is not there.
    await expect.poll(() => podsOf(agentId)[0]?.status).toHaveProperty("containerStatuses");
    const [lost] = podsOf(agentId);
    world.k8s.objects.update("pods", NAMESPACE, lost?.metadata.name ?? "", (pod) => {
      const state = { terminated: { exitCode: 137, reason: "ContainerStatusUnknown" } };
      const agent = { name: "agent", ready: false, restartCount: 0, image: "", imageID: "", state };
      pod.status = { ...(pod.status as object), phase: "Failed", containerStatuses: [agent] };
    });
    await expect.poll(() => podsOf(agentId).length).toBe(2);
    const next = run(world, adapter, { agentId });
    await startsAfresh(agentId, next);
  });

  test("an adopted Job whose Secret does not stand ends with a word about it, and not with its start limit", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const left = await leftWithoutSecret(agentId);
    // Whether it stands cannot be seen when the Job is adopted, nor tried.
    const verbs = ["get", "create"];
    const revoked = world.k8s.authorization.revoke({ apiGroups: [""], resources: ["secrets"], verbs });
    const next = run(world, adapter, { agentId, config: { configErrorGraceSec: 1 } });
    await next.logged("Reattaching");
    expect(revoked.hits).toBeGreaterThan(0);
    revoked.remove();
    expect(await next.result).toMatchObject({
      errorCode: "k8s_pod_reattach_failed",
      errorFamily: "transient_upstream",
      errorMessage: expect.stringContaining(`Secret ${left}-prompt does not stand`),
      executionRecovery: { kind: "bootstrap" },
    });
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("a lease that is lost before the prompt's Secret is there: the Job is withdrawn, any other run goes well", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "create", resource: "secrets" } });
    const first = run(world, adapter, { agentId });
    await untilSecretIsMissed(agentId);
    const result = await crash(first);
    fault.remove();
    expect(result).toMatchObject({ errorCode: "cancelled", executionRecovery: { kind: "bootstrap" } });
    expect(await run(world, adapter, { agentId, taskId: "task-2" }).result).toMatchObject({ exitCode: 0 });
  });

  test.each([
    ["slowly", 100],
    ["no more", 3_600_000],
  ])(
    "a lease that is lost while the Secret's create is answered %s: the agent runs already and goes on",
    async (_, everyMs) => {
      const agentId = fresh();
      const { adapter } = adapterOf(world);
      let starts = 0;
      const started = Promise.withResolvers<void>();
      world.agents.set(agentId, async function* (container) {
        starts += 1;
        started.resolve();
        await container.sleep(80_000);
        yield '{"done":true,"ok":true}';
        return 0;
      });
      const fault = world.k8s.faults.slowBytes({
        bytes: 50,
        everyMs,
        match: { verb: "create", resource: "secrets" },
      });
      const first = run(world, adapter, { agentId });
      await started.promise;
      const result = await crash(first);
      fault.remove();
      expect(fault.hits).toBe(1);
      expect(result).toMatchObject({ errorCode: "cancelled", errorMessage: expect.stringContaining("goes on") });
      expect(await run(world, adapter, { agentId }).result).toMatchObject({ exitCode: 0 });
      expect(starts).toBe(1);
    },
  );

  test("nothing of the process's own end is in our hands: no listener for signals, so a deploy stops no run", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    const events = ["SIGTERM", "SIGINT", "SIGHUP", "beforeExit", "exit"] as const;
    const before = events.map((event) => process.listenerCount(event));
    const { adapter } = adapterOf(world);
    const each = run(world, adapter, { agentId });
    await each.logged('{"n":1}');
    expect(events.map((event) => process.listenerCount(event))).toEqual(before);
    await each.result;
  });

  test("a pod that takes another's place is said, and its output follows", async () => {
    const agentId = fresh();
    let pods = 0;
    world.agents.set(agentId, async function* () {
      pods += 1;
      yield `{"pod":${pods}}`;
      if (pods === 1) return 1;
      yield '{"done":true,"ok":true}';
      return 0;
    });
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (type !== "ADDED" || resource !== "jobs" || object.metadata.labels?.["paperclip.io/agent-id"] !== agentId)
        return;
      // Ours are never retried; another's change to the Job may have it so.
      queueMicrotask(() =>
        world.k8s.objects.update("jobs", NAMESPACE, object.metadata.name, (draft) => {
          (draft.spec as { backoffLimit?: number }).backoffLimit = 1;
        }),
      );
    });
    const { adapter } = adapterOf(world);
    const each = run(world, adapter, { agentId });
    expect(await each.result).toMatchObject({ exitCode: 0 });
    stop();
    expect(each.notes().join("\n")).toMatch(/Pod \S+ took the place of \S+/);
    expect(each.output()).toEqual(['{"pod":1}', '{"pod":2}', '{"done":true,"ok":true}']);
  });

  test("a kept Job (retainJobs) is marked, its Secret deleted, and nobody takes its result again", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    expect(await keptOf(agentId, true)).toHaveProperty(["paperclip.io/collected-at"]);
  });

  describe('retainJobs: "failed"', () => {
    const config = { retainJobs: "failed" };
    /** As its own words say, and not as its exit code does. */
    const says = (agentId: string, ok: boolean, exitCode = 0) =>
      world.agents.set(agentId, async function* () {
        yield JSON.stringify({ done: true, ok });
        return exitCode;
      });

    test.each([
      ["that says so with exit code 0", false, 0],
      ["by its exit code", true, 7],
    ])("keeps the Job of a run that failed, %s, and nobody takes its result again", async (_, ok, exitCode) => {
      const agentId = fresh();
      says(agentId, ok, exitCode);
      expect(await keptOf(agentId, "failed", exitCode)).toHaveProperty(["paperclip.io/collected-at"]);
    });

    test("deletes the Job of a run that succeeded, and collects one that ended while nobody looked", async () => {
      const agentId = fresh();
      says(agentId, true);
      const { adapter } = adapterOf(world);
      expect(await run(world, adapter, { agentId, config }).result).toMatchObject({ exitCode: 0 });
      await world.k8s.objects.until(() => jobsOf(agentId).length === 0);

      const letGo = worksUntilLetGo(agentId);
      const left = run(world, adapter, { agentId, config });
      await left.logged("S-1");
      await crash(left);
      letGo();
      await world.k8s.objects.until(() => {
        const { conditions = [] } = (jobsOf(agentId)[0]?.status ?? {}) as { conditions?: { type: string }[] };
        return conditions.some(({ type }) => type === "Complete");
      });
      const next = run(world, adapter, { agentId, config });
      expect(await next.result).toMatchObject({ exitCode: 0, summary: "Done." });
      expect(next.notes().join("\n")).toContain("Reattaching");
      await world.k8s.objects.until(() => jobsOf(agentId).length === 0);
    });

    test("one that cannot be marked is deleted where the next run would take its result again", async () => {
      const agentId = fresh();
      says(agentId, false);
      const { adapter } = adapterOf(world);
      const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "patch", resource: "jobs" } });
      const each = run(world, adapter, { agentId, config });
      await each.result;
      fault.remove();
      expect(each.notes().join("\n")).toContain("It cannot be marked as collected, so it is deleted");
      await world.k8s.objects.until(() => jobsOf(agentId).length === 0);
    });
  });

  test.each([
    { what: "the mark", verb: "patch", resource: "jobs" },
    { what: "the look at its Secret", verb: "get", resource: "secrets" },
    { what: "the deletion of its Secret", verb: "delete", resource: "secrets" },
  ])(
    "a kept Job, where a proxy answers $what: it is marked all the same, its Secret deleted",
    async ({ what, ...match }) => {
      const fault = world.k8s.faults.errorRate({ status: 404, body: "no such page", match, count: 1 });
      expect(await keptOf(fresh(), true)).toHaveProperty(["paperclip.io/collected-at"]);
      expect(fault.hits).toBe(1);
    },
  );

  test("a kept Job that may not be marked: its Secret is deleted, nobody takes its result again", async () => {
    const agentId = fresh();
    const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "patch", resource: "jobs" } });
    expect(await keptOf(agentId, true)).not.toHaveProperty(["paperclip.io/collected-at"]);
    fault.remove();
  });
});

describe.each(["0.1.30", "0.2.5"] as const)("a Job that %s created", (version) => {
  const create = (agentId: string) => {
    const name = `ac-${agentId}-old`;
    const job = oldJob({
      version,
      name,
      namespace: NAMESPACE,
      adapterType: TYPE,
      containerName: "agent",
      agentId,
      runId: "run-of-old",
      taskId: "task-1",
    });
    world.k8s.objects.create("jobs", job);
    // The first of them had Secrets without owner.
    world.k8s.objects.create("secrets", { metadata: { name: `${name}-prompt`, namespace: NAMESPACE }, data: {} });
    return name;
  };

  test("is adopted in the middle of its work: every line once, the result, nothing left behind", async () => {
    const agentId = fresh();
    world.agents.set(agentId, works);
    const name = create(agentId);
    await world.k8s.objects.until(() => JSON.stringify(podsOf(agentId)[0]?.status ?? {}).includes('"running"'));
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId });
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
    expect(each.output().slice(0, -1)).toEqual(lines);
    expect(outcomes[0]).toMatchObject({ adopted: true, jobName: name, workingDir: "/paperclip", carry: {} });
    expect(jobsOf(agentId)).toEqual([]);
    expect(world.k8s.objects.get("secrets", NAMESPACE, `${name}-prompt`)).toBeUndefined();
  });

  test("of another task blocks", async () => {
    const agentId = fresh();
    world.agents.set(agentId, forever);
    create(agentId);
    const { adapter } = adapterOf(world);
    expect(await run(world, adapter, { agentId, taskId: "task-2", config: BLOCK }).result).toMatchObject({
      errorCode: "k8s_concurrent_run_blocked",
    });
    expect(jobsOf(agentId)).toHaveLength(1);
  });
});

describe("several runs of one agent", () => {
  const blocked = {
    errorFamily: "transient_upstream",
    executionRecovery: { kind: "bootstrap", providerWorkStarted: false },
  };

  test.each([
    ["k8s_concurrent_run_blocked", { taskId: "task-2" }],
    ["k8s_orphan_task_unknown", { taskId: null }],
    ["k8s_orphan_session_mismatch", { sessionId: "S-other" }],
  ])("%s", async (errorCode, options) => {
    const agentId = fresh();
    world.agents.set(agentId, forever);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId, sessionId: "S-first" });
    await first.logged("S-1");
    await crash(first);
    const result = await run(world, adapter, { agentId, ...options, config: BLOCK }).result;
    expect(result).toMatchObject({ errorCode, ...blocked });
    expect(result.errorMessage).toContain(jobsOf(agentId)[0]?.metadata.name);
    expect(jobsOf(agentId)).toHaveLength(1);
  });

  test("one that this process follows is not taken over by the next", async () => {
    const agentId = fresh();
    const letGo = worksUntilLetGo(agentId);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged("S-1");
    expect(await run(world, adapter, { agentId, config: BLOCK }).result).toMatchObject({
      errorCode: "k8s_concurrent_run_blocked",
      ...blocked,
    });
    letGo();
    expect(await first.result).toMatchObject({ exitCode: 0 });
  });

  test("block: twenty at once, one runs", async () => {
    const agentId = fresh();
    const letGo = worksUntilLetGo(agentId);
    const { adapter } = adapterOf(world);
    let ended = 0;
    const ran = Array.from({ length: 20 }, async () => {
      const result = await run(world, adapter, { agentId, config: BLOCK }).result;
      ended += 1;
      // All but the one that runs.
      if (ended === 19) letGo();
      return result;
    });
    const results = await Promise.all(ran);
    expect(results.filter(({ exitCode }) => exitCode === 0)).toHaveLength(1);
    expect(results.filter(({ errorCode }) => errorCode === "k8s_concurrent_run_blocked")).toHaveLength(19);
  });

  test("by default eight at once, one after the other, all run", async () => {
    const agentId = fresh();
    let live = 0;
    let most = 0;
    world.agents.set(agentId, async function* (container) {
      live += 1;
      most = Math.max(most, live);
      await container.sleep(1_000);
      live -= 1;
      yield '{"done":true,"ok":true}';
    });
    const { adapter } = adapterOf(world);
    const started = Array.from({ length: 8 }, (_, i) => run(world, adapter, { agentId, taskId: `task-${i}` }));
    const results = await Promise.all(started.map(({ result }) => result));
    expect(results.map(({ exitCode }) => exitCode)).toEqual(Array.from({ length: 8 }, () => 0));
    expect(most).toBe(1);
  });

  test("wait: each that waits says so and can be stopped, also the second in the queue", async () => {
    const agentId = fresh();
    const letGo = worksUntilLetGo(agentId);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged("S-1");
    const second = run(world, adapter, { agentId });
    await second.logged(`Waiting for the agent's other run to end: ${jobsOf(agentId)[0]?.metadata.name}`);
    await second.logged(`(run ${first.ctx.runId})`);
    const third = run(world, adapter, { agentId });
    await third.logged(`Waiting for another run of this agent that is about to start (run ${second.ctx.runId})`);
    const waiting = (each: typeof first) => each.events.filter(({ eventType }) => eventType === "k8s.waiting");
    expect(waiting(second)).toMatchObject([{ payload: { jobs: [{ runId: first.ctx.runId, taskId: "task-1" }] } }]);
    expect(waiting(third)).toMatchObject([{ payload: { runId: second.ctx.runId } }]);
    third.abort.abort();
    second.abort.abort();
    expect(await second.result).toMatchObject({ errorCode: "cancelled", executionRecovery: { kind: "bootstrap" } });
    expect(await third.result).toMatchObject({ errorCode: "cancelled" });
    letGo();
    expect(await first.result).toMatchObject({ exitCode: 0 });
    expect(processState().locks.size).toBe(0);
  });

  test("parallel: side by side", async () => {
    const agentId = fresh();
    let live = 0;
    const all = Promise.withResolvers<void>();
    world.agents.set(agentId, async function* () {
      live += 1;
      if (live === 3) all.resolve();
      // Each ends only when all of them run.
      await all.promise;
      yield '{"done":true,"ok":true}';
    });
    const { adapter } = adapterOf(world);
    const results = await Promise.all(
      [1, 2, 3].map(() => run(world, adapter, { agentId, config: { concurrencyPolicy: "parallel" } }).result),
    );
    expect(results.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
  });

  test("deleteMismatchedOrphans: the other is gone, pod and all, before the new one starts", async () => {
    const agentId = fresh();
    const agent = countedAgent(world, agentId);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged("S-1");
    await crash(first);
    const next = run(world, adapter, { agentId, taskId: "task-2", config: { deleteMismatchedOrphans: true } });
    expect(await next.result).toMatchObject({ exitCode: 0 });
    expect(next.notes().join("\n")).toContain("Deleting 1 run(s) of an earlier process");
    expect(agent.most).toBe(1);
  });

  test("the pod of a deleted Job still runs: the next one waits for it", async () => {
    const agentId = fresh();
    const agent = countedAgent(world, agentId);
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId });
    await first.logged("S-1");
    await crash(first);
    world.k8s.objects.delete("jobs", NAMESPACE, jobsOf(agentId)[0]?.metadata.name ?? "");
    expect(agent.live).toBe(1);
    expect(await run(world, adapter, { agentId, taskId: "task-2" }).result).toMatchObject({ exitCode: 0 });
    expect(agent.most).toBe(1);
  });
});

describe("Secrets that nobody owns", () => {
  const labels = { "app.kubernetes.io/managed-by": "paperclip", "paperclip.io/adapter-type": TYPE };
  const names = () =>
    world.k8s.objects
      .list("secrets", NAMESPACE)
      .map(({ metadata }) => metadata.name)
      .filter((name) => name.startsWith("sweep-"));

  test("are deleted once they are a quarter of an hour old and their Job is gone, and not looked for again soon", async () => {
    const now = world.k8s.clock.now();
    const old = new Date(now - 16 * 60_000).toISOString();
    const create = (name: string, creationTimestamp: string, more: Record<string, unknown> = {}) => {
      world.k8s.objects.create("secrets", { metadata: { name, namespace: NAMESPACE, labels, ...more }, data: {} });
      world.k8s.objects.update("secrets", NAMESPACE, name, (draft) => {
        draft.metadata.creationTimestamp = creationTimestamp;
      });
    };
    const agentId = fresh();
    const letGo = worksUntilLetGo(agentId);
    create("sweep-orphan-prompt", old);
    create("sweep-young-prompt", new Date(now).toISOString());
    create("sweep-other", old);
    create("sweep-owned-prompt", old, {
      ownerReferences: [{ apiVersion: "v1", kind: "Namespace", name: NAMESPACE, uid: "x" }],
    });
    world.k8s.objects.update("secrets", NAMESPACE, "sweep-owned-prompt", () => undefined);
    processState().swept.clear();
    world.k8s.requests.reset();
    const { adapter } = adapterOf(world);
    const sweeper = run(world, adapter, { agentId });
    await world.k8s.objects.until(() => !names().includes("sweep-orphan-prompt"));
    letGo();
    expect(await sweeper.result).toMatchObject({ exitCode: 0 });
    expect(names()).toEqual(expect.arrayContaining(["sweep-young-prompt", "sweep-other"]));
    await run(world, adapter, { agentId }).result;
    expect(world.k8s.requests.count("list secrets")).toBe(1);
  });
});
