import { describe, expect, test } from "vitest";
import { buildPrompt } from "../../../src/adapter/job/prompt.ts";
import { contextOf } from "./runs.ts";

const config = {
  promptTemplate: "Go on, {{agent.name}} of {{company.id}}: {{runId}} {{run.source}} {{context.wakeReason}}",
  bootstrapPromptTemplate: "Hello {{agentId}}.",
};
const wake = {
  reason: "issue_commented",
  issue: { id: "i-1", identifier: "ACME-7", title: "Fix the thing", description: "A long description", status: "todo" },
  commentIds: ["c-1"],
  latestCommentId: "c-1",
  comments: [{ id: "c-1", issueId: "i-1", body: "Please hurry", createdAt: "2026-11-24T00:00:00Z" }],
};

const build = (context: Record<string, unknown>, sessionId: string | null = null, more: Partial<typeof config> = {}) =>
  buildPrompt(contextOf({ context }), { ...config, ...more }, sessionId);

describe("prompt", () => {
  test("a fresh session: bootstrap, then template", () => {
    const { text, metrics } = build({ wakeReason: "timer" });
    expect(text).toBe("Hello agent-1.\n\nGo on, Ada of company-1: run-1 on_demand timer");
    expect(metrics).toEqual({
      promptChars: text.length,
      bootstrapPromptChars: 14,
      wakePromptChars: 0,
      sessionHandoffChars: 0,
      taskContextChars: 0,
      heartbeatPromptChars: text.length - 16,
    });
  });

  test("order of all sections", () => {
    const { text, metrics } = build({
      paperclipWake: wake,
      paperclipSessionHandoffMarkdown: "HANDOFF",
      paperclipTaskMarkdown: "TASK",
    });
    const places = ["Hello agent-1.", "Please hurry", "HANDOFF", "TASK", "Go on, Ada"].map((part) =>
      text.indexOf(part),
    );
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places.every((place) => place >= 0)).toBe(true);
    expect(text).not.toContain("A long description");
    expect(metrics).toMatchObject({ sessionHandoffChars: 7, taskContextChars: 4 });
  });

  test("without a task text the wake carries the description", () => {
    expect(build({ paperclipWake: wake }).text).toContain("A long description");
  });

  test("a resumed session: no bootstrap; with a wake no template either", () => {
    expect(build({ wakeReason: "x" }, "S-1").text).toBe("Go on, Ada of company-1: run-1 on_demand x");
    const { text, metrics } = build({ paperclipWake: wake }, "S-1");
    expect(text).toContain("Please hurry");
    expect(text).not.toContain("Go on, Ada");
    expect(metrics.heartbeatPromptChars).toBe(0);
  });

  test("a recovery needs no template", () => {
    const { text } = build({ paperclipWake: { ...wake, reason: "source_scoped_recovery_action" } });
    expect(text).not.toContain("Go on, Ada");
  });

  test("default templates: work, or conversation", () => {
    expect(build({}, null, { promptTemplate: null as never }).text).toContain("agent agent-1 (Ada)");
    expect(build({ conversationMode: true }, null, { promptTemplate: null as never }).text).toContain("conversation");
  });
});
