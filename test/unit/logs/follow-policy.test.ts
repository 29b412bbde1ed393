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
import { errorFromResponse } from "../../../src/engine/transport/api-error.ts";
import { broken, clean, NOW, refused, timeOf } from "./outcomes.ts";

type Phase = ContainerView["phase"];

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
      openedAt: NOW,
      answeredAt: NOW,
      seenRunning: true,
      stoppedAt: phase === "running" ? null : NOW,
      endedAt: phase === "ended" ? NOW : null,
      idleReads: last && last.delivered === 0 ? 1 : 0,
      refusals: last?.end === "refused" ? 1 : 0,
      sameRefusals: last?.end === "refused" ? 1 : 0,
      delivered: 5,
      ...of,
    },
    lastLine: null,
    isServerDown: false,
    once: false,
    lateLinesMs: 0,
    now: NOW,
    random: () => 1,
    ...facts,
  });

describe("nextStep", () => {
  test("a line that marks the end of the output saves the confirming read, unless the stream broke, or amid a line", () => {
    const view = { phase: "ended" as const, restartCount: 0, startedAt: null, finishedAt: timeOf(3) };
    const marked = { lastLine: { seconds: 2, marksEnd: true } };
    const markedStep = (phase: Phase, last: ReadOutcome) =>
      step(phase, last, {}, { ...marked, view: { ...view, phase } });
    expect(markedStep("ended", clean({ quietMs: 1_000 }))).toEqual({ do: "end", gap: null });
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
    expect(step("running", clean({ delivered: 0, openMs: 10_000 }), { idleReads: 3 })).toMatchObject({
      ms: CLEAN_END_SETTLE_MS,
    });
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
    expect(step("ended", lost, { missedReads: 2 })).toMatchObject({ do: "rest" });
    expect(step("ended", lost, { missedReads: 3, cleanEnds: 0 })).toEqual({ do: "end", gap: "rotated" });
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
    expect(step("running", refused(503), {}, { random: () => 0 })).toMatchObject({ ms: 100 });
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
    // An API server that has just started refuses for a moment what is allowed.
    expect(step("running", refused(403))).toMatchObject({ do: "rest", ms: 200 });
    expect(step("running", refused(403), { sameRefusals: 4, refusals: 9 })).toMatchObject({ do: "rest" });
    expect(step("running", refused(403), { sameRefusals: 5 })).toEqual({ do: "fail" });
    // Neither says anything of our rights: a kubelet that refuses its API server, a proxy.
    for (const said of ["Forbidden (user=kube, verb=get, resource=nodes) ( pods/log p)", 'an HTML page "Denied"'])
      expect(step("running", refused(403, `403 Forbidden: ${said}`), { sameRefusals: 9 })).toMatchObject({
        do: "rest",
      });
    expect(step("running", refused(401), { refusals: 9 })).toMatchObject({ do: "rest" });
    expect(step("running", refused(405))).toEqual({ do: "fail" });
    // Gateways answer with what Kubernetes never says.
    for (const status of [402, 407, 421, 431, 451, 460, 499])
      expect(step("running", refused(status), { sameRefusals: 9 })).toMatchObject({ do: "rest" });
    // Permission that was there once may come back (credentials being rotated, an authorizer that is down).
    expect(step("running", refused(403), { everAnswered: true, sameRefusals: 9 })).toMatchObject({ do: "rest" });
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
    expect(step("ended", broken({ delivered: 0 }), { ...late, idleReads: 1 })).toMatchObject({ do: "end" });
    expect(step("running", refused(500), { idleReads: 99 })).toMatchObject({ do: "rest" });
    // Between two instances none has ended for long.
    expect(step("waiting", broken({ delivered: 0 }), { idleReads: 3 })).toMatchObject({ do: "rest" });
    const justBefore = { endedAt: NOW - ENDED_GIVE_UP_MS };
    // No rest outlasts the patience.
    expect(step("ended", refused(500), { ...justBefore, refusals: 9 })).toEqual({ do: "rest", ms: 1, hurry: false });
    expect(step("ended", refused(503, "", 300_000), { refusals: 1 })).toMatchObject({ ms: ENDED_GIVE_UP_MS + 1 });
    expect(step("running", refused(503, "", 300_000), { refusals: 1 })).toMatchObject({ ms: 300_200 });
    expect(step("ended", broken({ delivered: 0 }), { ...justBefore, idleReads: 9 })).toEqual({
      do: "rest",
      ms: 2_000,
      hurry: false,
    });
    expect(step("ended", broken(), { endedAt: NOW - ENDED_GIVE_UP_MS - 1, idleReads: 0 })).toEqual({
      do: "rest",
      ms: 200,
      hurry: false,
    });
    expect(step("ended", broken({ delivered: 0 }), { idleReads: 3 })).toEqual({ do: "rest", ms: 800, hurry: false });
    const givenUp = { do: "end", gap: "unreachable" };
    expect(step("ended", refused(400, "container c in pod p is terminated"), { sameRefusals: 5 })).toEqual(givenUp);
    // A runtime that restarts.
    const words = "unable to retrieve container logs for containerd://4f0c";
    expect(step("ended", refused(400, words), { sameRefusals: 7 })).toMatchObject({ do: "rest" });
    expect(step("ended", refused(400, words), { sameRefusals: 8 })).toEqual(givenUp);
  });

  test("a gateway's page says nothing of the log, whatever its status: it is asked again", () => {
    const page = "<html><title>Sign in</title></html>";
    const { message: refusal } = errorFromResponse({ method: "GET", path: "/log" }, 400, {}, page);
    const said = [refusal, page, '{"kind":"Status","status":"Failure","code":503}'];
    for (const message of said) {
      expect(step("ended", refused(400, message), { sameRefusals: 9 })).toMatchObject({ do: "rest" });
      expect(step("ended", refused(400, message), { started: false })).toMatchObject({ do: "rest" });
      expect(step("gone", refused(400, message), { cleanEnds: 1 })).toEqual({ do: "end", gap: "pod_gone" });
      const late = { endedAt: NOW - ENDED_GIVE_UP_MS - 1 };
      expect(step("ended", refused(400, message), late)).toEqual({ do: "end", gap: "unreachable" });
    }
  });

  test("a pod that ended before its container was started has no log, and no gap", () => {
    expect(step("ended", refused(400, "is waiting to start"), { started: false })).toEqual({ do: "end", gap: null });
    expect(step("ended", refused(404), { started: false })).toMatchObject({ do: "rest" });
  });

  test("between two instances: read to the end, then wait for the pod", () => {
    expect(step("waiting", clean())).toEqual({ do: "read", follow: false });
    expect(step("waiting", clean({ final: true, delivered: 0 }), { confirmations: 1 })).toEqual({ do: "wait" });
  });

  test("rotated away, but a read that followed had ended behind the last line with the container: nothing is missing", () => {
    const lost = clean({ final: true, delivered: 0, caughtUp: false });
    const gap = (of: Partial<FollowHistory>, facts: Partial<FollowState> = {}) =>
      step("ended", lost, { missedReads: 3, ...of }, facts);
    expect(gap({ cleanEnds: 1 })).toEqual({ do: "end", gap: null });
    // The pod told late: the stream may have ended for another reason.
    const late = { cleanEnds: 1, stoppedAt: NOW + CLEAN_END_TRUST_MS + 1 };
    expect(gap(late)).toEqual({ do: "end", gap: "rotated" });
    expect(gap({ ...late, stoppedAt: NOW + CLEAN_END_TRUST_MS })).toEqual({ do: "end", gap: null });
    expect(gap({ ...late, cleanEnds: 2 })).toEqual({ do: "end", gap: null });
    // But by the node's clock the container ended just after its last line.
    const view = (second: number) => ({
      phase: "ended" as const,
      restartCount: 0,
      startedAt: null,
      finishedAt: timeOf(second),
    });
    const lastLine = { seconds: 10, marksEnd: false };
    expect(gap(late, { lastLine, view: view(12) })).toEqual({ do: "end", gap: null });
    expect(gap(late, { lastLine, view: view(13) })).toEqual({ do: "end", gap: "rotated" });
  });

  test("a line that marks the end long before the container's: another result may have come, so the log is read again", () => {
    const view = (finishedAt: string | null) => ({
      phase: "ended" as const,
      restartCount: 0,
      startedAt: null,
      finishedAt,
    });
    const at = (second: number | null, marksEnd = true, last = clean({ quietMs: 2_000 })) =>
      step(
        "ended",
        last,
        {},
        { lastLine: { seconds: 10, marksEnd }, view: view(second === null ? null : timeOf(second)) },
      );
    expect([8, 10, 12].map((second) => at(second))).toEqual(Array(3).fill({ do: "end", gap: null }));
    expect([7, 13, null].map((second) => at(second))).toEqual(Array(3).fill({ do: "read", follow: false }));
    expect(at(10, false)).toEqual({ do: "read", follow: false });
    // The stream ended before the container did: what came in between was not shown.
    expect(at(12, true, clean({ quietMs: 1_999 }))).toEqual({ do: "read", follow: false });
    expect(at(12, true, clean({ quietMs: 1_999, final: true, delivered: 0 }))).toEqual({ do: "end", gap: null });
  });

  describe("lines that come after the container's end", () => {
    const LATE = 3_000;
    const late = (openedAt: number, of: Partial<FollowHistory> = {}, facts: Partial<FollowState> = {}) =>
      step(
        "ended",
        clean({ final: true, delivered: 0 }),
        { openedAt, confirmations: 1, endedAt: 0, ...of },
        { lateLinesMs: LATE, now: 1_000, ...facts },
      );

    test("are waited for, and only then does a read confirm the end", () => {
      expect(late(LATE - 1)).toEqual({ do: "rest", ms: LATE - 1_000, hurry: false });
      expect(late(LATE - 1, { rested: true })).toEqual({ do: "read", follow: false });
      expect(late(LATE)).toEqual({ do: "end", gap: null });
      expect(late(LATE, { endedAt: 500 })).toMatchObject({ do: "rest" });
      expect(late(LATE + 500, { endedAt: 500 })).toEqual({ do: "end", gap: null });
      // Of one that is about to be started again, the rest is read as `previous`.
      expect(step("waiting", clean({ final: true }), { confirmations: 1 }, { lateLinesMs: LATE })).toEqual({
        do: "wait",
      });
    });

    test("are not waited for where the container ended long ago by the server's clock, before anyone looked", () => {
      const came = (serverTime: number | null, finishedAt: string | null, of: Partial<FollowHistory> = {}) =>
        late(
          0,
          { last: clean({ final: true, delivered: 0, serverTime }), seenRunning: false, ...of },
          { view: { phase: "ended", restartCount: 0, startedAt: null, finishedAt } },
        );
      expect(came(104, timeOf(100))).toEqual({ do: "end", gap: null });
      expect(came(103, timeOf(100))).toMatchObject({ do: "rest" });
      expect(came(104, timeOf(100), { seenRunning: true })).toMatchObject({ do: "rest" });
      expect(came(null, timeOf(100))).toMatchObject({ do: "rest" });
      expect(came(104, null)).toMatchObject({ do: "rest" });
    });
  });

  test("a server that the watches have lost is waited for once, before the next read; a deletion is told all the same", () => {
    const down = { isServerDown: true };
    const awaits = { do: "await-server" };
    for (const phase of ["running", "ended"] as const) {
      expect(step(phase, null, {}, down)).toEqual(awaits);
      expect(step(phase, broken(), {}, down)).toEqual(awaits);
      expect(step(phase, refused(0), {}, down)).toEqual(awaits);
      expect(step(phase, refused(503), { rested: true, awaitedServer: true }, down)).toMatchObject({ do: "read" });
      expect(step(phase, clean({ final: true }), { rested: true }, down)).toEqual(awaits);
    }
    // The stream ended by itself: perhaps because the container did.
    expect(step("running", clean(), {}, down)).toEqual({ do: "rest", ms: CLEAN_END_SETTLE_MS, hurry: true });
    expect(step("gone", broken(), {}, down)).toEqual({ do: "end", gap: "pod_gone" });
  });

  test("what there is now: one whole read, of a container that runs on, too; nothing of one that waits", () => {
    const once = { once: true };
    expect(step("waiting", null, {}, once)).toEqual({ do: "end", gap: null });
    expect(step("ended", null, {}, once)).toEqual({ do: "read", follow: false });
    expect(step("ended", clean({ final: true }), {}, once)).toEqual({ do: "end", gap: null });
    expect(step("ended", clean({ final: true, caughtUp: false }), {}, once)).toEqual({ do: "read", follow: false });
    expect(step("ended", broken(), {}, once)).toMatchObject({ do: "rest" });
  });

  test("an empty log, and one whose streams ended cleanly too early, takes two confirmations", () => {
    const empty = clean({ final: true, delivered: 0 });
    for (const of of [{ delivered: 0 }, { falseEnds: 1 }]) {
      expect(step("ended", empty, { ...of, confirmations: 1, idleReads: 2 })).toMatchObject({ do: "rest" });
      expect(step("ended", empty, { ...of, confirmations: 2, idleReads: 2 })).toEqual({ do: "end", gap: null });
    }
  });

  test("the rest of an earlier instance whose log is refused for good ends nothing else", () => {
    expect(
      step("ended", refused(400, "previous terminated container not found"), { sameRefusals: 4, refusals: 9 }),
    ).toMatchObject({
      do: "rest",
    });
    expect(step("ended", refused(400), { endedAt: NOW - ENDED_GIVE_UP_MS, sameRefusals: 4 })).toMatchObject({
      do: "rest",
    });
    expect(step("ended", refused(404), { endedAt: NOW - ENDED_GIVE_UP_MS - 1, refusals: 4 })).toEqual({
      do: "end",
      gap: "unreachable",
    });
  });
});
