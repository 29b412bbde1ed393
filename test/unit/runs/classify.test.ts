import { describe, expect, it } from "vitest";
import type { Condition, ContainerState, Job, Pod } from "../../../src/engine/kubernetes.ts";
import { classify, type Verdict } from "../../../src/engine/runs/classify.ts";
import { DEFAULT_POLICY, type RunPolicy } from "../../../src/engine/runs/policy.ts";
import { INITIAL_STATE, type RunState, reduceRun } from "../../../src/engine/runs/run-state.ts";
import { FULL_TRUST } from "../../../src/engine/runs/trust.ts";

/** One run told frame by frame, with the time of each. */
class Story {
  #state: RunState = INITIAL_STATE;
  #version = 1;
  readonly #policy: RunPolicy;

  constructor(policy: Partial<RunPolicy> = {}) {
    this.#policy = { ...DEFAULT_POLICY, ...policy };
  }

  job(
    at: number,
    {
      conditions = [],
      deleting,
      failed,
      ...spec
    }: {
      conditions?: Condition[];
      deleting?: string;
      failed?: number;
      suspend?: boolean;
      backoffLimit?: number;
      podFailurePolicy?: boolean;
    } = {},
    type: "applied" | "deleted" = "applied",
  ): this {
    const object = this.#job(spec, conditions, deleting);
    if (failed !== undefined) object.status.failed = failed;
    this.#state = reduceRun(this.#state, { resource: "jobs", type, at, object });
    return this;
  }

  pod(at: number, pod: PodSpec = {}, type: "applied" | "deleted" = "applied"): this {
    this.#state = reduceRun(this.#state, { resource: "pods", type, at, object: podOf(pod, String(this.#version++)) });
    return this;
  }

  /** The server has no such Job. */
  noJob(at: number): this {
    this.#state = reduceRun(this.#state, { resource: "jobs", type: "missing", at });
    return this;
  }

  watchesLost(at: number): this {
    const trust = { ...FULL_TRUST, openSince: null, lostSince: at, completeUntil: at };
    this.#state = reduceRun(this.#state, { resource: "watch", trust, at });
    return this;
  }

  /** The server was asked, and did not say. */
  unanswered(at: number): this {
    const answer = { toldPods: false, askAgainAt: at + 1_000 };
    this.#state = reduceRun(this.#state, { resource: "server", answer, at });
    return this;
  }

  verdict(now: number, container = "claude"): Verdict {
    return classify(this.#state, container, this.#policy, now);
  }

  get podChanges(): number {
    return this.#state.podChanges;
  }

  #job(spec: object, conditions: Condition[], deletionTimestamp?: string): Job {
    return {
      metadata: {
        name: "j",
        namespace: "n",
        uid: "job-uid",
        resourceVersion: String(this.#version++),
        creationTimestamp: "2026-01-01T00:00:00Z",
        ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      },
      spec: { backoffLimit: 0, ...spec },
      status: { conditions },
    };
  }
}

interface PodSpec {
  uid?: string;
  created?: string;
  phase?: Pod["status"]["phase"];
  reason?: string;
  claude?: ContainerState;
  lastState?: ContainerState;
  sidecar?: ContainerState;
  init?: ContainerState;
  initRestartPolicy?: string;
  /** No node has been found for it. */
  isHomeless?: boolean;
  deleting?: string;
  graceSeconds?: number;
  conditions?: Condition[];
  restartPolicy?: string;
  restartCount?: number;
  terminationGracePeriodSeconds?: number;
}

function podOf(p: PodSpec, resourceVersion: string): Pod {
  const statuses = [
    {
      name: "claude",
      restartCount: p.restartCount ?? 0,
      state: p.claude ?? { waiting: { reason: "ContainerCreating" } },
      ...(p.lastState === undefined ? {} : { lastState: p.lastState }),
    },
    ...(p.sidecar === undefined ? [] : [{ name: "mesh", restartCount: 0, state: p.sidecar }]),
  ];
  return {
    metadata: {
      name: `pod-${p.uid ?? "1"}`,
      namespace: "n",
      uid: p.uid ?? "1",
      resourceVersion,
      creationTimestamp: p.created ?? "2026-01-01T00:00:00Z",
      ...(p.deleting === undefined
        ? {}
        : { deletionTimestamp: p.deleting, deletionGracePeriodSeconds: p.graceSeconds ?? 2 }),
      ownerReferences: [{ apiVersion: "batch/v1", kind: "Job", name: "j", uid: "job-uid", controller: true }],
    },
    spec: {
      ...(p.isHomeless === true ? {} : { nodeName: "node" }),
      restartPolicy: p.restartPolicy ?? "Never",
      ...(p.terminationGracePeriodSeconds === undefined
        ? {}
        : { terminationGracePeriodSeconds: p.terminationGracePeriodSeconds }),
      containers: [{ name: "claude" }],
      initContainers: [
        { name: "init", ...(p.initRestartPolicy === undefined ? {} : { restartPolicy: p.initRestartPolicy }) },
      ],
    },
    status: {
      phase: p.phase ?? "Pending",
      ...(p.reason === undefined ? {} : { reason: p.reason }),
      conditions: p.conditions ?? [{ type: "PodScheduled", status: "True" }],
      containerStatuses: statuses,
      ...(p.init === undefined ? {} : { initContainerStatuses: [{ name: "init", restartCount: 0, state: p.init }] }),
    },
  };
}

const RUNNING: ContainerState = { running: { startedAt: "2026-01-01T00:00:01Z" } };
const exit = (
  exitCode: number,
  reason = exitCode === 0 ? "Completed" : "Error",
  finishedAt = "2026-01-01T00:01:00Z",
): ContainerState => ({
  terminated: { exitCode, reason, startedAt: "2026-01-01T00:00:01Z", finishedAt },
});
const failure = (type: "FailureTarget" | "Failed", reason: string): Condition => ({
  type,
  status: "True",
  reason,
  message: reason,
});
const running = (story: Story) => story.job(0).pod(10).pod(1_000, { phase: "Running", claude: RUNNING });

describe("the end of a run that nobody disturbs", () => {
  it("is the end of the named container, while a mesh sidecar lives on", () => {
    const story = running(new Story()).pod(5_000, { phase: "Running", claude: exit(0), sidecar: RUNNING });
    expect(story.verdict(5_000).end).toMatchObject({ kind: "succeeded", exitCode: 0 });
  });

  it("says OOMKilled", () => {
    const story = running(new Story()).pod(5_000, { phase: "Failed", claude: exit(137, "OOMKilled") });
    expect(story.verdict(5_000).end).toMatchObject({ kind: "failed", exitCode: 137, reason: "OOMKilled" });
  });

  it("stands whatever the Job's condition says later", () => {
    const story = running(new Story()).pod(5_000, { phase: "Succeeded", claude: exit(0) });
    story
      .job(7_000, { conditions: [failure("Failed", "DeadlineExceeded")] })
      .pod(7_001, { claude: exit(0), deleting: "2026-01-01T00:02:00Z" });
    expect(story.verdict(7_001).end).toMatchObject({ kind: "succeeded" });
  });

  it("of a Job that succeeded is waited for when the pod's watch is so far behind that it has not shown it running", () => {
    const story = new Story().job(0).pod(10, { phase: "Pending" });
    story.job(3_000, { conditions: [{ type: "Complete", status: "True", reason: "CompletionsReached" }] });
    expect(story.verdict(3_001)).toMatchObject({ ready: null, end: null, wakeAt: 8_000 });
    story.pod(4_000, { phase: "Running", claude: RUNNING });
    expect(story.verdict(4_001).ready).not.toBeNull();
    story.pod(4_100, { phase: "Succeeded", claude: exit(0) });
    expect(story.verdict(4_101).end).toMatchObject({ kind: "succeeded", exitCode: 0, reason: "Completed" });
  });

  it("is known of a Job that was complete before anyone looked", () => {
    const story = new Story()
      .job(0, { conditions: [{ type: "Complete", status: "True", reason: "CompletionsReached" }] })
      .pod(0, { phase: "Succeeded", claude: exit(0) });
    expect(story.verdict(0)).toMatchObject({
      ready: { metadata: { uid: "1" } },
      end: { kind: "succeeded", jobCondition: { type: "Complete" } },
    });
  });
});

describe("a pod that is being deleted", () => {
  const killed = (story: Story) =>
    story
      .pod(5_000, { phase: "Running", claude: RUNNING, deleting: "2026-01-01T00:01:02Z" })
      .pod(7_000, { phase: "Failed", claude: exit(137), deleting: "2026-01-01T00:01:02Z" });

  it("waits for the Job's word on why", () => {
    const story = killed(running(new Story()));
    expect(story.verdict(7_000)).toMatchObject({ end: null, wakeAt: 12_000 });
    story.job(7_100, { conditions: [failure("FailureTarget", "DeadlineExceeded")] });
    expect(story.verdict(7_100).end).toMatchObject({ kind: "deadline", exitCode: 137 });
  });

  it("was deleted by someone when the Job has nothing to say", () => {
    const story = killed(running(new Story()));
    expect(story.verdict(12_000).end).toMatchObject({ kind: "pod_deleted", exitCode: 137 });
  });

  it("is not an end while the Job is suspended", () => {
    const story = killed(running(new Story())).job(7_100, { suspend: true });
    expect(story.verdict(60_000)).toMatchObject({ end: null, wakeAt: null });
    story
      .pod(8_000, { deleting: "2026-01-01T00:01:02Z" }, "deleted")
      .job(90_000, {})
      .pod(90_100, { uid: "2", created: "2026-01-01T00:05:00Z", phase: "Running", claude: RUNNING });
    expect(story.verdict(90_100)).toMatchObject({ ready: { metadata: { uid: "2" } }, end: null });
  });

  it("whose node is lost ends when its grace period and the bounded wait are over", () => {
    const story = running(new Story()).pod(5_000, {
      phase: "Running",
      claude: RUNNING,
      deleting: "2026-01-01T00:01:30Z",
      graceSeconds: 30,
      conditions: [
        { type: "PodScheduled", status: "True" },
        { type: "DisruptionTarget", status: "True", reason: "DeletionByTaintManager", message: "node is gone" },
      ],
    });
    expect(story.verdict(5_000)).toMatchObject({ end: null, wakeAt: 40_000 });
    expect(story.verdict(40_000).end).toMatchObject({
      kind: "evicted",
      exitCode: null,
      reason: "DeletionByTaintManager",
    });
  });

  it("ended by itself first, says the node's clock, when both came in one frame", () => {
    const deleting = "2026-01-01T00:01:02Z";
    const early = running(new Story()).pod(5_000, {
      phase: "Succeeded",
      claude: exit(0, "Completed", "2026-01-01T00:00:59Z"),
      deleting,
    });
    expect(early.verdict(5_000).end).toMatchObject({ kind: "succeeded" });
    const late = running(new Story()).pod(5_000, {
      phase: "Failed",
      claude: exit(143, "Error", "2026-01-01T00:01:01Z"),
      deleting,
    });
    expect(late.verdict(5_000)).toMatchObject({ end: null, wakeAt: 10_000 });
  });
});

describe("a deletion and the container's end in one frame, on a node whose clock is minutes behind", () => {
  const seen = (exitCode: number, reason = "Error") =>
    running(new Story()).pod(5_000, {
      phase: "Failed",
      claude: exit(exitCode, reason, "2025-12-31T23:58:00Z"),
      deleting: "2026-01-01T00:01:02Z",
    });

  it.each([137, 143])("exit code %i is the deletion's", (exitCode) => {
    const story = seen(exitCode);
    expect(story.verdict(5_000)).toMatchObject({ end: null, wakeAt: 10_000 });
    expect(story.verdict(10_000).end).toMatchObject({ kind: "pod_deleted", exitCode });
  });

  it("any other one, and that of a container out of memory, is its own", () => {
    expect(seen(1).verdict(5_000).end).toMatchObject({ kind: "failed", exitCode: 1 });
    expect(seen(137, "OOMKilled").verdict(5_000).end).toMatchObject({ kind: "failed", exitCode: 137 });
  });
});

it("a pod that was deleted, heeded it and ended well has succeeded when its Job says so", () => {
  const story = running(new Story()).pod(5_000, {
    phase: "Succeeded",
    claude: exit(0, "Completed", "2026-01-01T00:01:01Z"),
    deleting: "2026-01-01T00:01:02Z",
  });
  story.job(6_000, { conditions: [{ type: "SuccessCriteriaMet", status: "True", reason: "CompletionsReached" }] });
  expect(story.verdict(6_000).end).toMatchObject({ kind: "succeeded", exitCode: 0 });
});

describe("eviction", () => {
  it("by the kubelet", () => {
    const story = running(new Story()).pod(5_000, { phase: "Failed", reason: "Evicted", claude: exit(137) });
    expect(story.verdict(5_000).end).toMatchObject({ kind: "evicted", exitCode: 137, reason: "Evicted" });
  });

  it("by the API, with the exit code when it comes", () => {
    const conditions: Condition[] = [{ type: "DisruptionTarget", status: "True", reason: "EvictionByEvictionAPI" }];
    const story = running(new Story()).pod(5_000, {
      phase: "Running",
      claude: RUNNING,
      deleting: "2026-01-01T00:01:02Z",
      conditions,
    });
    expect(story.verdict(5_000).end).toBeNull();
    story.pod(6_000, { phase: "Failed", claude: exit(143), deleting: "2026-01-01T00:01:02Z", conditions });
    expect(story.verdict(6_000).end).toMatchObject({ kind: "evicted", exitCode: 143, reason: "EvictionByEvictionAPI" });
  });

  it("by the kubelet is one, too, of a container that takes the signal and exits with 0", () => {
    const conditions: Condition[] = [{ type: "DisruptionTarget", status: "True", reason: "TerminationByKubelet" }];
    const story = running(new Story()).pod(5_000, { phase: "Running", claude: RUNNING, conditions });
    expect(story.verdict(5_000).end).toBeNull();
    story.pod(6_000, { phase: "Failed", reason: "Evicted", claude: exit(0), conditions });
    expect(story.verdict(6_000).end).toMatchObject({ kind: "evicted", exitCode: 0, reason: "TerminationByKubelet" });
  });

  it("is what ended a container that failed before its pod was deleted", () => {
    const conditions: Condition[] = [{ type: "DisruptionTarget", status: "True", reason: "PreemptionByScheduler" }];
    const story = running(new Story()).pod(5_000, { phase: "Failed", claude: exit(143), conditions });
    expect(story.verdict(5_000).end).toMatchObject({ kind: "evicted", exitCode: 143, reason: "PreemptionByScheduler" });
  });

  it("that is announced but not carried out is none", () => {
    const conditions: Condition[] = [{ type: "DisruptionTarget", status: "True", reason: "PreemptionByScheduler" }];
    const story = running(new Story()).pod(5_000, { phase: "Succeeded", claude: exit(0), conditions });
    expect(story.verdict(5_000).end).toMatchObject({ kind: "succeeded" });
  });

  it("is not the deadline that the pod itself has", () => {
    const cut = { phase: "Failed", reason: "DeadlineExceeded" } as const;
    const story = running(new Story()).pod(5_000, { ...cut, claude: exit(137) });
    expect(story.verdict(5_000).end).toMatchObject({ kind: "deadline", exitCode: 137, startFailure: null });
    const untold = running(new Story()).pod(5_000, { ...cut, claude: RUNNING });
    expect(untold.verdict(40_000).end).toMatchObject({ kind: "deadline", exitCode: null, startFailure: null });
    const inInit = new Story().job(0).pod(10, { init: RUNNING });
    expect(inInit.pod(5_000, { ...cut, init: exit(137) }).verdict(5_000).end).toMatchObject({
      kind: "deadline",
      startFailure: { code: "deadline" },
    });
    const early = new Story().pod(5_000, { ...cut, init: exit(137) });
    expect(early.verdict(5_000)).toMatchObject({ end: null, wakeAt: 10_000 });
  });

  it("by the kubelet is one, too, that does not admit the pod again after its own restart", () => {
    const refused = { phase: "Failed", reason: "UnexpectedAdmissionError" } as const;
    const killed = running(new Story()).pod(5_000, { ...refused, claude: exit(137) });
    const end = { kind: "evicted", reason: "UnexpectedAdmissionError" };
    expect(killed.verdict(5_000).end).toMatchObject({ ...end, exitCode: 137 });
    const untold = running(new Story()).pod(5_000, { ...refused, claude: RUNNING });
    untold.job(6_000, { conditions: [failure("Failed", "BackoffLimitExceeded")] });
    expect(untold.verdict(40_000).end).toMatchObject({ ...end, exitCode: null });
    const before = running(new Story()).pod(5_000, { ...refused, claude: exit(0) });
    expect(before.verdict(5_000).end).toMatchObject({ kind: "succeeded" });
  });

  it("is none of a pod that heeded it and succeeded, says its Job, told after it or before", () => {
    const conditions: Condition[] = [{ type: "DisruptionTarget", status: "True", reason: "EvictionByEvictionAPI" }];
    const going = { deleting: "2026-01-01T00:01:02Z", conditions };
    const pod = { ...going, phase: "Succeeded", claude: exit(0, "Completed", "2026-01-01T00:01:01Z") } as const;
    const complete: Condition[] = [{ type: "Complete", status: "True", reason: "CompletionsReached" }];
    const story = () => running(new Story()).pod(5_000, { ...going, phase: "Running", claude: RUNNING });
    const podFirst = story().pod(6_000, pod);
    expect(podFirst.verdict(6_000)).toMatchObject({ end: null, wakeAt: 11_000 });
    expect(podFirst.verdict(11_000).end).toMatchObject({ kind: "evicted", exitCode: 0 });
    expect(podFirst.job(7_000, { conditions: complete }).verdict(7_000).end).toMatchObject({ kind: "succeeded" });
    const jobFirst = story().job(6_000, { conditions: complete }).pod(6_001, pod);
    expect(jobFirst.verdict(6_001).end).toMatchObject({ kind: "succeeded", exitCode: 0 });
  });

  it("is not the end where the Job may replace the pod", () => {
    const story = new Story()
      .job(0, { podFailurePolicy: true })
      .pod(10, { phase: "Running", claude: RUNNING })
      .pod(5_000, { phase: "Failed", reason: "Evicted", claude: exit(137) });
    expect(story.verdict(60_000).end).toBeNull();
    story.pod(60_001, { uid: "2", created: "2026-01-01T00:01:00Z", phase: "Running", claude: RUNNING });
    story.pod(70_000, { uid: "2", created: "2026-01-01T00:01:00Z", phase: "Succeeded", claude: exit(0) });
    expect(story.verdict(70_000).end).toMatchObject({ kind: "succeeded", podName: "pod-2" });
    expect(story.podChanges).toBe(1);
  });
});

describe("a Job with retries", () => {
  it("that succeeded did so in a pod of which its watch has not told yet", () => {
    const complete: Condition = { type: "Complete", status: "True", reason: "CompletionsReached" };
    const story = new Story().job(0, { backoffLimit: 1 }).pod(10, { phase: "Failed", claude: exit(7) });
    story.job(20_000, { backoffLimit: 1, failed: 1, conditions: [complete] });
    expect(story.verdict(20_000)).toMatchObject({ end: null, wakeAt: 25_000 });
    expect(story.verdict(25_000).end).toMatchObject({ kind: "succeeded", exitCode: 0, podName: null });
    story.pod(21_000, { uid: "2", created: "2026-01-01T00:00:15Z", phase: "Succeeded", claude: exit(0) });
    expect(story.verdict(21_000).end).toMatchObject({ kind: "succeeded", exitCode: 0, podName: "pod-2" });
  });

  it.each([2, 1])("that failed did so in its last pod, which may still have to be told (%i counted)", (failed) => {
    const conditions = [failure("Failed", "BackoffLimitExceeded")];
    const story = new Story().job(0, { backoffLimit: 1 }).pod(10, { phase: "Failed", claude: exit(7) });
    story.job(20_000, { backoffLimit: 1, failed, conditions });
    expect(story.verdict(20_000)).toMatchObject({ end: null, wakeAt: 25_000 });
    expect(story.verdict(25_000).end).toMatchObject({ kind: "failed", exitCode: 7 });
    story.pod(21_000, { uid: "2", created: "2026-01-01T00:00:15Z", phase: "Failed", claude: exit(4) });
    expect(story.verdict(21_000).end).toMatchObject({ kind: "failed", exitCode: 4, podName: "pod-2" });
  });

  it("ends with the Job's word, not with its first pod", () => {
    const story = new Story().job(0, { backoffLimit: 1 }).pod(10, { phase: "Failed", claude: exit(1) });
    expect(story.verdict(30_000).end).toBeNull();
    story.pod(31_000, { uid: "2", created: "2026-01-01T00:00:30Z", phase: "Failed", claude: exit(4) });
    expect(story.verdict(31_000).end).toBeNull();
    story.job(32_000, { backoffLimit: 1, conditions: [failure("FailureTarget", "BackoffLimitExceeded")] });
    expect(story.verdict(32_000).end).toMatchObject({ kind: "failed", exitCode: 4, podName: "pod-2" });
  });

  it("may be seen after its pod: a failed pod waits for it", () => {
    const story = new Story().pod(10, { phase: "Failed", claude: exit(1) });
    expect(story.verdict(10)).toMatchObject({ ready: {}, end: null, wakeAt: 5_010 });
    story.job(20, { backoffLimit: 2 });
    expect(story.verdict(20_000)).toMatchObject({ end: null, wakeAt: null });
    expect(new Story().pod(10, { phase: "Failed", claude: exit(1) }).verdict(5_010).end).toMatchObject({
      kind: "failed",
      exitCode: 1,
    });
  });

  it("that restarts its container in place ends with the code of the last start", () => {
    const waiting: ContainerState = { waiting: { reason: "CrashLoopBackOff" } };
    const crashing = { restartPolicy: "OnFailure", restartCount: 2, phase: "Running", claude: waiting } as const;
    const story = new Story().job(0, { backoffLimit: 2 }).pod(10, { ...crashing, lastState: exit(4) });
    expect(story.verdict(60_000)).toMatchObject({ end: null, wakeAt: null });
    story
      .pod(60_001, { ...crashing, lastState: exit(4), deleting: "2026-01-01T00:02:02Z" })
      .job(60_002, { backoffLimit: 2, conditions: [failure("FailureTarget", "BackoffLimitExceeded")] });
    expect(story.verdict(60_002).end).toMatchObject({ kind: "failed", exitCode: 4, reason: "Error" });
  });

  it("ignores a late frame of the older pod", () => {
    const story = new Story().job(0, { backoffLimit: 1 }).pod(10, { phase: "Failed", claude: exit(1) });
    story
      .pod(20, { uid: "2", created: "2026-01-01T00:00:30Z", phase: "Running", claude: RUNNING })
      .pod(30, { phase: "Failed", claude: exit(1) }, "deleted");
    expect(story.verdict(30).ready?.metadata.uid).toBe("2");
    expect(story.podChanges).toBe(1);
  });
});

describe("a start that takes time", () => {
  it("forgives a pull error that passes within the grace", () => {
    const story = new Story().job(0).pod(10, { claude: { waiting: { reason: "ErrImagePull", message: "x" } } });
    expect(story.verdict(10)).toMatchObject({ end: null, wakeAt: 30_010 });
    story.pod(20_000, { claude: { waiting: { reason: "ImagePullBackOff", message: "y" } } });
    expect(story.verdict(20_000).wakeAt).toBe(30_010);
    story.pod(25_000, { phase: "Running", claude: RUNNING });
    expect(story.verdict(25_000)).toMatchObject({ end: null, wakeAt: null });
  });

  it.each<[string, number, string, (turn: boolean) => PodSpec]>([
    [
      "an image and a configuration",
      30_010,
      "image_pull",
      (turn) => ({ claude: { waiting: { reason: turn ? "ErrImagePull" : "CreateContainerError", message: "x" } } }),
    ],
    [
      "a want of processors and of volumes, while an autoscaler brings nodes",
      300_010,
      "unschedulable",
      (turn) => {
        const message = turn ? "3 Insufficient cpu" : "1 node(s) had volume node affinity conflict, 3 Insufficient cpu";
        const unscheduled = { type: "PodScheduled", status: "False", reason: "Unschedulable", message } as const;
        return { isHomeless: true, conditions: [unscheduled] };
      },
    ],
  ])("counts from the first sight of a trouble that takes turns with another: %s", (_, due, code, podAt) => {
    const story = new Story().job(0);
    for (let turn = 0; turn <= 10; turn += 1) story.pod(10 + turn * (due / 12), podAt(turn % 2 === 0));
    expect(story.verdict(due - 1)).toMatchObject({ end: null, wakeAt: due });
    expect(story.verdict(due).end?.startFailure).toMatchObject({ code });
  });

  it("fails of a pod that a virtual node cannot run, with its words, as of one that no node is found for", () => {
    const reason = "ProviderFailed";
    const story = new Story().job(0).pod(10, { reason });
    expect(story.verdict(10)).toMatchObject({ end: null, wakeAt: 300_010 });
    expect(story.verdict(300_010).end?.startFailure).toMatchObject({ code: "unschedulable", reason });
    expect(story.pod(300_010, { phase: "Running", claude: RUNNING }).verdict(300_010).end).toBeNull();
  });

  it.each<[string, number]>([
    ["context deadline exceeded", 600_010],
    ['failed to reserve container name "c_p_n_uid_0": name "c_p_n_uid_0" is reserved for "8b21a9"', 600_010],
    ["error reserving ctr name k8s_c_p_n_uid_0 for id 8b21a9: name is reserved", 600_010],
    ["stream terminated by RST_STREAM with error code: CANCEL", 600_010],
    ['failed to generate spec: failed to stat "/data": no such file or directory', 30_010],
  ])("waits ten minutes for a runtime that is slow to create a container, and no longer: %s", (message, due) => {
    const claude = { waiting: { reason: "CreateContainerError", message } };
    const story = new Story().job(0).pod(10, { claude });
    expect(story.verdict(due - 1)).toMatchObject({ end: null, wakeAt: due });
    expect(story.verdict(due).end?.startFailure).toMatchObject({ code: "container_config", message });
    expect(story.pod(due, { phase: "Running", claude: RUNNING }).verdict(due).end).toBeNull();
  });

  it("fails at once on an image name that can never be pulled", () => {
    const story = new Story().job(0).pod(10, { claude: { waiting: { reason: "InvalidImageName", message: "bad" } } });
    expect(story.verdict(10).end).toMatchObject({ startFailure: { code: "image_pull", reason: "InvalidImageName" } });
  });

  it("does not mind another container's trouble", () => {
    const story = new Story().job(0).pod(10, { sidecar: { waiting: { reason: "ImagePullBackOff" } } });
    expect(story.verdict(100_000)).toMatchObject({ end: null, wakeAt: null });
  });

  it("waits for a suspended Job as long as it takes", () => {
    expect(new Story().job(0, { suspend: true }).verdict(10_000_000)).toEqual({
      ask: null,
      ready: null,
      end: null,
      wakeAt: null,
    });
  });

  it("counts from the Job's resumption, not from its creation", () => {
    const story = new Story().job(0, { suspend: true }).job(600_000, { suspend: false });
    expect(story.verdict(600_000)).toMatchObject({ end: null, wakeAt: 900_000 });
  });

  it("of another pod after a suspension is waited for as the first one's was", () => {
    const deleting = "2026-01-01T00:01:02Z";
    const story = running(new Story())
      .job(5_000, { suspend: true })
      .pod(5_001, { phase: "Running", claude: RUNNING, deleting })
      .pod(7_000, { phase: "Failed", claude: exit(137), deleting }, "deleted")
      .job(600_000, { suspend: false });
    expect(story.verdict(600_000)).toMatchObject({ ready: null, end: null, wakeAt: 900_000 });
    expect(story.verdict(900_000).end).toMatchObject({ kind: "failed", reason: "NoPod", exitCode: null });
  });

  it("of a pod that is to try again is no start failure of the run, which has begun", () => {
    const story = new Story()
      .job(0, { backoffLimit: 3 })
      .pod(10, { phase: "Failed", claude: exit(1) })
      .pod(9_000, { uid: "2", created: "2026-01-01T00:00:09Z", claude: { waiting: { reason: "InvalidImageName" } } });
    expect(story.verdict(9_000).end).toMatchObject({ kind: "failed", reason: "InvalidImageName", startFailure: null });
  });

  it("names a missing claim a volume failure", () => {
    const conditions: Condition[] = [
      {
        type: "PodScheduled",
        status: "False",
        reason: "Unschedulable",
        message: '0/1 nodes: persistentvolumeclaim "x" not found',
      },
    ];
    const story = new Story({ scheduleTimeoutMs: 0 }).job(0).pod(10, { conditions });
    expect(story.verdict(10).end?.startFailure).toMatchObject({ code: "volume", reason: "Unschedulable" });
  });

  it("of a pod that is held back from scheduling is said in the words of who holds it, else that nobody looked", () => {
    const message = "Scheduling is blocked due to non-empty scheduling gates";
    const gated: Condition = { type: "PodScheduled", status: "False", reason: "SchedulingGated", message };
    const held = new Story().job(0).pod(10, { isHomeless: true, conditions: [gated] });
    expect(held.verdict(300_009).wakeAt).toBe(300_010);
    expect(held.verdict(300_010).end).toMatchObject({
      kind: "start_failed",
      startFailure: { code: "unschedulable", reason: "SchedulingGated", message },
    });
    const forVolume = { ...gated, message: "the volume is being restored" };
    const waiting = new Story().job(0).pod(10, { isHomeless: true, conditions: [forVolume] });
    expect(waiting.verdict(300_010).end?.startFailure).toMatchObject({
      code: "unschedulable",
      message: forVolume.message,
    });
    const forgotten = new Story().job(0).pod(10, { isHomeless: true, conditions: [] });
    expect(forgotten.verdict(300_010).end?.startFailure).toMatchObject({
      reason: "NotScheduled",
      message: "no scheduler has looked at the pod",
    });
  });

  it("says so when no pod is ever made", () => {
    const story = new Story().job(0);
    expect(story.verdict(0)).toMatchObject({ end: null, wakeAt: 300_000 });
    expect(story.verdict(300_000).end?.startFailure).toMatchObject({ code: "unschedulable", reason: "NoPod" });
  });

  it("that the deadline cuts short is a failed start of the kind deadline", () => {
    const story = new Story().job(0).pod(10, { claude: { waiting: { reason: "ImagePullBackOff" } } });
    story
      .pod(5_000, { claude: { waiting: { reason: "ImagePullBackOff" } }, deleting: "2026-01-01T00:01:02Z" })
      .job(5_001, { conditions: [failure("FailureTarget", "DeadlineExceeded")] });
    expect(story.verdict(5_001).end).toMatchObject({
      kind: "deadline",
      exitCode: null,
      startFailure: { code: "deadline" },
    });
  });

  it("is not failed by a native sidecar that was killed", () => {
    const story = new Story()
      .job(0)
      .pod(10, { init: exit(137), initRestartPolicy: "Always", phase: "Running", claude: RUNNING });
    expect(story.verdict(10)).toMatchObject({ ready: { metadata: { uid: "1" } }, end: null });
  });

  it("that the kubelet refuses says its words", () => {
    const story = new Story().job(0).pod(10, { phase: "Failed", reason: "OutOfcpu" });
    expect(story.verdict(10).end?.startFailure).toMatchObject({ code: "unschedulable", reason: "OutOfcpu" });
  });

  it("that a kubelet or node ends while an init container runs is not that container's failure", () => {
    const refused = { phase: "Failed", reason: "UnexpectedAdmissionError", init: exit(137) } as const;
    const begun = () => new Story().job(0).pod(10, { init: RUNNING });
    const { reason } = refused;
    expect(begun().pod(20, refused).verdict(20).end?.startFailure).toMatchObject({ code: "unschedulable", reason });
    const lost = { phase: "Failed", init: exit(137, "ContainerStatusUnknown") } as const;
    const why = { code: "unschedulable", reason: "ContainerStatusUnknown" };
    expect(begun().pod(20, lost).verdict(20).end?.startFailure).toMatchObject(why);
  });
});

describe("a container whose status was lost", () => {
  const lost: ContainerState = { terminated: { exitCode: 137, reason: "ContainerStatusUnknown" } };
  it("ran, when it was seen running", () => {
    const story = running(new Story()).pod(5_000, { phase: "Failed", claude: lost });
    expect(story.verdict(5_000).end).toMatchObject({ kind: "failed", exitCode: 137, reason: "ContainerStatusUnknown" });
  });
  it("ran, says the kubelet's last state, though nobody saw it", () => {
    const used: ContainerState = { terminated: { exitCode: 137, reason: "ContainerStatusUnknown" } };
    const story = new Story().job(0).pod(10, { phase: "Failed", claude: lost, lastState: used });
    expect(story.verdict(10).end).toMatchObject({ kind: "failed", exitCode: 137 });
  });
  it("did not run, when it was deleted before anyone looked", () => {
    const story = new Story().job(0).pod(10, { phase: "Failed", claude: lost, deleting: "2026-01-01T00:01:02Z" });
    expect(story.verdict(10)).toMatchObject({ ready: null, end: null });
    expect(story.verdict(40_000).end).toMatchObject({ kind: "pod_deleted", exitCode: null });
  });
  it("did not run, when it was only seen waiting", () => {
    const story = new Story().job(0).pod(10).pod(20, { phase: "Failed", claude: lost });
    expect(story.verdict(20)).toMatchObject({ ready: null, end: { kind: "start_failed" } });
  });
});

describe("a Job that is gone", () => {
  it("before its pod ran has nothing to wait for", () => {
    expect(new Story().job(0).pod(10).job(20, {}, "deleted").verdict(20).end).toMatchObject({
      kind: "job_deleted",
      exitCode: null,
    });
  });
  it("in the foreground takes its pod along and may be called failed meanwhile", () => {
    const story = running(new Story())
      .job(5_000, { deleting: "2026-01-01T00:01:00Z" })
      .pod(5_001, { phase: "Running", claude: RUNNING, deleting: "2026-01-01T00:01:02Z" })
      .pod(7_000, { phase: "Failed", claude: exit(143), deleting: "2026-01-01T00:01:02Z" });
    expect(story.verdict(7_000).end).toMatchObject({ kind: "job_deleted", exitCode: 143 });
    const conditions = [failure("FailureTarget", "BackoffLimitExceeded")];
    story.job(7_001, { deleting: "2026-01-01T00:01:00Z", conditions });
    expect(story.verdict(7_001).end).toMatchObject({ kind: "job_deleted", exitCode: 143 });
    story.job(7_002, { deleting: "2026-01-01T00:01:30Z", conditions });
    expect(story.verdict(7_002).end).toMatchObject({ kind: "pod_deleted", exitCode: 143 });
  });
  it("while its pod runs ends with the pod's exit code, or after a bounded wait without", () => {
    const story = running(new Story()).job(5_000, {}, "deleted");
    expect(story.verdict(5_000)).toMatchObject({ end: null, wakeAt: 5_000 + 30_000 + 5_000 });
    expect(story.verdict(40_000).end).toMatchObject({ kind: "job_deleted", exitCode: null });
  });
  it("had said how it ended, and its pod was gone before anyone looked: what it said counts", () => {
    const complete: Condition = { type: "Complete", status: "True", reason: "CompletionsReached" };
    const story = new Story().job(0, { conditions: [complete] }).job(10, { conditions: [complete] }, "deleted");
    expect(story.verdict(10)).toMatchObject({ end: null, wakeAt: 5_000 });
    expect(story.verdict(5_000).end).toMatchObject({ kind: "succeeded", exitCode: 0 });
    const conditions = [failure("Failed", "BackoffLimitExceeded")];
    const failed = new Story().job(0, { conditions }).job(10, { conditions }, "deleted");
    expect(failed.verdict(5_000).end).toMatchObject({ kind: "failed", exitCode: null, reason: "BackoffLimitExceeded" });
  });
  it("before anyone saw a pod of it ends at once, also where the server only says that there is none", () => {
    expect(new Story().job(0).job(20, {}, "deleted").verdict(20).end).toMatchObject({ kind: "job_deleted" });
    expect(new Story().noJob(20).verdict(20).end).toMatchObject({
      kind: "job_deleted",
      message: "the Job was deleted",
    });
  });
  it("says what its last condition was, where its pod did not say how it ended", () => {
    const conditions = [failure("Failed", "BackoffLimitExceeded")];
    const story = running(new Story()).job(4_000, { conditions }).job(5_000, { conditions }, "deleted");
    expect(story.verdict(40_000).end).toMatchObject({
      kind: "job_deleted",
      message: "the Job was deleted; its last condition was Failed: BackoffLimitExceeded",
    });
  });
  it("gives its pod the grace period that the pod's specification has", () => {
    const pod = { phase: "Running", claude: RUNNING, terminationGracePeriodSeconds: 60 } as const;
    const story = new Story().job(0).pod(1_000, pod).job(5_000, {}, "deleted");
    expect(story.verdict(5_000)).toMatchObject({ end: null, wakeAt: 5_000 + 60_000 + 5_000 });
  });
  it("had failed, and no pod of it was seen: the pods' watch may still bring the exit code", () => {
    const conditions = [failure("Failed", "BackoffLimitExceeded")];
    expect(new Story().job(0, { conditions }).verdict(10)).toMatchObject({ end: null, wakeAt: 5_000 });
  });
  it("after its pod had ended is as the pod ended", () => {
    const story = running(new Story())
      .pod(5_000, { phase: "Succeeded", claude: exit(0) })
      .job(9_000, {}, "deleted");
    expect(story.verdict(9_000).end).toMatchObject({ kind: "succeeded" });
  });
});

describe("what the server is asked before an end is said", () => {
  const killed = () =>
    running(new Story())
      .pod(5_000, { phase: "Running", claude: RUNNING, deleting: "2026-01-01T00:01:02Z" })
      .pod(7_000, { phase: "Failed", claude: exit(137), deleting: "2026-01-01T00:01:02Z" });
  const both = { job: true, pods: true };
  const podsOnly = { job: false, pods: true };
  const over = [failure("Failed", "BackoffLimitExceeded")];
  it.each<[what: string, story: Story, at: number, ask: Verdict["ask"]]>([
    [
      "a container that was seen to start and to end: nothing",
      running(new Story()).pod(5_000, { claude: exit(3) }),
      5_000,
      null,
    ],
    ["one of whose start nothing is known", new Story().job(0).job(20, {}, "deleted"), 20, both],
    [
      "a Job that is told as deleted, and a pod that runs on",
      running(new Story()).job(5_000, {}, "deleted"),
      40_000,
      both,
    ],
    [
      "a Job that may try again and is told as deleted",
      new Story()
        .job(0, { backoffLimit: 1 })
        .pod(1_000, { phase: "Running", claude: RUNNING })
        .pod(5_000, { claude: exit(3) })
        .job(5_001, { backoffLimit: 1 }, "deleted"),
      5_001,
      both,
    ],
    [
      "a Job that may not, and is told as deleted after its container",
      running(new Story())
        .pod(5_000, { claude: exit(3) })
        .job(5_001, {}, "deleted"),
      5_001,
      null,
    ],
    ["a pod that was deleted, of which the Job says nothing", killed(), 12_000, both],
    ["the same, of a Job that is deleted", killed().job(8_000, {}, "deleted"), 12_000, null],
    ["the same, of a Job that says how it ended", killed().job(8_000, { conditions: over }), 12_000, null],
    [
      "a Job that counts another pod",
      running(new Story())
        .pod(5_000, { phase: "Failed", claude: exit(3) })
        .job(5_001, { conditions: over, failed: 2 }),
      10_001,
      podsOnly,
    ],
  ])("of %s", (_, story, at, ask) => {
    const verdict = story.verdict(at);
    expect(verdict.end).not.toBeNull();
    expect(verdict.ask).toEqual(ask);
  });

  it("is due before the wait for details is over, and the next time after it", () => {
    const conditions = [failure("Failed", "BackoffLimitExceeded")];
    const story = new Story().job(0).job(1_000, { conditions }).watchesLost(3_000);
    expect(story.verdict(20_000)).toMatchObject({ end: null, ask: null, wakeAt: 63_000 });
    story.unanswered(63_000);
    expect(story.verdict(64_000)).toMatchObject({ end: null, ask: null, wakeAt: 66_000 });
  });
});

describe("an end of which little is told", () => {
  const pods = { deleting: "2026-01-01T00:01:02Z", claude: RUNNING, phase: "Running" } as const;
  const over = [failure("FailureTarget", "BackoffLimitExceeded")];

  it("a Job's end without a reason is of its type", () => {
    const ended = (type: string) => new Story().job(0, { conditions: [{ type, status: "True" }] }).verdict(5_000).end;
    expect(ended("Complete")).toMatchObject({ kind: "succeeded", reason: "Complete" });
    expect(ended("Failed")).toMatchObject({ kind: "failed", reason: "Failed" });
  });

  it("an exit without a reason is an error", () => {
    expect(
      running(new Story())
        .pod(5_000, { claude: exit(3, "") })
        .verdict(5_000).end,
    ).toMatchObject({ reason: "Error" });
  });

  it("a pod that failed, whose container still ran when it was seen last", () => {
    const pod = { phase: "Failed", claude: RUNNING } as const;
    const story = running(new Story()).pod(5_000, pod);
    expect(story.verdict(6_000)).toMatchObject({ end: null, wakeAt: 10_000 });
    expect(story.verdict(10_000).end).toMatchObject({ kind: "failed", reason: "Failed" });
    const retried = new Story().job(0, { backoffLimit: 1 }).pod(10, { claude: RUNNING }).pod(5_000, pod);
    expect(retried.verdict(10_000).end).toBeNull();
  });

  it("a pod that succeeded, whose init container still ran when it was seen last", () => {
    const story = new Story().job(0).pod(10, { init: RUNNING }).pod(5_000, { phase: "Succeeded", init: RUNNING });
    expect(story.verdict(6_000, "init")).toMatchObject({ end: null, wakeAt: 10_000 });
    expect(story.verdict(10_000, "init").end).toMatchObject({ kind: "succeeded", reason: "Succeeded" });
  });

  it("an eviction whose container is not told to have ended, and one whose Job is not told yet", () => {
    const evicted = { phase: "Failed", reason: "Evicted" } as const;
    const running1 = running(new Story()).pod(5_000, { ...evicted, claude: RUNNING });
    expect(running1.verdict(30_000)).toMatchObject({ end: null, wakeAt: 40_000 });
    expect(running1.verdict(40_000).end).toMatchObject({ kind: "evicted", exitCode: null });
    const unseenJob = new Story()
      .pod(10, { phase: "Running", claude: RUNNING })
      .pod(5_000, { ...evicted, claude: RUNNING }, "deleted");
    expect(unseenJob.verdict(6_000)).toMatchObject({ end: null, wakeAt: 10_000 });
  });

  it("a pod that is taken away at once is not deleted by its Job, and is waited for from its deletion on", () => {
    const story = running(new Story()).pod(5_000, { phase: "Running", claude: RUNNING }, "deleted");
    expect(story.verdict(10_000).end).toMatchObject({ kind: "pod_deleted", message: "the pod was deleted" });
    const slow = running(new Story()).pod(5_000, pods).pod(6_000, pods, "deleted");
    expect(slow.verdict(6_000)).toMatchObject({ end: null, wakeAt: 11_000 });
  });

  it.each([
    ["Never", 0, "the pod was deleted; the Job says BackoffLimitExceeded"],
    ["OnFailure", 0, "the pod was deleted; the Job says BackoffLimitExceeded"],
    ["OnFailure", 1, "BackoffLimitExceeded"],
  ])("the pod of a Job that gave up is deleted (%s, restarted %i times)", (restartPolicy, restartCount, message) => {
    const before = { phase: "Running", claude: RUNNING, restartPolicy, restartCount } as const;
    const story = new Story()
      .job(0)
      .pod(10, before)
      .pod(5_000, { ...before, ...pods });
    story.job(5_001, { conditions: over });
    expect(story.verdict(60_000).end?.message).toBe(message);
  });

  it("a Job that fails while its container waits for its image: the image is why", () => {
    const waiting = { waiting: { reason: "ErrImagePull", message: "no such image" } };
    const story = new Story().job(0).pod(10, { claude: waiting }).job(20, { conditions: over });
    expect(story.verdict(40_000).end).toMatchObject({ kind: "start_failed", startFailure: { code: "image_pull" } });
  });

  it("a Job that succeeded, whose container had failed before it was started again: its end is still to come", () => {
    const again = { waiting: { reason: "CrashLoopBackOff" } };
    const complete: Condition = { type: "Complete", status: "True", reason: "CompletionsReached" };
    const pod = { restartPolicy: "OnFailure", restartCount: 1, claude: again, lastState: exit(1) };
    const story = new Story()
      .job(0)
      .pod(10, { ...pod, phase: "Running" })
      .job(5_000, { conditions: [complete] });
    expect(story.verdict(5_001)).toMatchObject({ end: null, wakeAt: 10_000 });
    expect(story.verdict(10_000).end).toMatchObject({ kind: "succeeded", exitCode: 0 });
  });
});
