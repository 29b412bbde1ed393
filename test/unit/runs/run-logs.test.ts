/** The log of a run over the engine and the embedded Kubernetes. */
import { once } from "node:events";
import { Readable } from "node:stream";
import { expect, it, onTestFinished } from "vitest";
import type { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { type Run, RunEngine, type RunLogs } from "../../../src/engine/index.ts";
import { job, kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "../engine/harness.ts";

const MAIN = { container: "main" };

/** A run that prints `lines` and is silent from then on, until it is told to end. */
async function silentAfter(lines: readonly string[]): Promise<{ k8s: EmbeddedKubernetes; run: Run }> {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.addProgram("main", async function* (container) {
    yield* lines;
    await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
    return 143;
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const run = await engine.launch(job("silent"));
  return { k8s, run };
}

it("limitBytes ends the iteration, though the run goes on", async () => {
  const { run } = await silentAfter(["0123456789", "0123456789"]);
  const lines: string[] = [];
  const gaps: string[] = [];
  const onGap = ({ reason }: { reason: string }) => void gaps.push(reason);
  for await (const { text } of run.logs({ ...MAIN, limitBytes: 15, onGap })) lines.push(text);
  expect(lines).toEqual(["0123456789"]);
  expect(gaps).toEqual(["limit_reached"]);
  expect(run.endOf("main")).toBeNull();
});

it("follow: false reads what there is now, of a run that goes on, and ends", async () => {
  const { run } = await silentAfter(["one", "two"]);
  await run.podReady(MAIN);
  const printed = async () => {
    const lines: string[] = [];
    for await (const { text } of run.logs({ ...MAIN, follow: false })) lines.push(text);
    return lines;
  };
  await expect.poll(printed).toEqual(["one", "two"]);
  expect(run.liveness()).toBe("alive");
});

const waysToLeave: Record<string, (logs: RunLogs) => Promise<void>> = {
  "return by line": async (logs) => {
    const lines = logs[Symbol.asyncIterator]();
    await lines.next();
    const pending = lines.next();
    await lines.return();
    expect(await pending).toEqual({ value: undefined, done: true });
  },
  "return by batch": async (logs) => {
    const batches = logs.batches();
    await batches.next();
    const pending = batches.next();
    await batches.return();
    expect(await pending).toEqual({ value: undefined, done: true });
  },
  destroy: async (logs) => {
    const readable = Readable.from(logs);
    await once(readable, "data");
    readable.destroy();
    await once(readable, "close");
  },
  "destroy with an error": async (logs) => {
    const readable = Readable.from(logs);
    await once(readable, "data");
    const failed = once(readable, "error");
    readable.destroy(new Error("not wanted any more"));
    await failed;
  },
};

it.each(Object.entries(waysToLeave))("%s ends the follow at once, though the container is silent", async (_, leave) => {
  const { k8s, run } = await silentAfter(["started"]);
  await leave(run.logs(MAIN));
  await expect.poll(() => k8s.openLogs).toBe(0);
});

/** Where a follow can stand when its consumer leaves, or the run is given up. */
const standings: Record<string, (k8s: EmbeddedKubernetes, engine: RunEngine) => Promise<Run>> = {
  "no pod yet": async (_, engine) => await engine.launch(job("suspended", { suspend: true })),
  "the container waits for its image": async (k8s, engine) => {
    k8s.failImagePull("agent");
    const run = await engine.launch(job("no-image"));
    await expect.poll(() => run.pod()).not.toBe(null);
    return run;
  },
  "the log is refused": async (k8s, engine) => {
    const fault = k8s.faults.errorRate({ status: 500, match: { verb: "get", resource: "pods/log" } });
    const run = await engine.launch(job("refused"));
    await run.podReady(MAIN);
    const logs = run.logs(MAIN);
    const first = logs.batches().next();
    await expect.poll(() => fault.hits).toBeGreaterThan(0);
    logs.close();
    await first;
    return run;
  },
  "the server is away": async (k8s, engine) => {
    const run = await engine.launch(job("away"));
    await run.podReady(MAIN);
    const lost = new Promise((resolve) =>
      engine.bus.subscribe("watch", ({ type }) => type === "lost" && resolve(null)),
    );
    void k8s.restart({ downMs: 3_000 });
    await lost;
    return run;
  },
};

const stopped = { name: "EngineStoppedError" };
const given = new Error("given up");
type Leaving = readonly [leave: (logs: RunLogs, run: Run, engine: RunEngine) => unknown, error: object | null];
const leavings: Record<string, Leaving> = {
  close: [(logs) => logs.close(), null],
  "release of the run": [(_, run) => run.release(), stopped],
  "the engine's stop": [(_, _run, engine) => engine.stop(), stopped],
};

it.each(Object.entries(standings))("%s: whoever gives up a log is done with it at once", async (where, stand) => {
  for (const [how, [leave, error]] of Object.entries(leavings)) {
    const k8s = await startKubernetes({ delays: "fast" });
    k8s.addProgram("agent", async function* (container) {
      yield* [];
      await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
      return 0;
    });
    const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
    onTestFinished(() => engine.stop());
    const run = await stand(k8s, engine);
    const abort = new AbortController();
    const settled = async (promise: Promise<unknown>) => await promise.catch((thrown: unknown) => thrown);
    const aborted = settled(
      run
        .logs({ ...MAIN, signal: abort.signal })
        .batches()
        .next(),
    );
    const lines = run.logs(MAIN)[Symbol.asyncIterator]();
    const pending = lines.next();
    await lines.return();
    expect(await pending, how).toEqual({ value: undefined, done: true });
    abort.abort(given);
    expect(await aborted, how).toBe(given);
    const late = run.logs({ ...MAIN, signal: AbortSignal.abort(given) });
    expect(await settled(late.batches().next()), how).toBe(given);
    const waits = Promise.allSettled([run.podReady(MAIN), run.terminated(MAIN), run.gone()]);
    const gone = { ...MAIN, signal: AbortSignal.abort(given) };
    const early = [run.podReady(gone), run.terminated(gone), run.gone(gone)].map(settled);
    expect(await Promise.all(early), how).toEqual([given, given, given]);
    const logs = run.logs(MAIN);
    const last = settled(logs.batches().next());
    await leave(logs, run, engine);
    expect(await last, how).toMatchObject(error ?? { value: undefined, done: true });
    if (error === null) run.release();
    const started = where === "the log is refused" || where === "the server is away";
    const rejected = { status: "rejected", reason: stopped };
    expect(await waits, how).toMatchObject([started ? { status: "fulfilled" } : rejected, rejected, rejected]);
    await expect.poll(() => k8s.openLogs).toBe(0);
    k8s.faults.clear();
  }
});

it("a container that can never start: the iteration throws why, without a request for its log", async () => {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.failImagePull("agent");
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const run = await engine.launch(job("no-image"), { policy: { imagePullGraceMs: 100 } });
  const read = async () => {
    for await (const _ of run.logs(MAIN));
  };
  await expect(read()).rejects.toMatchObject({ name: "StartFailedError", failure: { code: "image_pull" } });
  expect(engine.stats().requests.byVerb["get pods/log"] ?? 0).toBe(0);
});

it("the API server is killed: the follows come back after the watches, each with a request or two", async () => {
  const k8s = await startKubernetes({ delays: "fast" });
  const prints = Promise.withResolvers<void>();
  k8s.addProgram("main", async function* () {
    yield "started";
    await prints.promise;
    yield "ended";
    return 0;
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const count = 30;
  const logs = await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const run = await engine.launch(job(`silent-${i}`));
      const lines: string[] = [];
      const done = (async () => {
        for await (const { text } of run.logs(MAIN)) lines.push(text);
      })();
      return { lines, done };
    }),
  );
  await expect.poll(() => logs.every(({ lines }) => lines.length === 1)).toBe(true);
  const asked = () => engine.stats().requests.byVerb["get pods/log"] ?? 0;
  const before = asked();
  const kills = 2;
  for (let kill = 0; kill < kills; kill++) {
    const lost = new Promise((resolve) =>
      engine.bus.subscribe("watch", ({ type }) => type === "lost" && resolve(null)),
    );
    await k8s.restart({ downMs: 4_000 });
    await lost;
    await expect.poll(() => k8s.openLogs).toBe(count);
  }
  expect((asked() - before) / count / kills).toBeLessThanOrEqual(2);
  prints.resolve();
  await Promise.all(logs.map(({ done }) => done));
  expect(logs.map(({ lines }) => lines)).toEqual(Array(count).fill(["started", "ended"]));
});

it("another process reads on behind a position, over the pods that replace each other", async () => {
  const k8s = await startKubernetes({ delays: "fast" });
  let attempts = 0;
  k8s.addProgram("main", async function* () {
    const attempt = ++attempts;
    for (let i = 0; i < 50; i++) yield `${attempt} ${i}`;
    return attempt < 3 ? 1 : 0;
  });
  const first = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => first.stop());
  const run = await first.launch(job("positions", { backoffLimit: 5 }));
  const lines: { text: string; position: string }[] = [];
  for await (const { text, position } of run.logs(MAIN)) lines.push({ text, position });
  const all = [1, 2, 3].flatMap((attempt) => Array.from({ length: 50 }, (_, i) => `${attempt} ${i}`));
  expect(lines.map(({ text }) => text)).toEqual(all);

  const second = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => second.stop());
  const again = second.attach({ namespace: NAMESPACE, jobName: "positions" });
  for (const at of [0, 49, 50, 77, 149]) {
    const rest: string[] = [];
    for await (const { text } of again.logs({ ...MAIN, after: lines[at]?.position ?? "" })) rest.push(text);
    expect(rest, `behind line ${at}`).toEqual(all.slice(at + 1));
  }

  // The pod of the position is gone: a gap behind it, and what is left.
  const gaps: unknown[] = [];
  const other = lines[10]?.position.replace(/^[^/]+/, "no-such-pod") ?? "";
  const rest: string[] = [];
  for await (const { text } of again.logs({ ...MAIN, after: other, onGap: (gap) => void gaps.push(gap) }))
    rest.push(text);
  expect(rest).toEqual(all);
  expect(gaps).toMatchObject([{ reason: "pod_gone", podName: "no-such-pod", certain: false }]);
  expect(() => again.logs({ ...MAIN, after: "nowhere" })).toThrow(TypeError);
});

it.each([
  ["by its own policy", { restartPolicy: "OnFailure" }],
  [
    "by a rule about its exit code",
    {
      restartPolicy: "Never",
      restartPolicyRules: [{ action: "Restart", exitCodes: { operator: "In", values: [42] } }],
    },
  ],
])("a container that is restarted in place %s: the log goes on, each line once", async (_, policy) => {
  const k8s = await startKubernetes({ delays: "fast" });
  let lives = 0;
  const lines: string[] = [];
  k8s.addProgram("main", async function* (container) {
    const life = ++lives;
    for (let i = 0; i < 20; i++) yield `${life} ${i}`;
    // A kubelet keeps the log of the last life alone: this one is read before the next begins.
    await container.sleep(50);
    await expect.poll(() => lines.length).toBe(20 * life);
    return life < 4 ? 42 : 0;
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const containers = [{ name: "main", image: "main", ...policy }];
  const run = await engine.launch(job("restarts", {}, { containers }));
  const restarts: number[] = [];
  const gaps: unknown[] = [];
  run.on("restart", ({ restartCount }) => restarts.push(restartCount));
  for await (const { text } of run.logs({ ...MAIN, onGap: (gap) => void gaps.push(gap) })) lines.push(text);
  expect(lines).toEqual([1, 2, 3, 4].flatMap((life) => Array.from({ length: 20 }, (_, i) => `${life} ${i}`)));
  expect(restarts).toEqual([1, 2, 3]);
  expect(gaps).toEqual([]);
  expect(await run.terminated(MAIN)).toMatchObject({ kind: "succeeded", exitCode: 0 });
});
