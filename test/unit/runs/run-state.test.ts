import { describe, expect, it } from "vitest";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { classify } from "../../../src/engine/runs/classify.ts";
import { DEFAULT_POLICY } from "../../../src/engine/runs/policy.ts";
import { INITIAL_STATE, type RunFrame, type RunState, reduceRun } from "../../../src/engine/runs/run-state.ts";

const CREATED = "2026-01-01T00:00:00Z";

function fold(...frames: RunFrame[]): RunState {
  return frames.reduce(reduceRun, INITIAL_STATE);
}

function jobFrame(
  at: number,
  version: number,
  type: "applied" | "deleted" = "applied",
  metadata: object = {},
): RunFrame {
  const object: Job = {
    metadata: { ...metadataOf("j", "job", version), ...metadata },
    spec: { backoffLimit: 1 },
    status: {},
  };
  return { resource: "jobs", type, object, at };
}

function podFrame(
  at: number,
  version: number,
  {
    uid = "a",
    type = "applied",
    ended = false,
    ...metadata
  }: {
    uid?: string;
    type?: "applied" | "deleted";
    ended?: boolean;
    creationTimestamp?: string;
    deletionTimestamp?: string;
  } = {},
): RunFrame {
  const startedAt = "2026-01-01T00:00:01Z";
  const state = ended
    ? { terminated: { exitCode: 1, reason: "Error", startedAt, finishedAt: startedAt } }
    : { running: { startedAt } };
  const object: Pod = {
    metadata: { ...metadataOf(`pod-${uid}`, uid, version), ...metadata },
    spec: { nodeName: "node", restartPolicy: "Never", containers: [{ name: "main" }] },
    status: {
      phase: ended ? "Failed" : "Running",
      conditions: [{ type: "PodScheduled", status: "True" }],
      containerStatuses: [{ name: "main", restartCount: 0, state }],
    },
  };
  return { resource: "pods", type, object, at };
}

function metadataOf(name: string, uid: string, version: number) {
  return { name, namespace: "n", uid, resourceVersion: String(version), creationTimestamp: CREATED };
}

const verdict = (state: RunState, now: number) => classify(state, "main", DEFAULT_POLICY, now);

describe("a label that is taken off and put back", () => {
  it("of the pod: it runs, whatever the watch called deleted meanwhile", () => {
    const state = fold(jobFrame(0, 1), podFrame(10, 2), podFrame(1_000, 3, { type: "deleted" }), podFrame(1_010, 4));
    expect(state).toMatchObject({ podDeletedAt: null, podDeletingAt: null, isPodFinal: false, podChanges: 0 });
    expect(verdict(state, 100_000)).toMatchObject({ end: null, wakeAt: null });
  });

  it("of the Job: it stands", () => {
    const state = fold(jobFrame(0, 1), podFrame(10, 2), jobFrame(1_000, 3, "deleted"), jobFrame(1_010, 4));
    expect(state.jobDeletedAt).toBeNull();
    expect(verdict(state, 100_000)).toMatchObject({ end: null, wakeAt: null });
  });

  it("is not what an older state tells, nor one that is being deleted", () => {
    const pod = fold(jobFrame(0, 1), podFrame(10, 5), podFrame(1_000, 7, { type: "deleted" }), podFrame(1_010, 6));
    expect(pod).toMatchObject({ podDeletedAt: 1_000, podDeletingAt: 1_000 });
    const deletionTimestamp = "2026-01-01T00:01:00Z";
    const job = fold(
      jobFrame(0, 1),
      jobFrame(1_000, 3, "deleted"),
      jobFrame(1_010, 4, "applied", { deletionTimestamp }),
    );
    expect(job.jobDeletedAt).toBe(1_000);
  });
});

describe("two pods of one second", () => {
  it("do not take each other's place again and again", () => {
    const frames = [
      jobFrame(0, 1),
      podFrame(10, 2, { uid: "a" }),
      podFrame(500, 3, { uid: "a", ended: true }),
      podFrame(510, 4, { uid: "b" }),
    ];
    const replaced = fold(...frames);
    expect(replaced).toMatchObject({ pod: { metadata: { uid: "b" } }, podChanges: 1, replaced: ["a"] });
    const late = [
      podFrame(900, 5, { uid: "b", ended: true }),
      podFrame(910, 6, { uid: "a", ended: true }),
      podFrame(920, 7, { uid: "b", ended: true }),
      podFrame(930, 8, { uid: "b", type: "deleted" }),
      podFrame(940, 9, { uid: "a", ended: true }),
    ];
    const state = fold(...frames, ...late);
    expect(state).toMatchObject({ pod: { metadata: { uid: "b" } }, podChanges: 1, podDeletedAt: 930 });
  });

  it("are remembered up to a number, of a Job that tries again for ever", () => {
    const frames = Array.from({ length: 200 }, (_, each) => {
      const creationTimestamp = new Date(Date.parse(CREATED) + each * 1_000).toISOString();
      return podFrame(each * 1_000, each + 1, { uid: String(each), creationTimestamp, ended: true });
    });
    const state = fold(jobFrame(0, 1), ...frames);
    expect(state).toMatchObject({ pod: { metadata: { uid: "199" } }, podChanges: 199 });
    expect(state.replaced).toHaveLength(32);
    expect(state.replaced.at(-1)).toBe("198");
  });
});
