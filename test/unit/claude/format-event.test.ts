import { stripVTControlCharacters } from "node:util";
import { describe, expect, test, vi } from "vitest";
import { formatClaudeStreamEvent, printClaudeStreamEvent } from "../../../src/claude/format-event.ts";
import { recording } from "./runs.ts";

const lines = (event: unknown, debug = false) =>
  formatClaudeStreamEvent(typeof event === "string" ? event : JSON.stringify(event), debug).map(
    stripVTControlCharacters,
  );
const message = (type: string, ...content: unknown[]) => ({ type, message: { content } });

describe("at a terminal", () => {
  test("blank lines are nothing, lines that are no events stay as they are", () => {
    expect(lines("  \r\n")).toEqual([]);
    expect(lines("  plain  ")).toEqual(["plain"]);
    expect(lines("[1]")).toEqual(["[1]"]);
  });

  test("init", () => {
    const event = { type: "system", subtype: "init", model: "m", session_id: "S" };
    expect(lines(event)).toEqual(["Claude initialized (model: m, session: S)"]);
    expect(lines({ type: "system", subtype: "init" })).toEqual(["Claude initialized (model: unknown)"]);
  });

  test("the assistant", () => {
    const blocks = [
      { type: "text", text: "hi" },
      { type: "thinking", thinking: "hm" },
      { type: "tool_use", name: "Bash", input: { a: 1 } },
      { type: "tool_use" },
      { type: "text", text: " " },
    ];
    expect(lines(message("assistant", ...blocks))).toEqual([
      "assistant: hi",
      "thinking: hm",
      "tool_call: Bash",
      '{\n  "a": 1\n}',
      "tool_call: unknown",
    ]);
  });

  test("results of tools, and nothing else of the user", () => {
    const blocks = [
      { type: "text", text: "hello" },
      { type: "tool_result", content: "out" },
      { type: "tool_result", content: [{ type: "text", text: "a" }, { text: "b" }], is_error: true },
      { type: "tool_result" },
    ];
    expect(lines(message("user", ...blocks))).toEqual([
      "tool_result",
      "out",
      "tool_result (error)",
      "a\nb",
      "tool_result",
    ]);
  });

  test("the result", () => {
    expect(lines(recording("text").at(-1) ?? "")).toEqual([
      "result:",
      "I will look — ünïcödé 🚀",
      "tokens: in=25 out=17 cached=11 cost=$0.000467",
    ]);
    const errors = ["a", { message: "b" }, { x: 1 }, 5];
    expect(lines({ type: "result", subtype: "error_max_turns", errors })).toEqual([
      "claude_result: subtype=error_max_turns is_error=false",
      'claude_errors: a | b | {"x":1}',
      "tokens: in=0 out=0 cached=0 cost=$0.000000",
    ]);
    expect(lines({ type: "result", subtype: "success", is_error: true })[0]).toBe(
      "claude_result: subtype=success is_error=true",
    );
  });

  test("limits and retries", () => {
    const rate_limit_info = { rateLimitType: "five_hour", status: "allowed", resetsAt: 1_700_000_000 };
    expect(lines({ type: "rate_limit_event", rate_limit_info })).toEqual([
      "rate_limit: type=five_hour status=allowed resets=2023-11-14T22:13:20.000Z",
    ]);
    expect(lines({ type: "rate_limit_event" })).toEqual(["rate_limit: type=unknown status=unknown"]);
    expect(lines({ type: "rate_limit_event", rate_limit_info: { resetsAt: 1e300 } })).toEqual([
      "rate_limit: type=unknown status=unknown",
    ]);
    expect(lines(recording("auth-error")[1] ?? "")).toEqual([
      "api_retry: API request failed (HTTP 401, authentication_failed), retry 1 of 1 in 0.5 s",
    ]);
  });

  test("what is not known shows only with debug", () => {
    for (const event of [{ type: "stream_event" }, { type: "system", subtype: "status" }]) {
      expect(lines(event)).toEqual([]);
      expect(lines(event, true)).toEqual([JSON.stringify(event)]);
    }
    // Without a type it is no event, for anyone who reads the line.
    expect(lines({ a: 1 })).toEqual(['{"a":1}']);
  });

  test("nested without end: said, not thrown", () => {
    const input = `${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}`;
    const event = `{"type":"assistant","message":{"content":[{"type":"tool_use","name":"x","input":${input}}]}}`;
    expect(lines(event)).toEqual(["tool_call: x", "(nested too deeply to be shown)"]);
  });

  test("it prints line by line", () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    try {
      for (const line of recording("tool")) printClaudeStreamEvent(line, false);
      const printed = log.mock.calls.map(([line]) => stripVTControlCharacters(String(line)));
      expect(printed).toContain("tool_call: Bash");
      expect(printed).toContain("tool_result (error)");
    } finally {
      log.mockRestore();
    }
  });
});
