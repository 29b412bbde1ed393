import { describe, expect, test } from "vitest";
import { classifyRun } from "../../../src/claude/classify.ts";
import { outcomeOf, recordedEnd, recording, verdictOf } from "./runs.ts";

const NOW = new Date("2026-11-24T12:00:00Z");
const ANSWER = "I will look — ünïcödé 🚀";
const UNKNOWN_ID = "11111111-2222-3333-4444-555555555555";

/** As the pod's log has them: stderr stands among the events. */
function run(name: string, resumed: string | null = null) {
  const { exitCode, stderr } = recordedEnd(name);
  const lines = [...(stderr === "" ? [] : [stderr]), ...recording(name)];
  return classifyRun(outcomeOf(lines, { exitCode, sessionId: resumed }), NOW);
}

describe("recordings of the real CLI", () => {
  test("text: one turn, usage with cache creation as input", () => {
    expect(run("text")).toEqual({
      exitCode: 0,
      signal: null,
      timedOut: false,
      provider: "anthropic",
      biller: "anthropic",
      billingType: "api",
      model: "claude-opus-5-5",
      usage: { inputTokens: 30, cachedInputTokens: 11, outputTokens: 17 },
      usageBasis: "per_run",
      costUsd: 0.0004672,
      sessionId: "84d28dd4-d4ec-4783-aaef-d24caf95d578",
      sessionDisplayId: "84d28dd4-d4ec-4783-aaef-d24caf95d578",
      sessionParams: { sessionId: "84d28dd4-d4ec-4783-aaef-d24caf95d578", cwd: "/paperclip" },
      summary: ANSWER,
      resultJson: {
        type: "result",
        is_error: false,
        subtype: "success",
        session_id: "84d28dd4-d4ec-4783-aaef-d24caf95d578",
        stop_reason: "end_turn",
        terminal_reason: "completed",
        num_turns: 1,
        duration_ms: 133,
        duration_api_ms: 24,
        total_cost_usd: 0.0004672,
        result: ANSWER,
        usage: {
          input_tokens: 25,
          cache_creation_input_tokens: 5,
          cache_read_input_tokens: 11,
          output_tokens: 17,
        },
      },
    });
  });

  test("tool: a failed tool call is no failed run", () => {
    const result = run("tool");
    expect(result).toMatchObject({ exitCode: 0, summary: ANSWER, costUsd: 0.0009344 });
    expect(result.usage).toEqual({ inputTokens: 60, cachedInputTokens: 22, outputTokens: 34 });
    expect(result.errorMessage).toBeUndefined();
    expect(result.errorCode).toBeUndefined();
  });

  test("partial-messages: stream events change nothing", () => {
    const result = run("partial-messages");
    expect(result).toMatchObject({ exitCode: 0, summary: ANSWER, costUsd: 0.0009344 });
    expect(result.errorMessage).toBeUndefined();
  });

  test("resumed: usage and cost of this run, though the CLI goes on from the session's totals", () => {
    const result = run("resumed", "84d28dd4-d4ec-4783-aaef-d24caf95d578");
    expect(result.usage).toEqual({ inputTokens: 30, cachedInputTokens: 11, outputTokens: 17 });
    expect(result.costUsd).toBe(0.0004672);
    expect(result.sessionId).toBe("84d28dd4-d4ec-4783-aaef-d24caf95d578");
  });

  test("max-turns", () => {
    expect(run("max-turns")).toMatchObject({
      exitCode: 1,
      errorCode: "max_turns_exhausted",
      errorMessage: "Claude run failed: subtype=error_max_turns: Reached maximum number of turns (2)",
      clearSession: true,
      resultJson: { stopReason: "max_turns_exhausted", subtype: "error_max_turns" },
      usage: { inputTokens: 60, cachedInputTokens: 22, outputTokens: 34 },
    });
  });

  test("auth-error", () => {
    const result = run("auth-error");
    expect(result).toMatchObject({
      exitCode: 1,
      errorCode: "claude_auth_required",
      errorMessage: "Claude run failed: HTTP 401: Invalid API key · Fix external API key",
    });
    expect(result.errorFamily).toBeUndefined();
    expect(result.clearSession).toBeUndefined();
  });

  test("model-not-found", () => {
    const result = run("model-not-found");
    expect(result).toMatchObject({ exitCode: 1, errorCode: "model_not_found" });
    expect(result.errorMessage).toContain("no-such-model");
  });

  test("unknown-session: by the result event, or by stderr alone", () => {
    const expected = { exitCode: 1, errorCode: "session_unavailable", clearSession: true };
    const byEvent = run("unknown-session", UNKNOWN_ID);
    expect(byEvent).toMatchObject(expected);
    expect(byEvent.errorMessage).toContain(`No conversation found with session ID: ${UNKNOWN_ID}`);
    expect(byEvent.sessionId).toBeUndefined();
    const { stderr } = recordedEnd("unknown-session");
    expect(classifyRun(outcomeOf([stderr], { exitCode: 1, sessionId: UNKNOWN_ID }), NOW)).toMatchObject(expected);
  });

  test.each(["text", "tool", "max-turns", "partial-messages", "resumed"])("%s: cut before its result", (name) => {
    const result = classifyRun(outcomeOf(recording(name).slice(0, -1), { exitCode: 137 }), NOW);
    expect(result).toMatchObject({ exitCode: 137, errorCode: "claude_truncated" });
    expect(result.errorMessage).toContain("SIGKILL");
    expect(result.sessionId).toBeUndefined();
  });

  test("init and api_retry are read", () => {
    const verdict = verdictOf(recording("auth-error").slice(0, 2));
    expect(verdict).toMatchObject({ hasInit: true, hasOutput: false, hasResult: false });
    expect(verdict.apiFailure).toMatchObject({ status: 401, word: "authentication_failed" });
  });
});
