/** What an engine publishes on its bus, over the wire. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { EngineTopics, RunEngine } from "../../../src/engine/index.ts";
import { createEngine, holdTimeouts, job, kubeConfigOf, NAMESPACE, startKubernetes } from "./harness.ts";

/** Resolves with the first event of a topic that fits. */
function next<T extends keyof EngineTopics>(
  engine: RunEngine,
  topic: T,
  fits: (event: EngineTopics[T]) => boolean,
  key?: string,
): Promise<EngineTopics[T]> {
  return new Promise((resolve) => {
    const stop = engine.bus.subscribe(
      topic,
      (event) => {
        if (!fits(event)) return;
        stop();
        resolve(event);
      },
      { key },
    );
  });
}

describe("the engine's bus", () => {
  it("has each change of Jobs and pods, with the state before it, under the Job's key", async () => {
    const k8s = await startKubernetes({ delays: "fast" });
    k8s.addProgram("main", async function* () {
      yield "hello";
    });
    const engine = createEngine(k8s);
    await engine.synced();
    const told: string[] = [];
    const key = `${NAMESPACE}/mine`;
    engine.bus.subscribe("job", ({ type, previous }) => told.push(`job ${type} ${previous !== null}`), { key });
    engine.bus.subscribe("pod", ({ type, previous }) => told.push(`pod ${type} ${previous !== null}`), { key });
    const run = await engine.launch(job("mine"));
    await engine.launch(job("other"));
    await run.terminated({ container: "main" });
    const deleted = Promise.all([
      next(engine, "job", ({ type }) => type === "deleted", key),
      next(engine, "pod", ({ type }) => type === "deleted", key),
    ]);
    await run.delete();
    await deleted;
    expect(new Set(told)).toEqual(
      new Set([
        "job added false",
        "job updated true",
        "pod added false",
        "pod updated true",
        "pod deleted true",
        "job deleted true",
      ]),
    );
    expect(told.filter((each) => each.endsWith("added false"))).toHaveLength(2);
    expect(told.filter((each) => each.includes("deleted"))).toHaveLength(2);
  });

  it("says of each watch that it has listed, is open, is lost and why, and is open again", async () => {
    const k8s = await startKubernetes();
    const engine = createEngine(k8s);
    const told: string[] = [];
    engine.bus.subscribe("watch", ({ type, resource, namespace, error }) => {
      told.push(`${resource} ${namespace} ${type}${error === null ? "" : ` ${error.name}`}`);
    });
    await engine.synced();
    expect(told.sort()).toEqual([
      `jobs ${NAMESPACE} listed`,
      `jobs ${NAMESPACE} open`,
      `pods ${NAMESPACE} listed`,
      `pods ${NAMESPACE} open`,
    ]);
    told.length = 0;
    const again = next(engine, "watch", ({ type, resource }) => resource === "pods" && type === "open");
    expect(k8s.faults.cutWatches({ how: "reset", match: { resource: "pods" } })).toBe(1);
    await again;
    expect(told).toEqual([`pods ${NAMESPACE} lost ApiError`, `pods ${NAMESPACE} open`]);
    told.length = 0;
    const clean = next(engine, "watch", ({ type, resource }) => resource === "jobs" && type === "open");
    expect(k8s.faults.cutWatches({ how: "end", match: { resource: "jobs" } })).toBe(1);
    await clean;
    expect(told[0]).toMatch(/^jobs agents lost/);
    expect(told.at(-1)).toBe(`jobs ${NAMESPACE} open`);
  });

  it("says that a watch is lost because its right was revoked, with verb and resource", async () => {
    const rules = (resources: string[]) => [{ apiGroups: ["", "batch"], resources, verbs: ["list", "watch"] }];
    const k8s = await startKubernetes({ users: [{ name: "u", token: "t0ken", rules: rules(["jobs", "pods"]) }] });
    const engine = createEngine(k8s, { kubeConfig: kubeConfigOf(k8s, "t0ken") });
    await engine.synced();
    const problem = next(engine, "problem", ({ error }) => !/lost|reset|ended/i.test(error.message));
    const recovered = new Promise((resolve) => engine.on("recovered", resolve));
    k8s.authorization.setRules("u", rules(["jobs"]));
    k8s.faults.cutWatches({ match: { resource: "pods" } });
    const { resource, namespace, error } = await problem;
    expect({ resource, namespace }).toEqual({ resource: "pods", namespace: NAMESPACE });
    expect(error.message).toMatch(/403 Forbidden.*cannot watch resource "pods"/);
    k8s.authorization.setRules("u", rules(["jobs", "pods"]));
    expect(await recovered).toEqual({ resource: "pods", namespace: NAMESPACE });
  });

  it("says nothing of silence where no bookmarks come, and opens another watch without a list", async () => {
    const k8s = await startKubernetes({ timeScale: 0 });
    const withheld = k8s.faults.withholdBookmarks();
    const passTime = holdTimeouts();
    const engine = createEngine(k8s, { progressTimeoutMs: 90_000 });
    const problems: unknown[] = [];
    engine.on("problem", (problem) => problems.push(problem));
    await engine.synced();
    for (const opened of [2, 3]) {
      // A bookmark would come after a minute.
      await k8s.clock.advance(60_000);
      const both = ["jobs", "pods"].map((plural) =>
        next(engine, "watch", ({ type, resource }) => type === "open" && resource === plural),
      );
      passTime(90_000);
      await Promise.all(both);
      expect(engine.stats().informers.map(({ watches }) => watches)).toEqual([opened, opened]);
    }
    expect(engine.stats().informers.map(({ lists, errors }) => ({ lists, errors }))).toEqual([
      { lists: 1, errors: 0 },
      { lists: 1, errors: 0 },
    ]);
    expect(problems).toEqual([]);
    expect(withheld.hits).toBe(4);
  });

  it("reports what a listener throws to listenerError; what that listener throws is a process warning", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    onTestFinished(() => warned.mockRestore());
    const k8s = await startKubernetes();
    const engine = createEngine(k8s);
    const errors: unknown[] = [];
    engine.on("listenerError", (error) => {
      errors.push(error);
      throw new Error("of listenerError");
    });
    engine.bus.subscribe("watch", () => {
      throw new Error("of watch");
    });
    engine.bus.subscribe("watch", () => Promise.reject(new Error("rejected")));
    await engine.synced();
    await expect.poll(() => errors).toContainEqual(new Error("rejected"));
    expect(errors).toContainEqual(new Error("of watch"));
    expect(errors).not.toContainEqual(new Error("of listenerError"));
    expect(warned.mock.calls.map(([warning]) => (warning as Error).message)).toContain("of listenerError");
  });
});
