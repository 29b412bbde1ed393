/** The guard while the watches are open and silent: what it must not miss is what the cache was not told. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadKubeConfig } from "../../../src/adapter/kubeconfig.ts";
import { Cluster } from "../../../src/engine/index.ts";
import { adapterOf, NAMESPACE, run, startWorld, TYPE, type World } from "./world.ts";

let world: World;
beforeEach(async () => {
  world = await startWorld();
});
afterEach(() => world.stop());

const agentId = "agent-behind-a-stalled-watch";

/** A run of the agent that another process starts; resolves when its container runs. Deaf: it lives through its grace period. */
async function startElsewhere(name: string): Promise<void> {
  const labels = {
    "paperclip.io/adapter-type": TYPE,
    "paperclip.io/agent-id": agentId,
    "paperclip.io/run-id": "run-elsewhere",
    "paperclip.io/task-id": "task-1",
  };
  const { promise: runs, resolve } = Promise.withResolvers<void>();
  world.agents.set(agentId, async function* (container) {
    resolve();
    await container.sleep(3_600_000);
    yield "never";
  });
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
  await runs;
}

async function deleteJob(name: string, propagationPolicy: "Foreground" | "Background"): Promise<void> {
  const cluster = new Cluster({ kubeConfig: loadKubeConfig(world.kubeconfig, world.env) });
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
    const { adapter } = adapterOf(world);
    await run(world, adapter).result;
    const before = world.k8s.requests.snapshot();
    await run(world, adapter).result;
    const after = world.k8s.requests.snapshot();
    const lists = (counts: typeof before) => counts.byVerb["list pods"] ?? 0;
    expect(lists(after)).toBe(lists(before));
  });
});
