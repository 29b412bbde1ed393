/** What bounds the restarts of a disrupted run, and what comes between two of its Jobs. */
import { describe, expect, test } from "vitest";
import { crash, NAMESPACE, type Recorded } from "../adapter/world.ts";
import { DISRUPTIONS, evict } from "../disruptions.ts";
import {
  type Agent,
  InterruptedWorld,
  init,
  printsAndEnds,
  printsAndWorks,
  result,
  SESSION,
  said,
  toolUse,
} from "./interrupted-agent.ts";

const cluster = InterruptedWorld.ofThisFile();
const works = printsAndWorks(init(), said("I look."), toolUse("make"));
const goneOn = printsAndEnds(init(), said("I go on."), result("Done."));
const objects = () => cluster.world.k8s.objects;

/** Resolves when so many processes of the agent have begun and the latest one runs. */
async function running(agent: Agent, count: number): Promise<void> {
  await objects().until(() => agent.starts.length === count && cluster.isRunning(agent));
  await agent.printed(count);
}

async function evictOne(agent: Agent, count: number): Promise<void> {
  await running(agent, count);
  await evict(cluster.victim(agent));
}

const jobNames = (agent: Agent) => cluster.jobs(agent).map(({ metadata }) => metadata.name);
const annotationOf = (agent: Agent, key: string) =>
  cluster
    .jobs(agent)
    .map(({ metadata }) => metadata.annotations?.[key])
    .find((each) => each !== undefined);
const ended = (each: Recorded) => each.notes().filter((note) => note.includes("was ended from outside"));

describe("bounds", () => {
  test("three times in a row, each a back-off longer than the one before, then it ends as it was cut off", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent, {}, { restartBackoffMs: 30 });
    for (const count of [1, 2, 3, 4]) await evictOne(agent, count);
    const got = await each.result;
    expect(got).toMatchObject({ errorCode: "claude_truncated" });
    expect(agent).toMatchObject({ most: 1 });
    const [base] = agent.starts.map(({ jobName }) => jobName);
    expect(agent.starts.map(({ jobName }) => jobName)).toEqual([base, `${base}-r1`, `${base}-r2`, `${base}-r3`]);
    expect(ended(each)).toHaveLength(4);
    expect(each.notes().filter((note) => / in 1 s$/.test(note))).toHaveLength(2);
    expect(each.notes().join()).toContain("was ended from outside, and the run ends: it was restarted 3 times");
    expect(each.output()).toHaveLength(12);
    await objects().until(() => jobNames(agent).length === 0);
  });

  test("maxDisruptionRestarts 0: not at all", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent, { config: { maxDisruptionRestarts: 0 } });
    await evictOne(agent, 1);
    expect(await each.result).toMatchObject({ errorCode: "claude_truncated" });
    expect(agent.starts).toHaveLength(1);
  });

  test("timeoutSec is of the run as a whole: the next Job has what is left of it", async () => {
    const agent = cluster.agent(works, goneOn);
    const each = cluster.execute(agent, { config: { timeoutSec: 7_200 } });
    await running(agent, 1);
    const limits: unknown[] = [];
    const stop = objects().onChange(({ type, resource, object }) => {
      if (type === "ADDED" && resource === "jobs")
        limits.push((object.spec as { activeDeadlineSeconds?: number }).activeDeadlineSeconds);
    });
    // Of the run's time, which is the cluster's.
    await cluster.world.k8s.clock.sleep(20_000);
    await evict(cluster.victim(agent));
    expect(await each.result).toMatchObject({ exitCode: 0 });
    stop();
    expect(limits).toHaveLength(1);
    expect(limits[0]).toBeLessThan(7_191);
    expect(limits[0]).toBeGreaterThan(5_000);
  });

  test("no volume keeps the session", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent, { config: { env: { CLAUDE_CONFIG_DIR: "/tmp/claude" } } });
    await evictOne(agent, 1);
    expect(await each.result).toMatchObject({ errorCode: "claude_truncated" });
    expect(each.notes().join()).toContain("no volume keeps its session");
    expect(agent.starts).toHaveLength(1);
  });

  test("the session is on a claim of the agent's configuration", async () => {
    objects().create("persistentvolumeclaims", { metadata: { name: "sessions", namespace: NAMESPACE }, spec: {} });
    const agent = cluster.agent(works, goneOn);
    const config = {
      workspaceVolumeClaim: "sessions",
      workspaceMountPath: "/workspace",
      env: { CLAUDE_CONFIG_DIR: "/workspace/.claude" },
    };
    const each = cluster.execute(agent, { config });
    await evictOne(agent, 1);
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
  });

  test("the agent's own memory limit is its failure, which names the limit", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent, { config: { "resources.limits.memory": "3Gi" } });
    await running(agent, 1);
    const { podName } = cluster.victim(agent);
    cluster.world.k8s.oomKill(NAMESPACE, podName, "claude");
    const got = await each.result;
    expect(got.errorMessage).toContain("OOMKilled");
    expect(got.errorMessage).toContain("memory limit 3Gi");
    expect(agent.starts).toHaveLength(1);
  });

  test("a person's deletion of the pod is none", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent);
    await running(agent, 1);
    objects().delete("pods", NAMESPACE, cluster.victim(agent).podName);
    expect((await each.result).errorMessage).toContain("PodDeleted");
    expect(agent.starts).toHaveLength(1);
  });

  test("a suspension, as Kueue does it, is waited for and is no restart of ours", async () => {
    const agent = cluster.agent(works, goneOn);
    const each = cluster.execute(agent);
    await running(agent, 1);
    const [name = ""] = jobNames(agent);
    const suspend = (value: boolean) =>
      objects().update("jobs", NAMESPACE, name, ({ spec }) => Object.assign(spec as object, { suspend: value }));
    suspend(true);
    await objects().until(() => cluster.pods(agent).length === 0);
    suspend(false);
    expect(await each.result).toMatchObject({ exitCode: 0 });
    expect(ended(each)).toEqual([]);
    expect(agent.starts.map(({ jobName }) => jobName)).toEqual([name, name]);
  });
});

describe("between two Jobs", () => {
  /** Disrupted for the second time for the same reason, it waits for an hour. */
  const waiting = async (agent: Agent, options: Parameters<InterruptedWorld["execute"]>[1] = {}): Promise<Recorded> => {
    const each = cluster.execute(agent, options, { restartBackoffMs: 3_600_000 });
    await evictOne(agent, 1);
    await evictOne(agent, 2);
    await each.logged(/the run goes on in its session \S+ in 60 s/);
    await objects().until(() => annotationOf(agent, "paperclip.io/next-restart") !== undefined);
    return each;
  };

  test("a Stop ends it: acknowledged, the Job is deleted, session and cost are kept", async () => {
    const agent = cluster.agent(works);
    const each = await waiting(agent);
    each.abort.abort();
    expect(await each.result).toMatchObject({
      errorCode: "cancelled",
      sessionId: SESSION,
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(jobNames(agent)).toEqual([]);
    expect(agent.starts).toHaveLength(2);
  });

  test("a Stop while the next Job is being created ends both", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent);
    await running(agent, 1);
    const fault = cluster.world.k8s.faults.delayRequests(3_600_000, { match: { verb: "create", resource: "jobs" } });
    await evict(cluster.victim(agent));
    await expect.poll(() => fault.hits).toBeGreaterThan(0);
    each.abort.abort();
    fault.release();
    expect(await each.result).toMatchObject({ errorCode: "cancelled", sessionId: SESSION });
    await objects().until(() => jobNames(agent).length === 0);
    expect(agent.starts).toHaveLength(1);
  });

  test("its process dies: the next run of the task goes on with it, in the next Job", async () => {
    const agent = cluster.agent(works, works, goneOn);
    expect(await crash(await waiting(agent))).toMatchObject({ errorCode: "cancelled" });
    const heir = cluster.execute(agent);
    expect(await heir.result).toMatchObject({ exitCode: 0, summary: "Done.", sessionId: SESSION });
    const [base] = agent.starts.map(({ jobName }) => jobName);
    expect(agent.starts.map(({ jobName }) => jobName)).toEqual([base, `${base}-r1`, `${base}-r2`]);
    expect(agent.starts[2]?.command).toContain(`'--resume' '${SESSION}'`);
    expect(agent.most).toBe(1);
    expect(heir.output()).toHaveLength(3);
    await objects().until(() => jobNames(agent).length === 0);
  });

  test("somebody deletes the Job: the run ends", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent, {}, { restartBackoffMs: 1_000 });
    await evictOne(agent, 1);
    await evictOne(agent, 2);
    await each.logged(/the run goes on in its session \S+ in 1 s/);
    // Whether the watch tells of it in time is left open: it does not.
    const stall = cluster.world.k8s.faults.stallWatches(undefined, { resource: "jobs" });
    for (const name of jobNames(agent)) objects().delete("jobs", NAMESPACE, name);
    await each.logged("could not go on in another Job");
    stall.release();
    expect((await each.result).errorMessage).toBeTruthy();
    expect(each.notes().join()).toContain("could not go on in another Job");
    expect(agent.starts).toHaveLength(2);
  });

  test("another run of the agent waits for its end, and not between", async () => {
    const agent = cluster.agent(works, works, goneOn);
    const first = cluster.execute(agent, { taskId: "task-1" }, { restartBackoffMs: 500 });
    await running(agent, 1);
    const second = cluster.execute(agent, { taskId: "task-2" });
    await second.logged("Waiting for");
    await evict(cluster.victim(agent));
    await evictOne(agent, 2);
    expect(await first.result).toMatchObject({ exitCode: 0, summary: "Done." });
    const before = agent.starts.length;
    expect(await second.result).toMatchObject({ exitCode: 0 });
    expect([before, agent.starts.length, agent.most]).toEqual([3, 4, 1]);
    expect(agent.starts[3]?.jobName).not.toMatch(/-r\d+$/);
  });

  test("the API server is away: it goes on when it is back", async () => {
    const agent = cluster.agent(works, goneOn);
    const each = cluster.execute(agent, { config: { apiOutageSec: 60 } });
    await running(agent, 1);
    const fault = cluster.world.k8s.faults.errorRate({
      status: 503,
      match: { verb: ["create", "patch"], resource: "jobs" },
    });
    await evict(cluster.victim(agent));
    await each.logged("The API server is away");
    expect(fault.hits).toBeGreaterThan(0);
    fault.remove();
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
  });

  test("the next Job is refused: the run ends as it was cut off, and says why", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent);
    await running(agent, 1);
    const fault = cluster.world.k8s.faults.errorRate({ status: 403, match: { verb: "create", resource: "jobs" } });
    await evict(cluster.victim(agent));
    expect(await each.result).toMatchObject({ errorCode: "claude_truncated" });
    expect(fault.hits).toBeGreaterThan(0);
    fault.remove();
    expect(each.notes().join()).toMatch(/could not go on in another Job: .*could not be created/);
    expect(jobNames(agent)).toEqual([]);
  });
});

describe("what stays", () => {
  test("retainJobs keeps each Job, and no later run collects one", async () => {
    const agent = cluster.agent(works, goneOn);
    const each = cluster.execute(agent, { config: { retainJobs: true } });
    await evictOne(agent, 1);
    expect(await each.result).toMatchObject({ exitCode: 0 });
    expect(jobNames(agent)).toHaveLength(2);
    for (const { metadata } of cluster.jobs(agent))
      expect(metadata.annotations).toHaveProperty(["paperclip.io/collected-at"]);
    const later = cluster.execute(agent, { config: { retainJobs: true } });
    expect(await later.result).toMatchObject({ exitCode: 0 });
    expect(agent.starts).toHaveLength(3);
  });

  test("of a node that is lost, a Stop of the next Job is acknowledged only when the first pod is deleted", async () => {
    const agent = cluster.agent(works, works);
    const each = cluster.execute(agent);
    await each.logged('"tool_use"');
    const victim = cluster.victim(agent);
    await DISRUPTIONS["node lost"]?.[1](victim);
    await running(agent, 2);
    each.abort.abort();
    const got = await each.result;
    expect(got).toMatchObject({ errorCode: "cancelled", sessionId: SESSION });
    expect(got.resultJson ?? {}).not.toHaveProperty("executionCancellation");
    cluster.world.k8s.nodes.remove(victim.nodeName);
    await objects().until(() => jobNames(agent).length === 0);
  });

  test("of a node that is lost before anything of its log was read nothing is known, and the run ends", async () => {
    const agent = cluster.agent(works);
    const each = cluster.execute(agent);
    const fault = cluster.world.k8s.faults.failLogs({ kind: "unreachable" });
    await running(agent, 1);
    await expect.poll(() => fault.hits).toBeGreaterThan(0);
    await DISRUPTIONS["node lost"]?.[1](cluster.victim(agent));
    const got = await each.result;
    fault.remove();
    expect(got).toMatchObject({ errorCode: "k8s_job_deleted_externally" });
    expect(each.notes().join()).toContain("it may have done work, and its session is not known");
    expect(agent.starts).toHaveLength(1);
  });
});
