import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { ActiveFault, EmbeddedKubernetes, EmbeddedKubernetesOptions } from "../../../src/embedded/index.ts";
import {
  AttachFailedError,
  EngineStoppedError,
  isAlreadyExists,
  isForbidden,
  leaseEngine,
  RunEngine,
  type RunEngineOptions,
  RunGoneError,
  RunTimeoutError,
  StartFailedError,
  stopSharedEngines,
} from "../../../src/engine/index.ts";
import { trimJob } from "../../../src/engine/informer/trim.ts";
import { expire, job, kubeConfigOf, LABELS, NAMESPACE, startEngine, startKubernetes, status } from "./harness.ts";

const MAIN = { container: "main" };

/** A fast cluster; the container `main` runs the program given. */
async function start(
  program: Parameters<EmbeddedKubernetes["addProgram"]>[1],
  options: EmbeddedKubernetesOptions = {},
  engineOptions: Partial<RunEngineOptions> = {},
): Promise<{ k8s: EmbeddedKubernetes; engine: RunEngine }> {
  const k8s = await startKubernetes({ delays: "fast", ...options });
  k8s.addProgram("main", program);
  const engine = await startEngine(k8s, engineOptions);
  return { k8s, engine };
}

/** Runs until it is told to end. */
const patient = async function* (container: {
  signal: AbortSignal;
  sleep(ms: number, o?: { interruptible?: boolean }): Promise<void>;
}) {
  yield "started";
  await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
  return 143;
};

describe("a run", () => {
  it("is ready, prints each line once, ends, is deleted: with four requests of its own", async () => {
    const { k8s, engine } = await start(async function* () {
      yield "one";
      yield "two";
      return 0;
    });
    await engine.pods.whenSynced();
    k8s.requests.reset();
    const run = await engine.launch(job("a"));
    const pod = await run.podReady(MAIN);
    expect(pod.metadata.name).toMatch(/^a-/);
    const lines: string[] = [];
    for await (const line of run.logs(MAIN)) lines.push(line.text);
    expect(lines).toEqual(["one", "two"]);
    expect(await run.terminated(MAIN)).toMatchObject({
      kind: "succeeded",
      exitCode: 0,
      container: "main",
      podName: pod.metadata.name,
    });
    await run.delete();
    await run.gone();
    expect(run.liveness()).toBe("ended");
    const { byVerb } = k8s.requests;
    expect(byVerb).toMatchObject({ "create jobs": 1, "delete jobs": 1 });
    expect(Object.keys(byVerb).sort()).toEqual(["create jobs", "delete jobs", "get pods/log"]);
  });

  it("is known before its create request is answered", async () => {
    const { k8s, engine } = await start(async function* () {
      yield "quick";
      return 3;
    });
    // The answer is late; meanwhile the Job runs and ends, and the watch has told all of it.
    const original = k8s.objects.onChange(({ type, resource }) => {
      if (type === "ADDED" && resource === "jobs") original();
    });
    const launching = engine.launch(job("late"));
    const run = await launching;
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "failed", exitCode: 3 });
  });

  it("is created once though the answer to its creation is lost", async () => {
    const { k8s, engine } = await start(async function* () {
      yield "x";
      return 0;
    });
    let created = 0;
    k8s.objects.onChange(({ type, resource }) => {
      if (type !== "ADDED" || resource !== "jobs") return;
      created += 1;
      // Done, and the connection breaks before anyone hears of it.
      k8s.faults.resetConnections();
    });
    const run = await engine.launch(job("lost"));
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "succeeded" });
    expect(created).toBe(1);
  });

  it("does not take another's Job of the same name for its own", async () => {
    const { k8s, engine } = await start(patient);
    k8s.objects.create("jobs", {
      apiVersion: "batch/v1",
      kind: "Job",
      ...job("taken"),
      metadata: { ...job("taken").metadata, namespace: NAMESPACE },
    });
    const error = await engine.launch(job("taken")).catch((each: unknown) => each);
    expect(isAlreadyExists(error)).toBe(true);
    expect(engine.stats().runs).toBe(0);
  });

  it("tells people where it stands, each state once", async () => {
    const told = Promise.withResolvers<void>();
    const { engine } = await start(async function* () {
      yield "x";
      await told.promise;
      return 0;
    });
    const run = await engine.launch(job("phases"));
    const phases: string[] = [];
    const seen = ({ phase, text }: ReturnType<typeof run.phase>) => {
      if (phase === "running") told.resolve();
      return `${phase}: ${text}`;
    };
    run.on("phase", (phase) => phases.push(seen(phase)));
    const first = seen(run.phase());
    await run.terminated(MAIN);
    await run.delete();
    await run.gone();
    expect(new Set(phases).size).toBe(phases.length);
    expect([first, ...phases].map((each) => each.split(":")[0])).toEqual(expect.arrayContaining(["running", "ended"]));
    expect(phases.join("\n")).toContain("main ended with exit code 0");
  });
});

describe("how a run ends", () => {
  it("at its deadline, with everything that was printed before", async () => {
    const { k8s, engine } = await start(
      async function* (container) {
        for (let n = 0; ; n += 1) {
          yield `line ${n}`;
          await container.sleep(100);
        }
      },
      { timeScale: 10 },
    );
    const run = await engine.launch(job("deadline", { activeDeadlineSeconds: 3_600 }));
    const lines: string[] = [];
    const reading = (async () => {
      for await (const line of run.logs(MAIN)) if (lines.push(line.text) === 6) expire(k8s, "deadline");
    })();
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "deadline", exitCode: 137, reason: "DeadlineExceeded" });
    await reading;
    expect(lines.length).toBeGreaterThan(5);
    expect(lines).toEqual(lines.map((_, index) => `line ${index}`));
  });

  it("by deletion of its Job", async () => {
    const { engine } = await start(patient);
    const run = await engine.launch(job("deleted"));
    await run.podReady(MAIN);
    await run.delete();
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "job_deleted", exitCode: 143 });
  });

  it("by deletion of its pod", async () => {
    const { k8s, engine } = await start(patient);
    const run = await engine.launch(job("pod-deleted"));
    const pod = await run.podReady(MAIN);
    k8s.objects.delete("pods", NAMESPACE, pod.metadata.name);
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "pod_deleted", exitCode: 143 });
  });

  it("by deletion of a Job that came and went while its watch was silent", async () => {
    const { k8s, engine } = await start(async () => 0);
    const stall = k8s.faults.stallWatches();
    const run = await engine.launch(job("unseen"));
    const end = run.terminated(MAIN);
    await k8s.objects.until(() => k8s.objects.list("pods", NAMESPACE).length === 1);
    k8s.objects.delete("jobs", NAMESPACE, "unseen");
    await k8s.objects.until(() => k8s.objects.list("pods", NAMESPACE).length === 0);
    k8s.faults.expireVersions();
    k8s.faults.cutWatches({ how: "reset" });
    stall.release();
    expect(await end).toMatchObject({ kind: "job_deleted", exitCode: null });
    await run.gone();
  });

  it("of which the pods' watch, open and silent, says nothing: the server is asked, and the log is read", async () => {
    const { k8s, engine } = await start(async function* () {
      yield "done";
      return 3;
    });
    k8s.faults.stallWatches(undefined, { resource: "pods" });
    const run = await engine.launch(job("silent"), { policy: { settleMs: 50 } });
    const lines: string[] = [];
    for await (const line of run.logs(MAIN)) lines.push(line.text);
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "failed", exitCode: 3 });
    expect(lines).toEqual(["done"]);
    expect(k8s.requests.count("list pods")).toBe(1);
  });

  it("by a deadline of which the Jobs' watch, open and silent, says nothing: the server is asked why the pod was deleted", async () => {
    const { k8s, engine } = await start(patient);
    const run = await engine.launch(job("late", { activeDeadlineSeconds: 3_600 }), { policy: { settleMs: 50 } });
    await run.podReady(MAIN);
    k8s.faults.stallWatches(undefined, { resource: "jobs" });
    expire(k8s, "late");
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "deadline", exitCode: 143 });
    expect(k8s.requests.count("get jobs")).toBe(1);
  });

  it("by eviction", async () => {
    const { k8s, engine } = await start(patient);
    const run = await engine.launch(job("evicted"));
    const pod = await run.podReady(MAIN);
    k8s.evictPod(NAMESPACE, pod.metadata.name);
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "evicted" });
  });

  it("with its Job's last retry, over pods that replace each other, and logs of all of them", async () => {
    let attempt = 0;
    const { engine } = await start(async function* () {
      attempt += 1;
      yield `attempt ${attempt}`;
      return attempt < 3 ? attempt : 0;
    });
    const run = await engine.launch(job("retried", { backoffLimit: 2 }));
    const pods: string[] = [];
    run.on("pod", ({ pod, previous }) => pods.push(`${previous.metadata.name} → ${pod.metadata.name}`));
    const lines: string[] = [];
    for await (const line of run.logs(MAIN)) lines.push(line.text);
    expect(lines).toEqual(["attempt 1", "attempt 2", "attempt 3"]);
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "succeeded", exitCode: 0 });
    expect(pods).toHaveLength(2);
  });

  it("whose Job and pod are deleted while the pods' watch is down, which then tells of all that was: its log ends", async () => {
    const { k8s, engine } = await start(async function* () {
      yield "unread";
    });
    const match = { verb: ["list", "watch"], resource: "pods" };
    const down = k8s.faults.errorRate({ status: 503, match });
    k8s.faults.cutWatches({ how: "reset", match });
    await status(engine.pods, () => !engine.pods.freshness().connected);
    const run = await engine.launch(job("replayed", { ttlSecondsAfterFinished: 0 }));
    const gaps: string[] = [];
    const read = async () => {
      for await (const _ of run.logs({ ...MAIN, onGap: ({ reason }) => gaps.push(reason) }));
    };
    const log = read();
    await k8s.objects.until(() => k8s.objects.list("jobs", NAMESPACE).length === 0);
    await k8s.objects.until(() => k8s.objects.list("pods", NAMESPACE).length === 0);
    expect(down.hits).toBeGreaterThan(0);
    down.remove();
    await log;
    expect(gaps).toEqual(["pod_gone"]);
    await run.gone();
  });

  it("whose first pods had come and gone unseen: their logs are read all the same, unless the last lines were asked for", async () => {
    let attempt = 0;
    const { k8s } = await start(async function* () {
      attempt += 1;
      yield `attempt ${attempt}`;
      return attempt < 3 ? attempt : 0;
    });
    const { metadata, ...rest } = job("attached", { backoffLimit: 2 });
    k8s.objects.create("jobs", { ...rest, metadata: { ...metadata, namespace: NAMESPACE } });
    await k8s.objects.until(() => attempt === 3);
    const run = (await startEngine(k8s)).attach({ jobName: "attached" });
    const lines: string[] = [];
    for await (const line of run.logs(MAIN)) lines.push(line.text);
    expect(lines).toEqual(["attempt 1", "attempt 2", "attempt 3"]);
    const last: string[] = [];
    for await (const line of run.logs({ ...MAIN, tailLines: 10 })) last.push(line.text);
    expect(last).toEqual(["attempt 3"]);
  });

  it("cannot start for want of its image, after the grace, in the kubelet's words", async () => {
    const { k8s, engine } = await start(patient);
    k8s.failImagePull("agent");
    const run = await engine.launch(job("no-image"), { policy: { imagePullGraceMs: 100 } });
    const error = await run.podReady(MAIN).catch((each: unknown) => each);
    expect(error).toBeInstanceOf(StartFailedError);
    expect((error as StartFailedError).failure).toMatchObject({ code: "image_pull", container: "main" });
    expect((error as Error).message).toContain("agent");
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "start_failed", startFailure: { code: "image_pull" } });
  });

  it("waits while its Job is suspended, and says so", async () => {
    const { k8s, engine } = await start(async function* () {
      yield "x";
      return 0;
    });
    const run = await engine.launch(job("suspended", { suspend: true }), { policy: { scheduleTimeoutMs: 1 } });
    await expect(run.podReady({ ...MAIN, timeoutMs: 100 })).rejects.toThrow(RunTimeoutError);
    expect(run.phase()).toMatchObject({ phase: "suspended" });
    k8s.objects.update("jobs", NAMESPACE, "suspended", (each) => {
      (each.spec as { suspend: boolean }).suspend = false;
    });
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "succeeded" });
  });
});

describe("a run whose pod the pods' watch has not told of", () => {
  it.each(["down", "open and silent"] as const)("is not gone while the pod stands (%s)", async (trouble) => {
    let leave = () => {};
    const left = new Promise<void>((resolve) => {
      leave = resolve;
    });
    const { k8s, engine } = await start(async function* () {
      yield "started";
      await left;
      return 0;
    });
    const match = { verb: "watch", resource: "pods" };
    if (trouble === "down") {
      k8s.faults.errorRate({ status: 503, match });
      k8s.faults.cutWatches({ how: "reset", match });
      await status(engine.pods, () => !engine.pods.freshness().connected);
    } else k8s.faults.stallWatches(undefined, match);
    const run = await engine.launch(job("untold"));
    await k8s.objects.until(
      () => (k8s.objects.list("pods", NAMESPACE)[0]?.status as { phase?: string } | undefined)?.phase === "Running",
    );
    let isGone = false;
    const gone = run.gone().then(() => {
      isGone = true;
    });
    await run.delete({ gracePeriodSeconds: 3_600 });
    // What the server was asked for is told with a change.
    while (run.pod() === null) await new Promise<void>((resolve) => run.once("change", resolve));
    expect(isGone).toBe(false);
    expect(run.liveness()).toBe(trouble === "down" ? "unknown" : "alive");
    leave();
    await gone;
    expect(k8s.objects.list("pods", NAMESPACE)).toEqual([]);
    expect(run.liveness()).toBe("ended");
    expect(engine.stats().runs).toBe(0);
  });

  it("is gone without one, where the server refuses to tell of pods", async () => {
    const { k8s, engine } = await start(patient);
    k8s.faults.errorRate({ status: 403, match: { verb: "list" } });
    const run = await engine.launch(job("podless", { suspend: true }));
    await run.delete();
    await run.gone();
    expect(run.liveness()).toBe("ended");
    expect(engine.stats().runs).toBe(0);
  });
});

it("the server says that a pod is deleted before its watch does: the run still gets the pod's last state", async () => {
  const { k8s, engine } = await start(patient);
  const run = await engine.launch(job("hasty"));
  const pod = await run.podReady(MAIN);
  const stall = k8s.faults.stallWatches(undefined, { resource: "pods" });
  k8s.objects.delete("jobs", NAMESPACE, "hasty");
  await run.gone();
  expect(run.isPodFinal).toBe(false);
  expect(stall.hits).toBeGreaterThan(0);
  stall.release();
  await expect.poll(() => run.isPodFinal).toBe(true);
  expect(run.pod()?.metadata.uid).toBe(pod.metadata.uid);
  await expect.poll(() => engine.stats().runs).toBe(0);
});

it("an end waits for a few seconds at most for a server that refuses to tell of the pods", async () => {
  const { k8s, engine } = await start(async () => 3);
  k8s.faults.stallWatches(undefined, { resource: "pods" });
  k8s.faults.errorRate({ status: 429, retryAfterSeconds: 4, match: { verb: "list" } });
  const run = await engine.launch(job("refused"), { policy: { settleMs: 50 } });
  // The server would keep it waiting without end.
  expect(await run.terminated(MAIN)).toMatchObject({ kind: "failed" });
});

describe("a deletion that is answered with a conflict", () => {
  const conflict = { status: 409, match: { verb: "delete", resource: "jobs" } } as const;

  it("of an admission webhook is no success while the Job stands", async () => {
    const { k8s, engine } = await start(patient);
    const run = await engine.launch(job("kept"));
    const message = 'admission webhook "hours.example.com" denied the request: not now';
    const fault = k8s.faults.errorRate({ ...conflict, message });
    await expect(run.delete({ signal: AbortSignal.timeout(120_000) })).rejects.toThrow("not now");
    expect(fault.hits).toBeGreaterThan(1);
    fault.remove();
    await run.delete();
    await run.gone();
  });

  it("since another Job has its name is success", async () => {
    const { k8s, engine } = await start(patient);
    const run = await engine.launch(job("again"));
    await run.podReady(MAIN);
    await startEngine(k8s).then((other) => other.attach({ jobName: "again" }).delete());
    await run.gone();
    const next = await engine.launch(job("again"));
    await run.delete();
    expect(k8s.objects.get("jobs", NAMESPACE, "again")?.metadata.uid).toBe(next.uid);
  });
});

describe("attach", () => {
  it("to a run that another process began", async () => {
    const { k8s, engine } = await start(patient);
    const first = await engine.launch(job("shared"));
    await first.podReady(MAIN);
    const other = await startEngine(k8s);
    const run = other.attach({ jobName: "shared" });
    expect((await run.podReady(MAIN)).metadata.uid).toBe(first.pod()?.metadata.uid);
    await first.delete();
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "job_deleted" });
  });

  it.each(["Background", "Foreground"] as const)(
    "to a run that ended, and to one that is gone already (%s)",
    async (propagationPolicy) => {
      const { engine } = await start(async function* () {
        yield "x";
        return 7;
      });
      const run = await engine.launch(job("over"));
      await run.terminated(MAIN);
      expect(await engine.attach({ jobName: "over" }).terminated(MAIN)).toMatchObject({ kind: "failed", exitCode: 7 });
      await run.delete({ propagationPolicy });
      await run.gone();
      const late = engine.attach({ jobName: "over" });
      expect(await late.terminated(MAIN)).toMatchObject({ kind: "failed", exitCode: 7 });
      await late.gone();
    },
  );

  it("to a Job that never was says so, after the server was asked once", async () => {
    const { k8s, engine } = await start(patient);
    const run = engine.attach({ jobName: "never" });
    const error = await run.terminated(MAIN).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AttachFailedError);
    expect(error).toMatchObject({
      reason: "not_found",
      message: expect.stringContaining("there is none of this name"),
    });
    await expect(run.podReady(MAIN)).rejects.toBe(error);
    expect(k8s.requests.count("get jobs")).toBe(1);
  });

  it("to a Job whose uid is known, and that the server does not have, says that it was deleted", async () => {
    const { engine } = await start(patient);
    const run = engine.attach({ jobName: "once", uid: "0b1c" });
    await expect(run.podReady(MAIN)).rejects.toThrow(RunGoneError);
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "job_deleted", exitCode: null });
  });

  it("to a Job that the watches do not select ends with an error that says so", async () => {
    const { k8s, engine } = await start(patient);
    const labels = { "example.com/agent": "no" };
    k8s.objects.create("jobs", { ...job("foreign"), metadata: { name: "foreign", namespace: NAMESPACE, labels } });
    const run = engine.attach({ jobName: "foreign" });
    const error = (await run.terminated(MAIN).catch((reason: unknown) => reason)) as AttachFailedError;
    expect(error).toBeInstanceOf(AttachFailedError);
    expect(error).toMatchObject({ reason: "not_selected", namespace: NAMESPACE, jobName: "foreign" });
    expect(error.message).toContain("it carries example.com/agent=no, and this engine watches example.com/agent=yes");
    // Whoever asks later is told the same.
    await expect(run.gone()).rejects.toBe(error);
    await expect(run.logs(MAIN)[Symbol.asyncIterator]().next()).rejects.toBe(error);
    expect(engine.stats().runs).toBe(0);
    expect(k8s.objects.get("jobs", NAMESPACE, "foreign")).toBeDefined();
  });

  it("ends with an error where the server refuses to say whether there is such a Job", async () => {
    const k8s = await startKubernetes({ delays: "fast" });
    const watching = { resources: ["jobs", "pods"], verbs: ["list", "watch"] };
    const rules = ["batch", ""].map((apiGroup) => ({ ...watching, apiGroups: [apiGroup] }));
    const token = k8s.addUser({ name: "blind", rules });
    const engine = await startEngine(k8s, { kubeConfig: kubeConfigOf(k8s, token) });
    const run = engine.attach({ jobName: "unknown" });
    const error = (await run.podReady(MAIN).catch((reason: unknown) => reason)) as AttachFailedError;
    expect(error).toBeInstanceOf(AttachFailedError);
    expect(error).toMatchObject({ reason: "forbidden", cause: { status: 403 } });
    expect(error.message).toMatch(/cannot get resource "jobs".*grant this verb/);
    expect(engine.stats().runs).toBe(0);
  });

  it("keeps of a Job that the server shows before the watch does no more than of every other", async () => {
    const { k8s, engine } = await start(patient);
    k8s.faults.stallWatches();
    k8s.objects.create("jobs", {
      ...job("unseen"),
      metadata: { name: "unseen", namespace: NAMESPACE, labels: LABELS },
    });
    const run = engine.attach({ jobName: "unseen" });
    await new Promise<void>((resolve) => run.once("change", resolve));
    expect(run.job()?.metadata).toMatchObject({ name: "unseen", labels: LABELS });
    expect(run.job()).toEqual(trimJob(run.job()));
  });

  it("by uid is not fooled by a newer Job of the same name", async () => {
    const { engine } = await start(patient);
    await engine.launch(job("reused"));
    const run = engine.attach({ jobName: "reused", uid: "00000000-0000-0000-0000-000000000000" });
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "job_deleted" });
  });
});

describe("waiting", () => {
  it("is answered before who is told of the end releases the run", async () => {
    const { engine } = await start(async function* () {
      yield "done";
    });
    const run = await engine.launch(job("released"));
    run.on("terminated", () => run.release());
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "succeeded" });
  });

  it("ends with the caller's signal, timeout, release, or the engine's stop; each with its own error", async () => {
    const { engine } = await start(patient);
    const run = await engine.launch(job("waits"));
    const abort = new AbortController();
    const aborted = run.terminated({ ...MAIN, signal: abort.signal });
    abort.abort(new Error("mine"));
    await expect(aborted).rejects.toThrow("mine");
    await expect(run.terminated({ ...MAIN, timeoutMs: 20 })).rejects.toThrow(/the end did not happen within 20 ms/);
    const other = engine.attach({ jobName: "waits" });
    const released = other.terminated(MAIN);
    other.release();
    await expect(released).rejects.toThrow(EngineStoppedError);
    const stopped = run.terminated(MAIN);
    const reading = (async () => {
      for await (const _ of run.logs(MAIN));
    })();
    const both = Promise.allSettled([stopped, reading]);
    await engine.stop();
    expect((await both).map((each) => each.status === "rejected" && each.reason instanceof EngineStoppedError)).toEqual(
      [true, true],
    );
    await expect(engine.launch(job("after"))).rejects.toThrow(EngineStoppedError);
  });

  it("for the caches and for a launch ends with the engine", async () => {
    const k8s = await startKubernetes({ delays: "fast" });
    const refused = k8s.faults.errorRate({ status: 503 });
    const options = { kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS };
    const idle = RunEngine.create(options);
    const synced = [expect(idle.synced()).rejects.toThrow(EngineStoppedError)];
    synced.push(expect(idle.pods.whenSynced()).rejects.toMatchObject({ name: "InformerStoppedError" }));
    await expect.poll(() => refused.hits).toBeGreaterThan(0);
    await idle.stop();
    await Promise.all(synced);
    await expect(idle.synced()).rejects.toThrow(EngineStoppedError);
    refused.remove();

    const engine = await RunEngine.start(options);
    k8s.faults.errorRate({ status: 429, retryAfterSeconds: 4, match: { verb: "create" } });
    const launching = expect(engine.launch(job("late"))).rejects.toThrow(EngineStoppedError);
    await expect.poll(() => k8s.requests.count("create jobs")).toBeGreaterThan(0);
    await engine.stop();
    await launching;
  });

  it("does not mind a clock that jumps", async () => {
    const { k8s, engine } = await start(patient);
    k8s.failImagePull("agent");
    const run = await engine.launch(job("jump"), { policy: { imagePullGraceMs: 60_000 } });
    const ready = run.podReady(MAIN);
    while (!run.phase().text.includes("Pull")) await new Promise<void>((resolve) => run.once("phase", () => resolve()));
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 86_400_000 });
    onTestFinished(() => void vi.useRealTimers());
    k8s.faults.cutWatches();
    const abort = new AbortController();
    const end = run.terminated({ ...MAIN, signal: abort.signal });
    await engine.launch(job("other"));
    expect(run.endOf("main")).toBeNull();
    abort.abort();
    await expect(end).rejects.toThrow();
    run.release();
    await expect(ready).rejects.toThrow(EngineStoppedError);
  });

  it("survives anything that the watches go through", async () => {
    const tossed = Promise.withResolvers<void>();
    const { k8s, engine } = await start(async function* () {
      yield "a";
      await tossed.promise;
      yield "b";
      return 0;
    });
    const run = await engine.launch(job("tossed"));
    const ends = run.terminated(MAIN);
    await run.podReady(MAIN);
    k8s.faults.cutWatches({ how: "reset" });
    k8s.faults.expireVersions();
    k8s.faults.errorRate({ status: 500, match: { verb: ["list", "watch"] }, count: 3 });
    await k8s.restart({ downMs: 50, expireVersions: true });
    tossed.resolve();
    expect(await ends).toMatchObject({ kind: "succeeded" });
  });
});

describe("an engine", () => {
  it("says at once which verb it lacks", async () => {
    const rules = [
      { apiGroups: ["batch"], resources: ["jobs"], verbs: ["list", "watch"] },
      { apiGroups: [""], resources: ["pods"], verbs: ["list"] },
    ];
    const k8s = await startKubernetes({ users: [{ name: "u", token: "t", rules }] });
    const error = await RunEngine.start({
      kubeConfig: kubeConfigOf(k8s, "t"),
      namespace: NAMESPACE,
      labels: LABELS,
    }).catch((each: unknown) => each);
    expect(isForbidden(error)).toBe(true);
    expect((error as Error).message).toContain('cannot watch resource "pods"');
  });

  it.each([
    [{ labels: {} }, /labels must name at least one label/],
    [{ labels: { app: "two words" } }, /labels\["app"\] must be a string .* got "two words"/],
    [{ labels: { app: "a,b=c" } }, /labels\["app"\] must be a string .* got "a,b=c"/],
    [{ labels: { "not a key": "x" } }, /labels: keys must be .* got "not a key"/],
    [{ labels: { "example..com/app": "x" } }, /labels: keys must be .* got "example..com\/app"/],
    [{ kubeConfig: "/etc/kubeconfig" as never }, /kubeConfig must be what loadKubeConfig returns, got string$/],
    [{ policy: { settleMs: -1 } }, /policy\.settleMs must be .* got -1/],
    [{ policy: { graceMs: 1 } as never }, /policy\.graceMs is not a policy; known: /],
  ])("refuses %j and names it", async (options, message) => {
    const k8s = await startKubernetes();
    await expect(
      RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS, ...options }),
    ).rejects.toThrow(message);
  });

  it("refuses a Job that its watches would not see", async () => {
    const { engine } = await start(patient);
    const bare = job("bare");
    const contradicting = { name: "bare", labels: { "example.com/agent": "no" } };
    await expect(engine.launch({ ...bare, metadata: contradicting })).rejects.toThrow(
      /metadata\.labels\["example\.com\/agent"\] must be "yes", .* or left out; got "no"/,
    );
    await expect(engine.launch({ ...bare, metadata: { ...bare.metadata, namespace: "other" } })).rejects.toThrow(
      /namespace "other" is not watched/,
    );
    await expect(engine.launch({ ...bare, metadata: { labels: LABELS } as never })).rejects.toThrow(
      /metadata\.name must be/,
    );
    await expect(engine.launch(null as never)).rejects.toThrow(/manifest must be an object, got null/);
    await expect(engine.run(null as never)).rejects.toThrow(/spec\.template\.spec\.containers must have a container/);
  });

  it.each([
    [{ completions: 3 }, /spec\.completions must be 1 or left out, got 3: .*launch 3 Jobs/],
    [{ parallelism: 2 }, /spec\.parallelism must be 1 or left out, got 2/],
    [{ completionMode: "Indexed", completions: 2, parallelism: 1 }, /spec\.completions .* got 2/],
  ])("refuses a Job of more than one pod (%j) and asks the server nothing", async (spec, message) => {
    const { k8s, engine } = await start(patient);
    await expect(engine.launch(job("many", spec))).rejects.toThrow(message);
    expect(k8s.requests.count("create jobs")).toBe(0);
    expect(engine.stats().runs).toBe(0);
    const one = { completionMode: "Indexed", completions: 1, parallelism: 1 };
    await (await engine.launch(job("one", one))).podReady(MAIN);
  });

  it("makes no request but its two watches while nothing happens", async () => {
    const { k8s, engine } = await start(patient, { timeScale: 0 });
    await k8s.clock.advance(120_000);
    // The end of the list, and one after each minute.
    await expect.poll(() => engine.stats().informers.map(({ bookmarks }) => bookmarks)).toEqual([3, 3]);
    expect(k8s.requests.byVerb).toEqual({ "watch jobs": 1, "watch pods": 1 });
  });

  it("is shared by everyone with the same credentials and scope, and stops when nobody uses it", async () => {
    const k8s = await startKubernetes();
    onTestFinished(() => stopSharedEngines());
    const options = { namespace: NAMESPACE, labels: LABELS };
    const leases = await Promise.all(
      Array.from({ length: 50 }, () => leaseEngine({ ...options, kubeConfig: kubeConfigOf(k8s) })),
    );
    expect(new Set(leases.map(({ engine }) => engine)).size).toBe(1);
    expect(k8s.requests.byVerb).toEqual({ "watch jobs": 1, "watch pods": 1 });
    const other = await leaseEngine({ ...options, namespace: "other", kubeConfig: kubeConfigOf(k8s) });
    expect(other.engine).not.toBe(leases[0]?.engine);
    for (const lease of leases) lease.release();
    const again = await leaseEngine({ ...options, kubeConfig: kubeConfigOf(k8s) });
    expect(again.engine).toBe(leases[0]?.engine);
    await stopSharedEngines();
    expect(again.engine.isStopped).toBe(true);
  });

  it("shared, that a user has stopped past its lease is not given to the next one", async () => {
    const k8s = await startKubernetes();
    onTestFinished(() => stopSharedEngines());
    const options = { namespace: NAMESPACE, labels: LABELS, kubeConfig: kubeConfigOf(k8s) };
    const first = await leaseEngine(options);
    await first.engine.stop();
    const next = await leaseEngine(options);
    expect(next.engine.isStopped).toBe(false);
    first.release();
    next.release();
  });

  it("that is being stopped takes no run any more, not even from who is told of it", async () => {
    const { engine } = await start(patient);
    const run = await engine.launch(job("last"));
    let thrown: unknown;
    run.closed.addEventListener("abort", () => {
      try {
        engine.attach({ jobName: "last" });
      } catch (error) {
        thrown = error;
      }
    });
    await engine.stop();
    expect(thrown).toBeInstanceOf(EngineStoppedError);
  });

  it("that is stopped ends a launch that waits for its next attempt", async () => {
    const { k8s, engine } = await start(patient);
    // The next attempt would be due after the end of the test.
    k8s.faults.errorRate({ status: 500, retryAfterSeconds: 59, match: { verb: "create", resource: "jobs" } });
    const launching = expect(engine.launch(job("late"))).rejects.toThrow(EngineStoppedError);
    // Asked for after the failed attempt.
    await expect.poll(() => k8s.requests.count("get jobs")).toBe(1);
    await engine.stop();
    await launching;
  });

  it("that is stopped settles whatever waits for an answer of the server", async () => {
    const k8s = await startKubernetes({ delays: "fast" });
    k8s.addProgram("agent", async function* () {
      yield "boom";
      return 1;
    });
    const options = { kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS };
    const engine = await RunEngine.start({ ...options, shard: { value: "a" } });
    const failed = await engine.launch(job("failed"));
    await failed.terminated(MAIN);
    const target = failed.job()?.metadata ?? { name: "", uid: "" };
    // Nothing but a watch is answered any more.
    const verbs = ["get", "list", "create", "patch", "delete"];
    const delay = k8s.faults.delayRequests(3_600_000, { match: { verb: verbs } });
    const pending: Record<string, Promise<unknown>> = {
      launch: engine.launch(job("late")),
      run: engine.run(job("later")),
      listJobs: engine.listJobs(NAMESPACE),
      listPods: engine.listPods(NAMESPACE),
      claim: engine.claim({ jobName: target.name, uid: target.uid }),
      delete: failed.delete(),
      postMortem: failed.postMortem(MAIN),
      attached: engine.attach({ jobName: "unknown" }).terminated(MAIN),
      gone: failed.gone(),
    };
    const settled = Promise.allSettled(Object.values(pending));
    await expect.poll(() => delay.hits).toBeGreaterThanOrEqual(7);
    await engine.stop();
    const outcomes = (await settled).map(({ status }, i) => [Object.keys(pending)[i], status]);
    // What it has found by then is what a post-mortem tells.
    const expected = Object.keys(pending).map((what) => [what, what === "postMortem" ? "fulfilled" : "rejected"]);
    expect(outcomes).toEqual(expected);
    delay.remove();
  });

  it("is synced whatever a listener of its informers throws", async () => {
    const k8s = await startKubernetes();
    const engine = RunEngine.create({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
    onTestFinished(() => engine.stop());
    const errors: unknown[] = [];
    engine.on("listenerError", (error) => errors.push(error));
    engine.pods.onWatch(() => {
      throw new Error("a listener's own");
    });
    await engine.synced(AbortSignal.timeout(30_000));
    expect(errors).toContainEqual(new Error("a listener's own"));
  });

  it("shared, that never could start is stopped all the same", async () => {
    const k8s = await startKubernetes();
    const stall = k8s.faults.freeze();
    const leasing = leaseEngine({ namespace: NAMESPACE, labels: LABELS, kubeConfig: kubeConfigOf(k8s) });
    const outcome = expect(leasing).rejects.toThrow(EngineStoppedError);
    await stopSharedEngines();
    await outcome;
    stall.release();
  });

  it("tells of silence from one timer, and of a watch that is down", async () => {
    const { k8s, engine } = await start(patient);
    const run = await engine.launch(job("silent"));
    await run.podReady(MAIN);
    const silences: string[] = [];
    let refused: ActiveFault | undefined;
    await new Promise<void>((resolve) => {
      engine.keepalive.watch(run, {
        everyMs: 40,
        onSilence: ({ liveness, unknownSince }) => {
          silences.push(liveness);
          if (liveness === "alive" && silences.length === 1) {
            refused = k8s.faults.errorRate({ status: 503, match: { verb: "watch" } });
            k8s.faults.cutWatches();
          }
          if (unknownSince !== null) resolve();
        },
      });
    });
    await expect.poll(() => refused?.hits).toBeGreaterThan(0);
    expect(silences[0]).toBe("alive");
    expect(silences.at(-1)).toBe("unknown");
    expect(engine.stats().keepalives).toBe(1);
  });
});
