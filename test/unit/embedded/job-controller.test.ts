import { afterEach, describe, expect, it } from "vitest";
import type { ControllersOptions } from "../../../src/embedded/controllers/controllers.ts";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import { condition, jobOf } from "../../../src/embedded/objects/workloads.ts";
import { namespace, SteppedCluster } from "./stepped-cluster.ts";

let cluster: SteppedCluster;
function start(programs: Record<string, ScriptedProgram>, options: Partial<ControllersOptions> = {}): SteppedCluster {
  cluster = new SteppedCluster({ ...options, programs });
  return cluster;
}
afterEach(() => cluster.stop());

const succeeds: ScriptedProgram = async function* (container) {
  yield "working";
  await container.sleep(1000);
};
const fails: ScriptedProgram = async () => 1;
const forever: ScriptedProgram = async (container) => container.sleep(1e9);

describe("retries", () => {
  it("wait 10 s, then twice as long, and end with the backoff limit", async () => {
    start({ main: fails });
    cluster.createJob({}, { backoffLimit: 2 });
    const created: number[] = [];
    cluster.store.subscribe(({ resource, type }) => {
      if (resource === "pods" && type === "ADDED") created.push(cluster.clock.now());
    });
    expect(await cluster.finished()).toMatchObject({ type: "Failed", reason: "BackoffLimitExceeded" });
    expect(created).toHaveLength(3);
    const [first = 0, second = 0, third = 0] = created;
    // From the container's end on, which is up to 2 s after the pod's birth.
    expect(second - first).toBeGreaterThan(10_000);
    expect(second - first).toBeLessThan(14_000);
    expect(third - second).toBeGreaterThan(20_000);
    expect(third - second).toBeLessThan(24_000);
    expect(cluster.job().status).toMatchObject({ failed: 3, uncountedTerminatedPods: {} });
    expect(cluster.events("Job")).toContain("BackoffLimitExceeded: Job has reached the specified backoff limit");
  });

  it("can succeed in the end", async () => {
    let attempts = 0;
    start({ main: async () => (++attempts < 2 ? 1 : 0) });
    cluster.createJob({}, { backoffLimit: 3 });
    expect((await cluster.finished()).type).toBe("Complete");
    expect(cluster.job().status).toMatchObject({ failed: 1, succeeded: 1 });
  });

  it("count container restarts under OnFailure", async () => {
    start({ main: fails });
    cluster.createJob({ restartPolicy: "OnFailure" }, { backoffLimit: 1 });
    expect(await cluster.finished()).toMatchObject({ type: "Failed", reason: "BackoffLimitExceeded" });
  });
});

describe("parallelism", () => {
  it("runs so many at once until the completions are reached", async () => {
    let running = 0;
    let most = 0;
    start({
      main: async (container) => {
        most = Math.max(most, ++running);
        await container.sleep(5000);
        running--;
      },
    });
    cluster.createJob({}, { parallelism: 2, completions: 5 });
    expect((await cluster.finished()).type).toBe("Complete");
    expect(most).toBe(2);
    expect(cluster.job().status).toMatchObject({ succeeded: 5 });
    expect(cluster.pods()).toHaveLength(5);
  });
});

describe("deadline", () => {
  it("of a pod that never got a node fails the Job as well", async () => {
    start({ main: forever });
    cluster.createJob({ nodeSelector: { disk: "ssd" } }, { activeDeadlineSeconds: 5 });
    expect(await cluster.finished()).toMatchObject({ type: "Failed", reason: "DeadlineExceeded" });
    expect(cluster.pods()).toHaveLength(0);
    expect(cluster.job().status).toMatchObject({ failed: 1, terminating: 0 });
    expect(cluster.events("Job")).toContain("DeadlineExceeded: Job was active longer than specified deadline");
  });
});

describe("suspension", () => {
  it("holds a Job back until it is resumed", async () => {
    start({ main: succeeds });
    cluster.createJob({}, { suspend: true });
    await cluster.advance(5000);
    expect(cluster.pods()).toHaveLength(0);
    expect(cluster.job().status?.startTime).toBeUndefined();
    expect(condition(cluster.job().status?.conditions, "Suspended")).toMatchObject({
      status: "True",
      reason: "JobSuspended",
      message: "Job suspended",
    });
    cluster.store.update("jobs", namespace, "job", (job) => {
      jobOf(job).spec.suspend = false;
    });
    expect((await cluster.finished()).type).toBe("Complete");
    expect(condition(cluster.job().status?.conditions, "Suspended")).toMatchObject({
      status: "False",
      reason: "JobResumed",
    });
  });

  it("ends a running pod without counting it", async () => {
    start({ main: forever });
    cluster.createJob({}, { suspend: false });
    await cluster.running();
    cluster.store.update("jobs", namespace, "job", (job) => {
      jobOf(job).spec.suspend = true;
    });
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
    await cluster.advance(3000);
    expect(cluster.job().status?.failed).toBeUndefined();
    expect(cluster.job().status).toMatchObject({ terminating: 0 });
    expect(condition(cluster.job().status?.conditions, "Failed")).toBeUndefined();
  });
});

describe("deletion", () => {
  it("in the foreground keeps the Job until its running pod is gone", async () => {
    start({ main: forever });
    cluster.createJob({});
    await cluster.running();
    cluster.store.delete("jobs", namespace, "job", { propagationPolicy: "Foreground" });
    await cluster.advance(1500);
    expect(cluster.hasJob()).toBe(true);
    expect(cluster.pod().metadata.deletionTimestamp).toBeDefined();
    await cluster.until("the Job is gone", () => !cluster.hasJob());
    expect(cluster.pods()).toHaveLength(0);
  });

  it("takes the Secrets along that the Job owns, and leaves others", async () => {
    start({ main: forever });
    const job = cluster.createJob({});
    const owner = { apiVersion: "batch/v1", kind: "Job", name: "job", uid: job.metadata.uid };
    cluster.store.create("secrets", { metadata: { name: "owned", namespace, ownerReferences: [owner] } });
    cluster.store.create("secrets", { metadata: { name: "free", namespace } });
    await cluster.running();
    cluster.store.delete("jobs", namespace, "job");
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
    expect(cluster.store.list("secrets", namespace).map(({ metadata }) => metadata.name)).toEqual(["free"]);
  });

  it("collects what names an owner that is not there", async () => {
    start({});
    const gone = { apiVersion: "batch/v1", kind: "Job", name: "gone", uid: "11111111-1111-4111-8111-111111111111" };
    const other = {
      apiVersion: "example.com/v1",
      kind: "Thing",
      name: "t",
      uid: "22222222-2222-4222-8222-222222222222",
    };
    cluster.store.create("secrets", { metadata: { name: "lost", namespace, ownerReferences: [gone] } });
    cluster.store.create("secrets", { metadata: { name: "unknown-kind", namespace, ownerReferences: [other] } });
    await cluster.advance(1000);
    expect(cluster.store.list("secrets", namespace).map(({ metadata }) => metadata.name)).toEqual(["unknown-kind"]);
  });

  it("with Orphan leaves the pod running", async () => {
    start({ main: forever });
    cluster.createJob({});
    await cluster.running();
    cluster.store.delete("jobs", namespace, "job", { propagationPolicy: "Orphan" });
    await cluster.advance(10_000);
    expect(cluster.pod().metadata.ownerReferences).toBeUndefined();
    expect(cluster.pod().status.phase).toBe("Running");
  });

  it("by TTL comes so many seconds after the end, also of a Job that failed", async () => {
    start({ main: fails });
    cluster.createJob({}, { ttlSecondsAfterFinished: 30 });
    await cluster.finished();
    await cluster.advance(28_000);
    expect(cluster.hasJob()).toBe(true);
    await cluster.advance(3000);
    expect(cluster.hasJob()).toBe(false);
    expect(cluster.pods()).toHaveLength(0);
  });

  it("of the namespace takes everything", async () => {
    start({ main: forever });
    cluster.createJob({});
    await cluster.running();
    cluster.store.delete("namespaces", undefined, namespace);
    await cluster.until("the namespace is gone", () => cluster.store.list("namespaces").length === 0);
  });
});

describe("scheduling", () => {
  const scheduled = () => condition(cluster.pods()[0]?.status.conditions, "PodScheduled");

  it("says what is missing, and looks again when it is there: a claim", async () => {
    start({ main: succeeds });
    cluster.createJob({ volumes: [{ name: "d", persistentVolumeClaim: { claimName: "data" } }] });
    await cluster.advance(1000);
    expect(scheduled()).toMatchObject({ status: "False", reason: "Unschedulable" });
    expect(scheduled()?.message).toMatch(/^0\/1 nodes are available: persistentvolumeclaim "data" not found\. /);
    expect(cluster.events("Pod").at(-1)).toMatch(/^FailedScheduling: 0\/1 nodes/);
    cluster.store.create("persistentvolumeclaims", {
      metadata: { name: "data", namespace },
      spec: { accessModes: ["ReadWriteMany"], resources: { requests: { storage: "1Gi" } } },
    });
    expect((await cluster.finished()).type).toBe("Complete");
  });

  it("a node with the label, untainted, not cordoned", async () => {
    start(
      { main: succeeds },
      {
        nodes: [
          { name: "plain" },
          { name: "tainted", labels: { disk: "ssd" }, taints: [{ key: "gpu", value: "yes", effect: "NoSchedule" }] },
          { name: "cordoned", labels: { disk: "ssd" } },
        ],
      },
    );
    cluster.store.update("nodes", undefined, "cordoned", (node) => {
      node.spec = { unschedulable: true };
    });
    cluster.createJob({ nodeSelector: { disk: "ssd" } });
    await cluster.advance(1000);
    expect(scheduled()?.message).toMatch(
      /^0\/3 nodes are available: 1 node\(s\) didn't match Pod's node affinity\/selector, 1 node\(s\) had untolerated taint \{gpu: yes\}, 1 node\(s\) were unschedulable\. /,
    );
    cluster.store.update("nodes", undefined, "cordoned", (node) => {
      node.spec = {};
    });
    await cluster.finished();
    expect(cluster.pod().spec.nodeName).toBe("cordoned");
  });

  it("tolerations and node affinity are heeded", async () => {
    start(
      { main: succeeds },
      {
        nodes: [
          { name: "plain" },
          { name: "gpu", labels: { gpu: "a" }, taints: [{ key: "gpu", effect: "NoSchedule" }] },
        ],
      },
    );
    cluster.createJob({
      tolerations: [{ key: "gpu", operator: "Exists" }],
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchExpressions: [{ key: "gpu", operator: "In", values: ["a", "b"] }] }],
          },
        },
      },
    });
    await cluster.finished();
    expect(cluster.pod().spec.nodeName).toBe("gpu");
  });

  it("a node that is not preferred is taken only where there is no other", async () => {
    start({ main: succeeds }, { nodes: [{ name: "a" }, { name: "b" }, { name: "c" }] });
    const away = (name: string) => ({
      weight: 100,
      preference: { matchFields: [{ key: "metadata.name", operator: "NotIn", values: [name] }] },
    });
    const affinity = (...names: string[]) => ({
      affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: names.map(away) } },
    });
    const nodeOf = async (name: string) => {
      await cluster.finished(name);
      return cluster.pods().find(({ metadata }) => metadata.labels?.["job-name"] === name)?.spec.nodeName;
    };
    cluster.createJob(affinity("a", "b"), {}, "first");
    expect(await nodeOf("first")).toBe("c");
    cluster.createJob({ ...affinity("a"), nodeSelector: { "kubernetes.io/hostname": "a" } }, {}, "second");
    expect(await nodeOf("second")).toBe("a");
  });

  const greedy = {
    containers: [{ name: "main", image: "a:1", resources: { requests: { cpu: "600m", memory: "1Gi" } } }],
  };

  it("without overcommit, requests are summed up, and a pod's end makes room", async () => {
    start({ main: succeeds }, { overcommit: false, nodes: [{ name: "n", cpu: "1", memory: "4Gi" }] });
    cluster.createJob(greedy, {}, "first");
    cluster.createJob(greedy, {}, "second");
    await cluster.advance(1000);
    const waiting = cluster.pods().filter((pod) => !pod.spec.nodeName);
    expect(waiting).toHaveLength(1);
    expect(condition(waiting[0]?.status.conditions, "PodScheduled")?.message).toMatch(/1 Insufficient cpu/);
    await cluster.finished("first");
    expect((await cluster.finished("second")).type).toBe("Complete");
  });

  it("with overcommit (the default) only a pod that no empty node could take waits", async () => {
    start({ main: succeeds }, { nodes: [{ name: "n", cpu: "1", memory: "4Gi" }] });
    for (const name of ["a", "b", "c"]) cluster.createJob(greedy, {}, name);
    await cluster.advance(1000);
    expect(cluster.pods().map((pod) => pod.spec.nodeName)).toEqual(["n", "n", "n"]);
  });

  it("spreads over nodes", async () => {
    start({ main: forever }, { nodes: 3 });
    for (const name of ["a", "b", "c"]) cluster.createJob({}, {}, name);
    await cluster.advance(1000);
    expect(new Set(cluster.pods().map((pod) => pod.spec.nodeName)).size).toBe(3);
  });
});

describe("events", () => {
  it("tell the story of a run, and can be left out", async () => {
    start({ main: succeeds });
    cluster.createJob({});
    await cluster.finished();
    const { name } = cluster.pod().metadata;
    expect(cluster.events()).toEqual([
      `SuccessfulCreate: Created pod: ${name}`,
      `Scheduled: Successfully assigned ns/${name} to embedded-node`,
      'Pulled: Container image "app:1" already present on machine and can be accessed by the pod',
      "Created: Container created",
      "Started: Container started",
      "Completed: Job completed",
    ]);
    cluster.stop();
    start({ main: fails }, { events: "warnings" });
    cluster.createJob({});
    await cluster.finished();
    expect(cluster.events()).toEqual(["BackoffLimitExceeded: Job has reached the specified backoff limit"]);
  });
});

it("refuses delays that do not exist or are no times", () => {
  expect(() => new SteppedCluster({ delays: { jobSnyc: 1 } as never })).toThrow(
    /delays\.jobSnyc is not a delay; known are jobStart/,
  );
  expect(() => new SteppedCluster({ delays: { jobSync: -1 } })).toThrow(/delays\.jobSync must be .* got -1/);
  start({ main: succeeds });
});
