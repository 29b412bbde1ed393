/**
 * A Paperclip adapter for the OpenCode CLI on Kubernetes: `node examples/opencode-adapter.ts`
 *
 * Above the line is what an adapter package exports; below it a host calls the adapter twice, on an embedded cluster.
 * `own-adapter.ts` is the shortest adapter; this one has sessions, a database, costs and failures that the host can act on.
 * Installed, the imports are "k8s-run-informer/adapter" and "k8s-run-informer/embedded".
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AdapterExecutionContext, AdapterExecutionResult, ServerAdapterModule } from "@paperclipai/adapter-utils";
import {
  type AdapterDefinition,
  type AgentVerdict,
  type BaseConfig,
  buildPrompt,
  ConfigReader,
  createK8sAdapter,
  PROMPT_DIRECTORY,
  type PromptTemplates,
  parseBaseConfig,
  promptCommand,
  resumeSessionId,
  sessionCodecOf,
  sessionParams,
  stopSharedEngines,
  workingDirOf,
} from "../src/adapter/index.ts";
import { EmbeddedKubernetes } from "../src/embedded/index.ts";

interface OpencodeConfig extends BaseConfig, PromptTemplates {
  /** `provider/model`. */
  readonly model: string | null;
  readonly variant: string | null;
  /** The claim that keeps the sessions' database. Null: it ends with the pod, and no session can be resumed. */
  readonly databaseClaim: string | null;
}

interface OpencodeVerdict extends AgentVerdict {
  readonly errors: readonly string[];
  /** Of the last step: `stop` where it ended well. */
  readonly reason: string | null;
}

const DATABASE_DIRECTORY = "/opencode-db";
const STEP_LIMITS = ["max_turns", "max_steps", "step_limit"];
const UNKNOWN_SESSION = /session .*not found|unknown session/i;

const opencode: AdapterDefinition<OpencodeConfig, OpencodeVerdict> = {
  type: "opencode_k8s",
  label: "OpenCode (Kubernetes)",
  containerName: "opencode",
  jobNamePrefix: "agent-opencode",
  versionCommand: "opencode --version",
  module: { sessionCodec: sessionCodecOf(), supportsLocalAgentJwt: true },

  parseConfig: (raw) => {
    const read = new ConfigReader(raw);
    return {
      ...parseBaseConfig(raw),
      model: read.string("model"),
      variant: read.string("variant"),
      databaseClaim: read.string("databaseClaim"),
      promptTemplate: read.string("promptTemplate"),
      bootstrapPromptTemplate: read.string("bootstrapPromptTemplate"),
    };
  },

  // Decides the prompt's shape, too: a resumed session has its instructions already.
  resumeSessionId: (ctx, config) =>
    config.databaseClaim === null ? null : resumeSessionId(ctx, workingDirOf(ctx, config)),

  prepare: async ({ ctx, config, sessionId }) => {
    const args = ["run", "--format", "json"];
    if (sessionId !== null) args.push("--session", sessionId);
    if (config.model !== null) args.push("--model", config.model);
    if (config.variant !== null) args.push("--variant", config.variant);
    const prompt = buildPrompt(ctx, config, sessionId);
    const { databaseClaim } = config;
    const database =
      databaseClaim === null ? { emptyDir: {} } : { persistentVolumeClaim: { claimName: databaseClaim } };
    return {
      command: promptCommand("opencode", args),
      commandArgs: args,
      prompt: prompt.text,
      promptMetrics: prompt.metrics,
      // Nobody can answer a question about a directory outside of the workspace.
      files: [{ name: "opencode.json", content: JSON.stringify({ permission: { external_directory: "allow" } }) }],
      env: {
        OPENCODE_CONFIG: `${PROMPT_DIRECTORY}/opencode.json`,
        OPENCODE_DISABLE_PROJECT_CONFIG: "true",
        OPENCODE_DB: `${DATABASE_DIRECTORY}/opencode.db`,
      },
      podPatch: {
        spec: {
          volumes: [{ name: "opencode-db", ...database }],
          containers: [{ name: "opencode", volumeMounts: [{ name: "opencode-db", mountPath: DATABASE_DIRECTORY }] }],
        },
      },
    };
  },

  createResultParser: () => {
    let sessionId: string | null = null;
    let text = "";
    let reason: string | null = null;
    let costUsd = 0;
    const errors: string[] = [];
    const usage = { inputTokens: 0, outputTokens: 0, cachedInputTokens: 0 };
    return {
      push: (line) => {
        const { type, sessionID, part = {}, error } = parse(line);
        if (typeof sessionID === "string") sessionId = sessionID;
        // The last answer is the summary; of a long run only its end is kept.
        if (type === "text") text = String(part.text ?? "").slice(-4_000);
        if (type === "error" && errors.length < 10) errors.push(error?.data?.message ?? error?.name ?? "unknown error");
        if (type === "step_finish") {
          reason = part.reason ?? null;
          costUsd += part.cost ?? 0;
          usage.inputTokens += part.tokens?.input ?? 0;
          usage.outputTokens += (part.tokens?.output ?? 0) + (part.tokens?.reasoning ?? 0);
          usage.cachedInputTokens += part.tokens?.cache?.read ?? 0;
        }
        // A tool that fails is news, and not the run's failure: the agent goes on with it.
        return type === "tool_use"
          ? { eventType: "opencode.tool", message: `${part.tool}: ${part.state?.status ?? "called"}` }
          : null;
      },
      finish: () => ({
        hasResult: reason === "stop",
        isSuccess: reason === "stop" && errors.length === 0,
        sessionId,
        model: null,
        usage,
        costUsd,
        summary: text === "" ? null : text,
        errors,
        reason,
      }),
    };
  },
  isLastLine: (line) => line.includes('"step_finish"') && line.includes('"reason":"stop"'),

  classify: (outcome): AdapterExecutionResult => {
    const { kind, verdict, end, config, sessionId: resumed } = outcome;
    const { summary, usage, costUsd, errors, reason } = verdict;
    const exitCode = end?.exitCode ?? null;
    const sessionId = verdict.sessionId ?? resumed;
    const base: AdapterExecutionResult = {
      exitCode,
      signal: null,
      timedOut: kind === "timed_out",
      summary,
      ...(usage === null ? {} : { usage, usageBasis: "per_run" as const }),
      costUsd,
      model: config.model,
      provider: config.model?.split("/")[0] ?? null,
      billingType: "unknown",
      ...(sessionId === null ? {} : { sessionId, sessionParams: sessionParams(sessionId, outcome) }),
    };
    const failed = (errorCode: string, errorMessage: string) => ({ ...base, errorCode, errorMessage });
    if (kind === "timed_out") return failed("timeout", `Timed out after ${config.timeoutSec}s`);
    if (kind === "cancelled") return failed("cancelled", "Run cancelled");
    if (verdict.isSuccess && (exitCode ?? 0) === 0) return base;
    const said = errors.join("; ");
    if (UNKNOWN_SESSION.test(said)) return { ...failed("session_unavailable", said), clearSession: true };
    if (reason !== null && STEP_LIMITS.includes(reason)) {
      return { ...failed("step_limit", `OpenCode reached its limit of steps (${reason})`), clearSession: true };
    }
    // It calls some failures a success.
    if (said !== "") return { ...failed("opencode_failed", said), exitCode: exitCode === 0 ? 1 : exitCode };
    if (kind === "job_deleted") return failed("k8s_job_deleted_externally", `Job ${outcome.jobName}: ${end?.message}`);
    if (verdict.sessionId !== null && summary === null && usage?.outputTokens === 0) {
      return { ...failed("llm_api_error", "The model's answer was empty"), errorFamily: "transient_upstream" };
    }
    return failed("opencode_failed", `OpenCode ended with exit code ${exitCode ?? "unknown"} and said no result`);
  },
};

export function createServerAdapter(): ServerAdapterModule {
  return createK8sAdapter(opencode);
}

interface Event {
  type?: string;
  sessionID?: string;
  part?: {
    text?: string;
    reason?: string;
    cost?: number;
    tokens?: { input?: number; output?: number; reasoning?: number; cache?: { read?: number } };
    tool?: string;
    state?: { status?: string };
  };
  error?: { name?: string; data?: { message?: string } };
}

/** Lines that are no event are empty ones. */
function parse(line: string): Event {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

// ---------------------------------------------------------------------------------------------------------------------

const k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["agents"] });
k8s.objects.create("persistentvolumeclaims", {
  metadata: { name: "ada-sessions", namespace: "agents" },
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
});
/** What stands in for the CLI says whether it was asked to go on with a session. */
k8s.addProgram("opencode", async function* (container) {
  const script = container.command.at(-1) ?? "";
  const sessionID = "ses_1";
  if (script.includes("no-such-model")) {
    yield JSON.stringify({ type: "error", sessionID, error: { name: "ProviderModelNotFoundError" } });
    return 0;
  }
  yield JSON.stringify({ type: "tool_use", sessionID, part: { tool: "bash", state: { status: "completed" } } });
  const done = script.includes("--session") ? "went on" : "began";
  yield JSON.stringify({ type: "text", sessionID, part: { text: done } });
  const tokens = { input: 10, output: 5, reasoning: 0, cache: { read: 2, write: 0 } };
  yield JSON.stringify({ type: "step_finish", sessionID, part: { reason: "stop", cost: 0.01, tokens } });
  return 0;
});
const directory = await mkdtemp(join(tmpdir(), "opencode-adapter-"));
try {
  const kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: "agents" });
  const adapter = createServerAdapter();
  const shared = { kubeconfig, namespace: "agents", image: "example/opencode", databaseClaim: "ada-sessions" };
  const config = { ...shared, model: "acme/fast" };
  const first = await adapter.execute(contextOf(config));
  console.log(`first: ${first.summary}, session ${first.sessionId}, $${first.costUsd}`);
  const second = await adapter.execute(contextOf(config, first.sessionParams ?? null));
  console.log(`second: ${second.summary}, session ${second.sessionId}`);
  const third = await adapter.execute(contextOf({ ...config, model: "acme/no-such-model" }));
  console.log(`third: exit code ${third.exitCode}, ${third.errorCode}: ${third.errorMessage}`);
} finally {
  await stopSharedEngines();
  await k8s.stop();
  await rm(directory, { recursive: true });
}

function contextOf(
  config: Record<string, unknown>,
  sessionParams: Record<string, unknown> | null = null,
): AdapterExecutionContext {
  return {
    runId: crypto.randomUUID(),
    agent: { id: "ada", companyId: "company-1", name: "Ada", adapterType: opencode.type, adapterConfig: config },
    runtime: { sessionId: null, sessionParams, sessionDisplayId: null, taskKey: null },
    config,
    context: { taskId: "task-1", paperclipTaskMarkdown: "Write a poem." },
    onLog: async () => undefined,
    onEvent: async ({ eventType, message }) => console.log(`event | ${eventType} ${message ?? ""}`),
  };
}
