import { describe, expect, test } from "vitest";
import { type Restart, restartOf } from "../../../src/adapter/job/restart.ts";
import { type Disrupted, planRestart } from "../../../src/adapter/run/restart-plan.ts";

const run: Disrupted = {
  job: { name: "ac-a-b-123456", uid: "u-0" },
  restart: null,
  reason: "EvictionByEvictionAPI",
  nodeName: "n1",
  maxRestarts: 3,
  activity: "working",
  surelyIdle: false,
  hasBegun: true,
  resumedSessionId: null,
  sessionId: "S-1",
  keepsSessions: true,
  leftMs: null,
  backoffMs: 5_000,
};

const before: Restart = {
  attempt: 1,
  how: "resume",
  sessionId: "S-1",
  isPromptRead: true,
  reason: "PreemptionByScheduler",
  nodes: ["n0"],
  repeats: 0,
  former: { name: "ac-a-b-123456", uid: "u-0" },
};

test("the run's own session goes on, at once, and the next Job knows what this one was", () => {
  expect(planRestart(run)).toEqual({
    waitMs: 0,
    restart: {
      attempt: 1,
      how: "resume",
      sessionId: "S-1",
      isPromptRead: true,
      reason: "EvictionByEvictionAPI",
      nodes: ["n1"],
      repeats: 0,
      former: run.job,
    },
  });
});

describe("how", () => {
  test.each<[string, Partial<Disrupted>, Partial<Restart>]>([
    ["nothing had begun", { surelyIdle: true, hasBegun: false }, { how: "again", sessionId: null }],
    [
      "nothing had begun of a run that resumes a session of the host",
      { surelyIdle: true, hasBegun: false, resumedSessionId: "S-0", sessionId: "S-0" },
      { how: "again", sessionId: "S-0", isPromptRead: false },
    ],
    [
      "its announcement was read, and more may be lost",
      { hasBegun: false },
      { how: "resume", sessionId: "S-1", isPromptRead: false },
    ],
    [
      "all of its log is lost, of a run that resumes a session of the host",
      { hasBegun: false, sessionId: null, resumedSessionId: "S-0" },
      { how: "resume", sessionId: "S-0", isPromptRead: false },
    ],
    ["it waits for work in the background", { activity: "background" }, { how: "resume" }],
    [
      "it goes on for the second time, and had not begun",
      { restart: before, surelyIdle: true, hasBegun: false, resumedSessionId: "S-1" },
      { attempt: 2, how: "resume", sessionId: "S-1", isPromptRead: true, nodes: ["n0", "n1"] },
    ],
    [
      "it was to start from its prompt, and had not begun again",
      { restart: { ...before, how: "again", sessionId: null, isPromptRead: false }, surelyIdle: true, hasBegun: false },
      { attempt: 2, how: "again", sessionId: null },
    ],
    [
      "it started from its prompt the second time, and had begun",
      { restart: { ...before, how: "again", sessionId: null, isPromptRead: false } },
      { attempt: 2, how: "resume", sessionId: "S-1", isPromptRead: true },
    ],
    ["its node is not known", { nodeName: null }, { nodes: [] }],
    ["no volume is needed where nothing had begun", { surelyIdle: true, keepsSessions: false }, { how: "again" }],
  ])("%s", (_, change, expected) => {
    expect(planRestart({ ...run, ...change }).restart).toMatchObject(expected);
  });
});

describe("not at all", () => {
  test.each<[string, Partial<Disrupted>, RegExp | null]>([
    ["it is turned off", { maxRestarts: 0 }, null],
    ["it has said its result", { activity: "done" }, null],
    ["as often as is allowed", { restart: { ...before, attempt: 3 } }, /restarted 3 times/],
    ["the run is over its time", { leftMs: 500 }, /timeoutSec/],
    [
      "it would be over its time after the wait",
      { leftMs: 5_500, restart: { ...before, nodes: ["n1"] } },
      /timeoutSec/,
    ],
    ["it may have done work, and its session is not known", { sessionId: null }, /session is not known/],
    ["no volume keeps its session", { keepsSessions: false }, /no volume/],
  ])("%s", (_, change, why) => {
    const plan = planRestart({ ...run, ...change });
    expect(plan.restart).toBeNull();
    if (why === null) expect(plan).toMatchObject({ why });
    else expect("why" in plan ? plan.why : "").toMatch(why);
  });
});

describe("the wait", () => {
  const again = (change: Partial<Restart>): Disrupted => ({ ...run, restart: { ...before, ...change } });
  test.each<[string, Disrupted, number]>([
    ["another node, another reason", again({}), 0],
    ["the same reason", again({ reason: run.reason }), 5_000],
    ["the same node", again({ nodes: ["n1", "n0"] }), 5_000],
    ["the same reason for the second time", again({ reason: run.reason, repeats: 1 }), 10_000],
    ["for the sixth time", { ...again({ reason: run.reason, repeats: 5, attempt: 6 }), maxRestarts: 9 }, 60_000],
    ["another reason after the same one", again({ repeats: 2 }), 0],
  ])("%s", (_, disrupted, waitMs) => {
    expect(planRestart(disrupted)).toMatchObject({ waitMs });
  });
});

describe("what stands on the Job", () => {
  const job = (restart: unknown) => ({
    metadata: {
      ...{ name: "j", namespace: "n", uid: "u", resourceVersion: "1", creationTimestamp: "" },
      annotations: { "paperclip.io/restart": typeof restart === "string" ? restart : JSON.stringify(restart) },
    },
  });

  test("is read back", () => {
    expect(restartOf(job(before))).toEqual(before);
  });

  test.each<[string, unknown]>([
    ["no JSON", "{"],
    ["null", null],
    ["an attempt that is no count", { ...before, attempt: -1 }],
    ["to be resumed without a session", { ...before, sessionId: null }],
    ["another word", { ...before, how: "restart" }],
    ["nodes that are no texts", { ...before, nodes: [1] }],
    ["without the Job before", { ...before, former: {} }],
  ])("is not believed: %s", (_, restart) => {
    expect(restartOf(job(restart))).toBeNull();
  });
});
