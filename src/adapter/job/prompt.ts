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
import type { Interruption } from "../definition.ts";

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
export function buildPrompt(
  ctx: AdapterExecutionContext,
  config: PromptTemplates,
  sessionId: string | null,
  interruption: Interruption | null = null,
): Prompt {
  const { agent, runId, context } = ctx;
  if (interruption?.isPromptRead === true) {
    const text = interruptionNote(interruption);
    return { text, metrics: { promptChars: text.length } };
  }
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
  const note = interruption === null ? "" : `${interruptionNote(interruption)} You may not have read yet what follows.`;
  const text = joinPromptSections([note, bootstrap, wake, handoff, task, heartbeat]);
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

/**
 * For a session that goes on in another pod after it was cut off in the middle. A tool call without a result is left out of a resumed
 * conversation (seen with CLI 2.1.332): the model does not know of it.
 */
function interruptionNote({ reason }: Interruption): string {
  return (
    `The machine that you were running on went away (${reason}), and this session goes on on another one. ` +
    "What you had started there has ended, and files outside of mounted volumes are lost. " +
    "The command that ran when that happened may not show in this conversation: look at the state of your work, " +
    "then go on where it stopped."
  );
}
