import { describe, expect, test } from "vitest";
import { AnnotationKey } from "../../../src/adapter/job/names.ts";
import type { Restart } from "../../../src/adapter/job/restart.ts";
import { classifyOrphan, decide, type Situation } from "../../../src/adapter/start/orphans.ts";
import type { Condition, Job, Pod } from "../../../src/engine/index.ts";

interface JobSpec {
  name?: string;
  run?: string;
  task?: string | null;
  session?: string;
  created?: string;
  conditions?: Condition[];
  deleting?: boolean;
  annotations?: Record<string, string>;
}

function jobOf({
  name = "old",
  run = "run-0",
  task = "T",
  session,
  created = "2026-01-01T00:00:00Z",
  conditions,
  deleting,
  annotations,
}: JobSpec = {}): Job {
  return {
    metadata: {
      name,
      namespace: "n",
      uid: `uid-${name}`,
      resourceVersion: "1",
      creationTimestamp: created,
      labels: {
        "paperclip.io/agent-id": "A",
        "paperclip.io/run-id": run,
        ...(task === null ? {} : { "paperclip.io/task-id": task }),
        ...(session === undefined ? {} : { "paperclip.io/session-id": session }),
      },
      ...(annotations === undefined ? {} : { annotations }),
      ...(deleting === true ? { deletionTimestamp: "2026-01-01T00:01:00Z" } : {}),
    },
    spec: { backoffLimit: 0 },
    status: conditions === undefined ? {} : { conditions },
  };
}

type Agent = "running" | "waiting" | number;
function podOf(jobName: string, agent: Agent, phase: NonNullable<Pod["status"]["phase"]> = "Running"): Pod {
  const state =
    typeof agent === "number"
      ? { terminated: { exitCode: agent } }
      : agent === "running"
        ? { running: {} }
        : { waiting: {} };
  return {
    metadata: {
      name: `${jobName}-x`,
      namespace: "n",
      uid: `uid-${jobName}-x`,
      resourceVersion: "1",
      creationTimestamp: "2026-01-01T00:00:00Z",
      labels: { "paperclip.io/agent-id": "A" },
      ownerReferences: [
        { apiVersion: "batch/v1", kind: "Job", name: jobName, uid: `uid-${jobName}`, controller: true },
      ],
    },
    spec: { restartPolicy: "Never", containers: [{ name: "agent" }] },
    status: { phase, containerStatuses: [{ name: "agent", restartCount: 0, state }] },
  };
}

function situation(
  overrides: Partial<Omit<Situation, "config">> & { config?: Partial<Situation["config"]>; active?: string[] } = {},
): Situation {
  const { config, active = [], ...rest } = overrides;
  return {
    jobs: [],
    pods: [],
    newcomer: { agentId: "A", runId: "run-1", taskId: "T", sessionId: "S" },
    containerName: "agent",
    config: { reattachOrphanedJobs: true, concurrencyPolicy: "block", retainJobs: false, ...config },
    isActiveHere: (uid) => active.includes(uid),
    isLiveElsewhere: () => false,
    isCollected: () => false,
    ...rest,
  };
}

const complete: Condition[] = [{ type: "Complete", status: "True" }];
const failed: Condition[] = [{ type: "Failed", status: "True", reason: "BackoffLimitExceeded" }];
const deadline: Condition[] = [{ type: "FailureTarget", status: "True", reason: "DeadlineExceeded" }];

describe("may an orphan be adopted?", () => {
  test.each([
    ["same task, same session", "T", "S", "T", "S", "reattach"],
    ["same task, the orphan has no session (a first run)", "T", undefined, "T", "S", "reattach"],
    ["same task, the newcomer has no session", "T", "S", "T", null, "reattach"],
    ["same task, no session at all", "T", undefined, "T", null, "reattach"],
    ["same task, other session", "T", "S", "T", "S2", "block_session_mismatch"],
    ["other task", "T", "S", "T2", "S", "block_task_mismatch"],
    ["other task and other session", "T", "S", "T2", "S2", "block_task_mismatch"],
    ["the orphan has no task", null, "S", "T", "S", "block_task_unknown"],
    ["the newcomer has no task", "T", "S", null, "S", "block_task_unknown"],
    ["nobody has a task", null, "S", null, "S", "block_task_unknown"],
  ] as const)("%s", (_, task, session, taskId, sessionId, expected) => {
    expect(classifyOrphan(jobOf({ task, ...(session === undefined ? {} : { session }) }), { taskId, sessionId })).toBe(
      expected,
    );
  });
});

describe("a disrupted run, between two of its Jobs", () => {
  const restart = (former: string, attempt = 1) =>
    JSON.stringify({
      ...{ attempt, how: "resume", sessionId: "S", isPromptRead: true, reason: "Evicted", nodes: ["n1"], repeats: 0 },
      former: { name: former, uid: `uid-${former}` },
    });
  const evicted = (jobName = "old"): Pod => {
    const pod = podOf(jobName, 137, "Failed");
    return { ...pod, status: { ...pod.status, reason: "Evicted" } };
  };
  const marked = (name = "old") => jobOf({ name, conditions: failed, annotations: { [NEXT]: restart(name) } });
  const goesOn = (name: string, former: string, attempt = 1) =>
    jobOf({ name, annotations: { [RESTART]: restart(former, attempt) } });
  const NEXT = "paperclip.io/next-restart";
  const RESTART = "paperclip.io/restart";

  test.each<[string, Pod[]]>([
    ["its pod is there", [evicted()]],
    ["its pod is deleted", []],
  ])("blocks others for as long as its process may go on with it: %s", (_, pods) => {
    const jobs = [jobOf({ conditions: failed })];
    const blocked = { kind: "blocked", blockers: [{ code: "k8s_concurrent_run_blocked", mayGoOn: true }] };
    expect(decide(situation({ jobs, pods, active: ["uid-old"] }))).toMatchObject(blocked);
    expect(decide(situation({ jobs, pods, isLiveElsewhere: () => true }))).toMatchObject(blocked);
  });

  test.each<[string, Partial<Situation> & { active?: string[] }]>([
    ["its process is dead", {}],
    ["its process had time enough for it", { active: ["uid-old"], hasJustEnded: () => false }],
    [
      "its result was taken",
      { active: ["uid-old"], jobs: [jobOf({ conditions: failed, annotations: { "paperclip.io/collected-at": "x" } })] },
    ],
    ["its agent had ended by itself", { active: ["uid-old"], pods: [podOf("old", 1, "Failed")] }],
  ])("blocks nobody when %s", (_, overrides) => {
    const jobs = [jobOf({ conditions: failed })];
    expect(decide(situation({ jobs, pods: [evicted()], ...overrides, config: {} }))).toEqual({ kind: "start" });
  });

  test("is gone on with when its process died before the next Job stood", () => {
    const job = marked();
    expect(decide(situation({ jobs: [job] }))).toMatchObject({ kind: "adopt", isEnded: true, job });
    expect(decide(situation({ jobs: [job], isLiveElsewhere: () => true }))).toMatchObject({ kind: "blocked" });
    const other = jobOf({ task: "T2", conditions: failed, annotations: { [NEXT]: restart("old") } });
    expect(decide(situation({ jobs: [other] }))).toEqual({ kind: "start" });
  });

  test("is adopted in its latest Job, whatever stands of those before", () => {
    const jobs = [
      marked(),
      { ...goesOn("old-r1", "old"), status: { conditions: failed } },
      goesOn("old-r2", "old-r1", 2),
    ];
    for (const order of [jobs, [...jobs].reverse()]) {
      expect(decide(situation({ jobs: order, pods: [evicted(), evicted("old-r1")] }))).toMatchObject({
        kind: "adopt",
        job: { metadata: { name: "old-r2" } },
      });
    }
  });

  test("whose next Job is being deleted: it is waited for, and the one before is gone on with", () => {
    const annotations = { [RESTART]: restart("old") };
    const next = { ...jobOf({ name: "old-r1", annotations, deleting: true }), status: { failed: 1, terminating: 0 } };
    const pods = [evicted()];
    expect(decide(situation({ jobs: [marked(), next], pods }))).toEqual({ kind: "leaving", names: ["old-r1"] });
    expect(decide(situation({ jobs: [marked()], pods }))).toMatchObject({ kind: "adopt", isEnded: true });
    // The one before is being deleted as well, or is not there any more.
    const deleted = { ...jobOf({ conditions: failed, deleting: true }), status: { failed: 1, terminating: 0 } };
    for (const jobs of [[deleted, next], [next]]) expect(decide(situation({ jobs }))).toEqual({ kind: "start" });
  });

  test("the next Job is followed from its creation, since the one before is", () => {
    const jobs = [marked(), goesOn("old-r1", "old")];
    const parallel = { concurrencyPolicy: "parallel" } as const;
    expect(decide(situation({ jobs, active: ["uid-old"], config: parallel }))).toEqual({ kind: "start" });
    expect(decide(situation({ jobs, active: ["uid-old"] }))).toMatchObject({
      kind: "blocked",
      blockers: [{ job: { metadata: { name: "old-r1" } }, isActiveHere: true }],
    });
  });

  test("a first pod that may still run on a lost node is waited for", () => {
    const jobs = [
      jobOf({ conditions: failed, deleting: true }),
      { ...goesOn("old-r1", "old"), status: { conditions: failed } },
    ];
    const pods = [podOf("old", "running"), evicted("old-r1")];
    expect(decide(situation({ jobs, pods }))).toMatchObject({ kind: "leaving", names: ["old"] });
  });
});

describe("live runs of the agent", () => {
  test("none: start", () => expect(decide(situation())).toEqual({ kind: "start" }));

  test("an orphan of the same task is adopted", () => {
    const job = jobOf();
    expect(decide(situation({ jobs: [job], pods: [podOf("old", "running")] }))).toEqual({
      kind: "adopt",
      job,
      isOwnRun: false,
      isEnded: false,
    });
  });

  test("a Job whose pod does not exist yet is live", () => {
    expect(decide(situation({ jobs: [jobOf()] }))).toMatchObject({ kind: "adopt", isEnded: false });
  });

  test.each([
    [{ task: "T2" }, "k8s_concurrent_run_blocked"],
    [{ task: null }, "k8s_orphan_task_unknown"],
    [{ session: "S2" }, "k8s_orphan_session_mismatch"],
  ])("%j blocks with its code", (spec, code) => {
    expect(decide(situation({ jobs: [jobOf(spec)] }))).toMatchObject({
      kind: "blocked",
      blockers: [{ code, isActiveHere: false }],
    });
  });

  test("of several of the same task the newest is adopted", () => {
    const jobs = [
      jobOf({ name: "a", created: "2026-01-01T00:00:00Z" }),
      jobOf({ name: "b", created: "2026-01-01T00:00:09Z" }),
    ];
    expect(decide(situation({ jobs }))).toMatchObject({ kind: "adopt", job: { metadata: { name: "b" } } });
  });

  test("one that blocks does so though another could be adopted", () => {
    const jobs = [jobOf({ name: "b", created: "2026-01-01T00:00:09Z" }), jobOf({ name: "a", task: "T2" })];
    expect(decide(situation({ jobs }))).toMatchObject({ kind: "blocked" });
  });

  test("followed by this process it is no orphan, though its task is the same", () => {
    expect(decide(situation({ jobs: [jobOf()], active: ["uid-old"] }))).toMatchObject({
      kind: "blocked",
      blockers: [{ isActiveHere: true }],
    });
  });

  test("with reattachment off every orphan blocks", () => {
    expect(decide(situation({ jobs: [jobOf()], config: { reattachOrphanedJobs: false } }))).toMatchObject({
      kind: "blocked",
      blockers: [{ code: "k8s_concurrent_run_blocked" }],
    });
  });

  test("parallel runs beside those of other tasks, and adopts its own task's", () => {
    const config = { concurrencyPolicy: "parallel" } as const;
    expect(decide(situation({ jobs: [jobOf({ task: "T2" })], config }))).toEqual({ kind: "start" });
    expect(decide(situation({ jobs: [jobOf({ name: "a", task: "T2" }), jobOf()], config }))).toMatchObject({
      kind: "adopt",
    });
  });
});

describe("pods count, not only Jobs", () => {
  test("the pod of a deleted Job still runs: wait for it", () => {
    expect(decide(situation({ pods: [podOf("deleted", "running")] }))).toEqual({
      kind: "leaving",
      names: ["deleted-x"],
    });
  });

  test.each<[string, Pod]>([
    ["has ended", podOf("deleted", 0, "Succeeded")],
    ["lives on with a sidecar after the agent has ended", podOf("deleted", 1)],
  ])("a pod without Job that %s does not count", (_, pod) =>
    expect(decide(situation({ pods: [pod] }))).toEqual({ kind: "start" }),
  );

  test("a Job that is being deleted: wait while its agent may run, not longer", () => {
    const jobs = [jobOf({ deleting: true })];
    expect(decide(situation({ jobs, pods: [podOf("old", "running")] }))).toEqual({ kind: "leaving", names: ["old"] });
    expect(decide(situation({ jobs, pods: [podOf("old", 143, "Failed")] }))).toEqual({ kind: "start" });
  });

  test("a Job that is being deleted and whose pods are not known: wait unless it counts none", () => {
    const counting = (status: Job["status"]) =>
      decide(situation({ jobs: [{ ...jobOf({ deleting: true }), status }] })).kind;
    expect(counting({})).toBe("leaving");
    expect(counting({ active: 1 })).toBe("leaving");
    expect(counting({ failed: 1, terminating: 1 })).toBe("leaving");
    expect(counting({ failed: 1, terminating: 0 })).toBe("start");
    expect(counting({ succeeded: 1 })).toBe("start");
  });

  test("over its deadline, the pod in its grace period: wait", () => {
    expect(decide(situation({ jobs: [jobOf({ conditions: deadline })], pods: [podOf("old", "running")] }))).toEqual({
      kind: "leaving",
      names: ["old"],
    });
  });

  test("a Job of another task that never completes for its sidecar's sake does not block", () => {
    expect(decide(situation({ jobs: [jobOf({ task: "T2" })], pods: [podOf("old", 0)] }))).toEqual({ kind: "start" });
  });

  test("parallel does not wait for what is leaving", () => {
    expect(
      decide(situation({ pods: [podOf("deleted", "running")], config: { concurrencyPolicy: "parallel" } })),
    ).toEqual({ kind: "start" });
  });
});

describe("ended runs whose result nobody took", () => {
  const ended = jobOf({ conditions: complete, annotations: { "paperclip.io/working-dir": "/w" } });
  const pod = podOf("old", 0, "Succeeded");

  test("are adopted for the same task", () => {
    expect(decide(situation({ jobs: [ended], pods: [pod] }))).toMatchObject({
      kind: "adopt",
      isEnded: true,
      isOwnRun: false,
    });
  });

  test("a live one goes before", () => {
    const live = jobOf({ name: "live", created: "2025-01-01T00:00:00Z" });
    expect(decide(situation({ jobs: [ended, live], pods: [pod] }))).toMatchObject({
      kind: "adopt",
      job: { metadata: { name: "live" } },
      isEnded: false,
    });
  });

  test.each<[string, Partial<Situation> & { config?: Partial<Situation["config"]> }]>([
    ["of another task", { jobs: [jobOf({ task: "T2", conditions: complete })] }],
    ["of another session", { jobs: [jobOf({ session: "S2", conditions: complete })] }],
    ["that failed", { jobs: [jobOf({ conditions: failed })], pods: [podOf("old", 1, "Failed")] }],
    ["that failed though their agent ended well", { jobs: [jobOf({ conditions: failed })] }],
    ["whose pod is gone, and with it the log", { pods: [] }],
    [
      "marked as taken",
      { jobs: [jobOf({ conditions: complete, annotations: { "paperclip.io/collected-at": "2026-01-01T00:00:00Z" } })] },
    ],
    ["taken by this process, should the deletion have failed", { isCollected: () => true }],
    [
      "of the adapter of old where Jobs are retained: it leaves no mark",
      {
        jobs: [jobOf({ conditions: complete })],
        config: { retainJobs: true, reattachOrphanedJobs: true, concurrencyPolicy: "block" },
      },
    ],
    [
      "with reattachment off",
      { config: { reattachOrphanedJobs: false, retainJobs: false, concurrencyPolicy: "block" } },
    ],
  ])("%s are left alone", (_, overrides) => {
    expect(decide(situation({ jobs: [ended], pods: [pod], ...overrides }))).toEqual({ kind: "start" });
  });
});

describe("the same run again", () => {
  const own = jobOf({ name: "own", run: "run-1" });
  test("adopts its own Job, live or ended, well or badly", () => {
    expect(decide(situation({ jobs: [own] }))).toMatchObject({ kind: "adopt", isOwnRun: true, isEnded: false });
    const failedOwn = jobOf({ name: "own", run: "run-1", conditions: failed });
    expect(decide(situation({ jobs: [failedOwn], pods: [podOf("own", 1, "Failed")] }))).toMatchObject({
      kind: "adopt",
      isOwnRun: true,
      isEnded: true,
    });
  });

  test("is blocked while it is followed here", () => {
    expect(decide(situation({ jobs: [own], active: ["uid-own"] }))).toMatchObject({ kind: "blocked" });
  });

  test("waits while its Job is being deleted", () => {
    expect(decide(situation({ jobs: [jobOf({ name: "own", run: "run-1", deleting: true })] }))).toMatchObject({
      kind: "leaving",
    });
  });
});

test("a Job without labels is of no known task", () => {
  const { labels: _, ...metadata } = jobOf().metadata;
  expect(classifyOrphan({ ...jobOf(), metadata }, { taskId: "T", sessionId: null })).toBe("block_task_unknown");
});

/** As a Job says how it came to be, or how its run is to go on. */
function restarting(key: "restart" | "nextRestart", former: string, attempt = 1): Record<string, string> {
  const restart: Restart = {
    attempt,
    how: "resume",
    sessionId: "S",
    isPromptRead: true,
    reason: "EvictionByEvictionAPI",
    nodes: [],
    repeats: 0,
    former: { name: former, uid: `uid-${former}` },
  };
  return { [AnnotationKey[key]]: JSON.stringify(restart) };
}

describe("a run that another process follows", () => {
  test("is no orphan", () => {
    expect(decide(situation({ jobs: [jobOf()], isLiveElsewhere: () => true }))).toMatchObject({
      kind: "blocked",
      blockers: [{ isActiveHere: false, isLiveElsewhere: true, mayGoOn: false }],
    });
  });
});

describe("a disrupted run, which its owner may go on with", () => {
  const disrupted = [{ type: "DisruptionTarget", status: "True", reason: "EvictionByEvictionAPI" }] as const;
  const evicted = (agent: Agent = 137): Pod => {
    const pod = podOf("old", agent, agent === "running" ? "Running" : "Failed");
    return { ...pod, status: { ...pod.status, conditions: [...disrupted] } };
  };
  const lost: Pod = {
    ...podOf("old", 137, "Failed"),
    status: {
      phase: "Failed",
      containerStatuses: [
        { name: "agent", restartCount: 0, state: { terminated: { exitCode: 137, reason: "ContainerStatusUnknown" } } },
      ],
    },
  };
  const failedAt137 = podOf("old", 137, "Failed");
  const deleted: Pod = {
    ...failedAt137,
    metadata: { ...failedAt137.metadata, deletionTimestamp: "2026-01-01T00:01:00Z" },
  };
  const of = (pods: readonly Pod[], more: Parameters<typeof situation>[0] = {}) =>
    decide(situation({ jobs: [jobOf({ conditions: failed })], pods, active: ["uid-old"], ...more }));

  test.each([
    ["evicted", evicted()],
    ["deleted", deleted],
    ["lost with its node", lost],
  ])("blocks: its pod was %s", (_, pod) => {
    expect(of([pod])).toMatchObject({ kind: "blocked", blockers: [{ isActiveHere: true, mayGoOn: true }] });
  });

  test.each<[string, ReturnType<typeof decide>]>([
    ["failed by itself", of([failedAt137])],
    ["failed by itself in one of two pods", of([evicted(), failedAt137])],
    ["is followed by none", of([evicted()], { active: [] })],
    [
      "is marked as dealt with",
      of([evicted()], {
        jobs: [jobOf({ conditions: failed, annotations: { [AnnotationKey.collectedAt]: "2026-01-01T00:00:00Z" } })],
      }),
    ],
    ["succeeded all the same", of([evicted()], { jobs: [jobOf({ conditions: complete })] })],
    ["ended long ago", of([evicted()], { hasJustEnded: () => false })],
  ])("does not block one that %s", (_, decision) => {
    expect(decision).toEqual({ kind: "start" });
  });

  test("whose agent still runs has not ended: what follows is not the question yet", () => {
    expect(of([evicted("running")], { jobs: [jobOf()] })).toMatchObject({
      kind: "blocked",
      blockers: [{ mayGoOn: false }],
    });
  });

  test("whose process died before the next Job is adopted, unless it was dealt with", () => {
    const annotations = restarting("nextRestart", "old");
    const left = (more: object = {}) => ({
      active: [],
      jobs: [jobOf({ conditions: failed, annotations: { ...annotations, ...more } })],
    });
    expect(of([evicted()], left())).toMatchObject({ kind: "adopt", isEnded: true });
    expect(of([evicted()], left({ [AnnotationKey.collectedAt]: "2026-01-01T00:00:00Z" }))).toEqual({ kind: "start" });
  });
});

describe("a Job that goes on with another's run", () => {
  const next = jobOf({ name: "next", run: "run-1", annotations: restarting("restart", "own") });
  /** As if a clock had gone back: the order of their creation does not tell. */
  const own = (spec: JobSpec = {}) => jobOf({ name: "own", run: "run-1", created: "2026-01-01T00:00:09Z", ...spec });

  test("is followed by whoever follows the one before", () => {
    expect(decide(situation({ jobs: [next], active: ["uid-own"] }))).toMatchObject({
      kind: "blocked",
      blockers: [{ isActiveHere: true }],
    });
    expect(decide(situation({ jobs: [next] }))).toMatchObject({ kind: "adopt" });
  });

  test.each<[string, Job, Pod[], object]>([
    ["that has no pod", own(), [], { kind: "adopt", job: next }],
    ["whose agent has ended", own(), [podOf("own", 137)], { kind: "adopt", job: next }],
    ["whose agent runs", own(), [podOf("own", "running")], { kind: "adopt", job: { metadata: { name: "own" } } }],
    ["that is being deleted, its pods unknown", own({ deleting: true }), [], { kind: "leaving", names: ["own"] }],
    [
      "that is being deleted, its pods ended",
      { ...own({ deleting: true }), status: { failed: 1, terminating: 0 } },
      [],
      { kind: "adopt", job: next },
    ],
  ])("stands for one %s", (_, before, pods, decision) => {
    expect(decide(situation({ jobs: [before, next], pods }))).toMatchObject(decision);
  });

  test("of those of one second the latest attempt is the newest, then the first by name", () => {
    const jobs = [jobOf({ name: "a" }), jobOf({ name: "b", annotations: restarting("restart", "other") })];
    for (const each of [jobs, [...jobs].reverse()])
      expect(decide(situation({ jobs: each }))).toMatchObject({ kind: "adopt", job: { metadata: { name: "b" } } });
    const others = [jobOf({ name: "d" }), jobOf({ name: "c" })];
    for (const each of [others, [...others].reverse()])
      expect(decide(situation({ jobs: each }))).toMatchObject({ kind: "adopt", job: { metadata: { name: "c" } } });
  });
});

describe("whose pod it is", () => {
  const other = { apiVersion: "example.com/v1", kind: "Other", name: "other", uid: "uid-other" };
  const owned = (pod: Pod): Pod => ({
    ...pod,
    metadata: { ...pod.metadata, ownerReferences: [other, ...(pod.metadata.ownerReferences ?? [])] },
  });

  test("one of several owners is enough", () => {
    const jobs = [jobOf({ deleting: true })];
    expect(decide(situation({ jobs, pods: [owned(podOf("old", "running"))] }))).toEqual({
      kind: "leaving",
      names: ["old"],
    });
    expect(decide(situation({ jobs, pods: [owned(podOf("old", 143, "Failed"))] }))).toEqual({ kind: "start" });
  });

  test("a pod that has ended has no live agent, whatever its container's last state", () => {
    expect(decide(situation({ pods: [podOf("deleted", "running", "Failed")] }))).toEqual({ kind: "start" });
  });

  test("an agent that ended with a failure beside a sidecar that lives leaves no result worth taking", () => {
    expect(decide(situation({ jobs: [jobOf()], pods: [podOf("old", 1)] }))).toEqual({ kind: "start" });
  });
});
