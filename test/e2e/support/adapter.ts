import { randomUUID } from "node:crypto";
import type {
  AdapterExecutionContext,
  AdapterExecutionResult,
  AdapterInvocationMeta,
} from "@paperclipai/adapter-utils";
import { createServerAdapter } from "../../../src/index.ts";
import { type E2eContext, MOUNTED_PATH, RUN_LABEL } from "../context.ts";
import { ReceivedLines } from "./lines.ts";
import type { Scene } from "./suite.ts";

export interface AgentRun {
  /** Directives of the fake `claude`. */
  readonly script: string;
  /** What the prompt says besides. */
  readonly prompt?: string;
  /** Over the agent's configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly agentId?: string;
  readonly runId?: string;
  readonly taskId?: string;
  readonly signal?: AbortSignal;
}

/** One call of the adapter's `execute`, as Paperclip makes it. */
export interface Execution {
  readonly result: Promise<AdapterExecutionResult>;
  /** Output of the agent. */
  readonly lines: ReceivedLines;
  /** What the adapter itself said, stdout and stderr. */
  readonly said: string[];
  readonly events: { readonly eventType: string; readonly payload?: Readonly<Record<string, unknown>> | undefined }[];
  readonly meta: AdapterInvocationMeta[];
  /** The longest piece that the host got at once, in UTF-16 units. */
  longestPiece(): number;
  /** Resolves with the Job's name when the adapter has created or adopted it. */
  readonly job: Promise<string>;
}

/** Runs an agent through the package's public entry. */
export function execute(scene: Scene, input: AgentRun): Execution {
  const execution = startExecution(scene.context, input);
  execution.job.then(
    (name) => scene.watchJob(name),
    () => {},
  );
  let result: AdapterExecutionResult | null = null;
  execution.result.then((settled) => {
    result = settled;
  });
  scene.note(
    () =>
      `── the adapter said\n${execution.said.join("\n")}\n── result: ${JSON.stringify(result)}\n── other output: ${execution.lines.others.slice(0, 5).join(" | ")}`,
  );
  return execution;
}

/** The same outside of a case: in a process of its own. */
export function startExecution(context: E2eContext, input: AgentRun, onLine?: (line: string) => void): Execution {
  const lines = new ReceivedLines(onLine);
  const said: string[] = [];
  const meta: AdapterInvocationMeta[] = [];
  const events: Execution["events"] = [];
  const job = Promise.withResolvers<string>();
  let longest = 0;
  liveIn(context);
  const ctx: AdapterExecutionContext = {
    runId: input.runId ?? randomUUID(),
    agent: {
      id: input.agentId ?? randomUUID(),
      companyId: "e2e-company",
      name: "Agent of the end-to-end tests",
      adapterType: "claude_k8s",
      adapterConfig: {},
    },
    runtime: { sessionId: null, sessionParams: null, sessionDisplayId: null, taskKey: input.taskId ?? null },
    config: configOf(context, input),
    context: input.taskId === undefined ? {} : { taskId: input.taskId },
    onLog: async (_stream, chunk) => {
      longest = Math.max(longest, chunk.length);
      if (chunk.startsWith("[paperclip]")) said.push(chunk.trimEnd());
      else lines.pushText(chunk);
    },
    onMeta: async (invocation) => {
      meta.push(invocation);
    },
    onEvent: async ({ eventType, payload }) => {
      events.push({ eventType, payload });
      if (eventType === "k8s.job_created" || eventType === "k8s.job_adopted") job.resolve(String(payload?.jobName));
    },
    ...(input.signal === undefined ? {} : { signal: input.signal, onCancellationReady: async () => {} }),
  };
  const result = createServerAdapter().execute(ctx);
  result.then(
    ({ errorMessage }) => {
      job.reject(new Error(`the run ended without a Job: ${errorMessage}`));
      lines.close();
    },
    (error: unknown) => job.reject(error),
  );
  job.promise.catch(() => {});
  return { result, lines, said, meta, events, longestPiece: () => longest, job: job.promise };
}

function configOf(context: E2eContext, { script, prompt = "", config = {} }: AgentRun): Record<string, unknown> {
  const { env, labels, ...rest } = config as { env?: object; labels?: object };
  return {
    kubeconfig: context.kubeconfig,
    namespace: context.namespace,
    image: context.image,
    resources: { requests: { cpu: "5m", memory: "8Mi" }, limits: { cpu: "500m", memory: "128Mi" } },
    promptTemplate: `Do as you are told.\nfake-claude: ${script}\n${prompt}`.trimEnd(),
    env: { ...(context.mountedClaude === null ? {} : { PATH: MOUNTED_PATH }), ...env },
    labels: { [RUN_LABEL]: context.suiteRun, ...labels },
    ...rest,
  };
}

/** Where the image has no `claude`, the adapter is to inherit the mount from the pod in which it believes to live. */
function liveIn({ mountedClaude, namespace }: E2eContext): void {
  if (mountedClaude === null) return;
  process.env.HOSTNAME = mountedClaude.serverPod;
  process.env.POD_NAMESPACE = namespace;
}
