import { describe, expect, test } from "vitest";
import { type FollowHistory, NEW_HISTORY, type ReadOutcome } from "../../../src/engine/logs/follow-history.ts";
import {
  CLEAN_END_SETTLE_MS,
  CLEAN_END_TRUST_MS,
  ENDED_GIVE_UP_MS,
  type FollowState,
  nextStep,
} from "../../../src/engine/logs/follow-policy.ts";
import type { ContainerView } from "../../../src/engine/logs/types.ts";

type Phase = ContainerView["phase"];

const clean = (of: Partial<Extract<ReadOutcome, { end: "clean" }>> = {}): ReadOutcome => ({
  end: "clean",
  final: false,
  delivered: 5,
  openMs: 100,
  answered: true,
  caughtUp: true,
  unfinished: false,
  place: "5",
  ...of,
});
const broken = (of: Partial<Extract<ReadOutcome, { end: "broken" }>> = {}): ReadOutcome => ({
  end: "broken",
  final: false,
  delivered: 5,
  openMs: 100,
  answered: true,
  caughtUp: true,
  ...of,
});
const refused = (status: number, message = "", retryAfterMs?: number): ReadOutcome => ({
  end: "refused",
  final: false,
  delivered: 0,
  openMs: 0,
  answered: false,
  status,
  message,
  retryAfterMs,
});

const NOW = 1_000_000;

/** `random` is 1: the longest rest. */
const step = (
  phase: Phase,
  last: ReadOutcome | null,
  of: Partial<FollowHistory> = {},
  facts: Partial<FollowState> = {},
) =>
  nextStep({
    view: { phase, restartCount: 0, startedAt: null, finishedAt: null },
    history: {
      ...NEW_HISTORY,
      started: true,
      everAnswered: last?.answered === true,
      last,
      cleanEnds: last?.end === "clean" && last.caughtUp ? 1 : 0,
      answeredAt: NOW,
      stoppedAt: phase === "running" ? null : NOW,
      endedAt: phase === "ended" ? NOW : null,
      idleReads: last && last.delivered === 0 ? 1 : 0,
      refusals: last?.end === "refused" ? 1 : 0,
      delivered: 5,
      ...of,
    },
    lastLineSeen: false,
    now: NOW,
    random: () => 1,
    ...facts,
  });

describe("nextStep", () => {
  test("a line that marks the end of the output saves the confirming read, unless the stream broke, or amid a line", () => {
    const marked = { lastLineSeen: true };
    const markedStep = (phase: Phase, last: ReadOutcome) => step(phase, last, {}, marked);
    expect(markedStep("ended", clean())).toEqual({ do: "end", gap: null });
    expect(markedStep("ended", clean({ unfinished: true }))).toEqual({ do: "read", follow: false });
    expect(markedStep("ended", clean({ caughtUp: false }))).toEqual({ do: "read", follow: false });
    expect(markedStep("ended", broken())).not.toEqual({ do: "end", gap: null });
    // The pod tells a second later: worth waiting for, since nothing is missing.
    expect(markedStep("running", clean())).toEqual({ do: "rest", ms: 5_000, hurry: true });
    expect(step("ended", clean())).toEqual({ do: "read", follow: false });
    // The pod's word is minutes late: a thousand such follows must not keep asking.
    const late = (idleReads: number) => step("running", clean({ delivered: 0 }), { idleReads }, marked);
    expect(late(1)).toEqual({ do: "rest", ms: 10_000, hurry: true });
    expect(late(9)).toEqual({ do: "rest", ms: 60_000, hurry: true });
  });

  test("first read: by the pod's phase", () => {
    expect(step("waiting", null)).toEqual({ do: "wait" });
    expect(step("running", null)).toEqual({ do: "read", follow: true });
    expect(step("ended", null)).toEqual({ do: "read", follow: false });
    expect(step("gone", null)).toEqual({ do: "end", gap: "pod_gone" });
    expect(step("gone", null, { started: false })).toEqual({ do: "end", gap: null });
  });

  test("a clean end while the container runs is followed on, after a moment for the pod to tell of its end", () => {
    expect(step("running", clean())).toEqual({ do: "rest", ms: CLEAN_END_SETTLE_MS, hurry: true });
    expect(step("running", clean(), { rested: true })).toEqual({ do: "read", follow: true });
    expect(step("running", clean({ unfinished: true }))).toEqual({ do: "read", follow: true });
  });

  test("clean ends without progress back off, unless the stream had lived", () => {
    expect(step("running", clean({ delivered: 0 }), { idleReads: 3 })).toEqual({ do: "rest", ms: 1600, hurry: true });
    expect(step("running", clean({ delivered: 0 }), { idleReads: 30 })).toMatchObject({ ms: 5_000 });
    expect(step("running", clean({ delivered: 0, openMs: 60_000 }), { idleReads: 3 })).toMatchObject({
      ms: CLEAN_END_SETTLE_MS,
    });
  });

  test("a broken stream is followed on after a backoff", () => {
    expect(step("running", broken())).toEqual({ do: "rest", ms: 200, hurry: true });
    expect(step("running", broken({ delivered: 0 }), { idleReads: 2 })).toEqual({ do: "rest", ms: 800, hurry: true });
    // It was answered: the way there is bad, the server is not overloaded.
    expect(step("running", broken({ delivered: 0 }), { idleReads: 30 })).toMatchObject({ ms: 2_000 });
    expect(step("running", broken(), { rested: true })).toEqual({ do: "read", follow: true });
  });

  test("the container has ended: a read without follow, until one confirms the end", () => {
    expect(step("ended", clean())).toEqual({ do: "read", follow: false });
    expect(step("ended", clean({ delivered: 0 }), { idleReads: 4 })).toEqual({ do: "read", follow: false });
    expect(step("ended", broken())).toMatchObject({ do: "rest" });
    expect(step("ended", broken(), { rested: true })).toEqual({ do: "read", follow: false });
    expect(step("ended", clean({ final: true }))).toEqual({ do: "read", follow: false });
    expect(step("ended", clean({ final: true, delivered: 0 }), { confirmations: 1 })).toEqual({ do: "end", gap: null });
  });

  test("final reads that never show the last delivered line: rotated away, but not after a single one", () => {
    const lost = clean({ final: true, delivered: 0, caughtUp: false });
    expect(step("ended", lost, { missedReads: 1 })).toMatchObject({ do: "rest" });
    // Reads without anything new between them that were cut prove nothing.
    expect(step("ended", lost, { missedReads: 1, idleReads: 5 })).toMatchObject({ do: "rest" });
    expect(step("ended", lost, { missedReads: 3 })).toEqual({ do: "end", gap: "rotated" });
  });

  test("400 before the start waits for the pod, not for a clock; once the pod runs it is asked again", () => {
    const notStarted = refused(400, 'container "claude" in pod "a" is waiting to start: ContainerCreating');
    expect(step("waiting", notStarted)).toEqual({ do: "wait" });
    expect(step("running", notStarted)).toMatchObject({ do: "rest", ms: 200 });
    expect(step("running", notStarted, { rested: true })).toEqual({ do: "read", follow: true });
  });

  test("404 while the cache has the pod is a kubelet that has just started", () => {
    expect(step("running", refused(404))).toMatchObject({ do: "rest", ms: 200 });
    expect(step("ended", refused(404), { rested: true })).toEqual({ do: "read", follow: false });
    expect(step("waiting", refused(404))).toEqual({ do: "wait" });
  });

  test("5xx, 429 and no answer back off; Retry-After is a lower bound", () => {
    for (const status of [0, 429, 500, 503])
      expect(step("running", refused(status))).toMatchObject({ do: "rest", ms: 200 });
    expect(step("running", refused(503), { refusals: 20 })).toMatchObject({ ms: 30_000 });
    expect(step("running", refused(429, "", 7000))).toEqual({ do: "rest", ms: 7200, hurry: false });
  });

  test("the first refusal after a long silence is one, not many", () => {
    const silent = { idleReads: 20, refusals: 1 };
    expect(step("running", refused(503), silent)).toMatchObject({ do: "rest", ms: 200 });
    expect(step("ended", refused(400, "container c in pod p is terminated"), silent)).toMatchObject({
      do: "rest",
      ms: 200,
    });
  });

  test("what no waiting mends fails", () => {
    expect(step("running", refused(400, "container nope is not valid for pod a"))).toEqual({ do: "fail" });
    expect(step("running", refused(403))).toEqual({ do: "fail" });
    expect(step("running", refused(405))).toEqual({ do: "fail" });
    // Permission that was there once may come back (credentials being rotated, an authorizer that is down).
    expect(step("running", refused(403), { everAnswered: true })).toMatchObject({ do: "rest" });
    expect(step("running", refused(401), { everAnswered: true })).toMatchObject({ do: "rest" });
  });

  test("the pod is gone: the end was seen if the stream had ended cleanly", () => {
    expect(step("gone", clean())).toEqual({ do: "end", gap: null });
    expect(step("gone", refused(404), { cleanEnds: 1 })).toEqual({ do: "end", gap: null });
    expect(step("gone", broken())).toEqual({ do: "end", gap: "pod_gone" });
    expect(step("gone", refused(500, "connection refused"), { cleanEnds: 1 })).toEqual({
      do: "end",
      gap: "pod_gone",
    });
    expect(step("gone", clean({ caughtUp: false }))).toEqual({ do: "end", gap: "pod_gone" });
    // The container ran on after the stream had ended, or another read has ended at the same place.
    const late = { stoppedAt: NOW + CLEAN_END_TRUST_MS + 1 };
    expect(step("gone", clean(), late)).toEqual({ do: "end", gap: "pod_gone" });
    expect(step("gone", clean(), { ...late, cleanEnds: 2 })).toEqual({ do: "end", gap: null });
  });

  test("an ended container whose log cannot be had is given up, and said", () => {
    const late = { endedAt: NOW - ENDED_GIVE_UP_MS - 1, idleReads: 9 };
    expect(step("ended", refused(500), late)).toEqual({ do: "end", gap: "unreachable" });
    expect(step("ended", broken({ delivered: 0 }), late)).toEqual({ do: "end", gap: "unreachable" });
    expect(step("running", refused(500), { idleReads: 99 })).toMatchObject({ do: "rest" });
    expect(step("ended", refused(400, "container c in pod p is terminated"), { refusals: 5 })).toEqual({
      do: "end",
      gap: "unreachable",
    });
  });

  test("a pod that ended before its container was started has no log, and no gap", () => {
    expect(step("ended", refused(400, "is waiting to start"), { started: false })).toEqual({ do: "end", gap: null });
    expect(step("ended", refused(404), { started: false })).toMatchObject({ do: "rest" });
  });

  test("between two instances: read to the end, then wait for the pod", () => {
    expect(step("waiting", clean())).toEqual({ do: "read", follow: false });
    expect(step("waiting", clean({ final: true, delivered: 0 }), { confirmations: 1 })).toEqual({ do: "wait" });
  });
});
