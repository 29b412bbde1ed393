/** Which ends are disruptions, and how a run goes on after one: `engine.run` with `onDisruption`. */
import { describe, expect, it, onTestFinished } from "vitest";
import type { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import {
  isDisruption,
  type JobManifest,
  type LogLine,
  type RunEnd,
  RunEngine,
  type RunResult,
} from "../../../src/engine/index.ts";
import { DISRUPTIONS, evict, type Victim } from "../disruptions.ts";
import { expire, job, kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "../engine/harness.ts";

const CPU = { containers: [{ name: "main", image: "agent", resources: { requests: { cpu: "1" } } }] };

interface Start {
  k8s: EmbeddedKubernetes;
  engine: RunEngine;
  /** The pod that runs now. */
  victim(): Victim;
}

/** The agent prints which Job it is and works until it is ended; in the Job `last` it ends by itself. */
async function start(last = "run-r1"): Promise<Start> {
  const nodes = ["n1", "n2", "n3"].map((name) => ({ name, cpu: "4" }));
  const k8s = await startKubernetes({ delays: "fast", nodes, overcommit: false });
  k8s.addProgram("agent", async function* (container) {
    const name = container.pod.labels["batch.kubernetes.io/job-name"] ?? "";
    yield `${name} began`;
    if (name === last) return 0;
    await container.sleep(1e9);
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const victim = () => {
    const pod = engine.pods.list((each) => each.status.phase === "Running")[0];
    const { name: podName = "" } = pod?.metadata ?? {};
    return { k8s, cluster: engine.cluster, namespace: NAMESPACE, podName, nodeName: pod?.spec.nodeName ?? "" };
  };
  return { k8s, engine, victim };
}

const next = (attempt: number): JobManifest => job(`run-r${attempt}`, {}, CPU);
const names = (k8s: EmbeddedKubernetes) => k8s.objects.list("jobs", NAMESPACE).map(({ metadata }) => metadata.name);

describe("a run that is disrupted goes on in the Job that onDisruption gives", () => {
  it.each(Object.entries(DISRUPTIONS))("%s", async (_, [reason, disrupt]) => {
    const { k8s, engine, victim } = await start();
    const ends: [RunEnd, number][] = [];
    const lines: LogLine[] = [];
    const result = await engine.run(job("run", {}, CPU), {
      onLine: async (line) => {
        lines.push(line);
        if (line.text === "run began") await disrupt(victim());
      },
      onDisruption: (end, attempt) => {
        ends.push([end, attempt]);
        return next(attempt);
      },
    });
    expect(ends).toMatchObject([[{ reason }, 1]]);
    expect(ends.every(([end]) => isDisruption(end))).toBe(true);
    expect(lines.map(({ text }) => text)).toEqual(["run began", "run-r1 began"]);
    expect(new Set(lines.map(({ position }) => position)).size).toBe(2);
    expect(result).toMatchObject({ hasSucceeded: true, jobName: "run-r1", restarts: 1, lines: 2, logError: null });
    expect(names(k8s)).not.toContain("run-r1");
    expect(engine.stats().runs).toBe(0);
  });

  it("twice in a row, and null leaves it at the last end", async () => {
    const { k8s, engine, victim } = await start("none");
    const attempts: number[] = [];
    const result = await engine.run(job("run", {}, CPU), {
      onLine: () => evict(victim()),
      onDisruption: (_, attempt) => {
        attempts.push(attempt);
        return attempt <= 2 ? next(attempt) : null;
      },
    });
    expect(attempts).toEqual([1, 2, 3]);
    expect(result).toMatchObject({ hasSucceeded: false, jobName: "run-r2", restarts: 2, lines: 3 });
    expect(result.end).toMatchObject({ kind: "evicted" });
    expect(result.postMortem?.endedBy).toContain("EvictionByEvictionAPI");
    expect(names(k8s)).toEqual([]);
  });

  it("under the same name: the former Job is deleted before", async () => {
    const { k8s, engine, victim } = await start();
    let jobs = 0;
    k8s.addProgram("agent", async function* (container) {
      jobs += 1;
      yield `${jobs} began`;
      if (jobs === 1) await container.sleep(1e9);
    });
    const lines: string[] = [];
    const result = await engine.run(job("same", {}, CPU), {
      onLine: async ({ text }) => {
        lines.push(text);
        if (text === "1 began") await evict(victim());
      },
      onDisruption: async () => job("same", {}, CPU),
    });
    expect(lines).toEqual(["1 began", "2 began"]);
    expect(result).toMatchObject({ hasSucceeded: true, jobName: "same", restarts: 1 });
  });

  it("keep: always keeps every Job", async () => {
    const { k8s, engine, victim } = await start();
    const onLine = async ({ text }: LogLine) => (text === "run began" ? await evict(victim()) : undefined);
    await engine.run(job("run", {}, CPU), { onLine, onDisruption: (_, attempt) => next(attempt), keep: "always" });
    expect(names(k8s).sort()).toEqual(["run", "run-r1"]);
  });

  it("that is given up meanwhile rejects with the signal's reason, and no Job is made", async () => {
    const { k8s, engine, victim } = await start();
    const abort = new AbortController();
    const running = engine.run(job("run", {}, CPU), {
      signal: abort.signal,
      onLine: () => evict(victim()),
      onDisruption: async (_, attempt) => {
        abort.abort(new Error("enough"));
        return next(attempt);
      },
    });
    await expect(running).rejects.toThrow("enough");
    expect(names(k8s)).toEqual([]);
    expect(engine.stats().runs).toBe(0);
  });

  it("whose onDisruption throws rejects with that", async () => {
    const { k8s, engine, victim } = await start();
    const onDisruption = () => {
      throw new Error("no room");
    };
    await expect(engine.run(job("run", {}, CPU), { onLine: () => evict(victim()), onDisruption })).rejects.toThrow(
      "no room",
    );
    expect(names(k8s)).toEqual([]);
  });
});

describe("what is no disruption is left at its end", () => {
  const cases: [RunEnd["kind"], string, Record<string, unknown>, (victim: Victim) => unknown][] = [
    ["deadline", "DeadlineExceeded", { activeDeadlineSeconds: 3_600 }, ({ k8s }) => expire(k8s, "run")],
    ["job_deleted", "JobDeleted", {}, ({ k8s }) => k8s.objects.delete("jobs", NAMESPACE, "run")],
    ["pod_deleted", "PodDeleted", {}, ({ k8s, podName }) => k8s.objects.delete("pods", NAMESPACE, podName)],
    ["failed", "OOMKilled", {}, ({ k8s, podName }) => k8s.oomKill(NAMESPACE, podName, "main")],
  ];
  it.each(cases)("%s, %s", async (kind, reason, spec, act) => {
    const { engine, victim } = await start();
    const result: RunResult = await engine.run(job("run", spec, CPU), {
      onLine: () => act(victim()),
      onDisruption: (_, attempt) => next(attempt),
    });
    expect(result).toMatchObject({ restarts: 0, end: { kind, reason } });
    expect(isDisruption(result.end)).toBe(false);
  });

  it("a Job that Kubernetes itself replaces the pod of (podFailurePolicy: Ignore on DisruptionTarget)", async () => {
    const { k8s, engine, victim } = await start();
    const rules = [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] }];
    let pods = 0;
    k8s.addProgram("agent", async function* (container) {
      pods += 1;
      yield `pod ${pods}`;
      if (pods === 1) await container.sleep(1e9);
    });
    const lines: string[] = [];
    const result = await engine.run(job("run", { podFailurePolicy: { rules } }, CPU), {
      onLine: async ({ text }) => {
        lines.push(text);
        if (text === "pod 1") await evict(victim());
      },
      onDisruption: (_, attempt) => next(attempt),
    });
    expect(lines).toEqual(["pod 1", "pod 2"]);
    expect(result).toMatchObject({ hasSucceeded: true, restarts: 0 });
  });
});
