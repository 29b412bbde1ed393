/** Found in review: see each test's name. */
import { mkdir, mkdtemp, readlink, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parseBaseConfig } from "../../../src/adapter/config.ts";
import { buildEnvironment } from "../../../src/adapter/environment.ts";
import { type GuardInput, passGuard } from "../../../src/adapter/guard.ts";
import { acquireLock, processState } from "../../../src/adapter/process-state.ts";
import { parseSelfPod } from "../../../src/adapter/self-pod.ts";
import { preparePromptBundle } from "../../../src/claude/prompt-bundle.ts";
import type { ScriptedProgram } from "../../../src/embedded/programs.ts";
import { contextOf, rawSelfPod } from "./fixtures.ts";
import { adapterOf, crash, NAMESPACE, objectsOf, run, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

const forever: ScriptedProgram = async function* (container) {
  yield '{"session":"S-1"}';
  await container.sleep(3_600_000);
};

test("a lost lease before the run has begun here leaves its earlier try alone", async () => {
  const agentId = "review-lease";
  world.agents.set(agentId, forever);
  const { adapter } = adapterOf(world);
  const first = run(world, adapter, { agentId });
  await first.logged("S-1");
  await crash(first);
  const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "list", resource: "jobs" } });
  const again = run(world, adapter, { agentId, overrides: { runId: first.ctx.runId } });
  await new Promise((resolve) => setTimeout(resolve, 300));
  const result = await crash(again);
  fault.remove();
  expect(objectsOf(world, "jobs", agentId).map(({ metadata }) => metadata.deletionTimestamp)).toEqual([undefined]);
  expect(result).toMatchObject({ errorCode: "cancelled" });
  expect(result).not.toHaveProperty("executionRecovery");
});

test("a rival watch that cannot look is no Secret that could not be created", { timeout: 60_000 }, async () => {
  const agentId = "review-rival";
  const { adapter } = adapterOf(world, {}, { guardTimeoutMs: 500 });
  await run(world, adapter).result;
  const stall = world.k8s.faults.stallWatches(undefined, { resource: "jobs" });
  let fault: { remove(): void } | null = null;
  const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
    if (type === "ADDED" && resource === "jobs" && object.metadata.labels?.["paperclip.io/agent-id"] === agentId)
      fault ??= world.k8s.faults.errorRate({ status: 503, match: { verb: "list", resource: "jobs" } });
  });
  const result = await run(world, adapter, { agentId }).result;
  stop();
  (fault as { remove(): void } | null)?.remove();
  stall.release();
  expect(result).toMatchObject({
    errorCode: "k8s_concurrency_guard_unreachable",
    errorFamily: "transient_upstream",
    executionRecovery: { kind: "bootstrap", providerWorkStarted: false },
  });
});

test("who gives up as the last in the queue leaves nothing behind either", async () => {
  const release = await acquireLock("review", new AbortController().signal);
  const abort = new AbortController();
  const last = acquireLock("review", abort.signal);
  abort.abort(new Error("stop"));
  await expect(last).rejects.toThrow("stop");
  release();
  await new Promise(setImmediate);
  expect(processState().locks.has("review")).toBe(false);
});

test("the guard gives up in time though the cache says that the way is free", async () => {
  let now = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => (now += 30_000));
  const leaving = {
    metadata: {
      name: "stuck",
      namespace: NAMESPACE,
      uid: "u",
      resourceVersion: "1",
      creationTimestamp: "2026-01-01T00:00:00Z",
      deletionTimestamp: "2026-01-01T00:01:00Z",
      labels: { "paperclip.io/agent-id": "a", "paperclip.io/run-id": "other" },
    },
    spec: {},
    status: { active: 1 },
  };
  let lists = 0;
  const empty = {
    list: () => [],
    subscribe: () => () => undefined,
    freshness: () => ({ synced: true, connected: true, ageMs: 0 }),
  };
  const abort = new AbortController();
  const input = {
    engine: {
      listJobs: async () => {
        if (++lists > 50) abort.abort(new Error("never gives up"));
        return [leaving];
      },
    },
    view: { jobs: empty, pods: empty },
    namespace: NAMESPACE,
    containerName: "agent",
    newcomer: { agentId: "a", runId: "r", taskId: null, sessionId: null },
    config: parseBaseConfig({}),
    signal: abort.signal,
    askedAt: 0,
    listTimeoutMs: 1_000,
    cacheMaxAgeMs: 10_000,
    say: () => undefined,
  } as unknown as GuardInput;
  try {
    await expect(passGuard(input)).rejects.toMatchObject({ code: "k8s_concurrent_run_blocked" });
  } finally {
    clock.mockRestore();
  }
});

describe("environment", () => {
  const build = (adapterEnv: Record<string, string>, context: Record<string, unknown> = {}) => {
    const raw = rawSelfPod() as { spec: { containers: { name: string; env: object[] }[] } };
    raw.spec.containers[1]?.env.unshift(
      { name: "NODE_NAME", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
      { name: "ANTHROPIC_BASE_URL", value: "http://$(NODE_NAME):4000" },
    );
    return buildEnvironment({
      ctx: contextOf({ context }),
      config: parseBaseConfig({ env: adapterEnv }),
      selfPod: parseSelfPod(raw),
      extra: {},
      secretExtra: [],
      secretName: "s",
      serverEnv: {},
    }).entries.map(({ name, value }) => ({ name, value }));
  };

  test("what an inherited variable refers to stands before it, as in the server's pod", () => {
    const names = build({}).map(({ name }) => name);
    expect(names.indexOf("NODE_NAME")).toBeLessThan(names.indexOf("ANTHROPIC_BASE_URL"));
  });

  test("the operator's AGENT_HOME wins over the workspace's", () => {
    const context = { paperclipWorkspace: { agentHome: "/paperclip/agents/host" } };
    const entries = build({ AGENT_HOME: "/paperclip/mine" }, context);
    expect(entries.find(({ name }) => name === "AGENT_HOME")?.value).not.toBe("/paperclip/agents/host");
  });
});

test("retainJobs without the right to patch: nobody takes the result again", async () => {
  const agentId = "review-retain";
  const { adapter } = adapterOf(world);
  const config = { retainJobs: true };
  const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "patch", resource: "jobs" } });
  await run(world, adapter, { agentId, config }).result;
  const [job] = objectsOf(world, "jobs", agentId);
  const secret = world.k8s.objects.get("secrets", NAMESPACE, `${job?.metadata.name}-prompt`);
  // As the next process, which knows nothing of it.
  processState().collected.clear();
  const next = run(world, adapter, { agentId, config });
  await next.result;
  fault.remove();
  expect.soft(next.notes().join("\n")).not.toContain("Reattaching");
  expect.soft(secret).toBeUndefined();
});

test("whoever waits behind one that waits says so", async () => {
  const agentId = "review-queue";
  world.agents.set(agentId, forever);
  const { adapter } = adapterOf(world);
  const config = { concurrencyPolicy: "wait" };
  const first = run(world, adapter, { agentId, config });
  await first.logged("S-1");
  const second = run(world, adapter, { agentId, config });
  await second.logged("Waiting for the agent's other run");
  const third = run(world, adapter, { agentId, config });
  await new Promise((resolve) => setTimeout(resolve, 500));
  const notes = third.notes();
  for (const each of [third, second, first]) each.abort.abort();
  await Promise.all([first.result, second.result, third.result]);
  expect(notes.join()).toContain("Waiting");
});
test("a lost lease between the Job and its Secret", async () => {
  const agentId = "review-half";
  const { adapter } = adapterOf(world);
  const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "create", resource: "secrets" } });
  const first = run(world, adapter, { agentId });
  await world.k8s.objects.until(() =>
    JSON.stringify(objectsOf(world, "pods", agentId)).includes("CreateContainerConfigError"),
  );
  const result = await crash(first);
  fault.remove();
  expect(result).toMatchObject({ errorCode: "cancelled", executionRecovery: { kind: "bootstrap" } });
  const next = await run(world, adapter, { agentId, taskId: "task-2" }).result;
  expect(next).toMatchObject({ exitCode: 0 });
});

test("a skill is linked by its real path: the links that lead there may be missing in the pod", async () => {
  const root = await mkdtemp(join(tmpdir(), "review-skill-"));
  const shared = join(root, "paperclip");
  await mkdir(join(shared, "skills", "alpha"), { recursive: true });
  await mkdir(join(root, "app"));
  await symlink(join(shared, "skills"), join(root, "app", "skills"));
  vi.stubEnv("PAPERCLIP_HOME", join(shared, "home"));
  const skill = { key: "k/alpha", runtimeName: "alpha", source: join(root, "app", "skills", "alpha") };
  const { directory } = await preparePromptBundle({
    companyId: "c",
    skills: [skill],
    instructions: null,
    sharedDirectory: shared,
  });
  vi.unstubAllEnvs();
  expect(await readlink(join(directory, ".claude", "skills", "alpha"))).toBe(join(shared, "skills", "alpha"));
  await rm(root, { recursive: true });
});
