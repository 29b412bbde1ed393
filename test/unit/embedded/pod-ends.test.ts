import { afterEach, describe, expect, it } from "vitest";
import type { ControllersOptions } from "../../../src/embedded/controllers/controllers.ts";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import { disruptionTarget, disruptPod } from "../../../src/embedded/store/disruption.ts";
import { SteppedCluster } from "./stepped-cluster.ts";

let cluster: SteppedCluster;
function start(options: Omit<ControllersOptions, "store" | "clock"> = {}): SteppedCluster {
  cluster = new SteppedCluster(options);
  return cluster;
}
afterEach(() => cluster.stop());

const forever: ScriptedProgram = async function* (container) {
  for (let line = 1; ; line++) {
    yield `line ${line}`;
    await container.sleep(1_000, { interruptible: true });
  }
};
const exits = (code: number): ScriptedProgram =>
  async function* () {
    yield `exiting ${code}`;
    return code;
  };

describe("a container that the runtime cannot start", () => {
  it("has ended with StartError and 128, at a start of the epoch", async () => {
    start({ programs: { main: { kind: "startError" } } });
    cluster.createJob({ containers: [{ name: "main", image: "app:1", command: ["agent"] }] });
    expect((await cluster.finished()).type).toBe("Failed");
    expect(cluster.container().state.terminated).toMatchObject({
      exitCode: 128,
      reason: "StartError",
      startedAt: "1970-01-01T00:00:00Z",
      message: expect.stringMatching(/exec: "agent": executable file not found in \$PATH$/),
    });
    expect(cluster.podStates.some(({ status }) => status.containerStatuses?.[0]?.state.running)).toBe(false);
  });

  it("has ended with ContainerCannotRun and 127 under cri-dockerd", async () => {
    start({ programs: { main: { kind: "startError", reason: "ContainerCannotRun", message: "no such file" } } });
    cluster.createJob({});
    await cluster.finished();
    expect(cluster.container().state.terminated).toMatchObject({ exitCode: 127, reason: "ContainerCannotRun" });
  });
});

describe("a pod's own deadline", () => {
  it("gives the containers their grace, and ends the pod as Failed", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({ activeDeadlineSeconds: 3 });
    expect(await cluster.finished()).toMatchObject({ type: "Failed", reason: "BackoffLimitExceeded" });
    expect(cluster.pod().status).toMatchObject({ phase: "Failed", reason: "DeadlineExceeded" });
    expect(cluster.container().state.terminated?.exitCode).toBe(143);
  });

  it("that is set on a running pod counts from its start", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    await cluster.advance(5_000);
    const { metadata } = cluster.pod();
    cluster.store.update("pods", metadata.namespace, metadata.name, (draft) => {
      (draft.spec as { activeDeadlineSeconds?: number }).activeDeadlineSeconds = 2;
    });
    await cluster.advance(2_000);
    expect(cluster.pod().status.reason).toBe("DeadlineExceeded");
    expect(cluster.pod().metadata.generation).toBe(2);
  });

  it("does not concern a pod that has ended before", async () => {
    start({ programs: { main: exits(0) } });
    cluster.createJob({ activeDeadlineSeconds: 10 });
    expect((await cluster.finished()).type).toBe("Complete");
    await cluster.advance(20_000);
    expect(cluster.pod().status).toMatchObject({ phase: "Succeeded" });
  });
});

describe("a podFailurePolicy", () => {
  it("Count counts what a later rule would not", async () => {
    start({ programs: { main: exits(3) } });
    const rule = (action: string, values: number[]) => ({ action, onExitCodes: { operator: "In", values } });
    cluster.createJob(
      {},
      { backoffLimit: 1, podFailurePolicy: { rules: [rule("Count", [3]), rule("FailJob", [3, 4])] } },
    );
    expect((await cluster.finished()).reason).toBe("BackoffLimitExceeded");
    expect(cluster.job().status?.failed).toBe(2);
  });

  it("FailJob by a condition names the condition", async () => {
    start({ programs: { main: forever } });
    const onPodConditions = [{ type: "DisruptionTarget", status: "True" }];
    cluster.createJob({}, { backoffLimit: 5, podFailurePolicy: { rules: [{ action: "FailJob", onPodConditions }] } });
    await cluster.running();
    const pod = cluster.pod();
    disruptPod(cluster.store, pod, disruptionTarget("EvictionByEvictionAPI", "", cluster.clock.now()), "test");
    const { reason, message } = await cluster.finished();
    expect(reason).toBe("PodFailurePolicy");
    expect(message).toBe(`Pod ns/${pod.metadata.name} has condition DisruptionTarget matching FailJob rule at index 0`);
  });

  it("a rule for another container does not match", async () => {
    start({ programs: { main: exits(42), other: exits(0) } });
    const onExitCodes = { containerName: "other", operator: "In", values: [42] };
    const containers = ["main", "other"].map((name) => ({ name, image: "app:1" }));
    cluster.createJob(
      { containers },
      { backoffLimit: 0, podFailurePolicy: { rules: [{ action: "Ignore", onExitCodes }] } },
    );
    expect((await cluster.finished()).reason).toBe("BackoffLimitExceeded");
  });
});

describe("who else acts on Jobs and pods", () => {
  it("a Job that another controller manages is left alone", async () => {
    start({ programs: { main: exits(0) } });
    cluster.createJob({}, { managedBy: "kueue.x-k8s.io/multikueue" });
    await cluster.advance(60_000);
    expect(cluster.pods()).toEqual([]);
    expect(cluster.job().status).toEqual({});
  });

  it("a Job that names the built-in controller is its own", async () => {
    start({ programs: { main: exits(0) } });
    cluster.createJob({}, { managedBy: "kubernetes.io/job-controller" });
    expect((await cluster.finished()).type).toBe("Complete");
  });

  it("a node that tells of the pod only: its phase, and nothing of its containers", async () => {
    start({ programs: { main: exits(0) }, nodes: [{ name: "virtual", reportsContainers: false }] });
    cluster.createJob({});
    expect((await cluster.finished()).type).toBe("Complete");
    expect(cluster.podStates.some(({ status }) => status.phase === "Running")).toBe(true);
    expect(cluster.podStates.every(({ status }) => status.containerStatuses === undefined)).toBe(true);
    expect(await cluster.log().text()).toBe("exiting 0\n");
  });

  it("a node that restarts: its containers have ended when it is back, and new pods run on it", async () => {
    let runs = 0;
    start({
      programs: {
        main: async function* (container) {
          yield `run ${++runs}`;
          if (runs === 1) for (;;) await container.sleep(1_000);
          return 0;
        },
      },
    });
    cluster.createJob({}, { backoffLimit: 1 });
    await cluster.running();
    const back = cluster.controllers.nodes.restart("embedded-node", { downMs: 20_000 });
    await cluster.advance(10_000);
    expect(cluster.pod().status.phase).toBe("Running");
    await cluster.advance(11_000);
    await back;
    expect(cluster.pod().status.phase).toBe("Failed");
    expect((await cluster.finished()).type).toBe("Complete");
    expect(runs).toBe(2);
  });

  it("a sidecar that waits for its restart when the pod ends is reported as lost", async () => {
    start({
      programs: {
        proxy: exits(1),
        main: async function* (container) {
          await container.sleep(32_000);
          yield "done";
        },
      },
    });
    cluster.createJob({ initContainers: [{ name: "proxy", image: "p:1", restartPolicy: "Always" }] });
    await cluster.finished();
    expect(cluster.container("proxy").state.terminated).toMatchObject({
      exitCode: 137,
      reason: "ContainerStatusUnknown",
    });
  });
});

describe("a NoExecute taint", () => {
  const taint = (...taints: object[]) =>
    cluster.store.update("nodes", undefined, "embedded-node", (node) => {
      node.spec = { taints };
    });
  const maintenance = { key: "maintenance", effect: "NoExecute" };

  it("deletes the pods that do not tolerate it, and says why", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    taint(maintenance);
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
    expect(cluster.podStates.at(-1)?.status.conditions).toContainEqual(
      expect.objectContaining({ type: "DisruptionTarget", reason: "DeletionByTaintManager" }),
    );
  });

  it("leaves alone who tolerates it, for as long as that, and who it is taken from before", async () => {
    start({ programs: { main: forever } });
    const tolerations = [{ key: "maintenance", operator: "Exists", effect: "NoExecute", tolerationSeconds: 30 }];
    cluster.createJob({ tolerations });
    await cluster.running();
    taint(maintenance);
    await cluster.advance(20_000);
    taint();
    await cluster.advance(20_000);
    expect(cluster.pod().metadata.deletionTimestamp).toBeUndefined();
    taint(maintenance);
    await cluster.advance(29_000);
    expect(cluster.pod().metadata.deletionTimestamp).toBeUndefined();
    await cluster.until("the pod is gone", () => cluster.pods().length === 0, 10_000);
  });
});

describe("priorities", () => {
  const node = { name: "small", cpu: "2" };
  const pod = (name: string, cpu: string, spec: object = {}) =>
    cluster.store.create("pods", {
      metadata: { name, namespace: "ns" },
      spec: { containers: [{ name: "main", image: "app:1", resources: { requests: { cpu } } }], ...spec },
    });
  const phase = (name: string) => (cluster.store.get("pods", "ns", name)?.status as { phase?: string })?.phase;

  it("a pod takes the place of the fewest less important ones, and runs when they have gone", async () => {
    start({ programs: { main: forever }, nodes: [node], overcommit: false });
    cluster.store.create("priorityclasses", { metadata: { name: "high" }, value: 1000 });
    pod("a", "500m");
    pod("b", "1200m");
    await cluster.advance(5_000);
    pod("urgent", "1500m", { priorityClassName: "high" });
    await cluster.until("it runs", () => phase("urgent") === "Running");
    expect(phase("b")).toBeUndefined();
    expect(phase("a")).toBe("Running");
    expect(cluster.events("Pod")).toContainEqual(
      expect.stringMatching(/^Preempted: Preempted by pod \S+ on node small$/),
    );
  });

  it("a pod that may not preempt, or of no higher priority, waits", async () => {
    start({ programs: { main: forever }, nodes: [node], overcommit: false });
    cluster.store.create("priorityclasses", { metadata: { name: "patient" }, value: 1000, preemptionPolicy: "Never" });
    pod("a", "1500m");
    await cluster.advance(5_000);
    pod("patient", "1500m", { priorityClassName: "patient" });
    pod("same", "1500m");
    await cluster.advance(20_000);
    expect([phase("a"), phase("patient"), phase("same")]).toEqual(["Running", "Pending", "Pending"]);
  });

  it("a class that is not there, and a number that is not the class's, are refused", () => {
    start();
    expect(() => pod("a", "1", { priorityClassName: "none" })).toThrow("no PriorityClass with name none was found");
    expect(() => pod("a", "1", { priority: 5 })).toThrow(/integer value of priority \(5\) must not be provided/);
    expect(pod("a", "1", { priorityClassName: "system-node-critical" }).spec).toMatchObject({
      priority: 2_000_001_000,
    });
  });
});

describe("delays that are ranges", () => {
  it("a container's end is seen between the least and the most after it", async () => {
    start({ programs: { "*": exits(0) }, delays: { exitNoticed: [300, 1_200] } });
    const ends: number[] = [];
    const seen = new Set<string>();
    cluster.store.subscribe(({ resource, object }) => {
      const status = (object.status as { containerStatuses?: { state: { terminated?: unknown } }[] } | undefined)
        ?.containerStatuses?.[0];
      if (resource !== "pods" || status?.state.terminated === undefined || seen.has(object.metadata.uid)) return;
      seen.add(object.metadata.uid);
      ends.push(cluster.clock.now() - (started.get(object.metadata.uid) ?? 0));
    });
    const started = new Map<string, number>();
    cluster.store.subscribe(({ resource, object }) => {
      const status = (object.status as { containerStatuses?: { state: { running?: unknown } }[] } | undefined)
        ?.containerStatuses?.[0];
      if (resource === "pods" && status?.state.running !== undefined)
        started.set(object.metadata.uid, cluster.clock.now());
    });
    for (let i = 0; i < 10; i++) cluster.createJob({}, {}, `job-${i}`);
    await cluster.advance(10_000);
    expect(ends).toHaveLength(10);
    expect(Math.min(...ends)).toBeGreaterThanOrEqual(300);
    expect(Math.max(...ends)).toBeLessThanOrEqual(1_200);
    expect(new Set(ends).size).toBeGreaterThan(5);
  });

  it("what is no range is refused, with its name", () => {
    expect(() => new SteppedCluster({ delays: { exitNoticed: [5, 1] } })).toThrow(/delays.exitNoticed.*\[5,1\]/);
    expect(() => new SteppedCluster({ delays: { sandbox: [1, 2] as unknown as number } })).toThrow(/delays.sandbox/);
    start();
  });

  it("a container may print, and its log be rotated, before its pod is said to run", async () => {
    start({ programs: { main: forever }, delays: { startNoticed: 1_300 } });
    cluster.createJob({});
    await cluster.advance(2_500);
    expect(cluster.hasStarted()).toBe(false);
    cluster.controllers.rotateLogs("ns", cluster.pod().metadata.name, "main");
    await cluster.running();
    expect(await cluster.log().text()).not.toMatch(/line 1\n/);
  });

  it("the last lines may come after the container's end was told", async () => {
    start({ programs: { main: exits(0) }, delays: { outputWritten: 2_000 } });
    cluster.createJob({});
    await cluster.until(
      "it has ended",
      () => cluster.pods()[0]?.status.containerStatuses?.[0]?.state.terminated !== undefined,
    );
    expect(await cluster.log().text()).toBe("");
    await cluster.advance(2_000);
    expect(await cluster.log().text()).toBe("exiting 0\n");
  });

  it("a log that has grown too large is rotated at the kubelet's next look", async () => {
    start({
      containerLogMaxSize: 1_000,
      programs: {
        main: async function* (container) {
          for (let i = 0; i < 200; i++) {
            yield "x".repeat(99);
            await container.sleep(200);
          }
        },
      },
    });
    cluster.createJob({});
    await cluster.running();
    await cluster.advance(13_000 - (cluster.clock.now() % 10_000));
    const sizes: number[] = [];
    for (let i = 0; i < 12; i++) {
      await cluster.advance(1_000);
      sizes.push((await cluster.log().text()).length);
    }
    expect(Math.max(...sizes)).toBeGreaterThan(1_000);
    expect(Math.min(...sizes)).toBeLessThanOrEqual(1_000);
  });
});
