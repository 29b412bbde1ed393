/** The soak's judge must be able to say no: one wrong fact at a time. */
import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { describe, expect, it } from "vitest";
import { judge, judgeAgent, stepAfter } from "../../soak/judge.ts";
import type { AgentTruth, ContainerEnd, RunReport } from "../../soak/messages.ts";
import { type Script, scriptOf } from "../../soak/script.ts";

const SEED = 1;
/** The first run of the seed that is nothing special, and ends well. */
const script = firstThat(
  ({ ending, output, contends, retryAfter, restartAfter, rotateAfter, cancelAfterMs }) =>
    ending === "ok" &&
    output === "plain" &&
    !contends &&
    (retryAfter ?? restartAfter ?? rotateAfter ?? cancelAfterMs) === null,
);

function firstThat(fits: (script: Script) => boolean, moves = false): Script {
  for (let index = 0; ; index += 1) {
    const candidate = scriptOf(SEED, index, "embedded", moves);
    if (fits(candidate)) return candidate;
  }
}

const { lines, agentId } = script;

function report(
  change: Partial<Omit<RunReport, "result">> & { result?: Partial<AdapterExecutionResult> } = {},
): RunReport {
  const { result, audit, ...rest } = change;
  return {
    kind: "ran",
    index: script.index,
    attempt: 1,
    runId: "r1",
    gaps: 0,
    adopted: false,
    jobUid: "job-1",
    notes: [],
    elapsedMs: 1_000,
    aborted: null,
    ...rest,
    audit: {
      delivered: lines,
      doubled: 0,
      outOfOrder: 0,
      cut: 0,
      holes: [],
      foreign: [],
      next: lines,
      total: null,
      ...audit,
    },
    result: { exitCode: 0, signal: null, timedOut: false, ...result },
  };
}

function truth(change: Partial<AgentTruth> = {}): AgentTruth {
  const end = { jobUid: "job-1", runId: "r1", exitCode: 0, reason: "Completed", ran: true, written: lines };
  return {
    ends: [end],
    begun: [{ runId: "r1", jobUid: "job-1" }],
    overlap: null,
    rotatedTo: 0,
    rotations: [],
    endedBlind: [],
    struck: [],
    isComplete: true,
    ...change,
  };
}

const neverRan = {
  jobUid: "job-1",
  runId: "r1",
  exitCode: 137,
  reason: "ContainerStatusUnknown",
  ran: false,
  written: 0,
};

const audited = (change: Partial<RunReport["audit"]>) => ({ audit: { ...report().audit, ...change } });

describe("one run", () => {
  it("that went as its script says is right", () => {
    expect(judge(report(), script, truth())).toEqual([]);
  });

  it.each<[string, Parameters<typeof report>[0], Partial<AgentTruth>, RegExp]>([
    ["a line twice", audited({ doubled: 1 }), {}, /came twice/],
    ["a line too late", audited({ outOfOrder: 1 }), {}, /after a later one/],
    ["a line of somebody else", audited({ foreign: ["?"] }), {}, /has not written/],
    ["a hole, though it is said", { ...audited({ holes: [[1, 1]] }), gaps: 1 }, {}, /lines 1…1 are missing/],
    ["a hole after a rotation, unsaid", audited({ holes: [[1, 1]] }), { rotatedTo: 2 }, /it was not said/],
    [
      "more than the file that was rotated away, unsaid",
      audited({ holes: [[1, 3]] }),
      { rotatedTo: 3, rotations: [1, 2] },
      /it was not said/,
    ],
    ["the end missing, unsaid", audited({ next: lines - 1 }), {}, /it was not said/],
    [
      "the end of a first pod missing, unsaid, where the second never ran",
      audited({ next: lines - 1, total: lines - 1 }),
      { ends: [truth().ends[0] as ContainerEnd, neverRan] },
      /it was not said/,
    ],
    ["another exit code than the container's", { result: { exitCode: 3 } }, {}, /exit code 3, the cluster saw/],
    ["a failure that was none", { result: { errorCode: "k8s_job_deleted_externally" } }, {}, /expected 0/],
    [
      "an agent that ran, said not to have",
      { result: { executionRecovery: { kind: "bootstrap", providerWorkStarted: false } } },
      {},
      /said not to have started/,
    ],
    [
      "success of a container that went down with its node",
      { result: { exitCode: 0 } },
      { struck: ["node"], ends: [] },
      /exit code 0/,
    ],
  ])("%s is wrong", (_, change, true_, words) => {
    expect(judge(report(change), script, truth(true_)).join("; ")).toMatch(words);
  });

  it.each<[string, Parameters<typeof report>[0], Partial<AgentTruth>]>([
    ["a hole that a rotation made and that is said", { ...audited({ holes: [[1, 1]] }), gaps: 1 }, { rotatedTo: 2 }],
    [
      "a whole file that was rotated away under its reader, unsaid",
      audited({ holes: [[1, 1]] }),
      { rotatedTo: 3, rotations: [1, 2] },
    ],
    [
      "an end whose kubelet restarted just before",
      audited({ next: lines - 1, total: lines - 1 }),
      { endedBlind: ["job-1"] },
    ],
    [
      "a first pod that was read to its end, where the second never ran",
      { result: { exitCode: null, errorCode: "claude_truncated" } },
      { ends: [truth().ends[0] as ContainerEnd, neverRan], struck: ["node"] },
    ],
  ])("%s is right", (_, change, true_) => {
    expect(judge(report(change), script, truth(true_))).toEqual([]);
  });

  it("that is deleted just after a rotation may lose its last file, any other may not", () => {
    const cut = report(audited({ next: lines - 1, total: lines - 1 }));
    const rotated = truth({ rotatedTo: lines, rotations: [lines - 1] });
    const ofEnding = (ending: Script["ending"]) => judge(cut, { ...script, ending }, rotated).join("; ");
    expect(ofEnding("pod_deleted")).not.toMatch(/it was not said/);
    expect(ofEnding("fail")).toMatch(/it was not said/);
  });
});

it.each<[string, number | null, string, RegExp | null]>([
  ["the pod's own end is not known, only the Job's", null, "reason=BackoffLimitExceeded", null],
  ["no end is known at all", null, "", /truncated with exit code null/],
  ["its container ended with 0", 0, "reason=BackoffLimitExceeded", /truncated with exit code 0/],
])("an agent whose pod is deleted is truncated: %s", (_, exitCode, errorMessage, words) => {
  const deleted = firstThat(({ ending, contends, cancelAfterMs }) => {
    return ending === "pod_deleted" && !contends && cancelAfterMs === null;
  });
  const end = { ...(truth().ends[0] as ContainerEnd), exitCode: 137, reason: "Error", written: deleted.lines };
  const told = report({
    ...{ gaps: 1, audit: { ...report().audit, next: deleted.lines } },
    result: { exitCode, errorCode: "claude_truncated", errorMessage },
  });
  const wrong = judge(told, deleted, truth({ ends: [end] })).join("; ");
  if (words === null) expect(wrong).toBe("");
  else expect(wrong).toMatch(words);
});

describe("a run that goes on in another Job", () => {
  const moved = firstThat(({ movesAfter, cancelAfterMs }) => movesAfter !== null && cancelAfterMs === null, true);
  const after = moved.movesAfter ?? 0;
  const former = { jobUid: "job-0", runId: "r1", exitCode: 137, reason: "Error", ran: true, written: after };
  const last = { ...(truth().ends[0] as ContainerEnd), written: moved.lines };
  const whole = { ...report().audit, delivered: moved.lines, next: moved.lines };
  const isLost = { next: after, holes: [[1, 1]] as [number, number][] };

  it.each<[string, Parameters<typeof report>[0], readonly ContainerEnd[], RegExp | null]>([
    ["all lines of both", { audit: whole }, [former, last], null],
    [
      "a second one that never ran",
      { audit: { ...whole, next: after } },
      [former, { ...last, written: 0 }],
      /of \d+ lines came$/,
    ],
    [
      "more than either has written",
      { audit: whole },
      [former, { ...last, written: after }],
      /lines came, \d+ were written/,
    ],
    [
      "a line of the first one lost, unsaid",
      { audit: { ...whole, ...isLost } },
      [former, last],
      /1…1 are missing and it was not said/,
    ],
    [
      "the end of the second one lost, unsaid",
      { audit: { ...whole, next: moved.lines - 1 } },
      [former, last],
      /it was not said/,
    ],
    ["lines twice, though no node went down", { audit: { ...whole, doubled: 1 } }, [former, last], /came twice/],
  ])("%s", (_, change, ends, words) => {
    const wrong = judge(report(change), moved, truth({ ends })).join("; ");
    if (words === null) expect(wrong).toBe("");
    else expect(wrong).toMatch(words);
  });

  it("was interrupted where its script says so, and nowhere else", () => {
    const runs = [{ script: moved, reports: [report()], unheard: [] }];
    expect(judgeAgent(runs, truth({ ends: [former, last] }))).toEqual([]);
    const earlier = { ...former, written: after + 1 };
    expect(judgeAgent(runs, truth({ ends: [earlier, last] }))).toEqual([expect.stringMatching("interrupted")]);
  });
});

describe("all runs of an agent", () => {
  const told = (reports: RunReport[], unheard: string[] = []) => [{ script, reports, unheard }];

  it("each prompt once, each result once is right", () => {
    expect(judgeAgent(told([report()]), truth())).toEqual([]);
  });

  it("two containers at once, a prompt twice, a result twice, another's result, an interruption are wrong", () => {
    expect(judgeAgent(told([report()]), truth({ overlap: "both" }))).toEqual([expect.stringMatching("same time")]);
    const twice = truth({
      begun: [
        { runId: "r1", jobUid: "job-1" },
        { runId: "r1", jobUid: "job-2" },
      ],
    });
    expect(judgeAgent(told([report()]), twice)).toEqual([expect.stringMatching("ran 2 times")]);
    // Its server was killed, and the host did not know that it had run.
    expect(judgeAgent(told([report()], ["r1"]), twice)).toEqual([]);
    expect(judgeAgent(told([report(), report({ runId: "r2", adopted: true })]), truth())).toEqual([
      expect.stringMatching("handed out 2 times: to r1, r2"),
    ]);
    expect(judgeAgent(told([report({ runId: "r2" })]), truth())).toEqual([expect.stringMatching("was not said")]);
    const killed = { jobUid: "job-1", runId: "r1", exitCode: 143, reason: "Error", ran: true, written: 1 };
    expect(judgeAgent(told([report()]), truth({ ends: [killed] }))).toEqual([expect.stringMatching("interrupted")]);
    expect(judgeAgent(told([report()]), truth({ ends: [killed], struck: ["node one restarted"] }))).toEqual([]);
  });
});

it("the host tries again what may pass, and takes all else for the result", () => {
  const of = (errorCode: string, more: Partial<AdapterExecutionResult> = {}) =>
    stepAfter(report({ result: { exitCode: null, errorCode, ...more } }), script).kind;
  expect(of("k8s_api_unreachable", { errorFamily: "transient_upstream" })).toBe("again");
  expect(of("k8s_run_lost")).toBe("again");
  expect(of("k8s_job_deleted_externally", { errorFamily: "transient_upstream" })).toBe("settled");
  expect(of("claude_truncated")).toBe("settled");
});

it(`what an agent does is the same wherever it is asked (${agentId})`, () => {
  expect(scriptOf(SEED, script.index)).toEqual(script);
});
