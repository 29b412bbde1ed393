/** How far a state can be trusted: what is known of the two watches, and what follows from it. */
import { describe, expect, it } from "vitest";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { classify } from "../../../src/engine/runs/classify.ts";
import { deletionOf, livenessOf } from "../../../src/engine/runs/deletion.ts";
import { askTime } from "../../../src/engine/runs/held-time.ts";
import { DEFAULT_POLICY } from "../../../src/engine/runs/policy.ts";
import { INITIAL_STATE, type RunFrame, type RunState, reduceRun } from "../../../src/engine/runs/run-state.ts";
import { noTrust, reduceTrust, type Trust, type WatchChange } from "../../../src/engine/runs/trust.ts";

const meta = (name: string, version: number) => ({
  ...{ name, namespace: "n", uid: name, resourceVersion: String(version), creationTimestamp: "2026-01-01T00:00:00Z" },
});

function job(version: number, { ended = false, backoffLimit = 0 } = {}): Job {
  const conditions = [{ type: "Complete", status: "True" as const, reason: "CompletionsReached" }];
  return { metadata: meta("j", version), spec: { backoffLimit }, status: ended ? { conditions } : {} };
}

function pod(version: number, uid = "p"): Pod {
  return {
    metadata: {
      ...meta(uid, version),
      ownerReferences: [{ apiVersion: "batch/v1", kind: "Job", name: "j", uid: "j", controller: true }],
    },
    spec: { nodeName: "a", restartPolicy: "Never", containers: [{ name: "main" }] },
    status: { phase: "Running", containerStatuses: [{ name: "main", restartCount: 0, state: { running: {} } }] },
  };
}

const jobs = (at: number, object: Job, type: "applied" | "deleted" = "applied"): RunFrame => ({
  ...{ resource: "jobs", type, object, at },
});
const pods = (at: number, object: Pod, type: "applied" | "deleted" = "applied", isAnswer = false): RunFrame => ({
  ...{ resource: "pods", type, object, at, isAnswer },
});
const watch = (at: number, trust: Trust): RunFrame => ({ resource: "watch", trust, at });
const answer = (at: number, toldPods: boolean, askAgainAt = at + 1_000): RunFrame => ({
  ...{ resource: "server", answer: { toldPods, askAgainAt }, at },
});
const fold = (...frames: RunFrame[]): RunState => frames.reduce(reduceRun, INITIAL_STATE);
const trusting = (...changes: WatchChange[]): Trust => changes.reduce(reduceTrust, noTrust(0));
const open = (at: number, which: "jobs" | "pods"): WatchChange => ({ watch: which, type: "open", at });
const lost = (at: number, which: "jobs" | "pods"): WatchChange => ({ watch: which, type: "lost", at });

describe("trust in two watches", () => {
  it.each<[string, Trust, Partial<Trust>]>([
    ["neither is open", trusting(), { openSince: null, lostSince: 0 }],
    ["one is open", trusting(open(5, "jobs")), { openSince: null, lostSince: 0 }],
    ["both are open", trusting(open(5, "jobs"), open(9, "pods")), { openSince: 9, lostSince: null }],
    [
      "one is lost before both have caught up",
      trusting(open(5, "jobs"), open(9, "pods"), lost(2_008, "jobs")),
      { openSince: null, lostSince: 2_008, completeUntil: Number.NEGATIVE_INFINITY },
    ],
    [
      "one is lost when both have caught up, then the other",
      trusting(open(5, "jobs"), open(9, "pods"), lost(2_009, "jobs"), lost(3_000, "pods")),
      { openSince: null, lostSince: 2_009, completeUntil: 2_009 },
    ],
    [
      "it is open again",
      trusting(open(5, "jobs"), open(9, "pods"), lost(2_009, "jobs"), open(4_000, "jobs")),
      { openSince: 4_000, lostSince: null, completeUntil: 2_009 },
    ],
  ])("%s", (_, trust, expected) => expect(trust).toMatchObject(expected));

  it("does not change when a watch says again what is known", () => {
    const trust = trusting(open(5, "jobs"));
    expect(reduceTrust(trust, open(6, "jobs"))).toBe(trust);
  });
});

describe("a grace", () => {
  const opened = trusting(open(0, "jobs"), open(0, "pods"));
  const unscheduled: Pod = {
    ...pod(2),
    spec: { containers: [{ name: "main" }] },
    status: { conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable" }] },
  };
  const policy = { ...DEFAULT_POLICY, scheduleTimeoutMs: 60_000 };
  const verdict = (state: RunState, now: number) => classify(state, "main", policy, now);

  it("stands still while a watch is lost, and goes on two seconds after it is open again", () => {
    const waiting = fold(watch(0, opened), jobs(10_000, job(1)), pods(10_000, unscheduled));
    expect(verdict(waiting, 30_000).wakeAt).toBe(70_000);
    const trust = reduceTrust(opened, lost(30_000, "pods"));
    const standing = reduceRun(waiting, watch(30_000, trust));
    expect(verdict(standing, 500_000)).toMatchObject({ end: null, wakeAt: null });
    const going = reduceRun(standing, watch(500_000, reduceTrust(trust, open(500_000, "pods"))));
    expect(verdict(going, 501_999)).toMatchObject({ end: null, wakeAt: 502_000 });
    expect(verdict(going, 502_000).end).toMatchObject({ kind: "start_failed", reason: "Unschedulable" });
  });

  it("goes on to the server's answer, where a watch stays lost", () => {
    const trust = reduceTrust(opened, lost(30_000, "pods"));
    const standing = fold(watch(0, opened), jobs(10_000, job(1)), pods(10_000, unscheduled), watch(30_000, trust));
    expect(verdict(reduceRun(standing, answer(90_000, false)), 90_000).end).toBeNull();
    expect(verdict(reduceRun(standing, answer(69_999, true)), 69_999).end).toBeNull();
    expect(verdict(reduceRun(standing, answer(90_000, true)), 90_000).end).toMatchObject({ kind: "start_failed" });
  });

  it("is not held back by watches that are lost again and again before they have told what they missed", () => {
    let trust = reduceTrust(opened, lost(30_000, "pods"));
    let state = fold(watch(0, opened), jobs(10_000, job(1)), pods(10_000, unscheduled), watch(30_000, trust));
    for (let at = 31_000; at < 90_000; at += 2_000) {
      expect(verdict(state, at)).toMatchObject({ end: null, ask: null });
      trust = reduceTrust(reduceTrust(trust, open(at, "pods")), lost(at + 1_000, "pods"));
      state = reduceRun(state, watch(at + 1_000, trust));
    }
    expect(verdict(state, 90_000).ask).not.toBeNull();
    expect(verdict(reduceRun(state, answer(90_100, true)), 90_100).end).toMatchObject({ kind: "start_failed" });
  });
});

describe("an end that the watches may know more of", () => {
  const complete = fold(jobs(0, job(9, { ended: true })), pods(0, pod(1)));
  const verdict = (state: RunState, now: number) => classify(state, "main", DEFAULT_POLICY, now);

  it("is asked for first, once", () => {
    const { end, ask } = verdict(complete, 5_000);
    expect(end).toMatchObject({ kind: "succeeded", startedAt: null });
    expect(ask).toEqual({ job: false, pods: true });
    expect(verdict(reduceRun(complete, answer(5_100, false)), 5_100).ask).toBeNull();
  });

  it("is asked for again where the server gives no answer, three times at most", () => {
    const once = reduceRun(complete, answer(5_100, false));
    expect(verdict(once, 5_200)).toMatchObject({ end: null, ask: null, wakeAt: 6_100 });
    expect(verdict(once, 6_100).ask).not.toBeNull();
    const often = reduceRun(reduceRun(once, answer(6_200, false)), answer(8_000, false));
    expect(verdict(often, 8_000)).toMatchObject({ end: { kind: "succeeded" }, ask: null });
    // What is told later begins it again.
    expect(verdict(reduceRun(often, pods(9_000, pod(2))), 9_000).ask).not.toBeNull();
  });

  it("is asked for again when something was told after the answer", () => {
    const state = reduceRun(reduceRun(complete, answer(5_100, true)), pods(5_200, pod(2)));
    expect(verdict(state, 5_300).ask).not.toBeNull();
  });

  it("waits for a backlog of the pods' watch, for two minutes at most", () => {
    const told = (at: number): RunFrame => watch(at, { ...INITIAL_STATE.trust, podsTold: { version: "5", at } });
    const behind = reduceRun(complete, told(30_000));
    expect(verdict(behind, 31_000)).toMatchObject({ end: null, wakeAt: 32_000 });
    expect(verdict(behind, 32_000).end).toMatchObject({ kind: "succeeded" });
    expect(verdict(reduceRun(complete, told(119_000)), 119_500)).toMatchObject({ end: null, wakeAt: 120_000 });
  });

  it("waits a minute for a lost watch that may bring the details", () => {
    const trust = { ...INITIAL_STATE.trust, isPodsOpen: false, openSince: null, lostSince: 0, completeUntil: 0 };
    const state = reduceRun(complete, watch(0, trust));
    expect(verdict(state, 1_000)).toMatchObject({ end: null, ask: null, wakeAt: 60_000 });
    expect(verdict(state, 60_000)).toMatchObject({ end: null, ask: { pods: true }, wakeAt: 65_000 });
    expect(verdict(reduceRun(state, answer(60_100, false)), 65_000).end).toMatchObject({ kind: "succeeded" });
  });

  it.each<[string, boolean, number | null, number]>([
    ["first a minute after a watch was lost", false, null, 70_000],
    ["the server having answered before that, too", false, 5_000, 70_000],
    ["then after as long again", false, 70_000, 130_000],
    ["and after twice as long", false, 130_000, 250_000],
    ["every ten minutes in the end", false, 5_000_000, 5_600_000],
    ["sooner where the server refuses the watch", true, null, 20_000],
  ])("is asked for while a watch is lost: %s", (_, isRefused, askedAt, expected) => {
    const trust = reduceTrust(trusting(open(0, "jobs"), open(0, "pods")), { ...lost(10_000, "pods"), isRefused });
    const asked = askedAt === null ? [] : [answer(askedAt, false)];
    const state = fold(jobs(0, job(1)), pods(0, pod(2)), watch(10_000, trust), ...asked);
    expect(verdict(state, 15_000)).toMatchObject({ end: null, ask: null, wakeAt: expected });
    expect(verdict(state, expected).ask).toEqual({ job: true, pods: true });
  });

  const counted = { ...job(1), status: { active: 1 } };
  const ended = { ...job(3, { ended: true }), status: { ...job(3, { ended: true }).status, active: 1 } };
  const untold = [answer(61_000, true), pods(61_000, pod(2), "applied", true), answer(61_001, true)] as const;
  it.each<[string, RunState, number | null]>([
    ["a minute after the Job was seen", fold(jobs(0, counted)), 60_000],
    ["then after as long again, of a pod that only the server tells of", fold(jobs(0, counted), ...untold), 122_002],
    ["not of a pod that its watch tells of", fold(jobs(0, counted), pods(1, pod(2))), null],
    ["nor once it does", fold(jobs(0, counted), ...untold, pods(62_000, pod(2))), null],
    ["a minute after the pod's deletion", fold(jobs(0, counted), pods(1, pod(2)), pods(9, pod(3), "deleted")), 60_009],
    ["not of a Job whose pods are elsewhere", fold(jobs(0, { ...counted, spec: { managedBy: "other" } })), null],
    ["not of a Job that counts no pod", fold(jobs(0, job(1))), null],
    ["also where the Job counts it no more", fold(jobs(0, counted), ...untold, jobs(62_000, job(4))), 122_002],
    ["not of a Job that has ended", fold(jobs(0, counted), jobs(1, ended)), null],
    ["not of a Job that is deleted", fold(jobs(0, counted), jobs(1, job(3), "deleted")), null],
  ])("is asked for a pod that the Job counts and no watch tells of: %s", (_, state, expected) =>
    expect(askTime(state)).toBe(expected),
  );

  it("is asked again before a start has failed of which only its answers tell", () => {
    const waiting = pod(2);
    waiting.status = {
      phase: "Pending",
      conditions: [{ type: "PodScheduled", status: "True" }],
      containerStatuses: [{ name: "main", restartCount: 0, state: { waiting: { reason: "ErrImagePull" } } }],
    };
    const told = (at: number, object: Pod) => [pods(at, object, "applied", true), answer(at, true)];
    const state = fold(jobs(0, counted), ...told(61_000, waiting));
    expect(verdict(state, 100_000)).toMatchObject({ end: null, ask: null, wakeAt: 122_000 });
    expect(verdict(state, 122_000)).toMatchObject({ end: null, ask: { pods: true } });
    expect(verdict(told(122_000, pod(3)).reduce(reduceRun, state), 122_000)).toMatchObject({ end: null, ready: {} });
    const stands = told(122_000, waiting).reduce(reduceRun, state);
    expect(verdict(stands, 122_000).end).toMatchObject({ kind: "start_failed", startFailure: { code: "image_pull" } });
  });
});

describe("a Job that is deleted", () => {
  const deleted = [jobs(0, job(1)), pods(0, pod(2)), jobs(10, job(3), "deleted")] as const;
  const behind: RunFrame = watch(15, { ...INITIAL_STATE.trust, podsTold: { version: "2", at: 15 } });

  it.each<[string, RunState, object]>([
    ["stands", fold(jobs(0, job(1))), { isDone: false, ask: null }],
    ["and its pod is not", fold(...deleted), { isDone: false, ask: null, wakeAt: null }],
    ["with its only pod", fold(...deleted, pods(20, pod(4), "deleted")), { isDone: true }],
    [
      "and no pod was ever seen",
      fold(jobs(0, job(1)), jobs(10, job(3), "deleted")),
      { isDone: false, ask: { job: true, pods: true } },
    ],
    [
      "and the server says that there is no pod",
      fold(jobs(0, job(1)), jobs(10, job(3), "deleted"), answer(20, true)),
      { isDone: true },
    ],
    [
      "and the server gives no answer",
      fold(jobs(0, job(1)), jobs(10, job(3), "deleted"), answer(20, false)),
      { isDone: true },
    ],
    [
      "and neither the server answers nor a watch is open",
      fold(watch(0, noTrust(0)), jobs(0, job(1)), jobs(10, job(3), "deleted"), answer(20, false)),
      { isDone: false, ask: null, wakeAt: 1_020 },
    ],
    [
      "with a pod, and may have made another of which the pods' watch has not told yet",
      fold(
        jobs(0, job(1, { backoffLimit: 2 })),
        pods(0, pod(2)),
        jobs(10, job(3, { backoffLimit: 2 }), "deleted"),
        pods(12, pod(2), "deleted"),
        behind,
      ),
      { isDone: false, ask: { pods: true } },
    ],
    [
      "and only the server has told of its pod: no watch will tell of its deletion",
      fold(jobs(0, job(1)), jobs(10, job(3), "deleted"), pods(20, pod(2), "applied", true), answer(20, true)),
      { isDone: false, ask: null, wakeAt: 1_020 },
    ],
    [
      "and a watch has told of the pod, too",
      fold(
        jobs(0, job(1)),
        jobs(10, job(3), "deleted"),
        pods(20, pod(2), "applied", true),
        answer(20, true),
        pods(25, pod(2)),
      ),
      { isDone: false, ask: null, wakeAt: null },
    ],
    [
      "with its newest pod, but an older one is still there",
      fold(
        jobs(0, job(1)),
        pods(0, pod(2, "p")),
        pods(1, { ...pod(5, "q"), metadata: { ...pod(5, "q").metadata, creationTimestamp: "2026-01-01T00:00:09Z" } }),
        jobs(10, job(6), "deleted"),
        pods(20, pod(7, "q"), "deleted"),
      ),
      { isDone: false, ask: null },
    ],
  ])("%s", (_, state, expected) => expect(deletionOf(state, 30)).toMatchObject(expected));
});

describe("liveness", () => {
  it.each<[string, RunState, string]>([
    ["nothing was seen", fold(), "unknown"],
    ["a Job stands", fold(jobs(0, job(1))), "alive"],
    ["a watch is lost", fold(jobs(0, job(1)), watch(0, noTrust(0))), "unknown"],
    [
      "Job and pod have ended or are deleted",
      fold(jobs(0, job(9, { ended: true })), pods(0, pod(2)), pods(1, pod(3), "deleted")),
      "ended",
    ],
    ["the Job has ended, its pod was seen running", fold(jobs(0, job(9, { ended: true })), pods(0, pod(2))), "alive"],
    ["the Job is deleted, no pod was seen", fold(jobs(0, job(1)), jobs(1, job(2), "deleted")), "unknown"],
  ])("%s", (_, state, expected) => expect(livenessOf(state, 10)).toBe(expected));
});
