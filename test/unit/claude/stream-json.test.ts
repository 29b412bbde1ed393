import { describe, expect, test } from "vitest";
import { ClaudeResultParser } from "../../../src/claude/stream-json.ts";
import { parseStdoutLine } from "../../../src/claude/ui-parser.ts";
import fc from "../property.ts";
import { recording, verdictOf } from "./runs.ts";

const init = { type: "system", subtype: "init", session_id: "S-1", model: "claude-x" };
const said = (text: string, more: object = {}) => ({
  type: "assistant",
  session_id: "S-1",
  message: { id: "m1", stop_reason: null, content: [{ type: "text", text }], usage: { output_tokens: 4 }, ...more },
});
const done = {
  type: "result",
  subtype: "success",
  is_error: false,
  session_id: "S-2",
  result: "Done.",
  total_cost_usd: 0.02,
  usage: { input_tokens: 7, cache_read_input_tokens: 3, output_tokens: 5 },
};

describe("verdict", () => {
  test("session, model, usage, cost and summary", () => {
    expect(verdictOf([init, said("Looking."), done])).toMatchObject({
      hasResult: true,
      isSuccess: true,
      sessionId: "S-2",
      model: "claude-x",
      usage: { inputTokens: 7, cachedInputTokens: 3, outputTokens: 5 },
      costUsd: 0.02,
      summary: "Done.",
    });
  });

  test("nothing at all, blank lines, noise", () => {
    expect(verdictOf([])).toMatchObject({
      hasResult: false,
      hasLines: false,
      sessionId: null,
      summary: null,
      usage: null,
    });
    expect(verdictOf(["", "   ", "\r"]).hasLines).toBe(false);
    const noise = verdictOf([
      "npm warn something",
      "[1,2]",
      "null",
      '"text"',
      "{broken",
      '{"no":"type"}',
      '{"type":7}',
    ]);
    expect(noise).toMatchObject({ hasResult: false, hasLines: true, hasInit: false });
    expect(noise.firstPlainLine).toBe("npm warn something");
  });

  test("a carriage return and blanks around an event do not matter", () => {
    expect(verdictOf([`  ${JSON.stringify(done)}\r`]).hasResult).toBe(true);
  });

  test("the order of keys and blanks in the JSON do not matter", () => {
    expect(verdictOf(['{ "result" : "x", "is_error" : false, "type" : "result" }'])).toMatchObject({
      hasResult: true,
      summary: "x",
    });
  });

  test("a result inside a text is none", () => {
    expect(verdictOf([said('{"type":"result","subtype":"success"}')]).hasResult).toBe(false);
  });

  test("the last result counts; what several used is summed", () => {
    const since = (inputTokens: number, costUSD: number) => ({ m: { inputTokens, outputTokens: 1, costUSD } });
    const verdict = verdictOf([
      { ...done, result: "one", model_usage_since_last_result: since(10, 0.25), modelUsage: since(110, 1.25) },
      { ...done, result: "two", model_usage_since_last_result: since(20, 0.5), modelUsage: since(130, 1.75) },
    ]);
    expect(verdict).toMatchObject({ summary: "two", costUsd: 0.75 });
    expect(verdict.usage).toEqual({ inputTokens: 30, cachedInputTokens: 0, outputTokens: 2 });
  });

  test("modelUsage counts subagents too, so it is preferred over usage", () => {
    const modelUsage = {
      a: { inputTokens: 1, cacheCreationInputTokens: 2, cacheReadInputTokens: 4, outputTokens: 8 },
      b: { inputTokens: 16, outputTokens: 32 },
    };
    expect(verdictOf([{ ...done, modelUsage }])).toMatchObject({
      usage: { inputTokens: 19, cachedInputTokens: 4, outputTokens: 40 },
      costUsd: 0.02,
    });
    expect(verdictOf([{ ...done, modelUsage: {} }]).usage).toMatchObject({ inputTokens: 7 });
  });

  test.each(['"1"', "null", "{}", "1e999"])("a cost of %s is not known", (cost) => {
    const line = JSON.stringify({ ...done, total_cost_usd: 0.02 }).replace("0.02", cost);
    expect(verdictOf([line])).toMatchObject({ hasResult: true, costUsd: null });
  });

  test("is_error and error subtypes are no success", () => {
    expect(verdictOf([{ ...done, is_error: true }]).isSuccess).toBe(false);
    expect(verdictOf([{ ...done, subtype: "error_during_execution" }]).isSuccess).toBe(false);
  });
});

describe("which result counts", () => {
  const result = (text: string, more: object = {}) => ({ ...done, num_turns: 1, result: text, ...more });
  const notification = { origin: { kind: "task-notification" } };

  test.each([
    [
      "one that answers a notification of the run before is progress",
      [result("", { ...notification, num_turns: 0 })],
      false,
      null,
    ],
    [
      "also one for which the model spoke",
      [said("It was stopped."), result("It was stopped.", notification)],
      false,
      "It was stopped.",
    ],
    [
      "the prompt's own follows",
      [result("", { ...notification, num_turns: 0 }), said("x"), result("Mine.")],
      true,
      "Mine.",
    ],
    [
      "an empty one of no turn after the answer says nothing",
      [result("Mine."), result("", { num_turns: 0 })],
      true,
      "Mine.",
    ],
    [
      "a failed one of no turn after the answer says nothing",
      [result("Mine."), result("", { num_turns: 0, subtype: "error_during_execution", is_error: true })],
      true,
      "Mine.",
    ],
    [
      "a background task's own turn has the last word",
      [result("Started."), said("y"), result("Done.", notification)],
      true,
      "Done.",
    ],
    ["work that went on after it has not ended", [result("Started."), said("y")], false, "Started."],
    ["an empty one of no turn, with the work to follow, is none", [result("", { num_turns: 0 })], false, null],
    ["another prompt waits behind it", [result("One.", { queued_turn_count: 1 })], false, "One."],
    [
      "the last prompt's",
      [result("One.", { queued_turn_count: 1 }), result("Two.", { queued_turn_count: 0 })],
      true,
      "Two.",
    ],
    [
      "a subagent that goes on after it does not change it",
      [result("Started."), { ...said("y"), parent_tool_use_id: "t" }],
      true,
      "Started.",
    ],
  ] as const)("%s", (_what, events, hasResult, summary) => {
    expect(verdictOf([init, ...events])).toMatchObject({ hasResult, isSuccess: hasResult, summary });
  });

  test("costs go on from result to result, turns are of each", () => {
    const events = [
      result("a", { num_turns: 2, total_cost_usd: 0.1 }),
      result("b", { num_turns: 3, total_cost_usd: 9.99 }),
    ];
    const zeroed = result("", { num_turns: 0, total_cost_usd: 0, usage: {} });
    const verdict = verdictOf([init, ...events, zeroed]);
    expect(verdict).toMatchObject({ summary: "b", costUsd: 9.99 });
    expect(verdict.result?.json).toMatchObject({ num_turns: 5 });
    expect(verdict.usage).toEqual({ inputTokens: 14, cachedInputTokens: 6, outputTokens: 10 });
  });

  test("a turn of a background task that says nothing leaves the answer as it was, and its structured output", () => {
    const silent = { ...done, origin: { kind: "task-notification" }, result: "", num_turns: 1 };
    const structured = { ...done, result: "", structured_output: { colour: "red" } };
    const verdicts = [verdictOf([init, structured, silent]), verdictOf([init, { ...done, result: "Red." }, silent])];
    expect(verdicts.map(({ summary }) => summary)).toEqual(['{"colour":"red"}', "Red."]);
    expect(verdicts[0]?.result?.json).toMatchObject({
      structured_output: { colour: "red" },
      num_turns: 1,
    });
    const speaks = verdictOf([init, structured, { ...silent, result: "The build ended." }]);
    expect([speaks.summary, speaks.result?.json.structured_output]).toEqual(["The build ended.", { colour: "red" }]);
  });

  test("an answer that is no text is the summary, and stands in the result", () => {
    const verdict = verdictOf([init, { ...done, result: "", structured_output: { colour: "red" } }]);
    expect(verdict.summary).toBe('{"colour":"red"}');
    expect(verdict.result?.json).toMatchObject({ structured_output: { colour: "red" } });
    const large = verdictOf([init, { ...done, result: "", structured_output: { text: "x".repeat(1_000_000) } }]);
    expect(JSON.stringify(large).length).toBeLessThan(300_000);
  });

  test("what it is at: working, background, done", () => {
    const parser = new ClaudeResultParser();
    const activityAt = (event: object) => {
      parser.push(JSON.stringify(event));
      return parser.activity();
    };
    const tasks = (...all: object[]) => ({ type: "system", subtype: "background_tasks_changed", tasks: all });
    expect(activityAt(init)).toBe("working");
    expect(activityAt(result("", { ...notification, num_turns: 0 }))).toBe("working");
    expect(activityAt(tasks({ task_id: "b1" }, { task_id: "b2", ambient: true }))).toBe("working");
    expect(activityAt(result("One.", { queued_turn_count: 1 }))).toBe("working");
    expect(activityAt(result("Started."))).toBe("background");
    expect(activityAt(said("More."))).toBe("working");
    expect(activityAt(result("More.", notification))).toBe("background");
    expect(activityAt({ type: "system", subtype: "task_notification", task_id: "b1", status: "completed" })).toBe(
      "done",
    );
    expect(activityAt(tasks({ task_id: "b3" }))).toBe("background");
    expect(activityAt(tasks())).toBe("done");
  });
});

describe("summary without a result", () => {
  test("texts of all messages; several events of one message are several blocks", () => {
    expect(verdictOf([said("One."), said("Two."), said("Three.", { id: "m2" })]).summary).toBe(
      "One.\n\nTwo.\n\nThree.",
    );
  });

  test("equal texts of two messages are both kept", () => {
    expect(verdictOf([said("Same."), said("Same.", { id: "m2" })]).summary).toBe("Same.\n\nSame.");
  });

  test("a message that is printed again as it grows is one", () => {
    const grown = said("", {
      content: [
        { type: "text", text: "Lo" },
        { type: "text", text: "king" },
      ],
    });
    expect(verdictOf([said("Lo"), said("Looking"), said("Looking")]).summary).toBe("Looking");
    expect(verdictOf([said("Lo"), grown]).summary).toBe("Lo\n\nking");
  });

  test("what subagents say is left out", () => {
    expect(verdictOf([said("Mine."), { ...said("Its."), parent_tool_use_id: "toolu_1" }]).summary).toBe("Mine.");
  });

  test("bounded, the latest is kept, no half characters", () => {
    const parser = new ClaudeResultParser();
    for (let i = 0; i < 2000; i += 1) parser.push(JSON.stringify(said("🚀".repeat(200), { id: `m${i}` })));
    const { summary } = parser.finish();
    expect(summary?.length).toBeLessThanOrEqual(64 * 1024 + 2 * 2000);
    expect(summary?.startsWith("…🚀")).toBe(true);
    expect(summary?.isWellFormed()).toBe(true);
    parser.push(JSON.stringify(said(`x${"🚀".repeat(40_000)}`, { id: "long" })));
    expect(parser.finish().summary?.isWellFormed()).toBe(true);
  });
});

describe("empty and truncated answers", () => {
  const empty = {
    type: "assistant",
    message: { id: "m2", stop_reason: null, content: [], usage: { output_tokens: 0 } },
  };

  test("no tokens, nothing said, no stop reason: empty", () => {
    expect(verdictOf([empty])).toMatchObject({ isEmptyResponse: true, hasOutput: false });
    expect(verdictOf([{ ...empty, message: { ...empty.message, usage: undefined, output_tokens: 0 } }])).toMatchObject({
      isEmptyResponse: true,
    });
  });

  test.each([
    ["a stop reason", { ...empty, message: { ...empty.message, stop_reason: "end_turn" } }],
    ["tokens", { ...empty, message: { ...empty.message, usage: { output_tokens: 3 } } }],
    ["a missing stop reason", { type: "assistant", message: { id: "m", content: [] } }],
  ])("with %s it is not", (_what, event) => {
    expect(verdictOf([event]).isEmptyResponse).toBe(false);
  });

  test("a result, or an answer after it, clears it", () => {
    expect(verdictOf([empty, done]).isEmptyResponse).toBe(false);
    expect(verdictOf([empty, said("Better.")])).toMatchObject({ isEmptyResponse: false, hasOutput: true });
  });

  test("the CLI's own message about a failed request is no output of the model", () => {
    const synthetic = { ...said("API Error"), message: { ...said("API Error").message, model: "<synthetic>" } };
    expect(verdictOf([synthetic])).toMatchObject({ hasOutput: false, model: null });
  });
});

describe("progress", () => {
  const retry = {
    type: "system",
    subtype: "api_retry",
    attempt: 2,
    max_retries: 10,
    retry_delay_ms: 1234,
    error_status: 529,
  };

  test("retries and refusals by rate limits are worth showing, and that the API answers again; nothing else is", () => {
    const parser = new ClaudeResultParser();
    expect(parser.push(JSON.stringify({ ...retry, error: "overloaded" }))).toEqual({
      eventType: "claude.api_retry",
      level: "warn",
      message: "API request failed (HTTP 529, overloaded), retry 2 of 10 in 1.2 s",
      payload: { attempt: 2, maxRetries: 10, delayMs: 1234, status: 529, error: "overloaded" },
    });
    const info = { rateLimitType: "five_hour", status: "rejected", resetsAt: 1_700_000_000 };
    expect(parser.push(JSON.stringify({ type: "rate_limit_event", rate_limit_info: info }))).toMatchObject({
      level: "error",
      message: "Claude rate limit five_hour: rejected, resets 2023-11-14T22:13:20.000Z",
    });
    const allowed = { type: "rate_limit_event", rate_limit_info: { ...info, status: "allowed" } };
    // Else the retry would stay the run's state on the host's page.
    expect(parser.push(JSON.stringify(said("x")))).toEqual({
      eventType: "claude.api_answered",
      level: "info",
      message: "The API answers again, after 1 failed request",
      payload: { failed: 1 },
    });
    for (const event of [init, said("x"), done, allowed, { type: "stream_event" }]) {
      expect(parser.push(JSON.stringify(event))).toBeNull();
    }
  });

  test("parts of the configuration that did not come up are told, once", () => {
    const parser = new ClaudeResultParser();
    const mcp_servers = [
      { name: "apps", status: "failed" },
      { name: "mail", status: "needs-auth" },
      { name: "good", status: "connected" },
      { name: "slow", status: "pending" },
      { name: "off", status: "disabled" },
    ];
    const broken = {
      ...init,
      mcp_servers,
      mcp_server_errors: [{ name: "odd", type: "unknown_type", message: "unknown MCP server type" }],
      plugin_errors: [{ plugin: "lint@team", type: "path-not-found", message: "no such folder" }],
    };
    const missing = [
      "MCP server apps (failed)",
      "MCP server mail (needs-auth)",
      "MCP server odd (unknown MCP server type)",
      "plugin lint@team (no such folder)",
    ];
    expect(parser.push(JSON.stringify(broken))).toEqual({
      eventType: "claude.parts_missing",
      level: "warn",
      message: `Claude runs without ${missing.join(", ")}`,
      payload: { missing },
    });
    // The CLI repeats it before each turn.
    expect(parser.push(JSON.stringify(broken))).toBeNull();
    expect(parseStdoutLine(JSON.stringify(broken), "t").filter(({ kind }) => kind === "system")).toEqual(
      missing.map((part) => ({ kind: "system", ts: "t", text: `Missing: ${part}` })),
    );
  });

  test("plugins that could not be installed are told", () => {
    const parser = new ClaudeResultParser();
    const install = { type: "system", subtype: "plugin_install", name: "team" };
    for (const status of ["started", "installed", "completed"]) {
      expect(parser.push(JSON.stringify({ ...install, status }))).toBeNull();
    }
    expect(parser.push(JSON.stringify({ ...install, status: "failed", error: "no such host" }))).toEqual({
      eventType: "claude.parts_missing",
      level: "warn",
      message: "Claude runs without plugins of team (no such host)",
      payload: { missing: ["plugins of team (no such host)"] },
    });
  });

  test("a transcript that did not fit on the disk is reported", () => {
    const event = { type: "system", subtype: "session_writes_lost", error_code: "ENOSPC", lost: ["transcript", 1] };
    expect(new ClaudeResultParser().push(JSON.stringify(event))).toMatchObject({
      level: "warn",
      message: "Claude could not save transcript (ENOSPC)",
    });
    const bare = { type: "system", subtype: "session_writes_lost", lost: null };
    expect(new ClaudeResultParser().push(JSON.stringify(bare))?.message).toBe(
      "Claude could not save its files (disk full)",
    );
  });

  test("a run that retries for ever does not flood the host", () => {
    const parser = new ClaudeResultParser();
    const events = Array.from({ length: 1000 }, () => parser.push(JSON.stringify(retry))).filter(
      (each) => each !== null,
    );
    expect(events).toHaveLength(100);
  });

  test("an answer after a retry: the request did not fail", () => {
    expect(verdictOf([{ ...retry, error: "overloaded" }]).apiFailure).not.toBeNull();
    expect(verdictOf([{ ...retry, error: "overloaded" }, said("x")]).apiFailure).toBeNull();
  });
});

describe("hostile lines", () => {
  test("anything is survived, and what is good between is read", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), fc.json(), fc.string({ unit: "binary" }))), (lines) => {
        const verdict = verdictOf([init, ...lines.filter((line) => !line.includes('"result"')), done]);
        expect(verdict).toMatchObject({ hasResult: true, summary: "Done." });
      }),
    );
  });

  test.each([
    ["a deep object", `{"type":"assistant","message":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}`],
    ["a deep list of errors", `{"type":"result","errors":[{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}]}`],
    ["a prototype", '{"type":"assistant","__proto__":{"message":{"content":[{"type":"text","text":"evil"}]}}}'],
    ["a constructor", '{"type":"constructor","constructor":{"prototype":{"x":1}}}'],
    ["wrong kinds", '{"type":"assistant","session_id":{},"message":[{"content":"x"}]}'],
    ["wrong blocks", '{"type":"assistant","message":{"content":[null,1,"x",[],{"type":"text","text":5}]}}'],
    ["a wrong result", '{"type":"result","result":{},"errors":"x","usage":[],"modelUsage":[1],"total_cost_usd":"y"}'],
    ["invalid UTF-8", `{"type":"assistant","message":{"content":[{"type":"text","text":"\uFFFD\uD800"}]}}`],
    ["a time that is none", '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1e300}}'],
  ])("%s", (_what, line) => {
    const verdict = verdictOf([init, line, done]);
    expect(verdict).toMatchObject({ hasResult: true, isSuccess: true, summary: "Done.", sessionId: "S-2" });
    expect(({} as Record<string, unknown>).message).toBeUndefined();
  });

  test("ids of absurd length are no ids", () => {
    expect(verdictOf([{ ...init, session_id: "x".repeat(10_000), model: "y".repeat(10_000) }])).toMatchObject({
      sessionId: null,
      model: null,
    });
  });

  test("10 MB in one line, as an event, as text, broken", () => {
    const long = "x".repeat(10 * 1024 * 1024);
    const verdict = verdictOf([JSON.stringify(said(long)), long, `{"type":"assistant","message":"${long}`]);
    expect(verdict.hasOutput).toBe(true);
    expect(JSON.stringify(verdict).length).toBeLessThan(200_000);
  });

  test("what is kept does not grow with the output", () => {
    const parser = new ClaudeResultParser();
    const tool = recording("tool");
    const size = () => JSON.stringify(parser.finish()).length;
    for (let i = 0; i < 50; i += 1)
      for (const line of [...tool, `stderr line with a session and a limit ${i}`]) parser.push(line);
    const before = size();
    for (let i = 0; i < 5000; i += 1)
      for (const line of [...tool, `stderr line with a session and a limit ${i}`]) parser.push(line);
    expect(size()).toBeLessThan(before + 1000);
  });
});

/** The parser itself, for what a verdict over one process does not show. */
function parserOf(...events: readonly (object | string)[]): ClaudeResultParser {
  const parser = new ClaudeResultParser();
  for (const each of events) parser.push(typeof each === "string" ? each : JSON.stringify(each));
  return parser;
}

describe("whether anything has begun", () => {
  const hasBegun = (...events: readonly (object | string)[]) => parserOf(...events).finish().hasBegun;

  test("by any line but the CLI's own about its start", () => {
    expect([hasBegun(), hasBegun(""), hasBegun(init)]).toEqual([false, false, false]);
    expect([hasBegun("words"), hasBegun(said("x")), hasBegun({ type: "user" })]).toEqual([true, true, true]);
    expect(parserOf(init).finish().hasLines).toBe(true);
  });

  test("again, in the process after it; what the one before left open is forgotten", () => {
    const parser = parserOf(init, said("x", { content: [], usage: {}, stop_reason: null }));
    expect(parser.finish()).toMatchObject({ hasBegun: true, isEmptyResponse: true });
    parser.restarted();
    expect(parser.finish()).toMatchObject({ hasBegun: false, isEmptyResponse: false });
  });
});

describe("refusals", () => {
  const isRefusal = (result: object, stopReason: string | null = null) =>
    verdictOf([init, said("x", { stop_reason: stopReason }), { ...done, ...result }]).isRefusal;

  test("by the model's stop reason, the result's, or its subtype", () => {
    expect(isRefusal({})).toBe(false);
    expect(isRefusal({}, "refusal")).toBe(true);
    expect(isRefusal({ stop_reason: "refusal" })).toBe(true);
    expect(isRefusal({ subtype: "model_refusal" })).toBe(true);
    expect(isRefusal({ subtype: undefined })).toBe(false);
    expect(verdictOf([init]).isRefusal).toBe(false);
    expect(verdictOf([init, said("x", { stop_reason: "refusal" })]).isRefusal).toBe(true);
  });
});

test("a session and a model that an event does not name are those of before", () => {
  const { session_id: _, ...nameless } = { ...said("x") };
  expect(verdictOf([init, nameless]).sessionId).toBe("S-1");
  expect(verdictOf([init, { type: "system", subtype: "init" }])).toMatchObject({ sessionId: "S-1", model: "claude-x" });
  expect(verdictOf([init, { ...done, session_id: undefined }]).sessionId).toBe("S-1");
});

test("the text of a request that failed is no summary; without one, what the model said is", () => {
  const failed = { ...done, is_error: true, result: "API Error: 529" };
  expect(verdictOf([init, said("Looking."), failed]).summary).toBeNull();
  expect(verdictOf([init, said("Looking."), { ...failed, result: undefined }]).summary).toBe("Looking.");
});

test("no cost is none", () => {
  expect(verdictOf([init]).costUsd).toBeNull();
});

test("what the CLI says of a failed request is the first text, under either of its marks", () => {
  const texts = [
    { type: "text", text: "API Error: first" },
    { type: "text", text: "second" },
  ];
  for (const event of [
    said("", { model: "<synthetic>", content: texts }),
    { ...said("", { content: texts }), is_api_error_message: true },
  ])
    expect(verdictOf([init, event])).toMatchObject({ apiFailure: { message: "API Error: first" }, hasOutput: false });
  expect(verdictOf([init, { ...said("x"), is_api_error_message: false }])).toMatchObject({
    apiFailure: null,
    hasOutput: true,
  });
});

test("a retry is a failure that is tried again", () => {
  const retry = { type: "system", subtype: "api_retry", error_status: 529, error: "overloaded" };
  expect(verdictOf([init, retry]).apiFailure).toMatchObject({ status: 529, word: "overloaded", isRetried: true });
});

test("an answer is output by its tokens, its texts, or what is no text", () => {
  const answer = (content: unknown[], usage: object) => verdictOf([init, said("", { content, usage })]).hasOutput;
  expect(answer([], {})).toBe(false);
  expect(answer([{ type: "text", text: " " }], {})).toBe(false);
  expect(answer([], { output_tokens: 1 })).toBe(true);
  expect(answer([{ type: "text", text: "x" }], {})).toBe(true);
  expect(answer([{ type: "tool_use" }], {})).toBe(true);
});

test("the API answers again: after how many requests", () => {
  const retry = JSON.stringify({ type: "system", subtype: "api_retry" });
  const again = (times: number) => {
    const parser = parserOf(init);
    for (let i = 0; i < times; i++) parser.push(retry);
    return parser.push(JSON.stringify(said("x")))?.message;
  };
  expect(again(0)).toBeUndefined();
  expect(again(1)).toBe("The API answers again, after 1 failed request");
  expect(again(2)).toBe("The API answers again, after 2 failed requests");
  // Those beyond the limit of events were not told.
  expect(again(10_000)).toMatch(/after \d{1,3} failed requests$/);
});

describe("rate limits", () => {
  const limit = (info: object | null, more: object = {}) => ({
    type: "rate_limit_event",
    ...(info === null ? {} : { rate_limit_info: info }),
    ...more,
  });

  test("one that rejects is kept, a warning is told, an end clears it", () => {
    const rejected = limit({ status: "rejected", resetsAt: 1_795_532_400, rateLimitType: "five_hour" });
    const warned = limit({ status: "allowed_warning" });
    const parser = parserOf(init);
    expect(parser.push(JSON.stringify(warned))).toMatchObject({
      level: "warn",
      message: "Claude rate limit of unknown type: allowed_warning",
      payload: { type: null, status: "allowed_warning", resetsAt: null },
    });
    expect(parser.finish().rateLimit).toBeNull();
    expect(parser.push(JSON.stringify(rejected))).toMatchObject({
      level: "error",
      message: expect.stringMatching(/^Claude rate limit five_hour: rejected, resets 2026-/),
    });
    expect(parser.finish().rateLimit).toEqual({ type: "five_hour", resetsAt: new Date(1_795_532_400_000) });
    parser.push(JSON.stringify(warned));
    expect(parser.finish().rateLimit).not.toBeNull();
    expect(parser.push(JSON.stringify(limit({ status: "allowed" })))).toBeNull();
    expect(parser.finish().rateLimit).toBeNull();
  });

  test("may stand in the event itself", () => {
    expect(verdictOf([limit(null, { status: "rejected", rateLimitType: "seven_day" })]).rateLimit).toMatchObject({
      type: "seven_day",
    });
  });
});
