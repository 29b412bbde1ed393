/** Several servers that share a namespace, each watching its own runs only: what they still see of each other. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { testEnvironment } from "../../../src/adapter/check/environment-test.ts";
import { processState } from "../../../src/adapter/start/process-state.ts";
import { SHARD_VARIABLE } from "../../../src/adapter/start/site.ts";
import { SHARD_LABEL } from "../../../src/engine/index.ts";
import { TYPE, testDefinition } from "./test-definition.ts";
import {
  adapterOf,
  countedAgent,
  crash,
  NAMESPACE,
  objectsOf,
  run,
  SHARD_RULES,
  startWorld,
  type World,
  withSlowWorld,
} from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld({}, SHARD_RULES);
});
afterAll(() => world.stop());

let agents = 0;
const fresh = () => `sharded-${++agents}`;
const envOf = (shard: string) => ({ ...world.env, [SHARD_VARIABLE]: shard });
const serverOf = (shard: string) => adapterOf({ env: envOf(shard) }).adapter;

/** Says hello, runs until `end` is called, and counts how many of the agent run at once. */
function agentThatWaits(agentId: string, { agents } = world) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const counts = { live: 0, most: 0, end: resolve };
  agents.set(agentId, async function* (container) {
    counts.live += 1;
    counts.most = Math.max(counts.most, counts.live);
    yield '{"session":"S-1"}';
    await Promise.race([promise, container.sleep(3_600_000)]);
    counts.live -= 1;
    yield '{"done":true,"ok":true}';
  });
  return counts;
}

test("a run costs two watches more while it starts, and nothing more however long it takes", async () => {
  await withSlowWorld(async (slow) => {
    const server = serverOf("counted");
    await run(slow, server).result;
    const agentId = fresh();
    const agent = agentThatWaits(agentId, slow);
    slow.k8s.requests.reset();
    const each = run(slow, server, { agentId });
    await each.logged("S-1");
    // No change of an object tells that a watch has closed.
    await expect.poll(() => slow.k8s.openWatches).toBe(2);
    agent.end();
    expect(await each.result).toMatchObject({ exitCode: 0 });
    const counts = Object.entries(slow.k8s.requests.snapshot().byVerb).filter(
      // The Lease is the process's, and renewed whatever the number of runs.
      ([verb, count]) => count > 0 && verb !== "patch leases",
    );
    expect(Object.fromEntries(counts)).toEqual({
      "watch jobs": 1,
      "watch pods": 1,
      "list jobs": 1,
      "create jobs": 1,
      "create secrets": 1,
      "get pods/log": 1,
      "delete jobs": 1,
    });
  }, SHARD_RULES);
});

test("a run that a dead server left behind moves to the shard of the one that adopts it, log and result with it", async () => {
  const agentId = fresh();
  const agent = agentThatWaits(agentId);
  const left = run(world, serverOf("dead"), { agentId });
  await left.logged("S-1");
  await crash(left);
  const heir = run(world, serverOf("heir"), { agentId });
  await heir.logged("S-1");
  const owners = [...objectsOf(world, "jobs", agentId), ...objectsOf(world, "pods", agentId)];
  expect(owners.map(({ metadata }) => metadata.labels?.[SHARD_LABEL])).toEqual(["heir", "heir"]);
  agent.end();
  expect(await heir.result).toMatchObject({ exitCode: 0, sessionId: "S-1" });
  expect(agent.most).toBe(1);
  expect(objectsOf(world, "jobs", agentId)).toEqual([]);
});

test("a run from before there were shards is adopted into one", async () => {
  const agentId = fresh();
  const agent = agentThatWaits(agentId);
  const left = run(world, adapterOf(world).adapter, { agentId });
  await left.logged("S-1");
  await crash(left);
  const heir = run(world, serverOf("new"), { agentId });
  await heir.logged("S-1");
  agent.end();
  expect(await heir.result).toMatchObject({ exitCode: 0 });
});

test("wait: sees the end of a run of another shard without asking for it", async () => {
  const agentId = fresh();
  const agent = agentThatWaits(agentId);
  const first = run(world, serverOf("first"), { agentId, taskId: "task-1" });
  await first.logged("S-1");
  // Its own adapter, but not the run's: another process would not know that the first is alive.
  processState().active.clear();
  const second = run(world, serverOf("second"), {
    agentId,
    taskId: "task-2",
    config: { concurrencyPolicy: "wait" },
  });
  await second.logged("Waiting for the agent's other run");
  world.k8s.requests.reset();
  agent.end();
  expect(await first.result).toMatchObject({ exitCode: 0 });
  expect(await second.result).toMatchObject({ exitCode: 0 });
  expect(agent.most).toBe(1);
  // One look at the start was before; another once the watch showed the end.
  expect(world.k8s.requests.count("list jobs")).toBeLessThanOrEqual(2);
});

test("the pod of another shard's deleted Job still runs: the next one waits for it", async () => {
  const agentId = fresh();
  const agent = agentThatWaits(agentId);
  const first = run(world, serverOf("first"), { agentId });
  await first.logged("S-1");
  await crash(first);
  world.k8s.objects.delete("jobs", NAMESPACE, objectsOf(world, "jobs", agentId)[0]?.metadata.name ?? "");
  world.k8s.requests.reset();
  const next = run(world, serverOf("second"), { agentId, taskId: "task-2" });
  // It runs through its grace period, in which it was looked at.
  await expect.poll(() => world.k8s.requests.count("list jobs")).toBeGreaterThan(0);
  agent.end();
  expect(await next.result).toMatchObject({ exitCode: 0 });
  expect(agent.most).toBe(1);
});

test("deleteMismatchedOrphans: one of another shard is gone, pod and all, before the new one starts", async () => {
  const agentId = fresh();
  const agent = countedAgent(world, agentId);
  const first = run(world, serverOf("first"), { agentId });
  await first.logged("S-1");
  await crash(first);
  const config = { deleteMismatchedOrphans: true };
  expect(await run(world, serverOf("second"), { agentId, taskId: "task-2", config }).result).toMatchObject({
    exitCode: 0,
  });
  expect(agent.most).toBe(1);
});

test("a Secret without owner stays while its Job runs in another shard", async () => {
  const agentId = fresh();
  const agent = agentThatWaits(agentId);
  const other = run(world, serverOf("other"), { agentId });
  await other.logged("S-1");
  const jobName = objectsOf(world, "jobs", agentId)[0]?.metadata.name ?? "";
  // Of the adapter of old, which gave its Secrets no owner.
  world.k8s.objects.update("secrets", NAMESPACE, `${jobName}-prompt`, (draft) => {
    draft.metadata.ownerReferences = [];
    draft.metadata.creationTimestamp = new Date(Date.now() - 16 * 60_000).toISOString();
  });
  processState().swept.clear();
  await run(world, serverOf("sweeper")).result;
  expect(world.k8s.objects.get("secrets", NAMESPACE, `${jobName}-prompt`)).toBeDefined();
  agent.end();
  await other.result;
});

test("a name that no label can hold is said, with the variable's name", async () => {
  const server = adapterOf({ env: envOf("not a label") }).adapter;
  const result = await run(world, server).result;
  expect(result).toMatchObject({ errorCode: "k8s_config_invalid" });
  expect(result.errorMessage).toContain(`${SHARD_VARIABLE}: expected a label value`);
});

test("the right to patch pods is needed, checked for, and missed in so many words", async () => {
  const rules = [
    { apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "delete", "get", "list", "watch", "patch"] },
    { apiGroups: [""], resources: ["pods"], verbs: ["list", "watch", "get"] },
    { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
    { apiGroups: [""], resources: ["secrets"], verbs: ["create", "delete", "list", "get"] },
  ];
  const kubeconfig = await world.kubeconfigFor(world.k8s.addUser({ name: "no-pod-patch", rules }));
  const check = async (env: NodeJS.ProcessEnv) => {
    const ctx = { companyId: "c", adapterType: TYPE, config: { kubeconfig } };
    const { checks } = await testEnvironment(testDefinition().definition, ctx, { env });
    return checks.find(({ code }) => code === "k8s_rbac_pod_patch");
  };
  expect(await check(world.env)).toBeUndefined();
  expect(await check(envOf("a"))).toMatchObject({
    level: "error",
    hint: expect.stringContaining("--verb=patch --resource=pods"),
  });
  const agentId = fresh();
  const agent = agentThatWaits(agentId);
  const left = run(world, serverOf("dead"), { agentId });
  await left.logged("S-1");
  await crash(left);
  const heir = await run(world, serverOf("heir"), { agentId, config: { kubeconfig } }).result;
  expect(heir).toMatchObject({ errorCode: "k8s_pod_reattach_failed", errorFamily: "transient_upstream" });
  expect(heir.errorMessage).toMatch(/shard.*patch.*pods/);
  agent.end();
  expect(await readFile(new URL("../../../deploy/rbac.yaml", import.meta.url), "utf8")).toContain(SHARD_VARIABLE);
});
