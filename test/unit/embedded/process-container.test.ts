import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { Clock } from "../../../src/embedded/clock.ts";
import { Controllers } from "../../../src/embedded/controllers/controllers.ts";
import type { Program } from "../../../src/embedded/kubelet/programs.ts";
import { StatusError } from "../../../src/embedded/objects/status-error.ts";
import { type Pod, podOf } from "../../../src/embedded/objects/workloads.ts";
import type { StoreEvent } from "../../../src/embedded/store/change-feed.ts";
import { ObjectStore } from "../../../src/embedded/store/store.ts";

/** Real processes need a clock that runs. */
class Cluster {
  readonly clock = new Clock(1);
  readonly store = new ObjectStore({ now: () => this.clock.now() });
  readonly controllers: Controllers;

  constructor(programs: Record<string, Program>) {
    this.store.create("namespaces", { metadata: { name: "ns" } });
    this.controllers = new Controllers({ store: this.store, clock: this.clock, programs, delays: "fast" });
  }

  create(spec: Record<string, unknown>): void {
    this.store.create("jobs", {
      metadata: { name: "job", namespace: "ns" },
      spec: {
        backoffLimit: 0,
        template: { spec: { restartPolicy: "Never", terminationGracePeriodSeconds: 1, ...spec } },
      },
    });
  }

  pod(): Pod {
    const [pod] = this.store.list("pods", "ns");
    if (pod === undefined) throw new Error("no pod");
    return podOf(pod);
  }

  when(holds: (event: StoreEvent) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const unsubscribe = this.store.subscribe((event) => {
        if (!holds(event)) return;
        unsubscribe();
        resolve();
      });
    });
  }

  ended(): Promise<void> {
    return this.when(({ object }) => /^(?:Succeeded|Failed)$/.test((object as Pod).status?.phase ?? ""));
  }

  async log(container = "main"): Promise<string> {
    const log = this.controllers.logFor("ns", this.pod().metadata.name, container);
    if (log instanceof StatusError) throw log;
    return log.text();
  }

  exit(container = "main") {
    return this.pod().status.containerStatuses?.find(({ name }) => name === container)?.state.terminated;
  }
}

let cluster: Cluster;
afterEach(() => {
  cluster.controllers.stop();
  cluster.clock.stop();
});

const image = "busybox:1";

describe("a container as a local process", () => {
  it.each<[string, object, string[]]>([
    ["defaultMode", {}, ["400", "600"]],
    ["mode, and the group the right to read with an fsGroup", { securityContext: { fsGroup: 1000 } }, ["440", "640"]],
  ])("gives the files of a Secret their %s", async (_, more, modes) => {
    cluster = new Cluster({ main: { kind: "process" } });
    cluster.store.create("secrets", {
      metadata: { name: "keys", namespace: "ns" },
      data: { a: Buffer.from("x").toString("base64"), b: Buffer.from("y").toString("base64") },
    });
    const items = [
      { key: "a", path: "a" },
      { key: "b", path: "deep/b", mode: 0o600 },
    ];
    const ended = cluster.ended();
    cluster.create({
      ...more,
      volumes: [{ name: "keys", secret: { secretName: "keys", items, defaultMode: 0o400 } }],
      containers: [
        {
          name: "main",
          image,
          command: ["sh", "-c", "stat -c %a /keys/a /keys/deep/b"],
          volumeMounts: [{ name: "keys", mountPath: "/keys" }],
        },
      ],
    });
    await ended;
    expect((await cluster.log()).trim().split("\n")).toEqual(modes);
  });

  it("has a file for its last words, which stand in its status when it has ended", async () => {
    cluster = new Cluster({ main: { kind: "process" }, silent: { kind: "process" } });
    const ended = cluster.ended();
    const command = ["sh", "-c", 'echo first >"$WORDS"; echo 7 of 9 >"$WORDS"; kill -KILL $$$$'];
    cluster.create({
      containers: [
        { name: "main", image, command, env: [{ name: "WORDS", value: "/dev/termination-log" }] },
        { name: "silent", image, command: ["true"] },
      ],
    });
    await ended;
    expect(cluster.exit()).toMatchObject({ exitCode: 137, message: "7 of 9\n" });
    expect(cluster.exit("silent")).not.toHaveProperty("message");
  });

  it("runs the container's command with its variables, merges its streams, reports its exit code", async () => {
    cluster = new Cluster({ main: { kind: "process" } });
    const ended = cluster.ended();
    cluster.create({
      containers: [
        {
          name: "main",
          image,
          env: [{ name: "GREETING", value: "hello world" }],
          command: ["sh", "-c", 'echo "$GREETING"; echo oops >&2; printf end; exit 7'],
        },
      ],
    });
    await ended;
    const log = await cluster.log();
    expect(log.split("\n").sort()).toEqual(["end", "hello world", "oops"]);
    expect(cluster.exit()).toMatchObject({ exitCode: 7, reason: "Error" });
  });

  it("sees the pod's volumes, those that scripted containers wrote and those of Secrets", async () => {
    cluster = new Cluster({
      main: { kind: "process" },
      after: async function* (container) {
        while (container.files.read("/out/answer") === undefined) await container.sleep(10);
        yield container.files.readText("/out/answer");
      },
    });
    cluster.store.create("secrets", { metadata: { name: "s", namespace: "ns" }, stringData: { key: "secret value" } });
    const ended = cluster.ended();
    const out = { name: "out", mountPath: "/out" };
    cluster.create({
      volumes: [
        { name: "prompt", emptyDir: {} },
        { name: "out", emptyDir: {} },
        { name: "s", secret: { secretName: "s" } },
      ],
      initContainers: [
        {
          name: "write-prompt",
          image,
          env: [{ name: "P", value: "the prompt" }],
          command: ["sh", "-c", 'printf %s "$P" > /tmp/prompt/prompt.txt'],
          volumeMounts: [{ name: "prompt", mountPath: "/tmp/prompt" }],
        },
      ],
      containers: [
        {
          name: "main",
          image,
          workingDir: "/out",
          env: [{ name: "KEY_FILE", value: "/secrets/key" }],
          command: ["sh", "-c", 'cat /tmp/prompt/prompt.txt "$KEY_FILE" > all; mv all answer; cat /out/answer'],
          volumeMounts: [{ name: "prompt", mountPath: "/tmp/prompt" }, { name: "s", mountPath: "/secrets" }, out],
        },
        { name: "after", image, volumeMounts: [out] },
      ],
    });
    await ended;
    expect(await cluster.log()).toBe("the promptsecret value");
    expect(await cluster.log("after")).toBe("the promptsecret value\n");
  });

  it("gets stdin, and another command, from its program", async () => {
    cluster = new Cluster({ main: { kind: "process", command: ["cat"], stdin: "typed in\n", env: { X: "1" } } });
    const ended = cluster.ended();
    cluster.create({ containers: [{ name: "main", image, command: ["claude"] }] });
    await ended;
    expect(await cluster.log()).toBe("typed in\n");
    expect(cluster.exit()?.exitCode).toBe(0);
  });

  it("that cannot be found ends with 127 and says so", async () => {
    cluster = new Cluster({ main: { kind: "process" } });
    const ended = cluster.ended();
    cluster.create({ containers: [{ name: "main", image, command: ["/no/such/program"] }] });
    await ended;
    expect(await cluster.log()).toMatch(/ENOENT/);
    expect(cluster.exit()?.exitCode).toBe(127);
  });

  it("is ended with its whole group when the pod is deleted, and killed when it does not listen", async () => {
    cluster = new Cluster({ polite: { kind: "process" }, deaf: { kind: "process" } });
    const ready = cluster.when(({ object }) => {
      const statuses = (object as Pod).status?.containerStatuses ?? [];
      return statuses.length === 2 && statuses.every(({ state }) => state.running !== undefined);
    });
    cluster.create({
      terminationGracePeriodSeconds: 600,
      containers: [
        {
          name: "polite",
          image,
          command: ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"],
        },
        { name: "deaf", image, command: ["sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait; sleep 600"] },
      ],
    });
    await ready;
    const { name } = cluster.pod().metadata;
    const log = cluster.controllers.logFor("ns", name, "deaf");
    if (log instanceof StatusError) throw log;
    const { value } = await log.read({ follow: true }).next();
    const grandchild = Number(Buffer.from(value ?? []).toString());
    expect(() => process.kill(grandchild, 0)).not.toThrow();
    const polite = cluster.controllers.logFor("ns", name, "polite");
    if (polite instanceof StatusError) throw polite;
    const words = polite.read({ follow: true });
    // By then it listens to SIGTERM.
    expect(Buffer.from((await words.next()).value ?? []).toString()).toBe("up\n");
    let last: Pod | undefined;
    const gone = cluster.when(({ type, object, resource }) => {
      if (resource === "pods") last = podOf(object);
      return resource === "pods" && type === "DELETED";
    });
    cluster.store.delete("jobs", "ns", "job");
    for await (const chunk of words) expect(Buffer.from(chunk).toString()).toBe("bye\n");
    // It has ended; the other one has not, and its grace is cut short.
    cluster.store.delete("pods", "ns", name, { gracePeriodSeconds: 1 });
    await gone;
    expect(last?.status.containerStatuses?.map(({ state }) => state.terminated?.exitCode)).toEqual([3, 137]);
    expect(await polite.text()).toBe("up\nbye\n");
    // It is reaped by whoever adopted it; until then it is a zombie, which a signal still reaches.
    await expect.poll(() => isAlive(grandchild)).toBe(false);
  });

  it("does not outlive the cluster", async () => {
    cluster = new Cluster({ main: { kind: "process" } });
    const ready = cluster.when(({ object }) => (object as Pod).status?.phase === "Running");
    // `$$` is Kubernetes' escape for one dollar sign.
    cluster.create({ containers: [{ name: "main", image, command: ["sh", "-c", "echo $$$$; sleep 600"] }] });
    await ready;
    const log = cluster.controllers.logFor("ns", cluster.pod().metadata.name, "main");
    if (log instanceof StatusError) throw log;
    const { value } = await log.read({ follow: true }).next();
    const pid = Number(Buffer.from(value ?? []).toString());
    expect(isAlive(pid)).toBe(true);
    cluster.controllers.stop();
    await expect.poll(() => isAlive(pid)).toBe(false);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return !isZombie(pid);
}

function isZombie(pid: number): boolean {
  try {
    return /^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
