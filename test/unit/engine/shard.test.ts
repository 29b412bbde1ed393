import { KubeConfig } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { RunEngine, SHARD_LABEL, ShardClaimError } from "../../../src/engine/index.ts";
import { shardLabels } from "../../../src/engine/shard.ts";
import { watchFaults } from "../injected-faults.ts";

const NAMESPACE = "shards";
const LABELS = { app: "agents" };

let k8s: EmbeddedKubernetes;
let end: () => void = () => undefined;
let ended: Promise<void> = Promise.resolve();
const engines: RunEngine[] = [];
let names = 0;

beforeAll(async () => {
  k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: [NAMESPACE] });
  watchFaults(k8s);
  k8s.addProgram("agent", async function* (container) {
    yield "working";
    await Promise.race([ended, container.sleep(3_600_000)]);
    return 0;
  });
});
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.stop()));
});
afterAll(() => k8s.stop());

async function engineOf(value: string | null): Promise<RunEngine> {
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(JSON.stringify(k8s.kubeconfigFor({ namespace: NAMESPACE })));
  const engine = await RunEngine.start({ kubeConfig, labels: LABELS, ...(value === null ? {} : { shard: { value } }) });
  engines.push(engine);
  return engine;
}

/** A Job whose container runs until `end` is called. */
function job() {
  ended = new Promise((resolve) => {
    end = resolve;
  });
  const container = { name: "agent", image: "agent:1", command: ["agent"] };
  return {
    metadata: { name: `job-${++names}`, namespace: NAMESPACE, labels: LABELS },
    spec: {
      backoffLimit: 0,
      template: { metadata: { labels: LABELS }, spec: { restartPolicy: "Never", containers: [container] } },
    },
  };
}

describe("shards", () => {
  it("show each process its own Jobs and pods only, and guards all of them", async () => {
    const [one, two, whole] = [await engineOf("one"), await engineOf("two"), await engineOf(null)];
    const run = await one.launch(job());
    await run.podReady({ container: "agent" });
    expect(run.job()?.metadata.labels?.[SHARD_LABEL]).toBe("one");
    // Told of the pod by its own watch, the third engine proves that the second has had its chance.
    while (whole.pods.byIndex("job", `${NAMESPACE}/${run.jobName}`)[0]?.status.phase !== "Running") {
      await new Promise<void>((resolve) => {
        const stop = whole.pods.subscribe(
          () => {
            stop();
            resolve();
          },
          { replay: false },
        );
      });
    }
    expect(one.pods.size).toBe(1);
    expect([two.jobs.size, two.pods.size]).toEqual([0, 0]);
    expect((await two.listJobs(NAMESPACE)).map(({ metadata }) => metadata.name)).toContain(run.jobName);
    expect(await two.listPods(NAMESPACE)).toHaveLength(1);
    end();
    expect((await run.terminated({ container: "agent" })).kind).toBe("succeeded");
    await run.delete();
    await run.gone();
  });

  it("hand over a Job with its pod to the process that claims it", async () => {
    const lost = await engineOf("lost");
    const run = await lost.launch(job());
    await run.podReady({ container: "agent" });
    const ref = { jobName: run.jobName, ...(run.uid === null ? {} : { uid: run.uid }) };
    await lost.stop();
    const heir = await engineOf("heir");
    await heir.claim({ ...ref, from: "lost" });
    const adopted = heir.attach(ref);
    await adopted.podReady({ container: "agent" });
    end();
    expect(await adopted.terminated({ container: "agent" })).toMatchObject({ kind: "succeeded", exitCode: 0 });
    await adopted.delete();
    await adopted.gone();
  });

  it("hand over a Job of which the server lists no pod, as Go writes an empty list", async () => {
    const lost = await engineOf("lost");
    const { jobName } = await lost.launch({ ...job(), spec: { ...job().spec, suspend: true } });
    await lost.stop();
    const heir = await engineOf("heir");
    k8s.faults.nullItems({ match: { verb: "list", resource: "pods" }, count: 1 });
    await heir.claim({ jobName, from: "lost" });
    expect(k8s.objects.get("jobs", NAMESPACE, jobName)?.metadata.labels?.[SHARD_LABEL]).toBe("heir");
    await heir.attach({ jobName }).delete();
  });

  it("give a Job to exactly one of those that claim it at the same moment", async () => {
    const lost = await engineOf("lost");
    const run = await lost.launch(job());
    await run.podReady({ container: "agent" });
    const heirs = await Promise.all(["a", "b", "c", "d"].map(engineOf));
    const claims = await Promise.allSettled(heirs.map((heir) => heir.claim({ jobName: run.jobName, from: "lost" })));
    const won = claims.flatMap(({ status }, at) => (status === "fulfilled" ? ["abcd"[at]] : []));
    expect(won).toHaveLength(1);
    for (const claim of claims) if (claim.status === "rejected") expect(claim.reason).toBeInstanceOf(ShardClaimError);
    const owners = [k8s.objects.get("jobs", NAMESPACE, run.jobName), ...k8s.objects.list("pods", NAMESPACE)];
    expect(owners.map((object) => object?.metadata.labels?.[SHARD_LABEL])).toEqual([won[0], won[0]]);
    end();
    await heirs["abcd".indexOf(won[0] ?? "")]?.attach({ jobName: run.jobName }).delete();
  });

  it("leave a claimed Job with whoever holds it when it is claimed from its earlier owner", async () => {
    const owner = await engineOf("owner");
    const run = await owner.launch(job());
    const late = await engineOf("late");
    await expect(late.claim({ jobName: run.jobName, from: "somebody-else" })).rejects.toMatchObject({
      name: "ShardClaimError",
      owner: "owner",
    });
    await run.delete();
  });

  it("are all seen by a view, which costs two watches until it is closed", async () => {
    const [one, two] = [await engineOf("view-one"), await engineOf("view-two")];
    const run = await one.launch(job());
    await run.podReady({ container: "agent" });
    // Those of the engines before it are closed by then.
    await expect.poll(() => k8s.openWatches).toBe(4);
    const view = await two.openView(NAMESPACE, {});
    expect(k8s.openWatches).toBe(6);
    expect(view.jobs.get(NAMESPACE, run.jobName)?.metadata.labels?.[SHARD_LABEL]).toBe("view-one");
    const deleted = new Promise<string>((resolve) => {
      view.jobs.subscribe(({ type, object }) => {
        if (type === "deleted") resolve(object.metadata.name);
      });
    });
    await run.delete();
    expect(await deleted).toBe(run.jobName);
    view.close();
    // No change of an object tells that a watch has closed.
    await expect.poll(() => k8s.openWatches).toBe(4);
    end();
    const whole = await engineOf(null);
    expect((await whole.openView(NAMESPACE, {})).jobs).toBe(whole.jobs);
  });

  it("a view that is being opened ends with its engine", async () => {
    const engine = await engineOf("stopped");
    const fault = k8s.faults.delayRequests(60_000, { match: { verb: "watch" } });
    const ended = expect(engine.openView(NAMESPACE, {})).rejects.toMatchObject({ name: "EngineStoppedError" });
    await expect.poll(() => fault.hits).toBeGreaterThan(0);
    await engine.stop();
    fault.remove();
    await ended;
  });

  it("name the bad field of a shard", () => {
    expect(() => shardLabels({ value: "not a label" })).toThrow(
      /shard\.value must be a Kubernetes label value.*"not a label"/,
    );
    expect(() => shardLabels({ value: "" })).toThrow(/shard\.value/);
    expect(() => shardLabels({ label: "a/b/c", value: "x" })).toThrow(/shard\.label must be a Kubernetes label key/);
  });
});
