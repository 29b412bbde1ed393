import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { DEFAULT_POLICY } from "../../../src/engine/runs/policy.ts";
import { Run, type RunHost } from "../../../src/engine/runs/run.ts";

let isBehind = true;
/** What the server says of the pod when it is asked. */
let asked: Pod | null = null;
/** Since when a watch is down. */
let downSince: number | null = null;
const host = {
  podsOf: () => [],
  pod: () => undefined,
  arePodsBehind: () => isBehind,
  knownUntil: () => downSince ?? performance.now(),
  unknownSince: () => downSince,
  look: (run: Run) => {
    if (asked !== null) run.frame({ resource: "pods", type: "applied", object: asked, at: performance.now() });
    return Promise.resolve(true);
  },
  forget: () => undefined,
  report: (error: unknown) => expect.unreachable(String(error)),
} as unknown as RunHost;

beforeEach(() => {
  isBehind = true;
  downSince = null;
  asked = null;
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

function completeRun(): Run {
  const run = new Run(host, { namespace: "n", jobName: "j", uid: "job-uid", policy: DEFAULT_POLICY });
  run.frame({ resource: "pods", type: "applied", object: pod("1", { running: {} }), at: performance.now() });
  run.frame({ resource: "jobs", type: "applied", object: completeJob(), at: performance.now() });
  return run;
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
  const run = completeRun();
  const end = run.terminated({ container: "claude" });
  await vi.advanceTimersByTimeAsync(20_000);
  const object = pod("2", { terminated: { exitCode: 0, reason: "Completed", startedAt: "2026-01-01T00:00:01Z" } });
  run.frame({ resource: "pods", type: "applied", object, at: performance.now() });
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
  const run = completeRun();
  const end = run.terminated({ container: "claude" });
  await vi.advanceTimersByTimeAsync(6_000);
  expect(await end).toMatchObject({ kind: "succeeded", startedAt: "2026-01-01T00:00:01Z" });
  run.frame({ resource: "pods", type: "applied", object: pod("2", { running: {} }), at: performance.now() });
  expect(run.pod()).toBe(asked);
  run.frame({ resource: "pods", type: "deleted", object: pod("2", { running: {} }), at: performance.now() });
  expect(run.pod()).toBe(asked);
  expect(run.isPodFinal).toBe(false);
});

it.each([
  ["1", false],
  ["2", true],
])(
  "a deletion that comes with version %s, where 1 is known, brings the last state of the pod: %s",
  (version, isFinal) => {
    const run = completeRun();
    run.frame({ resource: "pods", type: "deleted", object: pod(version, { running: {} }), at: performance.now() });
    expect(run.isPodFinal).toBe(isFinal);
  },
);

async function completeRunWith(onEnd: (end: unknown) => void): Promise<void> {
  onEnd(await completeRun().terminated({ container: "claude" }));
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
