/** What processes leave behind that die, and what only looks like it: a Secret whose creation takes long. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { processState } from "../../../src/adapter/start/process-state.ts";
import type { StoredObject } from "../../../src/embedded/index.ts";
import { adapterOf, missesSecret, NAMESPACE, objectsOf, type Recorded, run, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

const env = { GITHUB_TOKEN: "ghp_half-created-0001" };

test("a Secret that takes longer than configErrorGraceSec costs nothing: the kubelet waits for its volume", async () => {
  const agentId = "slow-secret";
  const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "create", resource: "secrets" } });
  const each = run(world, adapterOf(world).adapter, { agentId, config: { env, configErrorGraceSec: 1 } });
  await until(() => objectsOf(world, "jobs", agentId).some(({ metadata }) => waits(metadata.name)));
  await expect.poll(() => fault.hits).toBe(1);
  // Longer than the grace, from here on; it may be still longer.
  await sleep(2_000);
  fault.release();
  expect(await each.result).toMatchObject({ exitCode: 0 });
});

test("a Job whose deletion failed after its result was handed out is deleted with the next sweep", async () => {
  const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "delete", resource: "jobs" } });
  const left = run(world, adapterOf(world).adapter, { agentId: "undeleted" });
  expect(await left.result).toMatchObject({ exitCode: 0 });
  fault.remove();
  expect(left.notes().join("\n")).toContain("Cleaning up after Job");
  // A Job whose end is only being written is left to the sweep after; the run in between lets the cache see it.
  await until(() => JSON.stringify(objectsOf(world, "jobs", "undeleted")[0]?.status).includes('"Complete"'));
  expect(await run(world, adapterOf(world).adapter).result).toMatchObject({ exitCode: 0 });
  const sweeper = sweeps("undeleted-sweeper");
  await until(() => objectsOf(world, "jobs", "undeleted").length === 0);
  await sweeper.end();
});

const until = (predicate: () => boolean) => world.k8s.objects.until(predicate);
const waits = (name: string) => missesSecret(world, `${name}-prompt`);
/** By the cluster's clock, which goes twenty times as fast: longer ago than a process that lives takes. */
const old = () => new Date(world.k8s.clock.now() - 16 * 60_000).toISOString();
/** An hour ahead, so that it stays young however long a test takes. */
const young = () => new Date(world.k8s.clock.now() + 3_600_000).toISOString();

/** A run of another agent, which works until its sweep is through: what is not through by then is left to the next run. */
function sweeps(agentId: string): Recorded & { swept(): Promise<void>; end(): Promise<void> } {
  processState().swept.clear();
  world.k8s.requests.reset();
  const go = Promise.withResolvers<void>();
  world.agents.set(agentId, async function* () {
    yield "works";
    await go.promise;
    yield '{"done":true,"ok":true}';
  });
  const each = run(world, adapterOf(world).adapter, { agentId });
  return {
    ...each,
    // Leases are what it looks at last.
    swept: () => expect.poll(() => world.k8s.requests.count("list leases")).toBeGreaterThan(0),
    end: async () => {
      go.resolve();
      expect(await each.result).toMatchObject({ exitCode: 0 });
    },
  };
}

describe("a Job that nobody follows", () => {
  let manifest: StoredObject;
  let data: unknown;
  beforeAll(async () => {
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (type === "ADDED" && resource === "jobs") manifest = structuredClone(object);
      if (type === "ADDED" && resource === "secrets") data = structuredClone(object.data);
    });
    await run(world, adapterOf(world).adapter, { config: { env } }).result;
    stop();
  });

  /** As its process left it. */
  function leave(
    name: string,
    {
      created = old(),
      change = (_: StoredObject) => undefined as unknown,
    }: { created?: string; change?: (draft: StoredObject) => unknown } = {},
  ): void {
    const { metadata } = manifest;
    // In the template too, where the Secret is named.
    const copy = JSON.parse(JSON.stringify(manifest).replaceAll(metadata.name, name)) as StoredObject;
    const labels = { ...metadata.labels, "paperclip.io/agent-id": name, "paperclip.io/run-id": name };
    const spec = copy.spec as {
      selector?: unknown;
      ttlSecondsAfterFinished: number;
      template: { metadata: { labels: unknown } };
    };
    delete spec.selector;
    spec.ttlSecondsAfterFinished = 300;
    spec.template.metadata.labels = labels;
    const annotations = { ...metadata.annotations };
    const draft = {
      ...copy,
      status: {},
      metadata: { name, namespace: NAMESPACE, labels, annotations },
    } as unknown as StoredObject;
    change(draft);
    world.k8s.objects.create("jobs", draft);
    world.k8s.objects.update("jobs", NAMESPACE, name, ({ metadata }) => {
      metadata.creationTimestamp = created;
    });
  }
  const podOf = (name: string) =>
    objectsOf(world, "pods", name)[0]?.status as
      | { phase?: string; containerStatuses?: { state?: { waiting?: { reason: string }; running?: object } }[] }
      | undefined;
  const giveSecret = (name: string) =>
    world.k8s.objects.create("secrets", {
      metadata: { name: `${name}-prompt`, namespace: NAMESPACE },
      data,
    });
  test("without its Secret is ended by the next run of any agent; what is young, lives, has ended or waits for something else stays", async () => {
    leave("half-old");
    leave("half-young", { created: young() });
    leave("half-of-old-adapter", {
      change: ({ metadata }) => Reflect.deleteProperty(metadata.annotations ?? {}, "paperclip.io/working-dir"),
    });
    // Its agent runs; somebody has deleted the Secret since.
    world.agents.set("half-alive", async function* (container) {
      yield "works";
      await container.sleep(3_600_000);
    });
    giveSecret("half-alive");
    leave("half-alive");
    // Its Secret is there, its pod cannot be placed.
    giveSecret("half-waiting");
    leave("half-waiting", {
      change: ({ spec }) =>
        Object.assign((spec as { template: { spec: object } }).template.spec, { nodeSelector: { disk: "none" } }),
    });
    // It needs no Secret, and its pod cannot be placed.
    leave("half-without", {
      change: ({ spec }) => {
        const pod = (
          spec as {
            template: { spec: { nodeSelector?: object; volumes?: object[]; containers: { env?: object[] }[] } };
          }
        ).template.spec;
        pod.nodeSelector = { disk: "none" };
        pod.volumes = [];
        for (const container of pod.containers) Object.assign(container, { env: [], volumeMounts: [] });
      },
    });
    // Kept after its end, its Secret deleted.
    giveSecret("half-kept");
    leave("half-kept", {
      change: ({ spec }) => Reflect.deleteProperty(spec as object, "ttlSecondsAfterFinished"),
    });
    await until(
      () =>
        waits("half-old") &&
        waits("half-young") &&
        podOf("half-alive")?.containerStatuses?.[0]?.state?.running !== undefined &&
        podOf("half-kept")?.phase === "Succeeded",
    );
    world.k8s.objects.delete("secrets", NAMESPACE, "half-alive-prompt");
    world.k8s.objects.delete("secrets", NAMESPACE, "half-kept-prompt");
    // Its pod, too, is gone by now (terminated-pod-gc-threshold).
    world.k8s.objects.delete("pods", NAMESPACE, objectsOf(world, "pods", "half-kept")[0]?.metadata.name ?? "");
    await until(() => podOf("half-kept") === undefined);

    const sweeper = sweeps("half-sweeper");
    await sweeper.swept();
    await sweeper.end();
    await until(() => objectsOf(world, "jobs", "half-old").length === 0 && podOf("half-old") === undefined);
    const left = world.k8s.objects.list("jobs", NAMESPACE).map(({ metadata }) => metadata.name);
    expect(left.filter((name) => name.startsWith("half-")).sort()).toEqual([
      "half-alive",
      "half-kept",
      "half-of-old-adapter",
      "half-waiting",
      "half-without",
      "half-young",
    ]);
    const notes = sweeper.notes().filter((note) => note.includes("Deleted"));
    expect(notes).toEqual([
      "[paperclip] Deleted Job half-old: its process ended before it created Secret half-old-prompt, so its agent could never start",
    ]);
    for (const name of left.filter((each) => each.startsWith("half-")))
      world.k8s.objects.delete("jobs", NAMESPACE, name);
  });

  test("is ended also where Secrets cannot be read: a dry run of its create tells, and stores nothing", async () => {
    leave("untold-half");
    giveSecret("untold-waiting");
    leave("untold-waiting", {
      change: ({ spec }) =>
        Object.assign((spec as { template: { spec: object } }).template.spec, { nodeSelector: { disk: "none" } }),
    });
    const revoked = world.k8s.authorization.revoke({ apiGroups: [""], resources: ["secrets"], verbs: ["get", "list"] });
    const sweeper = sweeps("untold-sweeper");
    await sweeper.swept();
    await sweeper.end();
    revoked.remove();
    await until(() => objectsOf(world, "jobs", "untold-half").length === 0);
    expect(revoked.hits).toBeGreaterThan(1);
    expect(objectsOf(world, "jobs", "untold-waiting")).toHaveLength(1);
    expect(world.k8s.objects.get("secrets", NAMESPACE, "untold-half-prompt")).toBeUndefined();
    world.k8s.objects.delete("jobs", NAMESPACE, "untold-waiting");
  });

  test("whose agent has ended is ended once its TTL has passed since then, though another container keeps its pod", async () => {
    world.k8s.addProgram("mesh", async (container) => {
      await container.sleep(100 * 3_600_000, { interruptible: true }).catch(() => undefined);
      return 0;
    });
    const withMesh = ({ spec }: StoredObject) =>
      (spec as { template: { spec: { containers: object[] } } }).template.spec.containers.push({
        name: "mesh",
        image: "mesh:1",
      });
    const agents: Record<string, { ended?: string; change?: (draft: StoredObject) => unknown }> = {
      "ended-old": { ended: old() },
      "ended-now": { ended: young() },
      "ended-to-be-kept": {
        ended: old(),
        change: ({ spec }) => Reflect.deleteProperty(spec as object, "ttlSecondsAfterFinished"),
      },
      // Kept (retainJobs) until its TTL.
      "ended-kept": {
        ended: old(),
        change: ({ metadata: { annotations = {} } }) => {
          annotations["paperclip.io/collected-at"] = old();
        },
      },
      "ended-ttl": {
        ended: old(),
        change: ({ spec }) => Object.assign(spec as object, { ttlSecondsAfterFinished: 86_400 }),
      },
      "ended-adopted": {
        ended: old(),
        change: ({ metadata: { annotations = {} } }) => {
          annotations["paperclip.io/adopted-at"] = young();
        },
      },
      "ended-of-old-adapter": {
        ended: old(),
        change: ({ metadata }) => Reflect.deleteProperty(metadata.annotations ?? {}, "paperclip.io/working-dir"),
      },
      "ended-not": {},
    };
    const agentOf = (name: string) => objectsOf(world, "pods", name)[0]?.status as AgentStatus | undefined;
    for (const [name, { ended, change }] of Object.entries(agents)) {
      world.agents.set(name, async function* (container) {
        yield "works";
        if (ended === undefined) await container.sleep(100 * 3_600_000);
        return 3;
      });
      giveSecret(name);
      leave(name, {
        change: (draft) => {
          withMesh(draft);
          change?.(draft);
        },
      });
    }
    // Its first pod has ended, its second runs.
    let pods = 0;
    world.agents.set("ended-again", async function* (container) {
      yield "works";
      if (++pods === 1) return 3;
      await container.sleep(100 * 3_600_000);
    });
    giveSecret("ended-again");
    leave("ended-again", { change: ({ spec }) => Object.assign(spec as object, { backoffLimit: 1 }) });
    await until(() => pods === 2);
    const stateOf = (name: string) =>
      agentOf(name)?.containerStatuses?.find((each) => each.name === "agent")?.state ?? {};
    await until(() =>
      Object.entries(agents).every(([name, { ended }]) =>
        ended === undefined ? stateOf(name).running !== undefined : stateOf(name).terminated !== undefined,
      ),
    );
    for (const [name, ended] of [
      ...Object.entries(agents).map(([name, { ended }]) => [name, ended]),
      ["ended-again", old()],
    ]) {
      for (const { metadata } of objectsOf(world, "pods", name ?? "")) {
        world.k8s.objects.update("pods", NAMESPACE, metadata.name, ({ status }) => {
          const agent = (status as AgentStatus).containerStatuses?.find((each) => each.name === "agent");
          if (agent?.state?.terminated !== undefined) agent.state.terminated.finishedAt = ended ?? "";
        });
      }
    }

    const sweeper = sweeps("ended-sweeper");
    await sweeper.swept();
    await sweeper.end();
    await until(() =>
      ["ended-old", "ended-kept"].every(
        (name) => [...objectsOf(world, "jobs", name), ...objectsOf(world, "pods", name)].length === 0,
      ),
    );
    const left = world.k8s.objects.list("jobs", NAMESPACE).map(({ metadata }) => metadata.name);
    const mine = left.filter((name) => name.startsWith("ended-")).sort();
    const others = Object.keys(agents).filter((name) => name !== "ended-old" && name !== "ended-kept");
    expect(mine).toEqual(["ended-again", ...others].sort());
    expect(
      sweeper
        .notes()
        .filter((note) => note.includes("Deleted"))
        .sort(),
    ).toEqual([
      "[paperclip] Deleted Job ended-kept: its agent has ended, and another container kept its pod beyond its TTL",
      "[paperclip] Deleted Job ended-old: its agent has ended, and another container kept its pod beyond its TTL",
    ]);
    for (const name of mine) world.k8s.objects.delete("jobs", NAMESPACE, name);
  });

  test("is left alone when another process has changed it meanwhile", async () => {
    leave("half-adopted");
    await until(() => waits("half-adopted"));
    // It has looked at the Job by the time that it asks for the Secret.
    const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "get", resource: "secrets" } });
    const sweeper = sweeps("half-sweeper-2");
    await expect.poll(() => fault.hits).toBe(1);
    world.k8s.objects.update("jobs", NAMESPACE, "half-adopted", ({ metadata }) => {
      metadata.labels = { ...metadata.labels, "paperclip.io/run-id": "the-adopter" };
    });
    fault.release();
    await sweeper.swept();
    await sweeper.end();
    expect(world.k8s.requests.count("delete jobs")).toBe(2);
    expect(objectsOf(world, "jobs", "half-adopted")).toHaveLength(1);
  });
});

interface AgentStatus {
  containerStatuses?: { name: string; state?: { running?: object; terminated?: { finishedAt: string } } }[];
}
