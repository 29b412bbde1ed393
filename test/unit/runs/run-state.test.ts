import { describe, expect, it } from "vitest";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { classify } from "../../../src/engine/runs/classify.ts";
import { deletionOf } from "../../../src/engine/runs/deletion.ts";
import { DEFAULT_POLICY } from "../../../src/engine/runs/policy.ts";
import {
  INITIAL_STATE,
  livePods,
  podAfter,
  type RunFrame,
  type RunState,
  reduceRun,
  restartConfigGrace,
} from "../../../src/engine/runs/run-state.ts";

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

  it("for good: the server has the pod at the version that was told as its deletion, and not if it is being deleted", () => {
    const answer = (metadata = {}): RunFrame => ({ ...podFrame(2_000, 3, metadata), isAnswer: true }) as RunFrame;
    const lost = fold(jobFrame(0, 1), podFrame(10, 2), podFrame(1_000, 3, { type: "deleted" }));
    const back = reduceRun(lost, answer());
    expect(back).toMatchObject({ podDeletedAt: null, podDeletingAt: null, isPodFinal: false });
    expect([...back.unwatched]).toEqual(["a"]);
    expect(reduceRun(back, answer()).pod).toBe(back.pod);
    const deletionTimestamp = "2026-01-01T00:01:00Z";
    expect(reduceRun(lost, answer({ deletionTimestamp })).podDeletedAt).toBe(1_000);
    expect(reduceRun(lost, podFrame(2_000, 3)).podDeletedAt).toBe(1_000);
  });

  it("for good, of the Job: as of the pod", () => {
    const answer = (metadata = {}): RunFrame =>
      ({ ...jobFrame(2_000, 3, "applied", metadata), isAnswer: true }) as RunFrame;
    const lost = fold(jobFrame(0, 1), podFrame(10, 2), jobFrame(1_000, 3, "deleted"));
    const back = reduceRun(lost, answer());
    expect(back.jobDeletedAt).toBeNull();
    expect([...back.unwatched]).toEqual(["job"]);
    expect(verdict(back, 10_000)).toMatchObject({ end: null, ask: { job: true, pods: true } });
    expect(reduceRun(lost, answer({ deletionTimestamp: "2026-01-01T00:01:00Z" })).jobDeletedAt).toBe(1_000);
    expect(reduceRun(lost, jobFrame(2_000, 3)).jobDeletedAt).toBe(1_000);
    // Its pod is deleted: whether it is, too, no watch will tell.
    const podless = reduceRun(back, podFrame(3_000, 4, { type: "deleted" }));
    expect(deletionOf(back, 3_000)).toMatchObject({ isDone: false, ask: null });
    expect(deletionOf(podless, 3_000)).toMatchObject({ isDone: false, ask: { job: true, pods: true } });
    // The label is put back: the watch tells of it again.
    const relabelled = reduceRun(back, jobFrame(3_000, 4));
    expect([...relabelled.unwatched]).toEqual([]);
    expect(verdict(relabelled, 10_000)).toMatchObject({ end: null, ask: null });
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

  it("are each there once, also where the newer one was told as the older: no reader of logs comes to a pod again", () => {
    const frames = [
      podFrame(10, 2, { uid: "a" }),
      podFrame(20, 3, { uid: "b" }),
      podFrame(30, 4, { uid: "a", ended: true }),
      podFrame(40, 5, { uid: "b", ended: true }),
    ];
    const state = fold(jobFrame(0, 1), ...frames);
    expect(state.pod?.metadata.uid).toBe("b");
    expect(uids(livePods(state))).toEqual(["a", "b"]);
    expect(podAfter(state, state.pod)).toBeNull();
    const [x, y] = [podFrame(50, 6, { uid: "x" }), podFrame(60, 7, { uid: "y" })];
    const several = fold(podFrame(10, 2, { uid: "a", creationTimestamp: LATER }), x, y, podFrame(70, 8, { uid: "x" }));
    expect(uids(several.olderPods)).toEqual(["x", "y"]);
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

const LATER = "2026-01-01T00:00:09Z";
const uids = (pods: readonly Pod[]) => pods.map(({ metadata }) => metadata.uid);
const MISSING: RunFrame = { resource: "jobs", type: "missing", at: 50 };
const ANSWER: RunFrame = { resource: "server", answer: { toldPods: true, askAgainAt: 99 }, at: 40 };

describe("what is no news changes nothing", () => {
  const state = fold(jobFrame(0, 5), podFrame(10, 5));
  it.each<[string, RunFrame]>([
    ["a Job of the same version", jobFrame(1, 5)],
    ["another Job", jobFrame(1, 9, "applied", { uid: "other" })],
    ["another Job's deletion", jobFrame(1, 9, "deleted", { uid: "other" })],
    ["a missing Job that was seen", MISSING],
    ["a pod of the same version", podFrame(11, 5)],
    ["the deletion of a pod that was never told of", podFrame(11, 9, { uid: "b", type: "deleted" })],
    ["the trust that there was", { resource: "watch", trust: state.trust, at: 1 }],
  ])("%s", (_, frame) => {
    expect(reduceRun(state, frame)).toBe(state);
  });

  it("a lower version is a restored server's, unless the server was asked", () => {
    expect(reduceRun(state, podFrame(11, 4))).not.toBe(state);
    expect(reduceRun(state, jobFrame(11, 4)).job?.metadata.resourceVersion).toBe("4");
    const asked = reduceRun(state, ANSWER);
    expect(asked).toMatchObject({ answer: { toldPods: true, askAgainAt: 99 }, askedAt: 40 });
    expect(reduceRun(asked, podFrame(11, 4))).toBe(asked);
    expect(reduceRun(asked, jobFrame(11, 4))).toBe(asked);
    expect(reduceRun(asked, podFrame(11, 6)).answer).toBeNull();
  });
});

it("questions that the server does not answer count in a row, until it answers or a watch tells something", () => {
  const asked = (at: number, toldPods: boolean): RunFrame => ({
    resource: "server",
    answer: { toldPods, askAgainAt: 99 },
    at,
  });
  const failed = fold(asked(1, false), asked(2, false));
  expect(failed).toMatchObject({ failedAsks: 2, askedAt: 2, answeredAt: null });
  expect(reduceRun(failed, asked(3, true))).toMatchObject({ failedAsks: 0, askedAt: 3, answeredAt: 3 });
  expect(fold(asked(1, true), asked(2, false))).toMatchObject({ failedAsks: 1, askedAt: 2, answeredAt: 1 });
  const told = reduceRun(failed, podFrame(3, 5));
  expect(told).toMatchObject({ answer: null, askedAt: 2 });
  expect(reduceRun(told, asked(4, false)).failedAsks).toBe(1);
});

it("trust is that of the watches", () => {
  const trust = { ...INITIAL_STATE.trust };
  expect(fold({ resource: "watch", trust, at: 1 }).trust).toBe(trust);
});

it("a Job that the server does not have was deleted when that was first told", () => {
  expect(fold(MISSING)).toMatchObject({ jobDeletedAt: 50, answer: null });
  expect(fold(MISSING, { ...MISSING, at: 60 }).jobDeletedAt).toBe(50);
});

describe("a pod's deletion", () => {
  it("has the last state with it if its version is its own", () => {
    const state = fold(podFrame(10, 5), podFrame(20, 6, { type: "deleted", ended: true }));
    expect(state).toMatchObject({ podDeletedAt: 20, podDeletingAt: 20, podEndedAt: 20, isPodFinal: true });
    expect(state.pod?.metadata.resourceVersion).toBe("6");
  });

  it.each([5, 4])("of a list that does not show it any more (version %i) tells nothing of its end", (version) => {
    const state = fold(podFrame(10, 5), podFrame(20, version, { type: "deleted", ended: version === 4 }));
    expect(state).toMatchObject({ podDeletedAt: 20, podEndedAt: null, isPodFinal: false });
    expect(state.pod?.metadata.resourceVersion).toBe("5");
  });

  it("once final stays so", () => {
    const gone = podFrame(20, 6, { type: "deleted", ended: true });
    expect(fold(podFrame(10, 5), gone, { ...gone, at: 30 })).toMatchObject({ isPodFinal: true, podDeletedAt: 20 });
  });

  it("is no end of the next pod", () => {
    const state = fold(
      podFrame(10, 5),
      podFrame(20, 6, { type: "deleted", ended: true }),
      podFrame(30, 7, { uid: "b", creationTimestamp: LATER }),
    );
    expect(state).toMatchObject({
      isPodFinal: false,
      podDeletedAt: null,
      podDeletingAt: null,
      podEndedAt: null,
      podSeenAt: 30,
      podChanges: 1,
      replaced: ["a"],
    });
    expect([...state.ranBefore]).toEqual(["main"]);
    expect(livePods(state).map(({ metadata }) => metadata.uid)).toEqual(["b"]);
  });
});

it("the first pod replaces none, and nothing ran before it", () => {
  const state = fold(podFrame(10, 5));
  expect(state).toMatchObject({ podChanges: 0, replaced: [], isPodFinal: false, podEndedAt: null, scheduledAt: 10 });
  expect(state.ranBefore.size).toBe(0);
  expect(fold(podFrame(10, 5, { ended: true })).podEndedAt).toBe(10);
});

describe("several pods", () => {
  const b = (version: number, more: object = {}) =>
    podFrame(30, version, { uid: "b", creationTimestamp: LATER, ...more });
  const two = fold(podFrame(10, 5, { ended: true }), b(7));

  it("stand in the order of their creation, whatever is told first", () => {
    const older = fold(b(7), podFrame(10, 5), podFrame(11, 6, { uid: "c", creationTimestamp: "2025-12-31T23:59:59Z" }));
    expect(uids(livePods(older))).toEqual(["c", "a", "b"]);
    // Of one second: the one that has ended was made before.
    const same = fold(b(7), podFrame(10, 5, { uid: "x" }), podFrame(11, 6, { uid: "y", ended: true }));
    expect(uids(same.olderPods)).toEqual(["y", "x"]);
    const other = fold(b(7), podFrame(10, 5, { uid: "y", ended: true }), podFrame(11, 6, { uid: "x" }));
    expect(uids(other.olderPods)).toEqual(["y", "x"]);
  });

  it("an older one changes, is no news, is deleted", () => {
    expect(uids(two.olderPods)).toEqual(["a"]);
    expect(reduceRun(two, podFrame(40, 5, { ended: true }))).toBe(two);
    const changed = reduceRun({ ...two, answer: { toldPods: true, askAgainAt: 1 } }, podFrame(40, 6, { ended: true }));
    expect(changed.olderPods.map(({ metadata }) => metadata.resourceVersion)).toEqual(["6"]);
    expect(changed.answer).toBeNull();
    const deleted = reduceRun(two, podFrame(40, 6, { type: "deleted" }));
    expect(deleted.olderPods).toBe(INITIAL_STATE.olderPods);
    expect(reduceRun(deleted, podFrame(41, 6, { type: "deleted" }))).toBe(deleted);
    const three = reduceRun(two, podFrame(41, 8, { uid: "c", ended: true }));
    expect(uids(reduceRun(three, podFrame(42, 9, { type: "deleted" })).olderPods)).toEqual(["c"]);
  });

  it("after one that is deleted comes the first of those made later, though it is not the newest", () => {
    const at = (second: number) => ({ creationTimestamp: `2026-01-01T00:00:0${second}Z`, ended: true });
    const three = fold(
      podFrame(10, 5, { uid: "first", ...at(1) }),
      podFrame(20, 6, { uid: "second", ...at(2) }),
      podFrame(30, 7, { uid: "third", ...at(3) }),
    );
    const [first, second] = three.olderPods as [Pod, Pod];
    const two = reduceRun(three, podFrame(40, 8, { uid: "first", ...at(1), type: "deleted" }));
    expect(podAfter(two, first)).toBe(second);
    expect(podAfter(reduceRun(two, podFrame(41, 9, { uid: "second", ...at(2), type: "deleted" })), first)).toBe(
      two.pod,
    );
    // Whether it was made before or after the other of its second, nothing tells.
    for (const each of [2, 3]) {
      const sameSecond = { ...first.metadata, uid: "other", creationTimestamp: at(each).creationTimestamp };
      expect(podAfter(two, { ...first, metadata: sameSecond })).toBe(two.pod);
    }
  });

  it("after one comes the next; after one that is deleted the newest", () => {
    const [a] = two.olderPods as [Pod];
    const { pod } = two;
    expect(podAfter(INITIAL_STATE, null)).toBeNull();
    expect(podAfter(two, null)).toBe(a);
    expect(podAfter(two, a)).toBe(pod);
    expect(podAfter(two, pod)).toBeNull();
    expect(podAfter(reduceRun(two, podFrame(40, 6, { type: "deleted" })), a)).toBe(pod);
    const alone = fold(b(7));
    expect(podAfter(alone, null)).toBe(alone.pod);
  });

  it("of one second the later told one is newer only where the one before is at its end", () => {
    const next = podFrame(30, 7, { uid: "b" });
    const newest = (...before: RunFrame[]) => fold(...before, next).pod?.metadata.uid;
    expect(newest(podFrame(10, 5))).toBe("a");
    expect(newest(podFrame(10, 5, { ended: true }))).toBe("b");
    expect(newest(podFrame(10, 5, { deletionTimestamp: LATER }))).toBe("b");
    expect(newest(podFrame(10, 5), podFrame(20, 6, { type: "deleted" }))).toBe("b");
    expect(fold(podFrame(10, 5, { creationTimestamp: LATER, ended: true }), next).pod?.metadata.uid).toBe("a");
  });
});

it("what the server answered is watched once the watch has told of it", () => {
  const answered = { ...podFrame(10, 5), isAnswer: true } as RunFrame;
  const known = fold(answered);
  expect([...known.unwatched]).toEqual(["a"]);
  expect([...reduceRun(known, { ...podFrame(11, 6), isAnswer: true } as RunFrame).unwatched]).toEqual(["a"]);
  expect([...reduceRun(known, podFrame(11, 6)).unwatched]).toEqual([]);
  expect([...fold(podFrame(10, 5), { ...podFrame(11, 6), isAnswer: true } as RunFrame).unwatched]).toEqual([]);
});

it("a run that is suspended and resumed: what ran before its pod was deleted is known", () => {
  const suspended = (at: number, version: number, suspend: boolean): RunFrame => {
    const frame = jobFrame(at, version) as Extract<RunFrame, { resource: "jobs"; object: Job }>;
    return { ...frame, object: { ...frame.object, spec: { ...frame.object.spec, suspend } } };
  };
  const deleting = podFrame(20, 6, { deletionTimestamp: LATER });
  const resumed = fold(suspended(0, 1, true), podFrame(10, 5), deleting, suspended(30, 2, false));
  expect(resumed.resumedAt).toBe(30);
  expect([...resumed.ranBefore]).toEqual(["main"]);
  expect(fold(suspended(0, 1, true), podFrame(10, 5), suspended(30, 2, false)).ranBefore.size).toBe(0);
  expect(fold(suspended(0, 1, true), suspended(30, 2, false)).ranBefore.size).toBe(0);
  const going = fold(suspended(0, 1, false), podFrame(10, 5), deleting, suspended(30, 2, false));
  expect([going.resumedAt, going.ranBefore.size]).toEqual([null, 0]);
});

it("what was provided meanwhile puts off the patience with a missing configuration, and with nothing else", () => {
  const problem = (code: "container_config" | "image_pull", since: number) => ({
    code,
    reason: "",
    message: "",
    since,
    former: null,
  });
  const state: RunState = {
    ...INITIAL_STATE,
    problems: new Map([
      ["early", problem("container_config", 5)],
      ["late", problem("container_config", 50)],
      ["other", problem("image_pull", 5)],
    ]),
  };
  const since = [...restartConfigGrace(state, 20).problems].map(([name, each]) => [name, each.since]);
  expect(since).toEqual([
    ["early", 20],
    ["late", 50],
    ["other", 5],
  ]);
  expect(restartConfigGrace(INITIAL_STATE, 20)).toBe(INITIAL_STATE);
});
