import type { AdapterExecutionContext, AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { BaseConfig } from "../config/config.ts";
import type { AdapterDefinition, AgentVerdict } from "../definition.ts";
import { tell } from "../host/callbacks.ts";
import { localApiUrl, taskIdOf } from "../job/environment.ts";
import { bounded } from "../wait.ts";
import { type ExecuteOptions, execute } from "./execute.ts";

/** Paperclip is asked on its own machine, or in its own cluster. */
const ASK_TIMEOUT_MS = 5_000;

/**
 * `execute`, and for an agent that was taken over while it worked a second part. Its key is the former run's, and Paperclip refuses
 * what it reports since this run began (409, "Issue run ownership conflict"); and it has not read this run's prompt. So where its
 * issue is still open when it has ended, its session is resumed, with this run's key and prompt, before the result is handed out.
 */
export async function executeWithOwnKey<Config extends BaseConfig, Verdict extends AgentVerdict>(
  definition: AdapterDefinition<Config, Verdict>,
  ctx: AdapterExecutionContext,
  options: ExecuteOptions = {},
): Promise<AdapterExecutionResult> {
  let formerRunId: string | null = null;
  const first = await execute(definition, ctx, options, (started) => {
    formerRunId = started.formerRunId;
  });
  const { sessionId, sessionParams } = first;
  const mayGoOn = formerRunId !== null && isWell(first) && (sessionId ?? sessionParams) != null && !ctx.signal?.aborted;
  // A Job that is kept has this run's labels: the guard would take it for this run's own, and collect it again.
  if (!mayGoOn || definition.parseConfig(ctx.config).retainJobs === true) return first;
  if (!(await isOpen(ctx, options.env ?? process.env))) return first;
  await tell(() => ctx.onLog("stdout", `[paperclip] ${reasonFor(formerRunId)}\n`), ctx.signal);
  const runtime = {
    ...ctx.runtime,
    sessionId: sessionId ?? null,
    sessionParams: sessionParams ?? null,
    sessionDisplayId: first.sessionDisplayId ?? null,
  };
  const handoff = `Paperclip's server was started again while you worked. ${HANDOFF}`;
  const context = { ...ctx.context, paperclipSessionHandoffMarkdown: handoff };
  const second = await execute(definition, { ...ctx, runtime, context, onCancellationReady: async () => {} }, options);
  // The first part's result holds, even where the second could not begin.
  return second.executionRecovery?.kind === "bootstrap" && !ctx.signal?.aborted ? first : sumOf(first, second);
}

const HANDOFF =
  "Whatever you reported to its API since then was refused (409), since your key belonged to a run that has ended. You have a new " +
  "key now. Do not do the work again: look at what the issue says, and report what is missing.";

function reasonFor(formerRunId: string | null): string {
  return `The agent had the key of run ${formerRunId}, with which it could not report: its session goes on with a key of this run`;
}

function isWell({ exitCode, errorMessage, timedOut }: AdapterExecutionResult): boolean {
  return (exitCode ?? 0) === 0 && !errorMessage && !timedOut;
}

/** Does the issue still wait for its agent? Asked with this run's key. False where that cannot be told. */
async function isOpen(
  { context, authToken, runId, signal }: AdapterExecutionContext,
  env: NodeJS.ProcessEnv,
): Promise<boolean> {
  const issueId = taskIdOf(context);
  if (issueId === null || authToken === undefined) return false;
  const url = `${localApiUrl(env)}/api/issues/${encodeURIComponent(issueId)}`;
  const headers = { authorization: `Bearer ${authToken}`, "x-paperclip-run-id": runId };
  try {
    return await bounded({ signal, ms: ASK_TIMEOUT_MS }, async (limited) => {
      const answer = await fetch(url, { headers, redirect: "error", signal: limited });
      const { status } = (await answer.json()) as { status?: unknown };
      return answer.ok && (status === "todo" || status === "in_progress");
    });
  } catch {
    return false;
  }
}

/** The host books what one run cost. */
function sumOf(first: AdapterExecutionResult, second: AdapterExecutionResult): AdapterExecutionResult {
  const usages = [first.usage, second.usage].filter((each) => each !== undefined);
  const total = (of: (usage: NonNullable<AdapterExecutionResult["usage"]>) => number | undefined) =>
    usages.reduce((sum, usage) => sum + (of(usage) ?? 0), 0);
  const usage = {
    inputTokens: total(({ inputTokens }) => inputTokens),
    outputTokens: total(({ outputTokens }) => outputTokens),
    cachedInputTokens: total(({ cachedInputTokens }) => cachedInputTokens),
  };
  const costUsd = (first.costUsd ?? 0) + (second.costUsd ?? 0);
  return { ...second, ...(usages.length === 0 ? {} : { usage, usageBasis: "per_run", costUsd }) };
}
