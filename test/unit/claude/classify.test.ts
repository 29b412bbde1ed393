import { describe, expect, test } from "vitest";
import { classifyRun } from "../../../src/claude/classify.ts";
import { parseClaudeConfig } from "../../../src/claude/config.ts";
import { contextOf, endOf, outcomeOf } from "./runs.ts";

const NOW = new Date("2026-11-24T12:00:00Z");
const init = { type: "system", subtype: "init", session_id: "S-1", model: "claude-x" };
const said = (text: string) => ({
  type: "assistant",
  message: { id: "m1", content: [{ type: "text", text }], usage: { output_tokens: 4 } },
});
const done = { type: "result", subtype: "success", is_error: false, session_id: "S-1", result: "Done." };
/** How the CLI ends when a request failed for good. */
const failed = (text: string, fields: object = {}) => ({ ...done, is_error: true, result: text, ...fields });
const refusedByApi = (status: number, word: string, text = "API Error") => [
  init,
  {
    type: "assistant",
    message: { id: "m0", model: "<synthetic>", content: [{ type: "text", text }] },
    error: word,
    is_api_error_message: true,
    api_error_status: status,
  },
  failed(text, { api_error_status: status, terminal_reason: "api_error" }),
];
const rejected = { type: "rate_limit_event", rate_limit_info: { status: "rejected", resetsAt: 1_795_532_400 } };

type Lines = Parameters<typeof outcomeOf>[0];
type Overrides = Parameters<typeof outcomeOf>[1];
const classify = (lines: Lines, overrides: Overrides = {}) => classifyRun(outcomeOf(lines, overrides), NOW);

describe("error codes", () => {
  const rows: [string, Lines, Overrides, Record<string, unknown>][] = [
    ["success", [init, done], { exitCode: 0 }, { exitCode: 0, summary: "Done." }],
    ["success, exit code unknown", [init, done], { end: null }, { exitCode: null, summary: "Done." }],
    ["cancelled", [init, said("x")], { kind: "cancelled", end: null }, { errorCode: "cancelled", exitCode: null }],
    [
      "timeout",
      [init, said("x")],
      { kind: "timed_out", exitCode: 143, config: parseClaudeConfig({ timeoutSec: 60 }) },
      { errorCode: "timeout", timedOut: true, errorMessage: "Timed out after 60s" },
    ],
    [
      "timeout that came after a good end",
      [init, done],
      { kind: "timed_out", exitCode: 0 },
      { exitCode: 0, timedOut: false },
    ],
    [
      "unknown session, result event",
      [failed("", { subtype: "error_during_execution", errors: ["No conversation found with session ID: S-0"] })],
      { exitCode: 1, sessionId: "S-0" },
      { errorCode: "session_unavailable", clearSession: true },
    ],
    [
      "unknown session, plain text",
      ["No conversation found with session ID: S-0"],
      { exitCode: 1, sessionId: "S-0" },
      { errorCode: "session_unavailable", clearSession: true },
    ],
    [
      "job deleted",
      [init, said("x")],
      { kind: "job_deleted", end: endOf({ kind: "job_deleted", exitCode: null, reason: "", message: "" }) },
      { errorCode: "k8s_job_deleted_externally", exitCode: null, errorFamily: undefined },
    ],
    [
      "job deleted before a word: no sign of wrong credentials",
      [init],
      { kind: "job_deleted", end: endOf({ kind: "job_deleted", exitCode: 137, reason: "", message: "" }) },
      { errorCode: "k8s_job_deleted_externally", exitCode: 137 },
    ],
    [
      "pod evicted",
      [init],
      { kind: "job_deleted", end: endOf({ kind: "evicted", exitCode: null, reason: "Evicted", message: "disk" }) },
      { errorCode: "k8s_job_deleted_externally", errorFamily: "transient_upstream" },
    ],
    ["job deleted after a result", [init, done], { kind: "job_deleted", end: null }, { summary: "Done." }],
    [
      "empty response",
      [init, { type: "assistant", message: { id: "m", stop_reason: null, content: [] } }],
      { exitCode: 1 },
      { errorCode: "llm_api_error" },
    ],
    ["truncated", [init, said("x")], { exitCode: 1 }, { errorCode: "claude_truncated", exitCode: 1 }],
    [
      "max turns",
      [failed("", { subtype: "error_max_turns" })],
      { exitCode: 1 },
      { errorCode: "max_turns_exhausted", clearSession: true },
    ],
    [
      "max turns, reason only",
      [failed("x", { stop_reason: "MAX_TURNS" })],
      { exitCode: 1 },
      { errorCode: "max_turns_exhausted" },
    ],
    [
      "max turns, text of an old CLI",
      [failed("", { errors: ["Reached maximum number of turns (3)"] })],
      { exitCode: 1 },
      { errorCode: "max_turns_exhausted" },
    ],
    ["401", refusedByApi(401, "authentication_failed"), { exitCode: 1 }, { errorCode: "claude_auth_required" }],
    ["403", refusedByApi(403, "unknown"), { exitCode: 1 }, { errorCode: "claude_auth_required" }],
    [
      "not logged in, plain text",
      ["Invalid API key · Please run /login at https://claude.ai/login."],
      { exitCode: 1 },
      { errorCode: "claude_auth_required", errorMeta: { loginUrl: "https://claude.ai/login" } },
    ],
    ["404", refusedByApi(404, "model_not_found"), { exitCode: 1 }, { errorCode: "model_not_found" }],
    [
      "404, text",
      [failed("API Error: 404 model: x not_found_error model: x")],
      { exitCode: 1 },
      { errorCode: "model_not_found" },
    ],
    [
      "429",
      refusedByApi(429, "rate_limit"),
      { exitCode: 1 },
      { errorCode: "claude_transient_upstream", errorFamily: "transient_upstream", retryNotBefore: undefined },
    ],
    [
      "429 by a limit of the subscription",
      [rejected, ...refusedByApi(429, "rate_limit")],
      { exitCode: 1 },
      { errorCode: "provider_quota", errorFamily: "provider_quota", retryNotBefore: "2026-11-24T15:00:00.000Z" },
    ],
    [
      "quota, text of an old CLI",
      [failed("Claude usage limit reached. Your limit resets 3pm (Europe/Berlin).")],
      { exitCode: 1 },
      {
        errorCode: "provider_quota",
        errorFamily: "provider_quota",
        retryNotBefore: "2026-11-24T14:00:00.000Z",
        resultJson: expect.objectContaining({ providerQuotaRetryNotBefore: "2026-11-24T14:00:00.000Z" }),
      },
    ],
    [
      "quota, plain text",
      ["You've hit your session limit · resets 12:30 (UTC)"],
      { exitCode: 1 },
      { errorCode: "provider_quota", retryNotBefore: "2026-11-24T12:30:00.000Z" },
    ],
    ["529", refusedByApi(529, "overloaded"), { exitCode: 1 }, { errorCode: "claude_transient_upstream" }],
    ["500", refusedByApi(500, "server_error"), { exitCode: 1 }, { errorCode: "claude_transient_upstream" }],
    [
      "no connection, text",
      [failed("API Error: Connection error.")],
      { exitCode: 1 },
      { errorCode: "claude_transient_upstream" },
    ],
    [
      "overloaded, plain text",
      ["API Error: 529 overloaded_error"],
      { exitCode: 1 },
      { errorCode: "claude_transient_upstream" },
    ],
    [
      "gave up while retrying",
      [init, { type: "system", subtype: "api_retry", attempt: 1, error_status: 529, error: "overloaded" }],
      { exitCode: 1 },
      { errorCode: "claude_transient_upstream" },
    ],
    [
      "refusal: exit 0",
      [init, { ...done, stop_reason: "refusal" }],
      { exitCode: 0 },
      { errorCode: "claude_refusal", errorFamily: "model_refusal", errorMessage: undefined, exitCode: 0 },
    ],
    [
      "poisoned session",
      [failed("API Error: 400 diagnostics.previous_message_id must start with `msg_`", { api_error_status: 400 })],
      { exitCode: 1 },
      { errorCode: "claude_poisoned_previous_message_id", clearSession: true },
    ],
    [
      "unprocessable image",
      [failed("API Error: 400 Could not process image")],
      { exitCode: 1 },
      { clearSession: true },
    ],
    ["400", refusedByApi(400, "invalid_request"), { exitCode: 1 }, { errorCode: undefined, errorFamily: undefined }],
    [
      "billing",
      refusedByApi(400, "billing_error", "Credit balance is too low"),
      { exitCode: 1 },
      { errorCode: undefined },
    ],
    ["no result, unknown cause", ["segmentation fault"], { exitCode: 139 }, { errorCode: undefined, exitCode: 139 }],
  ];

  test.each(rows)("%s", (_what, lines, overrides, expected) => {
    const result = classify(lines, overrides);
    for (const [key, value] of Object.entries(expected)) expect(result[key as keyof typeof result], key).toEqual(value);
    const isGood = (result.exitCode ?? 0) === 0 && !result.errorMessage && !result.timedOut;
    expect(isGood, result.errorMessage ?? "").toBe("summary" in expected || expected.exitCode === 0);
  });
});

describe("texts decide only where no field does", () => {
  test("an answer that speaks of limits, logins and turns is a good one", () => {
    const text = "Please log in. Rate limit 429, usage limit reached, max turns, unknown session, model not found.";
    const result = classify([init, said(text), { ...done, result: text }]);
    expect(result).toMatchObject({ exitCode: 0, summary: text });
    expect(result.errorCode).toBeUndefined();
    expect(result.clearSession).toBeUndefined();
  });

  test("what the model said before a crash is not taken for the CLI's words", () => {
    expect(classify([init, said("Please run /login")], { exitCode: 1 }).errorCode).toBe("claude_truncated");
    expect(classify([init, said("unknown session")], { exitCode: 1, sessionId: "S-1" }).errorCode).toBe(
      "claude_truncated",
    );
  });

  test("stderr of tools does not overrule the result's own reason", () => {
    const lines = ["fatal: unauthorized", ...refusedByApi(529, "overloaded")];
    expect(classify(lines, { exitCode: 1 }).errorCode).toBe("claude_transient_upstream");
  });

  test("a fresh run has no session that could be unknown", () => {
    expect(classify(["unknown session"], { exitCode: 1 }).errorCode).toBeUndefined();
  });
});

describe("the result event decides", () => {
  test("killed after it had said that it is done: a success, the container's code is kept", () => {
    const result = classify([init, done], { exitCode: 137 });
    expect(result).toMatchObject({ exitCode: 0, summary: "Done.", resultJson: { containerExitCode: 137 } });
    expect(result.errorMessage).toBeUndefined();
  });

  test("is_error with exit 0 is a failure", () => {
    expect(classify([init, failed("It broke.")], { exitCode: 0 }).errorMessage).toBe("Claude run failed: It broke.");
  });

  test("a result of an old CLI without a subtype: the exit code decides", () => {
    const bare = { type: "result", result: "Done." };
    expect(classify([bare], { exitCode: 0 }).errorMessage).toBeUndefined();
    expect(classify([bare], { exitCode: 2 }).errorMessage).toBe("Claude exited with code 2");
  });

  test("a failure says subtype, status, and the result's text or its first error", () => {
    const message = (fields: object, text = "") => classify([failed(text, fields)], { exitCode: 1 }).errorMessage;
    expect(message({ subtype: "error_during_execution", errors: ["first", "second"] })).toBe(
      "Claude run failed: subtype=error_during_execution: first",
    );
    expect(message({ api_error_status: 529, terminal_reason: "api_error" }, "Overloaded")).toBe(
      "Claude run failed: HTTP 529: Overloaded",
    );
    expect(message({ errors: [{ code: "E1" }, { message: "m" }] })).toContain("E1");
  });

  test("a failure names what the pod says too", () => {
    const result = classify([failed("Stopped.")], { end: endOf({ exitCode: 137, reason: "OOMKilled" }) });
    expect(result.errorMessage).toContain("Stopped.");
    expect(result.errorMessage).toContain("reason=OOMKilled");
  });
});

describe("without a result", () => {
  const message = (lines: Lines, overrides: Overrides) => classify(lines, overrides).errorMessage;

  test("exit 0", () => {
    expect(message([], { exitCode: 0 })).toBe("Claude ended with exit code 0 and printed nothing");
    expect(message([init], { exitCode: 0 })).toContain("no result event");
  });

  test("a log that could not be read is no silence of Claude's", () => {
    const logError = "403 Forbidden";
    expect(message([], { exitCode: 0, logError })).toBe(
      "Claude ended with exit code 0 (its log could not be read to its end: 403 Forbidden)",
    );
    expect(message([], { exitCode: 1, logError })).toContain("403 Forbidden");
  });

  test("the first line that is no event says why; typed JSON says nothing", () => {
    const lines = [init, { type: "user" }, { type: "rate_limit_event" }, '{"no":"type"}', "second"];
    expect(message(lines, { exitCode: 3 })).toBe('Claude exited with code 3: {"no":"type"}');
  });

  test("what the agent wrote to stderr before it ended is in the message", () => {
    expect(message([init, said("x"), "boom: it broke"], { exitCode: 1 })).toContain(
      "exited with code 1: boom: it broke",
    );
    expect(message(["a warning at the start", init, "boom: it broke"], { exitCode: 1 })).toBe(
      "Claude exited with code 1: boom: it broke",
    );
    const trace = [
      "node:internal/x:394",
      "    throw error;",
      "    ^",
      "",
      "TypeError: x is no function",
      "    at f (a.js:1)",
    ];
    expect(message([init, said("x"), ...trace, "Node.js v24"], { exitCode: 1 })).toContain(
      "TypeError: x is no function",
    );
    const ended = { type: "result", subtype: "error_during_execution", is_error: true, num_turns: 1 };
    expect(message([init, said("x"), ended, "boom: it broke"], { exitCode: 1 })).toBe(
      "Claude run failed: subtype=error_during_execution: boom: it broke",
    );
  });

  test("only init: exited immediately; nothing: the bare code; unknown code: -1", () => {
    expect(message([init], { exitCode: 1 })).toContain(
      "immediately after init (model claude-x, code 1): check credentials",
    );
    const killed = message([init], { end: endOf({ exitCode: 137, reason: "OOMKilled" }) });
    expect(killed).toContain("immediately after init (model claude-x, code 137) [pod: reason=OOMKilled");
    expect(message([], { exitCode: 1 })).toBe("Claude exited with code 1");
    expect(message([], { end: null })).toBe("Claude exited with code -1");
  });

  test("the pod's cause is appended", () => {
    const end = endOf({ exitCode: 137, reason: "OOMKilled", message: "limit 8Gi" });
    expect(message([], { end })).toContain("[pod: reason=OOMKilled, message=limit 8Gi, killed by SIGKILL");
    expect(message([init, said("x")], { end: endOf({ exitCode: 143 }) })).toContain("SIGTERM");
    expect(message([init, said("x")], { end: null })).toContain("final state is not known");
  });

  test("killed while it retried: the kill is the cause, not the retry", () => {
    const retry = { type: "system", subtype: "api_retry", error_status: 529, error: "overloaded" };
    expect(classify([init, retry], { exitCode: 137 }).errorCode).toBeUndefined();
  });

  test("lost lines are spoken of", () => {
    const gap = {
      podName: "p",
      container: "claude",
      after: null,
      before: null,
      reason: "rotated" as const,
      certain: false,
      message: "",
    };
    expect(message([init, said("x")], { exitCode: 1, gaps: [gap] })).toContain("the log has a gap");
  });

  test("resultJson is small and has no output but the first and last line", () => {
    const lines = Array.from({ length: 500 }, (_, i) => said(`secret output ${i}`));
    const result = classify([init, ...lines], { exitCode: 1, firstLine: "first", lastLine: "last" });
    expect(result.resultJson).toEqual({ lines: 501, characters: 1000, firstLine: "first", lastLine: "last" });
    expect(result.sessionId).toBeUndefined();
  });
});

describe("sessions", () => {
  const workspace = {
    cwd: "/paperclip/w",
    workspaceId: "w-1",
    repoUrl: "https://x/y.git",
    repoRef: "main",
    strategy: "z",
  };

  test("what the next run needs", () => {
    const result = classify([init, done], {
      ctx: contextOf({ context: { paperclipWorkspace: workspace } }),
      workingDir: "/paperclip/w",
      carry: { promptBundleKey: "abc" },
    });
    expect(result.sessionParams).toEqual({
      sessionId: "S-1",
      cwd: "/paperclip/w",
      promptBundleKey: "abc",
      workspaceId: "w-1",
      repoUrl: "https://x/y.git",
      repoRef: "main",
    });
  });

  test("none seen: the one that was resumed; none at all: the host keeps the former", () => {
    expect(classify([{ ...done, session_id: undefined }], { sessionId: "S-0" }).sessionId).toBe("S-0");
    const none = classify([{ ...done, session_id: undefined }]);
    expect("sessionId" in none || "sessionParams" in none || "sessionDisplayId" in none).toBe(false);
  });

  test("a stopped run can be continued", () => {
    expect(classify([init, said("x")], { kind: "cancelled", end: null }).sessionId).toBe("S-1");
    expect(classify([init, said("x")], { kind: "timed_out", exitCode: 143 }).sessionId).toBe("S-1");
  });
});

describe("money", () => {
  test("unknown cost is 0; no result, no usage", () => {
    expect(classify([init, done])).toMatchObject({ costUsd: 0, usageBasis: "per_run" });
    expect("usage" in classify([init, said("x")], { exitCode: 1 })).toBe(false);
  });

  test("provider, biller, model", () => {
    expect(classify([done], { config: parseClaudeConfig({ model: "m" }) })).toMatchObject({
      provider: "anthropic",
      biller: "anthropic",
      billingType: "api",
      model: "m",
    });
    const bedrock = parseClaudeConfig({ env: { CLAUDE_CODE_USE_BEDROCK: "1" } });
    expect(classify([init, done], { config: bedrock })).toMatchObject({ biller: "aws_bedrock", model: "claude-x" });
  });
});

describe("the whole result, with nothing beside what is known", () => {
  const base = {
    signal: null,
    timedOut: false,
    provider: "anthropic",
    biller: "anthropic",
    billingType: "api",
    model: "claude-x",
  };
  const plain = { ...base, model: "" };
  const output = { lines: 0, characters: 0 };
  const NOTHING = { lines: 0, characters: 0, firstLine: null, lastLine: null };
  const end = (more: Parameters<typeof endOf>[0]) => endOf({ reason: "", message: "", podName: "", ...more });
  const chained = (context: object) => ({ ctx: contextOf({ context: { ...context } }) });
  const turns = [failed("", { session_id: undefined, subtype: "error_max_turns" })];

  test("a timeout: the limit, else how long it took", () => {
    const late = (timeoutSec: number, more: Overrides = {}) =>
      classify([], {
        kind: "timed_out",
        elapsedMs: 90_400,
        config: parseClaudeConfig({ timeoutSec, model: "m" }),
        end: null,
        ...more,
      });
    expect(late(0)).toStrictEqual({
      ...base,
      model: "m",
      exitCode: null,
      timedOut: true,
      errorCode: "timeout",
      errorMessage: "Timed out after 90s",
      resultJson: { stopReason: "timeout" },
    });
    expect(late(1).errorMessage).toBe("Timed out after 1s");
    expect(late(1, { end: end({ exitCode: 143 }) }).exitCode).toBe(143);
  });

  test("a good end: the container's own code is kept where it is another", () => {
    const result = { ...done, session_id: undefined };
    const good = (overrides: Overrides) => classify([result], overrides).resultJson;
    const json = good({ exitCode: 0 }) as object;
    expect(json).not.toHaveProperty("containerExitCode");
    expect(good({ end: null })).toStrictEqual(json);
    expect(good({ exitCode: 1 })).toStrictEqual({ ...json, containerExitCode: 1 });
    // A result of an old CLI says nothing of success; nobody knows the exit code.
    expect(classify([{ type: "result", result: "Done." }], { end: null }).errorMessage).toBeUndefined();
  });

  test("what went on after its result and was cut off is no success", () => {
    const more = [init, done, said("and more")];
    expect(classify(more, { exitCode: 0 }).errorCode).toBeUndefined();
    expect(classify(more, { exitCode: 1 }).errorCode).toBe("claude_truncated");
    expect(classify(more, { end: null }).errorCode).toBe("claude_truncated");
    // What it is known to have spent is counted.
    const paid = [init, { ...done, total_cost_usd: 0.5 }, said("and more")];
    expect(classify(paid, { exitCode: 1 })).toMatchObject({ costUsd: 0.5, usageBasis: "per_run" });
  });

  test("a turn that SIGINT broke off, after which the CLI ends with 0, is no result", () => {
    const aborted = { type: "result", subtype: "error_during_execution", is_error: true, num_turns: 2, errors: ["x"] };
    const of = (lines: Lines, exitCode = 0) => {
      const got = classify([...lines, { ...aborted, terminal_reason: "aborted_streaming" }], { exitCode });
      return [got.errorCode, got.errorFamily, got.errorMessage];
    };
    const signal = "was interrupted before its result";
    const cut = "Claude's output ended in the middle of its answer:";
    expect(of([init])).toEqual([undefined, undefined, `Claude ${signal}`]);
    expect(of([init, said("x")])).toEqual(["claude_truncated", undefined, `${cut} it ${signal}`]);
    expect(of([init, said("x")], 130)[2]).toBe(`${cut} ended by SIGINT, exit code 130`);
    expect(of([init, said("x"), done, said("and more")])[0]).toBe("claude_truncated");
    const own = { ...aborted, terminal_reason: "aborted_tools", stopped_by_permission_check: true };
    expect(classify([init, own], { exitCode: 1 }).errorMessage).toBe(
      "Claude run failed: subtype=error_during_execution: x",
    );
    // It only lingered.
    expect(of([init, said("x"), done])).toEqual([undefined, undefined, undefined]);
  });

  test.each<[string, string, object]>([
    ["job_deleted", "it was deleted", {}],
    ["pod_deleted", "its pod was deleted", { errorFamily: "transient_upstream" }],
    ["evicted", "its pod was evicted", { errorFamily: "transient_upstream" }],
  ])("%s", (kind, what, family) => {
    const deleted = (more: object) =>
      classify([], {
        ...NOTHING,
        kind: "job_deleted",
        jobName: "j",
        namespace: "n",
        elapsedMs: 90_400,
        end: end({ kind: kind as "evicted", exitCode: null, ...more }),
      });
    const facts = "job=j, namespace=n, elapsed=90s, lines=0, characters=0";
    const expected = (more: string, resultJson: object = {}) => ({
      ...plain,
      model: expect.anything(),
      exitCode: null,
      ...family,
      errorCode: "k8s_job_deleted_externally",
      errorMessage: expect.stringMatching(
        new RegExp(`^Job j ended without a result: ${what} by someone else.*\\(${facts}${more}\\)$`),
      ),
      resultJson: { detectedVia: kind, job: "j", namespace: "n", elapsedMs: 90_400, ...output, ...resultJson },
    });
    const jobCondition = { type: "Failed", status: "True", reason: "R" } as const;
    expect({ model: "", ...deleted({}) }).toStrictEqual({ ...expected(""), model: deleted({}).model });
    expect(deleted({ jobCondition, podName: "p" })).toStrictEqual({
      ...expected(", condition=Failed/R, pod=p", { jobCondition }),
      model: deleted({}).model,
    });
  });

  test("deleted, and nothing more is known of its end", () => {
    const result = classify([], { ...NOTHING, kind: "job_deleted", end: null });
    expect(result).toMatchObject({ exitCode: null, resultJson: { detectedVia: "unknown" } });
  });

  test("a session that is unknown: whose, and in whose words", () => {
    const unknown = (lines: Lines, more: Overrides = {}) => {
      const { errorMessage, errorFamily, exitCode } = classify(lines, { exitCode: 1, sessionId: "S-0", ...more });
      return [errorMessage, errorFamily, exitCode];
    };
    const text = "No conversation found with session ID: S-0";
    const result = (errors: string[]) => ({ ...failed("", { subtype: "error_during_execution", errors }) });
    const own = undefined;
    expect(unknown([text])).toEqual([`Claude session S-0 is unavailable: ${text}`, own, 1]);
    expect(unknown([result([text, "second"])])).toEqual([`Claude session S-0 is unavailable: ${text}`, own, 1]);
    expect(unknown([result([text])], { sessionId: null })).toEqual([`Claude session is unavailable: ${text}`, own, 1]);
    expect(unknown([text], { end: null })[2]).toBeNull();
    // Its node took along what an earlier Job of the same run had begun.
    expect(unknown([text], { restarts: 1 })[1]).toBe("transient_upstream");
    expect("errorFamily" in classify([text], { exitCode: 1, sessionId: "S-0" })).toBe(false);
  });

  test("turns that are used up in a chain of the host's continuations keep the session", () => {
    const result = (context: object) => {
      const { errorCode, clearSession, resultJson } = classify(turns, { exitCode: 1, ...chained(context) });
      return { errorCode, clearSession, stopReason: resultJson?.stopReason };
    };
    const first = { errorCode: "max_turns_exhausted", clearSession: true, stopReason: "max_turns_exhausted" };
    expect(result({})).toEqual(first);
    const wakeReason = "max_turns_continuation_retry";
    expect(result({ wakeReason, scheduledRetryAttempt: 1 })).toEqual({ ...first, clearSession: undefined });
    expect(result({ wakeReason, scheduledRetryAttempt: 2 })).toEqual({
      errorCode: "claude_max_turns",
      clearSession: undefined,
      stopReason: "claude_max_turns",
    });
    // What is no matter of turns stays as it is.
    const other = classify(refusedByApi(529, "overloaded"), { exitCode: 1, ...chained({ wakeReason }) });
    expect(other.errorCode).toBe("claude_transient_upstream");
  });

  test("a signal from outside ended it, not the last request that failed", () => {
    const retry = { type: "system", subtype: "api_retry", error_status: 529, error: "overloaded" };
    const code = (more: Overrides) => classify([init, retry], more).errorCode;
    expect([1, 127].map((exitCode) => code({ exitCode }))).toEqual(Array(2).fill("claude_transient_upstream"));
    expect([128, 143].map((exitCode) => code({ exitCode }))).toEqual([undefined, undefined]);
    expect(code({ end: end({ kind: "evicted", exitCode: 1 }) })).toBeUndefined();
    expect(code({ end: end({ kind: "failed", exitCode: null }) })).toBeUndefined();
  });

  test("an answer that was empty", () => {
    const empty = [init, { type: "assistant", message: { id: "m", stop_reason: null, content: [] } }];
    expect(classify(empty, { ...NOTHING, end: end({ exitCode: 1 }) })).toStrictEqual({
      ...base,
      exitCode: 1,
      errorCode: "llm_api_error",
      errorFamily: "transient_upstream",
      errorMessage: "The model's answer was empty and no result followed",
      resultJson: { ...output, errorFamily: "transient_upstream" },
    });
  });

  test("what a failure brings along, and nothing else", () => {
    const of = (lines: Lines) => classify(lines, { ...NOTHING, end: end({ exitCode: 1 }) });
    const login = of(["Invalid API key · Please run /login at https://claude.ai/login."]);
    expect(login).toStrictEqual({
      ...plain,
      model: login.model,
      exitCode: 1,
      errorCode: "claude_auth_required",
      errorMeta: { loginUrl: "https://claude.ai/login" },
      errorMessage: login.errorMessage,
      resultJson: output,
    });
    const at = "2026-11-24T12:30:00.000Z";
    const quota = of(["You've hit your session limit · resets 12:30 (UTC)"]);
    expect(quota).toStrictEqual({
      ...plain,
      model: quota.model,
      exitCode: 1,
      errorCode: "provider_quota",
      errorFamily: "provider_quota",
      retryNotBefore: at,
      errorMessage: quota.errorMessage,
      resultJson: {
        ...output,
        errorFamily: "provider_quota",
        retryNotBefore: at,
        transientRetryNotBefore: at,
        providerQuotaRetryNotBefore: at,
      },
    });
    const overloaded = of(["API Error: 529 overloaded_error"]);
    expect(overloaded.resultJson).toStrictEqual({ ...output, errorFamily: "transient_upstream" });
    expect("retryNotBefore" in overloaded || "clearSession" in overloaded || "errorMeta" in overloaded).toBe(false);
    const crashed = of(["segmentation fault"]);
    expect("errorFamily" in crashed || "errorCode" in crashed).toBe(false);
    const stopped = of([init, { ...done, session_id: undefined, stop_reason: "refusal" }]);
    expect(stopped.resultJson).toMatchObject({ stopReason: "refusal", errorFamily: "model_refusal" });
  });

  test("a failed result without words", () => {
    const bare = { type: "result", is_error: true };
    expect(classify([bare], { end: null }).errorMessage).toMatch(/^Claude exited with code -1/);
    expect(classify([bare], { end: end({ exitCode: 2 }) }).errorMessage).toBe("Claude exited with code 2");
    const api = [...refusedByApi(529, "overloaded", "API Error: busy").slice(0, 2), bare];
    expect(classify(api, { end: end({ exitCode: 2 }) }).errorMessage).toContain("API Error: busy");
  });
});
