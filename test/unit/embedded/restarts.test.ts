import { afterEach, describe, expect, it } from "vitest";
import type { ControllersOptions } from "../../../src/embedded/controllers/controllers.ts";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import type { ContainerSpec, ContainerStatus } from "../../../src/embedded/objects/workloads.ts";
import { namespace, SteppedCluster } from "./stepped-cluster.ts";

let cluster: SteppedCluster;
function start(options: Omit<ControllersOptions, "store" | "clock"> = {}): SteppedCluster {
  cluster = new SteppedCluster(options);
  return cluster;
}
afterEach(() => cluster.stop());

/** Prints its instance, and exits with the code that stands for it. */
function exits(...codes: number[]): ScriptedProgram {
  return async function* ({ restartCount, sleep }) {
    yield `try ${restartCount}`;
    await sleep(1_000);
    return codes[restartCount] ?? 0;
  };
}

const restartOn42: Pick<ContainerSpec, "restartPolicy" | "restartPolicyRules"> = {
  restartPolicy: "Never",
  restartPolicyRules: [{ action: "Restart", exitCodes: { operator: "In", values: [42] } }],
};
const restartAllOn88: Pick<ContainerSpec, "restartPolicy" | "restartPolicyRules"> = {
  restartPolicy: "Never",
  restartPolicyRules: [{ action: "RestartAllContainers", exitCodes: { operator: "In", values: [88] } }],
};

describe("container restart policies and rules (KEP-5307)", () => {
  it("an exit that a rule restarts ends nothing; one that none does ends the pod", async () => {
    start({ programs: { main: exits(42, 42, 7) } });
    cluster.createJob({ containers: [{ name: "main", image: "app:1", ...restartOn42 }] });
    expect((await cluster.finished()).type).toBe("Failed");
    expect(cluster.container()).toMatchObject({ restartCount: 2, state: { terminated: { exitCode: 7 } } });
    expect(
      cluster.podStates.filter(({ status }) => status.phase === "Failed").at(0)?.status.containerStatuses,
    ).toHaveLength(1);
    expect(await cluster.log("main", true).text()).toBe("try 1\n");
  });

  it("a rule with NotIn restarts all other codes", async () => {
    start({ programs: { main: exits(1, 0) } });
    const rules: ContainerSpec["restartPolicyRules"] = [
      { action: "Restart", exitCodes: { operator: "NotIn", values: [0, 2] } },
    ];
    cluster.createJob({
      containers: [{ name: "main", image: "app:1", restartPolicy: "Never", restartPolicyRules: rules }],
    });
    expect((await cluster.finished()).type).toBe("Complete");
    expect(cluster.container().restartCount).toBe(1);
  });

  it("a container's policy stands before the pod's", async () => {
    start({ programs: { main: exits(1), other: exits(1, 0) } });
    cluster.createJob(
      {
        restartPolicy: "OnFailure",
        containers: [
          { name: "main", image: "app:1", restartPolicy: "Never" },
          { name: "other", image: "app:1" },
        ],
      },
      { backoffLimit: 5 },
    );
    await cluster.until("the pod has failed", () => cluster.pods()[0]?.status.phase === "Failed");
    expect(cluster.container("main").restartCount).toBe(0);
    expect(cluster.container("other").restartCount).toBe(1);
  });

  it("an init container that may run once only fails the pod of a policy that restarts", async () => {
    start({ programs: { init: exits(1), main: exits(0) } });
    cluster.createJob(
      { restartPolicy: "OnFailure", initContainers: [{ name: "init", image: "i:1", restartPolicy: "Never" }] },
      { backoffLimit: 0 },
    );
    expect((await cluster.finished()).type).toBe("Failed");
    expect(cluster.container("init")).toMatchObject({ restartCount: 0, state: { terminated: { exitCode: 1 } } });
  });

  it("an init container is retried under OnFailure, and the pod goes on when it succeeds", async () => {
    start({ programs: { init: exits(1, 1, 0), main: exits(0) } });
    cluster.createJob(
      { restartPolicy: "OnFailure", initContainers: [{ name: "init", image: "i:1" }] },
      { backoffLimit: 4 },
    );
    expect((await cluster.finished()).type).toBe("Complete");
    expect(cluster.container("init").restartCount).toBe(2);
  });

  it("a failed init container under Never fails its pod, and the Job makes another", async () => {
    let starts = 0;
    start({
      programs: {
        init: async function* () {
          yield "init";
          return ++starts === 1 ? 1 : 0;
        },
        main: exits(0),
      },
    });
    cluster.createJob({ initContainers: [{ name: "init", image: "i:1" }] }, { backoffLimit: 1 });
    expect((await cluster.finished()).type).toBe("Complete");
    expect(cluster.pods()).toHaveLength(2);
  });

  it("shows how it ended until the kubelet looks again, and the back-off only from then on", async () => {
    start({ programs: { main: exits(42, 42, 42, 0) } });
    cluster.createJob({ containers: [{ name: "main", image: "app:1", ...restartOn42 }] });
    const seen: string[] = [];
    const stop = cluster.store.subscribe(({ resource, object }) => {
      if (resource !== "pods") return;
      const [status] = (object.status as { containerStatuses?: ContainerStatus[] }).containerStatuses ?? [];
      const state = Object.keys(status?.state ?? {})[0];
      const text = `${status?.restartCount} ${status?.state.waiting?.reason ?? state}`;
      if (status !== undefined && seen.at(-1) !== text) seen.push(text);
    });
    await cluster.finished();
    stop();
    expect(seen).toEqual([
      "0 ContainerCreating",
      "0 running",
      "0 terminated",
      "1 running",
      "1 terminated",
      "1 CrashLoopBackOff",
      "2 running",
      "2 terminated",
      "2 CrashLoopBackOff",
      "3 running",
      "3 terminated",
    ]);
  });
});

describe("RestartAllContainers (KEP-5532)", () => {
  it("kills all containers without their grace, and runs the pod again from its first init container", async () => {
    const runs: string[] = [];
    const noted = (name: string, code: (restart: number) => number, ms: number): ScriptedProgram =>
      async function* ({ restartCount, sleep }) {
        runs.push(`${name} ${restartCount}`);
        yield `${name} ${restartCount}`;
        await sleep(ms);
        return code(restartCount);
      };
    start({
      programs: {
        init: noted("init", () => 0, 100),
        main: noted("main", () => 0, 10_000),
        watcher: noted("watcher", (restart) => (restart === 0 ? 88 : 0), 1_000),
      },
    });
    cluster.createJob({
      terminationGracePeriodSeconds: 3_600,
      initContainers: [{ name: "init", image: "i:1" }],
      containers: [
        { name: "main", image: "app:1" },
        { name: "watcher", image: "app:1", ...restartAllOn88 },
      ],
    });
    const uid = () => cluster.pod().metadata.uid;
    await cluster.running("watcher");
    const first = uid();
    expect((await cluster.finished()).type).toBe("Complete");
    expect(uid()).toBe(first);
    expect(runs).toEqual(["init 0", "main 0", "watcher 0", "init 1", "main 1", "watcher 1"]);
    expect(cluster.container("main")).toMatchObject({ restartCount: 1, lastState: { terminated: { exitCode: 137 } } });
    expect(cluster.podStates.some(({ status }) => status.phase === "Failed")).toBe(false);
  });

  it("says so on the pod while the containers are stopped", async () => {
    start({ programs: { main: exits(88, 0) } });
    cluster.createJob({ containers: [{ name: "main", image: "app:1", ...restartAllOn88 }] });
    await cluster.finished();
    const told = cluster.podStates.flatMap(({ status }) =>
      (status.conditions ?? [])
        .filter(({ type }) => type === "AllContainersRestarting")
        .map(({ status: value, reason = "" }) => `${value} ${reason}`.trim()),
    );
    expect(told.filter((text, index) => text !== told[index - 1])).toEqual([
      "False",
      "True RestartAllContainersStarted",
      "False",
      "False PodCompleted",
    ]);
  });

  it("a pod that is deleted meanwhile ends", async () => {
    start({ programs: { main: exits(88, 88, 88) } });
    cluster.createJob({ containers: [{ name: "main", image: "app:1", ...restartAllOn88 }] });
    await cluster.until(
      "it restarts",
      () =>
        cluster.podStates.at(-1)?.status.conditions?.some(({ reason }) => reason === "RestartAllContainersStarted") ===
        true,
    );
    cluster.store.delete("pods", namespace, cluster.pod().metadata.name);
    expect((await cluster.finished()).type).toBe("Failed");
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
  });
});
