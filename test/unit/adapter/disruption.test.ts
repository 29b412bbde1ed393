/** Several servers, one disrupted run: its owner goes on with it, and when that dies whoever runs the task next. */
import { KubeConfig } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Cluster } from "../../../src/engine/index.ts";
import { evict } from "../disruptions.ts";
import { ServerProcess } from "./server-process.ts";
import { NAMESPACE, objectsOf, startWorld, type World } from "./world.ts";

let world: World;
let cluster: Cluster;
beforeAll(async () => {
  world = await startWorld({ nodes: 3 });
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(JSON.stringify(world.k8s.kubeconfigFor({ namespace: NAMESPACE })));
  cluster = new Cluster({ kubeConfig });
});
afterAll(async () => {
  await cluster.close();
  await world.stop();
});

const servers: ServerProcess[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.kill();
});

function server(): ServerProcess {
  const each = new ServerProcess(world);
  servers.push(each);
  return each;
}

let agents = 0;
const fresh = () => `cut-off-${++agents}`;
const jobsOf = (agentId: string) => objectsOf(world, "jobs", agentId);

/** Its first process works until it is ended, further ones are done at once. */
function agentOf(agentId: string) {
  const agent = { live: 0, most: 0, jobs: [] as string[] };
  world.agents.set(agentId, async function* (container) {
    agent.live += 1;
    agent.most = Math.max(agent.most, agent.live);
    try {
      yield '{"session":"S-1"}';
      yield '{"progress":"half done"}';
      agent.jobs.push(container.pod.labels["batch.kubernetes.io/job-name"] ?? "");
      if (agent.jobs.length === 1) await container.sleep(24 * 3_600_000);
    } finally {
      agent.live -= 1;
    }
    yield '{"done":true,"ok":true}';
  });
  return agent;
}

async function evictAgent(agentId: string): Promise<void> {
  const podName = objectsOf(world, "pods", agentId)[0]?.metadata.name ?? "";
  await evict({ k8s: world.k8s, cluster, namespace: NAMESPACE, podName, nodeName: "" });
}

/** By the cluster's clock. */
const NEVER_MS = 7 * 24 * 3_600_000;

const worksOn = (agent: { jobs: string[] }) => expect.poll(() => agent.jobs).toHaveLength(1);

test("another server's run of the agent waits while its owner goes on with it", async () => {
  const agentId = fresh();
  const agent = agentOf(agentId);
  const first = server().run({ agentId, runId: `${agentId}-a`, taskId: "t" });
  await worksOn(agent);
  world.k8s.requests.reset();
  const second = server().run({ agentId, runId: `${agentId}-b`, taskId: "u", config: { concurrencyPolicy: "wait" } });
  await expect.poll(() => world.k8s.requests.count("get leases")).toBeGreaterThan(0);
  await evictAgent(agentId);
  expect(await first).toMatchObject({ exitCode: 0, errorCode: null, sessionId: "S-1" });
  expect(await second).toMatchObject({ exitCode: 0, errorCode: null });
  const [base = ""] = agent.jobs;
  expect(agent.jobs.slice(0, 2)).toEqual([base, `${base}-r1`]);
  expect(agent.jobs[2]).not.toContain(base);
  expect(agent).toMatchObject({ most: 1, jobs: { length: 3 } });
});

test("SIGKILL between two Jobs: the next run of the task goes on with it, in another server", async () => {
  const agentId = fresh();
  const agent = agentOf(agentId);
  const owner = server();
  void owner.run({ agentId, runId: `${agentId}-a`, taskId: "t" });
  await worksOn(agent);
  const fault = world.k8s.faults.delayRequests(NEVER_MS, { match: { verb: "create", resource: "jobs" } });
  await evictAgent(agentId);
  await expect.poll(() => fault.hits).toBeGreaterThan(0);
  await owner.kill();
  fault.remove();
  const [job] = jobsOf(agentId);
  expect(job?.metadata.annotations).toHaveProperty(["paperclip.io/next-restart"]);
  const heir = await server().run({ agentId, runId: `${agentId}-b`, taskId: "t" });
  expect(heir).toMatchObject({ exitCode: 0, errorCode: null, sessionId: "S-1" });
  expect(heir.notes).toContain("the run goes on in its session S-1");
  const [base = ""] = agent.jobs;
  expect(agent).toMatchObject({ most: 1, jobs: [base, `${base}-r1`] });
  await world.k8s.objects.until(() => jobsOf(agentId).length === 0);
});

test("SIGKILL after the next Job was created: the next run of the task takes that one over", async () => {
  const agentId = fresh();
  const agent = agentOf(agentId);
  const owner = server();
  void owner.run({ agentId, runId: `${agentId}-a`, taskId: "t" });
  await worksOn(agent);
  const fault = world.k8s.faults.delayRequests(NEVER_MS, { match: { verb: "create", resource: "secrets" } });
  await evictAgent(agentId);
  await expect.poll(() => fault.hits).toBeGreaterThan(0);
  expect(jobsOf(agentId)).toHaveLength(2);
  await owner.kill();
  fault.remove();
  const heir = await server().run({ agentId, runId: `${agentId}-b`, taskId: "t" });
  expect(heir).toMatchObject({ exitCode: 0, errorCode: null, sessionId: "S-1" });
  expect(agent).toMatchObject({ most: 1, jobs: { length: 2 } });
  await world.k8s.objects.until(() => jobsOf(agentId).length === 0);
});
