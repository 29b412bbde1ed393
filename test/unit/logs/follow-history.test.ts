import { describe, expect, test } from "vitest";
import {
  afterOutage,
  afterRead,
  afterRest,
  type FollowHistory,
  NEW_HISTORY,
  nextInstance,
  podSeen,
  type ReadOutcome,
  restOfInstance,
} from "../../../src/engine/logs/follow-history.ts";
import type { ContainerView } from "../../../src/engine/logs/types.ts";
import { broken, clean, NOW, refused } from "./outcomes.ts";

type Phase = ContainerView["phase"];

describe("history", () => {
  const historyAfter = (outcome: ReadOutcome, of: Partial<FollowHistory> = {}) =>
    afterRead({ ...NEW_HISTORY, ...of }, outcome, NOW);
  const view = (phase: Phase, of: Partial<ContainerView> = {}): ContainerView => ({
    phase,
    restartCount: 0,
    startedAt: null,
    finishedAt: null,
    ...of,
  });

  test.each<[string, ReadOutcome, Partial<FollowHistory>, number]>([
    ["one behind the last line", clean(), {}, 1],
    ["another at the same place", clean({ delivered: 0 }), { cleanEnds: 1 }, 2],
    ["the same of a final read", clean({ delivered: 0, final: true }), { cleanEnds: 1 }, 2],
    ["one more line after the first", clean({ delivered: 1 }), { cleanEnds: 1 }, 1],
    ["more lines after the first", clean(), { cleanEnds: 1 }, 1],
    ["amid a line", clean({ unfinished: true }), { cleanEnds: 1 }, 0],
    ["a break", broken(), { cleanEnds: 1 }, 0],
    ["lines of another file", clean({ caughtUp: false }), { cleanEnds: 1 }, 0],
    [
      "a follow of another, empty file ends: so has the container",
      clean({ caughtUp: false, delivered: 0 }),
      { cleanEnds: 1 },
      2,
    ],
    ["the same, the first having been cut", clean({ caughtUp: false, delivered: 0 }), {}, 0],
    [
      "a final read of an empty file proves nothing",
      clean({ caughtUp: false, delivered: 0, final: true }),
      { cleanEnds: 1 },
      1,
    ],
    ["the pod is deleted", refused(404, 'pods "p" not found'), { cleanEnds: 1 }, 1],
    ["a kubelet in trouble", refused(404, "the server could not find the requested resource"), { cleanEnds: 1 }, 0],
    ["the same with the status of an overload", refused(503, 'pods "p" not found'), { cleanEnds: 1 }, 0],
    ["a kubelet in trouble after two clean ends", refused(500), { cleanEnds: 2 }, 2],
    ["a kubelet in trouble after the container's end", refused(500), { cleanEnds: 1, stoppedAt: 1 }, 1],
    ["lines before the kubelet's complaint", { ...refused(400), delivered: 1 }, { cleanEnds: 2 }, 0],
  ])("clean ends: %s", (_, outcome, of, expected) => {
    expect(historyAfter(outcome, of).cleanEnds).toBe(expected);
  });

  test("a refusal of another status is the first of its kind", () => {
    const known = { last: refused(400), refusals: 4, sameRefusals: 4 };
    expect(historyAfter(refused(400), known)).toMatchObject({ refusals: 5, sameRefusals: 5 });
    for (const other of [refused(0), refused(503)]) {
      expect(historyAfter(other, known)).toMatchObject({ refusals: 5, sameRefusals: 1 });
      expect(historyAfter(refused(400), { ...known, last: other })).toMatchObject({ refusals: 5, sameRefusals: 1 });
    }
    expect(historyAfter(clean(), known)).toMatchObject({ refusals: 0, sameRefusals: 0 });
  });

  test("counts reads without new lines, refusals and final reads without the last line, each in a row", () => {
    const counted = { idleReads: 3, refusals: 3, missedReads: 3 };
    expect(historyAfter(clean(), counted)).toMatchObject({ idleReads: 0, refusals: 0, missedReads: 0 });
    expect(historyAfter(refused(500), counted)).toMatchObject({ idleReads: 4, refusals: 4, missedReads: 0 });
    const missed = clean({ final: true, caughtUp: false, delivered: 0 });
    expect(historyAfter(missed, counted)).toMatchObject({ idleReads: 4, refusals: 0, missedReads: 4 });
    expect(historyAfter({ ...missed, final: false }, counted)).toMatchObject({ missedReads: 0 });
    expect(historyAfter(broken({ final: true, caughtUp: false }), counted)).toMatchObject({ missedReads: 0 });
    expect(historyAfter(clean({ delivered: 2 }), { delivered: 3 }).delivered).toBe(5);
    expect(historyAfter(missed)).toMatchObject({ idleReads: 1, missedReads: 1, delivered: 0 });
    expect(historyAfter(refused(500))).toMatchObject({ idleReads: 1, refusals: 1 });
  });

  test("a final read that ends where the last complete one did confirms it; one that breaks leaves it open", () => {
    const final = (place: string) => clean({ final: true, delivered: 0, place });
    const first = historyAfter(clean({ place: "7" }));
    expect(first).toMatchObject({ place: "7", confirmations: 0 });
    const second = afterRead(first, final("7"), NOW);
    expect(second.confirmations).toBe(1);
    const cut = afterRead(second, broken({ final: true, delivered: 0 }), NOW);
    expect(cut).toMatchObject({ place: "7", confirmations: 1 });
    expect(afterRead(cut, final("7"), NOW).confirmations).toBe(2);
    expect(afterRead(cut, final("8"), NOW)).toMatchObject({ place: "8", confirmations: 0 });
    expect(afterRead(cut, { ...final("7"), final: false }, NOW).confirmations).toBe(0);
    expect(afterRead(cut, clean({ final: true, caughtUp: false, delivered: 0, place: "9" }), NOW).place).toBe("7");
  });

  test("a clean end with more lines behind it was a false one", () => {
    expect(historyAfter(clean(), { last: clean() }).falseEnds).toBe(1);
    expect(historyAfter(clean({ delivered: 0 }), { last: clean() }).falseEnds).toBe(0);
    expect(historyAfter(clean(), { last: broken() }).falseEnds).toBe(0);
    expect(historyAfter(broken()).breaks).toBe(1);
    expect(historyAfter(broken({ final: true })).breaks).toBe(0);
    expect(historyAfter(clean()).breaks).toBe(0);
  });

  test("times of a read are those of one that was answered; new lines after the end put its time off", () => {
    expect(historyAfter(clean({ openMs: 40 }))).toMatchObject({ openedAt: NOW - 40, answeredAt: NOW });
    expect(historyAfter(refused(500), { openedAt: 1, answeredAt: 2 })).toMatchObject({ openedAt: 1, answeredAt: 2 });
    expect(historyAfter(clean(), { endedAt: 5 }).endedAt).toBe(NOW);
    expect(historyAfter(clean({ delivered: 0 }), { endedAt: 5 }).endedAt).toBe(5);
    expect(historyAfter(clean(), { endedAt: null }).endedAt).toBeNull();
  });

  test("an answer shows that the container has started, and that the log may be read", () => {
    expect(historyAfter(clean(), { rested: true })).toMatchObject({ started: true, everAnswered: true, rested: false });
    expect(historyAfter(refused(500))).toMatchObject({ started: false, everAnswered: false });
    expect(historyAfter({ ...refused(400), answered: true })).toMatchObject({ started: true, everAnswered: true });
    expect(historyAfter(refused(500), { started: true, everAnswered: true })).toMatchObject({
      started: true,
      everAnswered: true,
    });
    expect(afterRest(NEW_HISTORY)).toEqual({ ...NEW_HISTORY, rested: true });
    const waited = afterOutage(NEW_HISTORY, NOW);
    expect(waited).toEqual({ ...NEW_HISTORY, rested: true, awaitedServer: true });
    expect(afterOutage({ ...NEW_HISTORY, endedAt: 5 }, NOW).endedAt).toBe(NOW);
    expect(afterRead(waited, refused(503), NOW)).toMatchObject({ rested: false, awaitedServer: false });
  });

  test("the pod: when it stopped, and when it ended, is when that was first seen", () => {
    const seen = (phase: Phase, of: Partial<FollowHistory> = {}, viewed: Partial<ContainerView> = {}) =>
      podSeen({ ...NEW_HISTORY, ...of }, view(phase, viewed), NOW);
    expect(seen("running", { stoppedAt: 5, endedAt: 6 })).toMatchObject({
      stoppedAt: null,
      endedAt: null,
      started: true,
      seenRunning: true,
    });
    expect(seen("ended")).toMatchObject({ stoppedAt: NOW, endedAt: NOW, started: false, seenRunning: false });
    expect(seen("ended", { stoppedAt: 5, endedAt: 6 })).toMatchObject({ stoppedAt: 5, endedAt: 6 });
    expect(seen("waiting", { endedAt: 6 })).toMatchObject({ stoppedAt: NOW, endedAt: null });
    expect(seen("gone")).toMatchObject({ stoppedAt: NOW, endedAt: null });
    expect(seen("waiting", {}, { startedAt: "2026-11-24T00:00:00Z" }).started).toBe(true);
    expect(seen("waiting", {}, { restartCount: 1 }).started).toBe(true);
    expect(seen("waiting").started).toBe(false);
    const known = seen("ended");
    expect(podSeen(known, view("ended"), NOW + 1)).toBe(known);
    for (const changed of [{ started: true }, { seenRunning: true }, { stoppedAt: 1 }, { endedAt: 1 }]) {
      const before = { ...known, ...changed };
      expect(podSeen(before, view("running"), NOW)).not.toBe(before);
    }
  });

  test("another instance: what is known of the container stays, what is known of the log does not", () => {
    const known = {
      ...NEW_HISTORY,
      started: true,
      seenRunning: true,
      everAnswered: true,
      last: clean(),
      idleReads: 3,
      refusals: 2,
      sameRefusals: 2,
      rested: true,
      endedAt: 1,
      cleanEnds: 2,
    };
    expect(nextInstance(known)).toEqual({ ...NEW_HISTORY, started: true, everAnswered: true });
    expect(restOfInstance(known)).toEqual({
      ...known,
      last: null,
      idleReads: 0,
      refusals: 0,
      sameRefusals: 0,
      rested: false,
      endedAt: null,
    });
  });
});
