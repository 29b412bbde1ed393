import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Bus } from "../../../src/engine/bus.ts";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { DEFAULT_POLICY } from "../../../src/engine/runs/policy.ts";
import { Run } from "../../../src/engine/runs/run.ts";
import { type RecordHost, RunRecord } from "../../../src/engine/runs/run-record.ts";
import type { RunTopics } from "../../../src/engine/runs/topics.ts";
import { FULL_TRUST, type Trust } from "../../../src/engine/runs/trust.ts";
import type { Cluster } from "../../../src/engine/transport/index.ts";

let isBehind = true;
/** What the server says of the pod when it is asked. */
let asked: Pod | null = null;
/** Since when a watch is down. */
let downSince: number | null = null;

function trust(): Trust {
  const now = performance.now();
  const podsTold = { version: isBehind ? "1" : "9", at: now };
  if (downSince === null) return { ...FULL_TRUST, podsTold };
  const lost = { isPodsOpen: false, openSince: null, lostSince: downSince, completeUntil: downSince };
  return { ...FULL_TRUST, podsTold, ...lost };
}

const bus = new Bus<RunTopics>((error) => expect.unreachable(String(error)));
const host: RecordHost = {
  bus,
  server: { isDown: false, whenBack: () => Promise.resolve() },
  trustOf: trust,
  ask: (record) => {
    if (asked !== null)
      record.frame({ resource: "pods", type: "applied", object: asked, at: performance.now(), isAnswer: true });
    return Promise.resolve(true);
  },
  keep: () => undefined,
  forget: () => undefined,
};

beforeEach(() => {
  isBehind = true;
  downSince = null;
  asked = null;
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

function completeRun(): { run: Run; record: RunRecord } {
  const ref = { id: "n/j#1", namespace: "n", jobName: "j", uid: "job-uid" };
  const record = new RunRecord(host, ref, DEFAULT_POLICY, false);
  record.frame({ resource: "pods", type: "applied", object: pod("1", { running: {} }), at: performance.now() });
  record.frame({ resource: "jobs", type: "applied", object: completeJob(), at: performance.now() });
  const cluster = {} as Cluster;
  return { run: new Run({ bus, cluster, forget: () => undefined }, record), record };
}

it("holds the bounded wait for the exit code while the pods' watch brings what was before the Job's end", async () => {
  const onEnd = vi.fn();
  void completeRunWith(onEnd);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(onEnd).not.toHaveBeenCalled();
  // The backlog is over and had nothing of this pod: the wait of 5 s was over long ago.
  isBehind = false;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(onEnd).toHaveBeenCalledWith(expect.objectContaining({ kind: "succeeded", startedAt: null }));
});

it("takes the exit code from the backlog", async () => {
  const { run, record } = completeRun();
  const end = run.terminated({ container: "claude" });
  await vi.advanceTimersByTimeAsync(20_000);
  const object = pod("2", { terminated: { exitCode: 0, reason: "Completed", startedAt: "2026-01-01T00:00:01Z" } });
  record.frame({ resource: "pods", type: "applied", object, at: performance.now() });
  expect(await end).toMatchObject({ kind: "succeeded", startedAt: "2026-01-01T00:00:01Z" });
});

it("does not wait for ever where versions of Jobs and pods say nothing about each other", async () => {
  const onEnd = vi.fn();
  void completeRunWith(onEnd);
  await vi.advanceTimersByTimeAsync(122_000);
  expect(onEnd).toHaveBeenCalledOnce();
});

it("waits for a watch that is down for longer than its longest backoff, and not for ever", async () => {
  downSince = performance.now();
  const onEnd = vi.fn();
  void completeRunWith(onEnd);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(onEnd).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(7_000);
  expect(onEnd).toHaveBeenCalledWith(expect.objectContaining({ kind: "succeeded", startedAt: null }));
});

it("takes what the server says when it is asked, and what the watch then tells from before is no news", async () => {
  isBehind = false;
  asked = pod("8", { terminated: { exitCode: 0, reason: "Completed", startedAt: "2026-01-01T00:00:01Z" } });
  const { run, record } = completeRun();
  const end = run.terminated({ container: "claude" });
  await vi.advanceTimersByTimeAsync(6_000);
  expect(await end).toMatchObject({ kind: "succeeded", startedAt: "2026-01-01T00:00:01Z" });
  record.frame({ resource: "pods", type: "applied", object: pod("2", { running: {} }), at: performance.now() });
  expect(run.pod()).toBe(asked);
  record.frame({ resource: "pods", type: "deleted", object: pod("2", { running: {} }), at: performance.now() });
  expect(run.pod()).toBe(asked);
  expect(run.isPodFinal).toBe(false);
});

it.each([
  ["1", false],
  ["2", true],
])(
  "a deletion that comes with version %s, where 1 is known, brings the last state of the pod: %s",
  (version, isFinal) => {
    const { run, record } = completeRun();
    record.frame({ resource: "pods", type: "deleted", object: pod(version, { running: {} }), at: performance.now() });
    expect(run.isPodFinal).toBe(isFinal);
  },
);

async function completeRunWith(onEnd: (end: unknown) => void): Promise<void> {
  onEnd(await completeRun().run.terminated({ container: "claude" }));
}

function metadata(name: string, uid: string, resourceVersion: string) {
  return { name, namespace: "n", uid, resourceVersion, creationTimestamp: "2026-01-01T00:00:00Z" };
}

function completeJob(): Job {
  const conditions = [{ type: "Complete", status: "True" as const, reason: "CompletionsReached" }];
  return { metadata: metadata("j", "job-uid", "9"), spec: { backoffLimit: 0 }, status: { conditions } };
}

function pod(resourceVersion: string, state: object): Pod {
  const owner = { apiVersion: "batch/v1", kind: "Job", name: "j", uid: "job-uid", controller: true };
  return {
    metadata: { ...metadata("j-1", "pod-uid", resourceVersion), ownerReferences: [owner] },
    spec: { containers: [{ name: "claude" }], restartPolicy: "Never" },
    status: { phase: "Running", containerStatuses: [{ name: "claude", restartCount: 0, state }] },
  };
}
