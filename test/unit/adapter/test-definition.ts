/** The adapter's definition of a small agent CLI. It imports no embedded Kubernetes: servers of their own start with it, many of them. */
import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { type BaseConfig, parseBaseConfig } from "../../../src/adapter/config/config.ts";
import type {
  AdapterDefinition,
  AgentEvent,
  AgentVerdict,
  PreparedCommand,
  RunOutcome,
} from "../../../src/adapter/definition.ts";

export const TYPE = "test_k8s";

export interface TestVerdict extends AgentVerdict {
  readonly lines: readonly string[];
}

export type Outcome = RunOutcome<BaseConfig, TestVerdict>;

/** Lines are JSON: `{session}`, `{progress}`, `{done, ok}`; all else is noise. */
export function testDefinition(
  overrides: Partial<AdapterDefinition<BaseConfig, TestVerdict>> & { prepared?: Partial<PreparedCommand> } = {},
) {
  const outcomes: Outcome[] = [];
  const { prepared, ...rest } = overrides;
  const definition: AdapterDefinition<BaseConfig, TestVerdict> = {
    type: TYPE,
    label: "Test",
    containerName: "agent",
    jobNamePrefix: "ac",
    module: { supportsLocalAgentJwt: true },
    parseConfig: parseBaseConfig,
    resumeSessionId: (ctx) => ctx.runtime.sessionId,
    sessionDirectory: () => "/paperclip/.agent",
    prepare: async ({ ctx, interruption, sessionId }) => ({
      command: ["sh", "-c", "agent < /tmp/prompt/prompt.txt"],
      commandArgs: ["--print"],
      prompt: interruption == null ? String(ctx.context.prompt ?? "Do the work.") : `Go on in ${sessionId}.`,
      promptMetrics: { promptChars: 12 },
      carry: { note: "carried" },
      ...prepared,
    }),
    createResultParser: () => {
      const lines: string[] = [];
      let sessionId: string | null = null;
      let done: { ok: boolean } | null = null;
      return {
        push(line): AgentEvent | null {
          lines.push(line);
          try {
            const value = JSON.parse(line) as { session?: string; progress?: string; done?: boolean; ok?: boolean };
            sessionId = value.session ?? sessionId;
            if (value.done === true) done = { ok: value.ok === true };
            if (value.progress !== undefined) return { eventType: "agent.progress", message: value.progress };
          } catch {
            // Noise.
          }
          return null;
        },
        finish: () => ({
          lines: [...lines],
          hasResult: done !== null,
          isSuccess: done?.ok === true,
          sessionId,
          model: "m-1",
          usage: { inputTokens: 1, outputTokens: 2 },
          costUsd: 0.5,
          summary: done === null ? null : "Done.",
        }),
      };
    },
    isLastLine: (line) => line.startsWith('{"done":true'),
    classify: (outcome) => {
      outcomes.push(outcome);
      return classify(outcome);
    },
    ...rest,
  };
  return { definition, outcomes };
}

function classify({ kind, verdict, end, sessionId }: Outcome): AdapterExecutionResult {
  const exitCode = end?.exitCode ?? null;
  const session = verdict.sessionId ?? sessionId;
  const isSuccess = kind !== "timed_out" && kind !== "cancelled" && verdict.isSuccess && (exitCode ?? 0) === 0;
  return {
    exitCode,
    signal: null,
    timedOut: false,
    usageBasis: "per_run",
    ...(verdict.usage === null ? {} : { usage: verdict.usage }),
    costUsd: verdict.costUsd,
    ...(session === null ? {} : { sessionId: session, sessionParams: { sessionId: session } }),
    summary: verdict.summary,
    ...(isSuccess
      ? {}
      : {
          errorMessage: `agent: ${kind}`,
          errorCode: kind === "job_deleted" ? "k8s_job_deleted_externally" : "agent_failed",
        }),
  };
}
