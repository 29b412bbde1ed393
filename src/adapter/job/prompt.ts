import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import {
  DEFAULT_PAPERCLIP_AGENT_PROMPT_TEMPLATE,
  DEFAULT_PAPERCLIP_CONVERSATION_PROMPT_TEMPLATE,
  isPaperclipRecoveryWakePayload,
  joinPromptSections,
  renderPaperclipWakePrompt,
  renderTemplate,
  selectPaperclipTaskMarkdown,
} from "@paperclipai/adapter-utils/server-utils";

/** The operator's texts; null: the host's own. */
export interface PromptTemplates {
  readonly promptTemplate: string | null;
  /** Comes first in a fresh session. */
  readonly bootstrapPromptTemplate: string | null;
}

export interface Prompt {
  readonly text: string;
  /** For `promptMetrics`. */
  readonly metrics: Record<string, number>;
}

/**
 * What the agent reads on its standard input, made of the host's context: bootstrap (fresh sessions only), wake, handoff of the
 * session before, task, template. A resumed session that is woken with something to say needs no template: it has its instructions already.
 */
export function buildPrompt(ctx: AdapterExecutionContext, config: PromptTemplates, sessionId: string | null): Prompt {
  const { agent, runId, context } = ctx;
  const resumedSession = sessionId !== null;
  const conversationMode = context.conversationMode === true;
  const data = {
    agentId: agent.id,
    companyId: agent.companyId,
    runId,
    company: { id: agent.companyId },
    agent,
    run: { id: runId, source: "on_demand" },
    context,
  };
  const bootstrap =
    !resumedSession && config.bootstrapPromptTemplate !== null
      ? renderTemplate(config.bootstrapPromptTemplate, data).trim()
      : "";
  const task = selectPaperclipTaskMarkdown(context, { resumedSession });
  const wake = renderPaperclipWakePrompt(context.paperclipWake, {
    resumedSession,
    conversationMode,
    // The task says it already.
    suppressIssueDescription: task !== "",
  }).trim();
  const handoff =
    typeof context.paperclipSessionHandoffMarkdown === "string" ? context.paperclipSessionHandoffMarkdown.trim() : "";
  const template =
    config.promptTemplate ??
    (conversationMode ? DEFAULT_PAPERCLIP_CONVERSATION_PROMPT_TEMPLATE : DEFAULT_PAPERCLIP_AGENT_PROMPT_TEMPLATE);
  const isDelta = (resumedSession && wake !== "") || isPaperclipRecoveryWakePayload(context.paperclipWake);
  const heartbeat = isDelta ? "" : renderTemplate(template, data).trim();
  const text = joinPromptSections([bootstrap, wake, handoff, task, heartbeat]);
  return {
    text,
    metrics: {
      promptChars: text.length,
      bootstrapPromptChars: bootstrap.length,
      wakePromptChars: wake.length,
      sessionHandoffChars: handoff.length,
      taskContextChars: task.length,
      heartbeatPromptChars: heartbeat.length,
    },
  };
}
