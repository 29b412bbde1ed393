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
