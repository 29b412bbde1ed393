/**
 * A Paperclip adapter for an agent CLI of your own, on Kubernetes: `node examples/own-adapter.ts`
 *
 * `createK8sAdapter` brings all that is about Kubernetes: Job and Secret, guard and adoption, log, cancellation, start failures,
 * environment test. What is left is below: how the CLI is called, what its output means, what the host is told.
 * Installed, the import is "k8s-run-informer/adapter".
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AdapterExecutionContext, ServerAdapterModule } from "@paperclipai/adapter-utils";
import {
  type AdapterDefinition,
  type AgentVerdict,
  type BaseConfig,
  ConfigReader,
  createK8sAdapter,
  PROMPT_DIRECTORY,
  PROMPT_FILE,
  parseBaseConfig,
  stopSharedEngines,
} from "../src/adapter/index.ts";
import { EmbeddedKubernetes } from "../src/embedded/index.ts";

interface ScribeConfig extends BaseConfig {
  readonly model: string;
}

/** `scribe` reads its prompt from standard input and prints JSON lines: `{"say"}` while it works, `{"result"}` at the end. */
const scribe: AdapterDefinition<ScribeConfig, AgentVerdict> = {
  type: "scribe_k8s",
  label: "Scribe (Kubernetes)",
  containerName: "scribe",
  jobNamePrefix: "scribe",
  // Of the host's module what is not about running: models, skills, session codec, form of the configuration.
  module: { models: [{ id: "quill-1", label: "Quill 1" }] },

  // The shared keys (namespace, image, resources, timeouts, …) and the CLI's own.
  parseConfig: (raw) => ({ ...parseBaseConfig(raw), model: new ConfigReader(raw).string("model") ?? "quill-1" }),
  resumeSessionId: () => null,

  prepare: async ({ ctx, config }) => {
    const prompt = String(ctx.context.task ?? "");
    return {
      command: ["sh", "-c", `exec scribe --model "$0" < ${PROMPT_DIRECTORY}/${PROMPT_FILE}`, config.model],
      commandArgs: ["--model", config.model],
      prompt,
      promptMetrics: { promptChars: prompt.length },
    };
  },

  // Fed line by line while the run goes on; keeps what the verdict needs and nothing else.
  createResultParser: () => {
    let summary: string | null = null;
    return {
      push: (line) => {
        const event = parse(line);
        if (typeof event?.result === "string") summary = event.result;
        return typeof event?.say === "string" ? { eventType: "scribe.say", message: event.say } : null;
      },
      finish: () => ({
        hasResult: summary !== null,
        isSuccess: summary !== null,
        sessionId: null,
        model: null,
        usage: null,
        costUsd: null,
        summary,
      }),
    };
  },
  isLastLine: (line) => line.startsWith('{"result"'),

  // Asked once for every run whose Job existed, unless its container never ran.
  classify: ({ kind, verdict, end }) => {
    const exitCode = end?.exitCode ?? null;
    const isWell = kind === "ended" && exitCode === 0 && verdict.isSuccess;
    return {
      exitCode,
      signal: null,
      timedOut: kind === "timed_out",
      summary: verdict.summary,
      ...(isWell ? {} : { errorCode: "scribe_failed", errorMessage: `scribe: ${end?.reason ?? kind}` }),
    };
  },
};

/** The entry of an adapter package exports this. */
export function createServerAdapter(): ServerAdapterModule {
  return createK8sAdapter(scribe);
}

function parse(line: string): { say?: unknown; result?: unknown } | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

// Below, the part of the host, on an embedded cluster.
const k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["agents"] });
const directory = await mkdtemp(join(tmpdir(), "own-adapter-"));
try {
  k8s.addProgram("scribe", async function* (container) {
    const prompt = container.files.readText(`${PROMPT_DIRECTORY}/${PROMPT_FILE}`);
    yield JSON.stringify({ say: `reading ${prompt.length} characters` });
    yield JSON.stringify({ result: `wrote: ${prompt}` });
  });
  const kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: "agents" });
  const adapter = createServerAdapter();
  const config = { kubeconfig, namespace: "agents", image: "example/scribe", model: "quill-2" };

  const { status, checks } = await adapter.testEnvironment({
    adapterType: adapter.type,
    companyId: "company-1",
    config,
  });
  console.log(`environment: ${status}, ${checks.length} checks`);
  const result = await adapter.execute(contextOf(config, "a poem"));
  console.log(`result: exit code ${result.exitCode}, ${result.summary}`);
  const failed = await adapter.execute(contextOf({ ...config, timeoutSec: "soon" }, "another"));
  console.log(`result: ${failed.errorCode}: ${failed.errorMessage}`);
} finally {
  // The two watches that all runs share would stay for a minute, should another run come.
  await stopSharedEngines();
  await k8s.stop();
  await rm(directory, { recursive: true });
}

function contextOf(config: Record<string, unknown>, task: string): AdapterExecutionContext {
  return {
    runId: crypto.randomUUID(),
    agent: { id: "ada", companyId: "company-1", name: "Ada", adapterType: scribe.type, adapterConfig: config },
    runtime: { sessionId: null, sessionParams: null, sessionDisplayId: null, taskKey: null },
    config,
    context: { taskId: task, task },
    onLog: async (stream, chunk) => void process.stdout.write(`${stream} | ${chunk}`),
    onEvent: async ({ eventType, message }) => console.log(`event | ${eventType} ${message ?? ""}`),
  };
}
