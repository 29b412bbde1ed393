import { afterEach, describe, expect, it } from "vitest";
import type { ControllersOptions } from "../../../src/embedded/controllers/controllers.ts";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import { podOf } from "../../../src/embedded/objects/workloads.ts";
import { namespace, SteppedCluster } from "./stepped-cluster.ts";

let cluster: SteppedCluster;
function start(options: Omit<ControllersOptions, "store" | "clock"> = {}): SteppedCluster {
  cluster = new SteppedCluster(options);
  return cluster;
}
afterEach(() => cluster.stop());

const forever: ScriptedProgram = async function* (container) {
  for (let line = 1; ; line++) {
    yield `line ${line}`;
    await container.sleep(1000);
  }
};
const exits = (code: number): ScriptedProgram =>
  async function* () {
    yield `exiting ${code}`;
    return code;
  };

describe("programs", () => {
  it("get the container's environment, files and command", async () => {
    let seen: Record<string, unknown> = {};
    start({
      programs: {
        main: async function* (container) {
          seen = {
            env: container.env,
            prompt: container.files.readText("/tmp/prompt/prompt.txt"),
            token: container.files.readText("/secrets/api/token"),
            listed: container.files.list("/secrets"),
            command: container.command,
            args: container.args,
            pod: container.pod.name === cluster.pod().metadata.name,
          };
          yield "done";
        },
      },
    });
    cluster.store.create("secrets", { metadata: { name: "s", namespace }, stringData: { token: "abc", other: "x" } });
    cluster.store.create("configmaps", { metadata: { name: "c", namespace }, data: { A: "1", B: "2" } });
    cluster.createJob({
      volumes: [
        { name: "prompt", emptyDir: {} },
        { name: "api", secret: { secretName: "s", items: [{ key: "token", path: "api/token" }] } },
      ],
      initContainers: [
        {
          name: "write-prompt",
          image: "busybox:1.36",
          env: [{ name: "PROMPT_CONTENT", value: 'say "hi" 100% \\c\n$HOME' }],
          command: ["sh", "-c", "printf '%s' \"$PROMPT_CONTENT\" > /tmp/prompt/prompt.txt"],
          volumeMounts: [{ name: "prompt", mountPath: "/tmp/prompt" }],
        },
      ],
      containers: [
        {
          name: "main",
          image: "app:1",
          command: ["run"],
          args: ["--token=$(TOKEN)", "$(UNKNOWN)"],
          envFrom: [{ prefix: "C_", configMapRef: { name: "c" } }],
          env: [
            { name: "TOKEN", valueFrom: { secretKeyRef: { name: "s", key: "token" } } },
            { name: "BOTH", value: "$(C_A)-$(TOKEN)" },
            { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
            { name: "MAYBE", valueFrom: { secretKeyRef: { name: "s", key: "none", optional: true } } },
          ],
          volumeMounts: [
            { name: "prompt", mountPath: "/tmp/prompt" },
            { name: "api", mountPath: "/secrets" },
          ],
        },
      ],
    });
    expect((await cluster.finished()).type).toBe("Complete");
    expect(seen).toEqual({
      env: { C_A: "1", C_B: "2", TOKEN: "abc", BOTH: "1-abc", POD: cluster.pod().metadata.name },
      prompt: 'say "hi" 100% \\c\n$HOME',
      token: "abc",
      listed: ["/secrets/api/token"],
      command: ["run"],
      args: ["--token=abc", "$(UNKNOWN)"],
      pod: true,
    });
  });

  it("cannot write into a Secret's volume", async () => {
    start({
      programs: {
        main: async function* (container) {
          container.files.write("/secrets/x", "y");
          yield "not reached";
        },
      },
    });
    cluster.store.create("secrets", { metadata: { name: "s", namespace } });
    cluster.createJob({
      volumes: [{ name: "v", secret: { secretName: "s" } }],
      containers: [{ name: "main", image: "a:1", volumeMounts: [{ name: "v", mountPath: "/secrets" }] }],
    });
    await cluster.finished();
    expect(await cluster.log().text()).toMatch(/FileAccessError: \/secrets\/x: read-only file system/);
    expect(cluster.container().state.terminated).toMatchObject({ exitCode: 1, reason: "Error" });
  });

  it("write lines, bytes and unfinished lines to one log", async () => {
    start({
      programs: {
        main: async function* () {
          yield "line";
          yield Buffer.from("bytes\nmore ");
          yield { text: "partial ", partial: true };
          yield { text: "end" };
          yield { text: "no newline", partial: true };
        },
      },
    });
    cluster.createJob({});
    await cluster.finished();
    expect(await cluster.log().text()).toBe("line\nbytes\nmore partial end\nno newline");
  });

  it("ignore SIGTERM by default and are killed after the grace", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    const started = cluster.clock.now();
    cluster.store.delete("pods", namespace, cluster.pod().metadata.name);
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
    const last = cluster.podStates.at(-1);
    expect(last?.status.containerStatuses?.[0]?.state.terminated).toMatchObject({ exitCode: 137, reason: "Error" });
    expect(cluster.clock.now() - started).toBeGreaterThan(2000);
  });

  it("can end on SIGTERM, by a listener or an interrupted sleep, with their own code and last words", async () => {
    start({
      programs: {
        listener: async function* (container) {
          container.onTerminate(() => {
            container.write("bye");
            return 5;
          });
          yield "up";
          await container.sleep(1e9);
        },
        sleeper: async function* (container) {
          try {
            await container.sleep(1e9, { interruptible: true });
          } finally {
            yield "interrupted";
          }
        },
      },
    });
    cluster.createJob({
      containers: [
        { name: "listener", image: "a:1" },
        { name: "sleeper", image: "a:1" },
      ],
    });
    await cluster.running("sleeper");
    const log = cluster.log("listener");
    const sleeperLog = cluster.log("sleeper");
    cluster.store.delete("pods", namespace, cluster.pod().metadata.name);
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
    const codes = cluster.podStates.at(-1)?.status.containerStatuses?.map(({ state }) => state.terminated?.exitCode);
    expect(codes).toEqual([5, 143]);
    expect(await log.text()).toBe("up\nbye\n");
    expect(await sleeperLog.text()).toBe("interrupted\n");
  });

  it("report a throw as their last output and exit code 1", async () => {
    start({
      programs: {
        // biome-ignore lint/correctness/useYield: throws before it has anything to say
        main: async function* () {
          throw new Error("broken program");
        },
      },
    });
    cluster.createJob({});
    expect(await cluster.finished()).toMatchObject({ type: "Failed", reason: "BackoffLimitExceeded" });
    expect(await cluster.log().text()).toMatch(/^Error: broken program\n {4}at /);
  });

  it("are found by image and container, by container, by image, and else by *", async () => {
    const said: string[] = [];
    const says =
      (text: string): ScriptedProgram =>
      async () => {
        said.push(text);
      };
    start({
      programs: { "app/both": says("image/container"), named: says("container"), app: says("image"), "*": says("any") },
    });
    cluster.createJob({
      containers: [
        { name: "both", image: "app:1" },
        { name: "named", image: "app:1" },
        { name: "other", image: "app:1" },
        { name: "last", image: "else" },
      ],
    });
    await cluster.finished();
    expect(said).toEqual(["image/container", "container", "image", "any"]);
  });

  it("that are missing are an error that says what to do", async () => {
    start();
    cluster.createJob({ containers: [{ name: "main", image: "app:1", command: ["node", "agent.js"] }] });
    expect(await cluster.finished()).toMatchObject({ type: "Failed" });
    expect(cluster.container().state.terminated).toMatchObject({
      exitCode: 128,
      reason: "StartError",
      message: expect.stringContaining(
        'no program for container "main" (image "app:1"): add one with addProgram("main"',
      ),
    });
  });
});

describe("starting", () => {
  it("cannot hand over a string of 128 KiB: StartError", async () => {
    start({ programs: { "*": exits(0) } });
    cluster.createJob({
      initContainers: [{ name: "write-prompt", image: "b:1", env: [{ name: "P", value: "x".repeat(131_072 - 2) }] }],
    });
    await cluster.finished();
    expect(cluster.container("write-prompt").state.terminated).toMatchObject({
      exitCode: 128,
      reason: "StartError",
      message: expect.stringContaining("argument list too long"),
    });
    expect(cluster.events("Pod").join("\n")).toContain("Failed: Error: failed to create containerd task");
    cluster.store.delete("jobs", namespace, "job");
    await cluster.until("gone", () => cluster.pods().length === 0);
    cluster.createJob({
      initContainers: [{ name: "write-prompt", image: "b:1", env: [{ name: "P", value: "x".repeat(131_072 - 3) }] }],
    });
    expect((await cluster.finished()).type).toBe("Complete");
  });

  it("goes on by itself once the missing Secret key is there", async () => {
    start({ programs: { main: exits(0) } });
    cluster.store.create("secrets", { metadata: { name: "s", namespace } });
    cluster.createJob({
      containers: [
        { name: "main", image: "a:1", env: [{ name: "X", valueFrom: { secretKeyRef: { name: "s", key: "k" } } }] },
      ],
    });
    await cluster.advance(20_000);
    expect(cluster.container().state.waiting).toEqual({
      reason: "CreateContainerConfigError",
      message: "couldn't find key k in Secret ns/s",
    });
    expect(() => cluster.log()).toThrow(/container "main" in pod ".*" is waiting to start: CreateContainerConfigError/);
    cluster.store.update("secrets", namespace, "s", (secret) => {
      secret.data = { k: Buffer.from("v").toString("base64") };
    });
    expect((await cluster.finished()).type).toBe("Complete");
  });

  it("goes on once the image can be pulled, and says in events why it did not", async () => {
    start({ programs: { main: exits(0) } });
    cluster.controllers.images.fail("app:1", { message: "unauthorized", times: 2 });
    cluster.createJob({});
    await cluster.until(
      "ErrImagePull",
      () => cluster.pods()[0]?.status.containerStatuses?.[0]?.state.waiting?.reason === "ErrImagePull",
    );
    expect(() => cluster.log()).toThrow(/is waiting to start: image can't be pulled/);
    await cluster.until("backoff", () => cluster.container().state.waiting?.reason === "ImagePullBackOff");
    expect(cluster.container().state.waiting?.message).toBe(
      'Back-off pulling image "app:1": ErrImagePull: unauthorized',
    );
    expect(() => cluster.log()).toThrow(/is waiting to start: trying and failing to pull image/);
    expect(cluster.events("Pod")).toEqual(
      expect.arrayContaining([
        'Pulling: Pulling image "app:1"',
        'Failed: Failed to pull image "app:1": unauthorized',
        "Failed: Error: ErrImagePull",
        'BackOff: Back-off pulling image "app:1"',
      ]),
    );
    expect((await cluster.finished()).type).toBe("Complete");
  });

  it("waits for a volume's Secret, with FailedMount", async () => {
    start({ programs: { main: exits(0) } });
    cluster.createJob({ volumes: [{ name: "v", secret: { secretName: "late" } }] });
    await cluster.advance(5000);
    expect(cluster.container().state.waiting?.reason).toBe("ContainerCreating");
    expect(cluster.pod().status.conditions?.[0]).toMatchObject({ type: "PodReadyToStartContainers", status: "False" });
    expect(cluster.events("Pod")).toContain(
      'FailedMount: MountVolume.SetUp failed for volume "v" : secret "late" not found',
    );
    cluster.store.create("secrets", { metadata: { name: "late", namespace } });
    expect((await cluster.finished()).type).toBe("Complete");
  });

  it("runs init containers in order and main containers side by side", async () => {
    const order: string[] = [];
    start({
      programs: {
        "*": async function* (container) {
          order.push(`+${container.name}`);
          await container.sleep(1000);
          yield "x";
          order.push(`-${container.name}`);
        },
      },
    });
    const image = "a:1";
    cluster.createJob({
      initContainers: [
        { name: "i1", image },
        { name: "i2", image },
      ],
      containers: [
        { name: "m1", image },
        { name: "m2", image },
      ],
    });
    await cluster.finished();
    expect(order).toEqual(["+i1", "-i1", "+i2", "-i2", "+m1", "+m2", "-m1", "-m2"]);
  });
});

describe("running", () => {
  it("keeps a pod Running, not ready, while a second container lives on", async () => {
    start({ programs: { main: exits(0), mesh: forever } });
    cluster.createJob({
      containers: [
        { name: "main", image: "a:1" },
        { name: "mesh", image: "b:1" },
      ],
    });
    await cluster.advance(20_000);
    const { phase, conditions } = cluster.pod().status;
    expect(phase).toBe("Running");
    expect(cluster.container("main").state.terminated?.exitCode).toBe(0);
    expect(conditions?.find(({ type }) => type === "Ready")).toMatchObject({
      status: "False",
      reason: "ContainersNotReady",
      message: "containers with unready status: [main]",
    });
    expect(cluster.job().status).toMatchObject({ active: 1, ready: 0 });
  });

  it("restarts a failed container under OnFailure: at once, then with back-off, keeping the previous log", async () => {
    start({
      programs: {
        main: async function* (container) {
          yield `attempt ${container.restartCount}`;
          return container.restartCount < 3 ? 1 : 0;
        },
      },
    });
    cluster.createJob({ restartPolicy: "OnFailure" }, { backoffLimit: 6 });
    await cluster.until(
      "crash loop",
      () => cluster.pods()[0]?.status.containerStatuses?.[0]?.state.waiting?.reason === "CrashLoopBackOff",
    );
    const { metadata } = cluster.pod();
    expect(cluster.container()).toMatchObject({
      restartCount: 1,
      lastState: { terminated: { exitCode: 1 } },
      state: {
        waiting: { message: `back-off 10s restarting failed container=main pod=${metadata.name}_ns(${metadata.uid})` },
      },
    });
    expect(await cluster.log("main").text()).toBe("attempt 1\n");
    await cluster.until("second restart", () => cluster.container().restartCount === 2);
    expect(await cluster.log("main", true).text()).toBe("attempt 1\n");
    expect((await cluster.finished()).type).toBe("Complete");
    expect(cluster.container()).toMatchObject({ restartCount: 3, state: { terminated: { exitCode: 0 } } });
  });

  it("restarts a native sidecar that ends early", async () => {
    let starts = 0;
    start({
      programs: {
        main: async function* (container) {
          await container.sleep(5000);
          yield "done";
        },
        proxy: async function* (container) {
          starts++;
          yield "up";
          await container.sleep(starts === 1 ? 500 : 1e9);
          return 1;
        },
      },
    });
    cluster.createJob({ initContainers: [{ name: "proxy", image: "p:1", restartPolicy: "Always" }] });
    expect((await cluster.finished()).type).toBe("Complete");
    expect(cluster.container("proxy")).toMatchObject({ restartCount: 1, state: { terminated: { exitCode: 137 } } });
  });

  it("says which log there is, as the API does", async () => {
    start({ programs: { "*": forever } });
    cluster.createJob({
      initContainers: [{ name: "init", image: "busybox:1", command: ["sh", "-c", "sleep 5"] }],
      containers: [
        { name: "a", image: "x:1" },
        { name: "b", image: "x:1" },
      ],
    });
    await cluster.advance(10);
    const { name } = cluster.pod().metadata;
    expect(() => cluster.log()).toThrow(
      `a container name must be specified for pod ${name}, choose one of: [a b] or one of the init containers: [init]`,
    );
    expect(() => cluster.log("zzz")).toThrow(`container zzz is not valid for pod ${name}`);
    await cluster.advance(100);
    expect(() => cluster.log("a")).toThrow(`container "a" in pod "${name}" is waiting to start: PodInitializing`);
    expect(() => cluster.log("a", true)).toThrow(`previous terminated container "a" in pod "${name}" not found`);
    expect(cluster.controllers.logFor(namespace, "nope", undefined)).toMatchObject({ code: 404 });
  });
});

describe("what happens to pods", () => {
  it("OOM: exit code 137, reason OOMKilled", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    cluster.controllers.oomKill(namespace, cluster.pod().metadata.name, "main");
    expect(await cluster.finished()).toMatchObject({ type: "Failed", reason: "BackoffLimitExceeded" });
    expect(cluster.container().state.terminated).toMatchObject({ exitCode: 137, reason: "OOMKilled" });
    expect(() => cluster.controllers.oomKill(namespace, cluster.pod().metadata.name, "main")).toThrow(/does not run/);
  });

  it("eviction: Failed, reason Evicted, a DisruptionTarget condition; the pod stays", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    cluster.controllers.evictPod(namespace, cluster.pod().metadata.name, "The node was low on resource: memory.");
    await cluster.finished();
    const { status } = cluster.pod();
    expect(status).toMatchObject({
      phase: "Failed",
      reason: "Evicted",
      message: "The node was low on resource: memory.",
    });
    expect(status.conditions?.[0]).toMatchObject({
      type: "DisruptionTarget",
      status: "True",
      reason: "TerminationByKubelet",
    });
    expect(cluster.container().state.terminated).toMatchObject({ exitCode: 137 });
  });

  it("a lost node: not ready, then NodeLost and Unknown; when it returns ContainerStatusUnknown, and the pod goes", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    const [node = ""] = cluster.controllers.nodes.names();
    const log = cluster.log();
    cluster.controllers.nodes.lose(node, { evictAfterMs: 30_000 });
    await cluster.advance(1000);
    expect(cluster.pod().status.phase).toBe("Running");
    expect(cluster.pod().status.conditions?.find(({ type }) => type === "Ready")?.status).toBe("False");
    expect(() => cluster.log()).toThrow(/connection refused/);
    const lines = await log.text();
    await cluster.advance(31_000);
    expect(await log.text()).toBe(lines);
    expect(cluster.pod().status).toMatchObject({ phase: "Unknown", reason: "NodeLost" });
    expect(cluster.pod().metadata.deletionTimestamp).toBeDefined();
    const recovered = cluster.controllers.nodes.recover(node);
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
    await recovered;
    expect(cluster.podStates.at(-1)?.status).toMatchObject({
      containerStatuses: [{ state: { terminated: { exitCode: 137, reason: "ContainerStatusUnknown" } } }],
    });
    expect(await cluster.finished()).toMatchObject({ type: "Failed", reason: "BackoffLimitExceeded" });
  });

  it("a node taken away: its pods fail and are removed", async () => {
    start({ programs: { main: forever }, nodes: 2 });
    cluster.createJob({});
    await cluster.running();
    cluster.controllers.nodes.remove(cluster.pod().spec.nodeName ?? "");
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
    expect(cluster.podStates.at(-1)?.status).toMatchObject({
      phase: "Failed",
      conditions: expect.arrayContaining([expect.objectContaining({ reason: "DeletionByPodGC" })]),
    });
    expect((await cluster.finished()).type).toBe("Failed");
  });

  it("a kubelet restart: follows end, logs answer 500, then 404, then go on; the container runs on", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    const follow = cluster.log().read({ follow: true });
    let ended = false;
    const reading = (async () => {
      for await (const _chunk of follow);
      ended = true;
    })();
    const [node = ""] = cluster.controllers.nodes.names();
    const restarted = cluster.controllers.nodes.restartKubelet(node, { downMs: 2000, blindMs: 1000 });
    await cluster.advance(100);
    await reading;
    expect(ended).toBe(true);
    expect(() => cluster.log()).toThrow(
      /^Get "https:\/\/.*:10250\/containerLogs\/ns\/.*": dial tcp .*: connect: connection refused$/,
    );
    await cluster.advance(2000);
    expect(cluster.controllers.logFor(namespace, cluster.pod().metadata.name, "main")).toMatchObject({ code: 404 });
    await cluster.advance(1000);
    await restarted;
    expect((await cluster.log().text()).split("\n").length).toBeGreaterThan(3);
    expect(cluster.container().restartCount).toBe(0);
  });

  it("an end that happens while the kubelet is down is reported when it is up again", async () => {
    start({
      programs: {
        main: async function* (container) {
          yield "x";
          await container.sleep(2000);
          return 9;
        },
      },
    });
    cluster.createJob({});
    await cluster.running();
    const [node = ""] = cluster.controllers.nodes.names();
    cluster.controllers.nodes.stopKubelet(node);
    await cluster.advance(30_000);
    expect(cluster.container().state.running).toBeDefined();
    await cluster.controllers.nodes.startKubelet(node);
    await cluster.finished();
    expect(cluster.container().state.terminated?.exitCode).toBe(9);
  });

  it("a pod deleted before the kubelet could report its end is removed all the same", async () => {
    start({
      programs: {
        main: async (container) => {
          await container.sleep(1000);
        },
      },
    });
    cluster.createJob({});
    await cluster.running();
    await cluster.advance(1000);
    const [node = ""] = cluster.controllers.nodes.names();
    cluster.controllers.nodes.stopKubelet(node);
    await cluster.advance(5000);
    cluster.store.delete("jobs", namespace, "job");
    await cluster.advance(1000);
    expect(cluster.pod().metadata.deletionGracePeriodSeconds).toBe(2);
    await cluster.controllers.nodes.startKubelet(node);
    await cluster.until("the pod is gone", () => cluster.pods().length === 0);
  });

  it("a node's clock that is ahead shows in the times of its logs, and of its containers' states", async () => {
    start({ programs: { main: exits(0) }, nodes: [{ name: "ahead", clockSkewMs: 3_600_000 }] });
    cluster.createJob({});
    await cluster.finished();
    expect(await cluster.log().text({ timestamps: true })).toMatch(/^2026-11-23T11:00:/);
    expect(cluster.container().state.terminated?.finishedAt).toMatch(/^2026-11-23T11:00:/);
    expect(cluster.job().status?.completionTime).toMatch(/^2026-11-23T10:00:/);
  });

  it("a node's clock that is set back goes back in its logs", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    await cluster.advance(2_000);
    cluster.controllers.nodes.setClockSkew("embedded-node", -30_000);
    await cluster.advance(1_000);
    const times = (await cluster.log().text({ timestamps: true }))
      .trim()
      .split("\n")
      .map((line) => line.slice(11, 19));
    expect(times.at(0)?.slice(0, 5)).toBe("10:00");
    expect(times.at(-1)?.slice(0, 5)).toBe("09:59");
  });

  it("log rotation by size: a later read sees the current file only", async () => {
    start({
      containerLogMaxSize: 10_000,
      containerLogMonitorMs: 0,
      programs: {
        main: async function* (container) {
          for (let i = 0; i < 40; i++) yield `${i} ${"x".repeat(990)}`;
          await container.sleep(10_000);
        },
      },
    });
    cluster.createJob({});
    await cluster.running();
    await cluster.advance(100);
    const rest = await cluster.log().text();
    expect(rest.length).toBeLessThan(10_000);
    cluster.controllers.rotateLogs(namespace, cluster.pod().metadata.name, "main");
    expect(await cluster.log().text()).toBe("");
  });

  it("a forced deletion ends the container at once", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({});
    await cluster.running();
    const log = cluster.log();
    const { name } = cluster.pod().metadata;
    cluster.store.update("pods", namespace, name, ({ metadata }) => {
      metadata.finalizers = [];
    });
    cluster.store.delete("pods", namespace, name, { gracePeriodSeconds: 0 });
    expect(cluster.pods()).toHaveLength(0);
    expect(log.closed).toBe(true);
  });

  it("a shorter grace that comes later shortens the wait", async () => {
    start({ programs: { main: forever } });
    cluster.createJob({ terminationGracePeriodSeconds: 600 });
    await cluster.running();
    const { name } = cluster.pod().metadata;
    cluster.store.delete("pods", namespace, name);
    await cluster.advance(10_000);
    expect(cluster.pods()).toHaveLength(1);
    cluster.store.delete("pods", namespace, name, { gracePeriodSeconds: 1 });
    await cluster.until("the pod is gone", () => cluster.pods().length === 0, 5000);
  });

  it("an API server that is down: containers run on, everything is caught up with later", async () => {
    start({ programs: { main: exits(0) } });
    cluster.createJob({});
    await cluster.running();
    cluster.controllers.pause();
    const versions = cluster.podStates.length;
    await cluster.advance(30_000);
    expect(cluster.podStates).toHaveLength(versions);
    cluster.controllers.resume();
    expect((await cluster.finished()).type).toBe("Complete");
  });
});

describe("volumes", () => {
  it("of a claim outlive the pod", async () => {
    start({
      programs: {
        main: async function* (container) {
          const before = container.files.read("/data/count")?.toString() ?? "0";
          container.files.write("/data/count", String(Number(before) + 1));
          yield before;
        },
      },
    });
    cluster.store.create("persistentvolumeclaims", {
      metadata: { name: "claim", namespace },
      spec: { accessModes: ["ReadWriteMany"], resources: { requests: { storage: "1Gi" } } },
    });
    const spec = {
      volumes: [{ name: "d", persistentVolumeClaim: { claimName: "claim" } }],
      containers: [{ name: "main", image: "a:1", volumeMounts: [{ name: "d", mountPath: "/data" }] }],
    };
    cluster.createJob(spec);
    await cluster.finished();
    cluster.store.delete("jobs", namespace, "job");
    await cluster.until("gone", () => cluster.pods().length === 0);
    cluster.createJob(spec, {}, "second");
    await cluster.finished("second");
    expect(await cluster.log().text()).toBe("1\n");
    expect(podOf(cluster.pod()).status.phase).toBe("Succeeded");
  });
});
