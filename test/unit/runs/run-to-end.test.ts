/** `engine.run`: a Job in one call. */
import type { V1Job } from "@kubernetes/client-node";
import { describe, expect, it, onTestFinished } from "vitest";
import type { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import {
  type ApiError,
  AttachFailedError,
  type EngineError,
  RunEngine,
  RunTimeoutError,
} from "../../../src/engine/index.ts";
import { job, kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "../engine/harness.ts";

/** Programs: `hello` prints and ends well, `broken` exits with 7, `endless` does not end. */
async function start(): Promise<{ k8s: EmbeddedKubernetes; engine: RunEngine }> {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.addProgram("hello", async function* () {
    yield "one";
    yield "two";
    return 0;
  });
  k8s.addProgram("broken", async function* () {
    yield "boom: something broke";
    return 7;
  });
  k8s.addProgram("endless", async function* (container) {
    yield "started";
    await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
    return 143;
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  return { k8s, engine };
}

/** Without any label, as client-node describes it. */
function bare(name: string, ...containers: string[]): V1Job {
  const template = {
    spec: { restartPolicy: "Never", containers: containers.map((each) => ({ name: each, image: each })) },
  };
  return { metadata: { name }, spec: { backoffLimit: 0, template } };
}

const jobsOf = (k8s: EmbeddedKubernetes) => k8s.objects.list("jobs", NAMESPACE).map(({ metadata }) => metadata.name);

it("gives the lines, the end and the gaps, and deletes the Job", async () => {
  const { k8s, engine } = await start();
  const lines: string[] = [];
  const result = await engine.run(bare("run-1", "hello"), { onLine: ({ text }) => lines.push(text) });
  expect(lines).toEqual(["one", "two"]);
  expect(result).toMatchObject({
    ...{ namespace: NAMESPACE, jobName: "run-1", hasSucceeded: true, lines: 2, gaps: [], logError: null },
    ...{ end: { kind: "succeeded", exitCode: 0 }, postMortem: null, deleteError: null },
  });
  expect(jobsOf(k8s)).toEqual([]);
  expect(engine.stats().runs).toBe(0);
});

it("puts the labels on that the watches select by", async () => {
  const { k8s, engine } = await start();
  await engine.run(bare("run-1", "hello"), { keep: "always" });
  const [created] = k8s.objects.list("jobs", NAMESPACE);
  expect(created).toMatchObject({ metadata: { labels: LABELS }, spec: { template: { metadata: { labels: LABELS } } } });
});

describe("a run that fails", () => {
  it.each([
    ["never", []],
    ["failed", ["run-1"]],
    ["always", ["run-1"]],
  ] as const)("with keep %s leaves %j", async (keep, left) => {
    const { k8s, engine } = await start();
    const { hasSucceeded, end, postMortem } = await engine.run(bare("run-1", "broken"), { keep });
    expect(hasSucceeded).toBe(false);
    expect(end).toMatchObject({ kind: "failed", exitCode: 7 });
    expect(postMortem?.lastLines).toEqual(["boom: something broke"]);
    expect(jobsOf(k8s)).toEqual(left);
  });

  it("to start is a result like others", async () => {
    const { k8s, engine } = await start();
    k8s.failImagePull("missing");
    const { hasSucceeded, end, logError } = await engine.run(bare("run-1", "missing"), {
      policy: { imagePullGraceMs: 50 },
    });
    expect(hasSucceeded).toBe(false);
    expect(end).toMatchObject({ kind: "start_failed", startFailure: { code: "image_pull" } });
    expect(logError).toBeNull();
  });
});

it("that is given up rejects with the signal's reason, and its Job is deleted", async () => {
  const { k8s, engine } = await start();
  const abort = new AbortController();
  const onLine = () => abort.abort(new Error("enough"));
  const running = engine.run(bare("run-1", "endless"), { onLine, signal: abort.signal, keep: "failed" });
  await expect(running).rejects.toThrow("enough");
  expect(jobsOf(k8s)).toEqual([]);
  await expect.poll(() => k8s.openLogs).toBe(0);
  expect(engine.stats().runs).toBe(0);
});

it("whose onLine throws rejects with that", async () => {
  const { k8s, engine } = await start();
  const onLine = async () => {
    throw new Error("no room");
  };
  await expect(engine.run(bare("run-1", "endless"), { onLine })).rejects.toThrow("no room");
  expect(jobsOf(k8s)).toEqual([]);
});

it("whose log is refused still ends, and says why", async () => {
  const { k8s, engine } = await start();
  const refused = k8s.authorization.revoke({ apiGroups: [""], resources: ["pods/log"], verbs: ["get"] });
  const { hasSucceeded, logError } = await engine.run(bare("run-1", "hello"));
  expect(hasSucceeded).toBe(true);
  expect((logError as ApiError).status).toBe(403);
  expect(refused.hits).toBeGreaterThan(0);
});

it("names the containers of a manifest that has several, and which field says which", async () => {
  const { engine } = await start();
  await expect(engine.run(bare("run-1", "hello", "endless"))).rejects.toThrow(
    "container must be given: the manifest has 2: hello, endless",
  );
  await expect(engine.run(job("run-1"), { container: "nope" })).rejects.toThrow(/container must be one of/);
});

/** Compiles only while each code has its line. */
function adviceOf(error: EngineError): string {
  switch (error.code) {
    case "api_error":
      return `the server said ${error.status}`;
    case "attach_failed":
      return error.reason;
    case "start_failed":
      return error.failure.code;
    case "run_gone":
      return error.end.kind;
    case "run_timeout":
      return `${error.timeoutMs} ms`;
    case "shard_claimed":
      return error.owner ?? "nobody's";
    case "kubeconfig_invalid":
      return error.field;
    case "frame_invalid":
      return error.kind;
    case "watch_protocol":
    case "watch_stalled":
    case "engine_stopped":
    case "informer_stopped":
    case "not_ready":
      return error.message;
  }
}

it("each error has a code of its own, by which a switch can tell them", () => {
  const ended = new RunTimeoutError("n", "j", "the end", 5);
  expect(ended.name).toBe("RunTimeoutError");
  expect(adviceOf(ended)).toBe("5 ms");
  expect(adviceOf(new AttachFailedError("n", "j", "not_found", "there is none"))).toBe("not_found");
});
