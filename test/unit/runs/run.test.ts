/** A run fed frame by frame, where what a listener does must fall between two of them. */
import { expect, it } from "vitest";
import { Bus } from "../../../src/engine/bus.ts";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { DEFAULT_POLICY } from "../../../src/engine/runs/policy.ts";
import { Run } from "../../../src/engine/runs/run.ts";
import { RunRecord } from "../../../src/engine/runs/run-record.ts";
import type { RunTopics } from "../../../src/engine/runs/topics.ts";
import { FULL_TRUST } from "../../../src/engine/runs/trust.ts";
import type { Cluster } from "../../../src/engine/transport/index.ts";

const meta = (name: string) => ({ name, namespace: "n", uid: name, resourceVersion: "1", creationTimestamp: "" });
const JOB: Job = { metadata: meta("j"), spec: { backoffLimit: 0 }, status: {} };
const POD: Pod = {
  metadata: {
    ...meta("p"),
    ownerReferences: [{ apiVersion: "batch/v1", kind: "Job", name: "j", uid: "j", controller: true }],
  },
  spec: { containers: [{ name: "main" }] },
  status: { phase: "Pending", conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable" }] },
};
const MAIN = { container: "main" };

/** Of an engine whose watches hold and have nothing more to tell. */
function hostOf(errors: unknown[]) {
  return {
    cluster: {} as Cluster,
    bus: new Bus<RunTopics>((error) => errors.push(error)),
    server: { isDown: false, whenBack: () => Promise.resolve() },
    trustOf: () => FULL_TRUST,
    ask: () => Promise.resolve(true),
    keep: () => undefined,
    forget: () => undefined,
  };
}

it("a listener that throws at the end of a run does not keep its log waiting", async () => {
  const errors: unknown[] = [];
  const policy = { ...DEFAULT_POLICY, scheduleTimeoutMs: 100, settleMs: 100 };
  const host = hostOf(errors);
  const record = new RunRecord(host, { id: "n/j#1", namespace: "n", jobName: "j", uid: "j" }, policy, false);
  const run = new Run(host, record);
  run.on("terminated", () => {
    throw new Error("a bug");
  });
  record.frame({ resource: "jobs", type: "applied", object: JOB, at: performance.now() });
  record.frame({ resource: "pods", type: "applied", object: POD, at: performance.now() });
  // The pod is followed and has no log; nothing comes after its deletion.
  record.frame({ resource: "pods", type: "deleted", object: POD, at: performance.now() });
  const lines: string[] = [];
  const reading = (async () => {
    for await (const { text } of run.logs(MAIN)) lines.push(text);
  })();
  await run.terminated(MAIN);
  await reading;
  expect(lines).toEqual([]);
  expect(errors).toMatchObject([{ message: "a bug" }]);
});

it("what is released leaves nothing on the bus, tells of its release once, and rejects who waits with the reason", async () => {
  const errors: unknown[] = [];
  const host = hostOf(errors);
  const record = new RunRecord(host, { id: "n/j#2", namespace: "n", jobName: "j", uid: "j" }, DEFAULT_POLICY, false);
  const run = new Run(host, record);
  const told: string[] = [];
  run.on("released", () => {
    told.push("released");
    run.release();
  });
  run.on("phase", ({ phase }) => told.push(phase));
  const waits = [run.terminated(MAIN), run.podReady(MAIN), run.gone()].map((wait) => wait.catch(String));
  record.frame({ resource: "jobs", type: "applied", object: JOB, at: performance.now() });
  run.release();
  run.on("phase", () => told.push("subscribed after the release"));
  record.frame({ resource: "pods", type: "applied", object: POD, at: performance.now() });
  const topics = ["run.change", "run.phase", "run.released"] as const;
  expect(topics.filter((topic) => host.bus.hasSubscribers(topic, run.id))).toEqual([]);
  expect(run.closed.reason).toMatchObject({ message: "The run of Job n/j was released" });
  expect(await Promise.all(waits)).toEqual(waits.map(() => String(run.closed.reason)));
  await expect(run.gone()).rejects.toBe(run.closed.reason);
  expect(told).toEqual(["unknown", "created", "released"]);
  expect(errors).toEqual([]);
});
