/** Several servers, one cluster: who owns a run is a fact of the cluster. The servers are processes of their own. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { jobNameFor } from "../../../src/adapter/job/names.ts";
import { Cluster, jobPath, stopSharedEngines } from "../../../src/engine/index.ts";
import { kubeConfigOf } from "../engine/harness.ts";
import { ServerProcess } from "./server-process.ts";
import { adapterOf, NAMESPACE, objectsOf, run, startWorld, type World } from "./world.ts";

const OWNER = "paperclip.io/owner-lease";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

const servers: ServerProcess[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.kill();
});

function server(env: Record<string, string> = {}): ServerProcess {
  const each = new ServerProcess(world, env);
  servers.push(each);
  return each;
}

const NO_PAGE = { status: 404, body: "no such page", count: 1 };

let agents = 0;
const fresh = () => `owned-${++agents}`;
const leases = () => world.k8s.objects.list("leases", NAMESPACE);
const jobOf = (agentId: string) => objectsOf(world, "jobs", agentId)[0];

/** Works until it is let go. Counts how many of the agent run at once, and how often it ran. */
function agentOf(agentId: string) {
  const go = Promise.withResolvers<void>();
  const counts = { live: 0, most: 0, runs: 0, letGo: go.resolve };
  world.agents.set(agentId, async function* (container) {
    counts.live += 1;
    counts.runs += 1;
    counts.most = Math.max(counts.most, counts.live);
    try {
      yield '{"session":"S-1"}';
      await Promise.race([go.promise, container.sleep(24 * 3_600_000)]);
    } finally {
      counts.live -= 1;
    }
    yield '{"done":true,"ok":true}';
  });
  return counts;
}

/** Resolves when the agent runs; rejects with what its run came to, should that end before. */
async function running(agent: { live: number }, run: Promise<unknown> = new Promise(() => undefined)): Promise<void> {
  const early = run.then((answer) => {
    throw new Error(`ended before its agent ran: ${JSON.stringify(answer)}`);
  });
  await Promise.race([early, expect.poll(() => agent.live).toBe(1)]);
}

/** A run that works on, and whose server was killed. */
async function leftByDeadServer(config: Record<string, unknown> = {}) {
  const agentId = fresh();
  const agent = agentOf(agentId);
  const dead = server();
  const left = dead.run({ agentId, runId: `${agentId}-a`, taskId: "t", config });
  await running(agent, left);
  await dead.kill();
  return { agentId, agent };
}

describe("a live run of another server", () => {
  test("is not taken over by a run of the same agent and task: that is refused, and may be tried again", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const first = server().run({ agentId, runId: `${agentId}-a`, taskId: "t" });
    await running(agent, first);
    const second = await server().run({
      agentId,
      runId: `${agentId}-b`,
      taskId: "t",
      config: { concurrencyPolicy: "block" },
    });
    expect(second).toMatchObject({ errorCode: "k8s_concurrent_run_blocked" });
    expect(second.errorMessage).toContain("in another server");
    agent.letGo();
    expect(await first).toMatchObject({ exitCode: 0, errorCode: null });
    expect(agent).toMatchObject({ most: 1, runs: 1 });
  });

  test("wait: the next begins when it has ended, with its own prompt", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const first = server().run({ agentId, runId: `${agentId}-a`, taskId: "t" });
    await running(agent, first);
    world.k8s.requests.reset();
    const second = server().run({
      agentId,
      runId: `${agentId}-b`,
      taskId: "t",
      config: { concurrencyPolicy: "wait" },
    });
    await expect.poll(() => world.k8s.requests.count("get leases")).toBeGreaterThan(0);
    agent.letGo();
    expect(await first).toMatchObject({ exitCode: 0 });
    expect(await second).toMatchObject({ exitCode: 0 });
    expect(agent).toMatchObject({ most: 1, runs: 2 });
  });

  test("is not deleted by deleteMismatchedOrphans", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const first = server().run({ agentId, runId: `${agentId}-a`, taskId: "t-1" });
    await running(agent);
    const config = { concurrencyPolicy: "block", deleteMismatchedOrphans: true };
    const second = await server().run({ agentId, runId: `${agentId}-b`, taskId: "t-2", config });
    expect(second).toMatchObject({ errorCode: "k8s_concurrent_run_blocked" });
    agent.letGo();
    expect(await first).toMatchObject({ exitCode: 0 });
  });

  test("nor ended by a Stop of the same run here", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const first = server().run({ agentId, runId: `${agentId}-same`, taskId: "t" });
    await running(agent, first);
    const here = run(world, adapterOf(world).adapter, {
      agentId,
      taskId: "t",
      overrides: { runId: `${agentId}-same` },
      config: { concurrencyPolicy: "wait" },
    });
    await here.logged("Waiting for the agent's other run");
    here.abort.abort();
    const result = await here.result;
    expect(result).toMatchObject({ errorCode: "cancelled" });
    // Its agent runs on, which is not acknowledged.
    expect(result.resultJson ?? {}).not.toHaveProperty("executionCancellation");
    expect(agent.live).toBe(1);
    agent.letGo();
    expect(await first).toMatchObject({ exitCode: 0 });
  });
});

describe("a run whose server has ended", () => {
  test("SIGKILL: a server in the same place knows, and adopts it at once", async () => {
    const { agentId, agent } = await leftByDeadServer();
    const heir = server().run({ agentId, runId: `${agentId}-b`, taskId: "t" });
    await expect.poll(() => jobOf(agentId)?.metadata.labels?.["paperclip.io/run-id"]).toBe(`${agentId}-b`);
    agent.letGo();
    expect(await heir).toMatchObject({ exitCode: 0 });
    expect(agent).toMatchObject({ most: 1, runs: 1 });
  });

  test("nor does it need the right to delete the Lease of a process that has surely ended", async () => {
    const { agentId, agent } = await leftByDeadServer();
    const revoked = world.k8s.authorization.revoke({
      apiGroups: ["coordination.k8s.io"],
      resources: ["leases"],
      verbs: ["delete"],
    });
    const heir = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await heir.logged("Reattaching");
    expect(revoked.hits).toBeGreaterThan(0);
    revoked.remove();
    agent.letGo();
    expect(await heir.result).toMatchObject({ exitCode: 0 });
    expect(agent).toMatchObject({ most: 1, runs: 1 });
  });

  test("an orderly stop of all engines deletes the Lease, and the runs are adopted", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const left = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await left.logged("S-1");
    const name = jobOf(agentId)?.metadata.annotations?.[OWNER];
    expect(leases().map(({ metadata }) => metadata.name)).toContain(name);
    await stopSharedEngines();
    expect(leases().map(({ metadata }) => metadata.name)).not.toContain(name);
    expect(await left.result).toMatchObject({ errorCode: "k8s_run_lost" });
    const heir = server().run({ agentId, runId: `${agentId}-b`, taskId: "t" });
    await expect.poll(() => jobOf(agentId)?.metadata.annotations?.[OWNER]).not.toBe(name);
    agent.letGo();
    expect(await heir).toMatchObject({ exitCode: 0 });
    expect(agent).toMatchObject({ most: 1, runs: 1 });
  });

  test("another server's Lease that is deleted under it: it takes a new one, and its runs go on", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const each = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await each.logged("S-1");
    const name = jobOf(agentId)?.metadata.annotations?.[OWNER] ?? "";
    world.k8s.objects.delete("leases", NAMESPACE, name);
    await expect.poll(() => jobOf(agentId)?.metadata.annotations?.[OWNER]).not.toBe(name);
    agent.letGo();
    expect(await each.result).toMatchObject({ exitCode: 0 });
  });

  test("someone deletes it, another server adopts the run, and the first does not see that: one result is handed out", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const other = server();
    // It has loaded by then: what follows is to take less time than the first one's next renewal.
    expect(await other.run({ agentId: fresh(), runId: `${agentId}-warm`, taskId: "t" })).toMatchObject({ exitCode: 0 });
    const first = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await first.logged("S-1");
    const ownerOf = () => jobOf(agentId)?.metadata.annotations?.[OWNER] ?? "";
    const name = ownerOf();
    let isFirsts = true;
    const match = { resource: "jobs", where: () => isFirsts };
    const stall = world.k8s.faults.stallWatches(undefined, match);
    isFirsts = false;
    world.k8s.objects.delete("leases", NAMESPACE, name);
    const config = { concurrencyPolicy: "wait" };
    const second = other.run({ agentId, runId: `${agentId}-b`, taskId: "t", config });
    await world.k8s.objects.until(() => ownerOf() !== name);
    const isAdopted = jobOf(agentId)?.metadata.labels?.["paperclip.io/run-id"] === `${agentId}-b`;
    agent.letGo();
    const results = [await first.result, await second];
    // Where the first one did renew in between, it has the Job back, and the second ran its own prompt.
    expect(agent.runs).toBe(isAdopted ? 1 : 2);
    expect(results.filter(({ exitCode }) => exitCode === 0)).toHaveLength(agent.runs);
    expect(results.filter(({ errorCode }) => errorCode === "k8s_run_lost")).toHaveLength(2 - agent.runs);
    expect(jobOf(agentId)).toBeUndefined();
    expect(stall.hits).toBeGreaterThan(0);
    stall.remove();
  });

  test.each([
    ["its answer is lost", (match: object) => world.k8s.faults.loseAnswers({ match, count: 1 })],
    ["its stream is reset, again and again", (match: object) => world.k8s.faults.resetRequests({ match, count: 5 })],
    [
      "a tunnel answers that it knows no such page",
      (match: object) => world.k8s.faults.errorRate({ match, ...NO_PAGE }),
    ],
  ])("the new Lease is written on the Job, and of that write %s: its run goes on", async (_, inject) => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const each = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await each.logged("S-1");
    const name = jobOf(agentId)?.metadata.annotations?.[OWNER] ?? "";
    world.k8s.requests.reset();
    const fault = inject({ verb: "patch", resource: "jobs" });
    world.k8s.objects.delete("leases", NAMESPACE, name);
    await expect.poll(() => jobOf(agentId)?.metadata.annotations?.[OWNER]).not.toBe(name);
    // Also the one that is sent again after a lost answer, and finds the Job changed by the first.
    await expect.poll(() => world.k8s.requests.count("patch jobs")).toBeGreaterThan(fault.hits);
    fault.remove();
    expect(fault.hits).toBeGreaterThan(0);
    agent.letGo();
    expect(await each.result).toMatchObject({ exitCode: 0 });
    expect(agent.runs).toBe(1);
  });

  test("an owner that no one knows is dead", async () => {
    const { agentId, agent } = await leftByDeadServer();
    const job = jobOf(agentId);
    world.k8s.objects.update("jobs", NAMESPACE, job?.metadata.name ?? "", ({ metadata: { annotations = {} } }) => {
      annotations[OWNER] = "k8s-run-informer-none";
    });
    const heir = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await heir.logged("Reattaching");
    agent.letGo();
    expect(await heir.result).toMatchObject({ exitCode: 0 });
  });
});

test.each([
  { what: "a Stop", errorCode: "cancelled" },
  { what: "a clean-up", errorCode: "k8s_run_lost" },
])("$what whose deletion fails while another server takes over the Job: it is not sent again", async (row) => {
  const agentId = fresh();
  const agent = agentOf(agentId);
  const heir = server();
  expect(await heir.run({ agentId: fresh(), runId: `${agentId}-warm`, taskId: "t" })).toMatchObject({ exitCode: 0 });
  await stopSharedEngines();
  const each = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
  await each.logged("S-1");
  const { uid = "", name = "", annotations } = jobOf(agentId)?.metadata ?? {};
  // Else it may hear with its next renewal that its Lease is deleted, and be first to write its name again.
  const renewal = { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["patch"] };
  const revoked = world.k8s.authorization.revoke(renewal);
  const fault = world.k8s.faults.errorRate({ status: 500, match: { verb: "delete", resource: "jobs", name } });
  if (row.errorCode === "cancelled") each.abort.abort();
  else agent.letGo();
  await expect.poll(() => fault.hits).toBeGreaterThan(0);
  world.k8s.objects.delete("leases", NAMESPACE, annotations?.[OWNER] ?? "");
  void heir.run({ agentId, runId: `${agentId}-b`, taskId: "t", config: { concurrencyPolicy: "wait" } });
  expect(await each.result).toMatchObject({ errorCode: row.errorCode });
  fault.remove();
  revoked.remove();
  const left = jobOf(agentId)?.metadata;
  expect(left).toMatchObject({ uid, labels: { "paperclip.io/run-id": `${agentId}-b` } });
  expect(left).not.toHaveProperty("deletionTimestamp");
  expect(each.notes().join("\n")).toContain("did not renew its Lease in time");
  agent.letGo();
});

describe("without the right to Leases", () => {
  test("runs go on as before, and Jobs have no owner", async () => {
    await stopSharedEngines();
    const revoked = world.k8s.authorization.revoke({
      apiGroups: ["coordination.k8s.io"],
      resources: ["leases"],
      verbs: ["*"],
    });
    const agentId = fresh();
    const agent = agentOf(agentId);
    const each = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await each.logged("S-1");
    expect(jobOf(agentId)?.metadata.annotations).not.toHaveProperty([OWNER]);
    agent.letGo();
    expect(await each.result).toMatchObject({ exitCode: 0 });
    revoked.remove();
    await stopSharedEngines();
  });

  test("revoked while a run goes on: it is this server's all the same", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    const each = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await each.logged("S-1");
    const revoked = world.k8s.authorization.revoke({
      apiGroups: ["coordination.k8s.io"],
      resources: ["leases"],
      verbs: ["*"],
    });
    await expect.poll(() => revoked.hits).toBeGreaterThan(0);
    agent.letGo();
    expect(await each.result).toMatchObject({ exitCode: 0 });
    revoked.remove();
    await stopSharedEngines();
  });
});

describe("one lost write at any step of a start costs nothing but a retry", () => {
  const steps = [
    ["the Lease", { verb: "create", resource: "leases" }],
    ["the Job", { verb: "create", resource: "jobs" }],
    ["the Secret", { verb: "create", resource: "secrets" }],
  ] as const;
  const faults = [
    ["its answer is lost", (match: object) => world.k8s.faults.loseAnswers({ match, count: 1 })],
    ["it is answered with a 500", (match: object) => world.k8s.faults.errorRate({ status: 500, match, count: 1 })],
    ["its stream is reset", (match: object) => world.k8s.faults.resetRequests({ match, count: 1 })],
    ["it meets a quota conflict", (match: object) => world.k8s.faults.quotaConflicts({ match, count: 1 })],
  ] as const;
  test.each(steps.flatMap(([step, match]) => faults.map(([what, inject]) => ({ step, what, match, inject }))))(
    "$step: $what",
    async ({ match, inject }) => {
      await stopSharedEngines();
      const agentId = fresh();
      const agent = agentOf(agentId);
      agent.letGo();
      const fault = inject(match);
      const each = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
      expect(await each.result).toMatchObject({ exitCode: 0 });
      fault.remove();
      expect(fault.hits).toBe(1);
      expect(agent.runs).toBe(1);
      expect(objectsOf(world, "jobs", agentId)).toEqual([]);
      const holders = leases().map(({ metadata }) => JSON.parse(metadata.annotations?.["paperclip.io/holder"] ?? "{}"));
      expect(holders.filter(({ pid }) => pid === process.pid)).toHaveLength(1);
    },
  );

  test("the Job, which can be neither asked after nor deleted for a moment, without the right to read Secrets", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    agent.letGo();
    const revoked = world.k8s.authorization.revoke({ apiGroups: [""], resources: ["secrets"], verbs: ["get"] });
    const lost = world.k8s.faults.loseAnswers({ match: { verb: "create", resource: "jobs" }, count: 1 });
    const unasked = world.k8s.faults.errorRate({ status: 403, match: { verb: "get", resource: "jobs" }, count: 2 });
    const each = run(world, adapterOf(world).adapter, { agentId, taskId: "t", config: { apiOutageSec: 60 } });
    expect(await each.result).toMatchObject({ exitCode: 0 });
    revoked.remove();
    expect([lost.hits, unasked.hits, agent.runs]).toEqual([1, 2, 1]);
    expect(each.notes().join("\n")).toContain("which was created for a start that failed");
    expect(objectsOf(world, "jobs", agentId)).toEqual([]);
  });

  test("the Secret: its answer is lost, and whether it stands cannot be asked for a moment: it is known by its mark", async () => {
    const agentId = fresh();
    const agent = agentOf(agentId);
    agent.letGo();
    const lost = world.k8s.faults.loseAnswers({ match: { verb: "create", resource: "secrets" }, count: 1 });
    const match = { verb: "get", resource: "secrets" } as const;
    const unasked = world.k8s.faults.errorRate({ status: 403, match, count: 1 });
    const config = { apiOutageSec: 60 };
    expect(await run(world, adapterOf(world).adapter, { agentId, config }).result).toMatchObject({ exitCode: 0 });
    expect([lost.hits, unasked.hits, agent.runs]).toEqual([1, 1, 1]);
  });

  test("nor can it be asked later: the run fails, and its result does not say that its agent has not run", async () => {
    const agentId = fresh();
    const lost = world.k8s.faults.loseAnswers({ match: { verb: "create", resource: "secrets" }, count: 1 });
    const revoked = world.k8s.authorization.revoke({ apiGroups: [""], resources: ["secrets"], verbs: ["get"] });
    const config = { apiOutageSec: 60 };
    const result = await run(world, adapterOf(world).adapter, { agentId, config }).result;
    revoked.remove();
    expect(result).toMatchObject({ errorCode: "k8s_prompt_secret_create_failed" });
    expect(result).not.toHaveProperty("executionRecovery");
    expect(lost.hits).toBe(1);
    expect(revoked.hits).toBeGreaterThan(0);
    expect(objectsOf(world, "jobs", agentId)).toEqual([]);
  });

  test("the Lease, when the run that asked for it first is stopped: the other one has it", async () => {
    await stopSharedEngines();
    const [stopped, other] = [fresh(), fresh()];
    const agent = agentOf(other);
    agent.letGo();
    const fault = world.k8s.faults.errorRate({ status: 500, match: { verb: "create", resource: "leases" } });
    const { adapter } = adapterOf(world);
    const first = run(world, adapter, { agentId: stopped, taskId: "t" });
    const second = run(world, adapter, { agentId: other, taskId: "t" });
    await expect.poll(() => fault.hits).toBeGreaterThan(1);
    first.abort.abort(new Error("stopped"));
    expect(await first.result).toMatchObject({ errorCode: "cancelled" });
    fault.remove();
    expect(await second.result).toMatchObject({ exitCode: 0 });
    expect(agent.runs).toBe(1);
  });

  test("an adoption: its answer is lost", async () => {
    const { agentId, agent } = await leftByDeadServer();
    const fault = world.k8s.faults.loseAnswers({ match: { verb: "patch", resource: "jobs" }, count: 1 });
    const heir = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await heir.logged("Reattaching");
    expect(fault.hits).toBe(1);
    agent.letGo();
    expect(await heir.result).toMatchObject({ exitCode: 0 });
  });
});

test.each([
  ["the server fails for longer than one request is repeated", { status: 500, count: 7 }],
  ["others write the Job each time (409)", { status: 409, count: 2 }],
  ["a tunnel answers that it knows no such page", NO_PAGE],
])("an adoption that %s: the adopter's name stands on the Job all the same", async (_, fails) => {
  const { agentId, agent } = await leftByDeadServer();
  const former = jobOf(agentId)?.metadata.annotations?.[OWNER];
  const name = jobOf(agentId)?.metadata.name ?? "";
  const details = { name, group: "batch", kind: "jobs" };
  const body = JSON.stringify({ kind: "Status", status: "Failure", code: fails.status, reason: "Conflict", details });
  const match = { verb: "patch", resource: "jobs" } as const;
  const fault = world.k8s.faults.errorRate({ match, ...fails, ...(fails.status === 409 ? { body } : {}) });
  const heir = run(world, adapterOf(world).adapter, { agentId, taskId: "t", config: { apiOutageSec: 120 } });
  await heir.logged("Reattaching");
  expect(fault.hits).toBe(fails.count);
  expect(jobOf(agentId)?.metadata.annotations?.[OWNER]).not.toBe(former);
  expect(heir.notes().join("\n")).not.toContain("keeps the labels");
  agent.letGo();
  expect(await heir.result).toMatchObject({ exitCode: 0 });
});

test.each(["Background", "Foreground"])(
  "a Job that is deleted while it is adopted, as by its owner's last request (%s): a fresh run starts, with its own prompt",
  async (propagationPolicy) => {
    const { agentId, agent } = await leftByDeadServer();
    const name = jobOf(agentId)?.metadata.name ?? "";
    // Between the guard's look and the adopter's patch.
    const delay = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "patch", resource: "jobs" }, count: 1 });
    const heir = run(world, adapterOf(world).adapter, { agentId, taskId: "t" });
    await expect.poll(() => delay.hits).toBe(1);
    const cluster = new Cluster({ kubeConfig: kubeConfigOf(world.k8s) });
    await cluster.json({ method: "DELETE", path: jobPath(NAMESPACE, name), query: { propagationPolicy } });
    await cluster.close();
    delay.release();
    await expect.poll(() => agent.runs).toBe(2);
    agent.letGo();
    expect(await heir.result).toMatchObject({ exitCode: 0, sessionId: "S-1" });
    expect(heir.notes().join("\n")).not.toContain("Reattaching");
  },
);

test("a Job of another server under the run's name is not deleted, also when one's own create is never answered", async () => {
  const agentId = fresh();
  const runId = `${agentId}-same`;
  const fault = world.k8s.faults.errorRate({ status: 504, match: { verb: "create", resource: "jobs" } });
  const here = run(world, adapterOf(world).adapter, { agentId, overrides: { runId } });
  await expect.poll(() => fault.hits).toBeGreaterThan(0);
  // The other server's request comes between.
  const name = jobNameFor("ac", agentId, runId);
  const template = { spec: { restartPolicy: "Never", containers: [{ name: "agent", image: "agent:1" }] } };
  world.k8s.objects.create("jobs", { metadata: { name, namespace: NAMESPACE }, spec: { suspend: true, template } });
  expect(await here.result).toMatchObject({ errorCode: "k8s_job_create_failed" });
  fault.remove();
  expect(world.k8s.objects.get("jobs", NAMESPACE, name)?.metadata).not.toHaveProperty("deletionTimestamp");
  world.k8s.objects.delete("jobs", NAMESPACE, name);
});

test("this machine's clock an hour ahead of the server's: a run that is adopted has its time, and its Lease holds", async () => {
  const config = { timeoutSec: 3_000 };
  const { agentId, agent } = await leftByDeadServer(config);
  const now = Date.now;
  const ahead = vi.spyOn(Date, "now").mockImplementation(() => now() + 3_600_000);
  try {
    const heir = run(world, adapterOf(world).adapter, { agentId, taskId: "t", config });
    await heir.logged("Reattaching");
    // Longer than the least that a run is given.
    await expect.poll(() => agent.live).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    agent.letGo();
    expect(await heir.result).toMatchObject({ exitCode: 0, timedOut: false });
  } finally {
    ahead.mockRestore();
  }
});
