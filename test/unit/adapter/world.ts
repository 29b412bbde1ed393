/** An embedded cluster with Paperclip's own pod in it, and a small agent CLI to run as Jobs. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAllYaml } from "@kubernetes/client-node";
import type { AdapterExecutionContext, AdapterExecutionResult, ServerAdapterModule } from "@paperclipai/adapter-utils";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import { forgetSelfPods } from "../../../src/adapter/job/self-pod.ts";
import type { ExecuteOptions } from "../../../src/adapter/run/execute.ts";
import { processState } from "../../../src/adapter/start/process-state.ts";
import {
  EmbeddedKubernetes,
  type EmbeddedKubernetesOptions,
  type PolicyRule,
  type StoredObject,
} from "../../../src/embedded/index.ts";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import { stopSharedEngines } from "../../../src/engine/index.ts";
import { watchFaults } from "../injected-faults.ts";
import { contextOf, rawSelfPod } from "./fixtures.ts";
import { type Outcome, testDefinition } from "./test-definition.ts";

export const NAMESPACE = "paperclip";
/** The default of three seconds, by the clock of these clusters. */
export const LATE_LINES_MS = 150;

/** What `deploy/rbac.yaml` grants, Role by Role. */
export async function documentedRules(): Promise<PolicyRule[]> {
  const file = new URL("../../../deploy/rbac.yaml", import.meta.url);
  const documents = loadAllYaml(await readFile(file, "utf8")) as unknown as { kind: string; rules?: PolicyRule[] }[];
  return documents.flatMap(({ kind, rules = [] }) => (kind === "Role" ? rules : []));
}

export interface World {
  readonly k8s: EmbeddedKubernetes;
  /** Of a user that may do in the namespace what `deploy/rbac.yaml` says, and nothing else: all tests go by that. */
  readonly kubeconfig: string;
  readonly adminKubeconfig: string;
  readonly env: NodeJS.ProcessEnv;
  /** What the agent of an agent id does; others say hello and are done. */
  readonly agents: Map<string, ScriptedProgram>;
  kubeconfigFor(token: string): Promise<string>;
  stop(): Promise<void>;
}

/** @param alsoGranted beyond `deploy/rbac.yaml` */
export async function startWorld(
  options: EmbeddedKubernetesOptions = {},
  alsoGranted: readonly PolicyRule[] = [],
): Promise<World> {
  const k8s = await EmbeddedKubernetes.start({ timeScale: 20, namespaces: [NAMESPACE], ...options });
  watchFaults(k8s);
  const { metadata, spec } = rawSelfPod() as { metadata: { name: string }; spec: Record<string, unknown> };
  k8s.objects.create("persistentvolumeclaims", {
    metadata: { name: "paperclip-home", namespace: NAMESPACE },
    spec: { accessModes: ["ReadWriteMany"], resources: { requests: { storage: "5Gi" } } },
  });
  const secrets = {
    keys: { anthropic: "sk-ant-inherited-0001" },
    shared: { SHARED_FROM: "envFrom" },
    "ssh-keys": { id: "x" },
    "ca-bundle": { "own.pem": "x" },
  };
  for (const [name, data] of Object.entries(secrets)) {
    const encoded = Object.fromEntries(
      Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
    );
    k8s.objects.create("secrets", { metadata: { name, namespace: NAMESPACE }, data: encoded });
  }
  // Only looked at: it must not be run, nor its node selector matched.
  k8s.objects.create("pods", {
    metadata: { name: metadata.name, namespace: NAMESPACE },
    spec: { ...spec, schedulerName: "none" },
  });
  const directory = await mkdtemp(join(tmpdir(), "adapter-test-"));
  const rules = [...(await documentedRules()), ...alsoGranted].map((rule) => ({ ...rule, namespaces: [NAMESPACE] }));
  const token = k8s.addUser({ name: "system:serviceaccount:paperclip:tests", rules });
  const adminKubeconfig = await k8s.writeKubeconfig(join(directory, "admin"), { namespace: NAMESPACE });
  const kubeconfig = await k8s.writeKubeconfig(join(directory, "server"), { token, namespace: NAMESPACE });
  let files = 0;
  const agents = new Map<string, ScriptedProgram>();
  const program: ScriptedProgram = (container) =>
    (agents.get(container.pod.labels["paperclip.io/agent-id"] ?? "") ?? hello)(container);
  k8s.addProgram("agent", program);
  return {
    k8s,
    kubeconfig,
    adminKubeconfig,
    agents,
    env: { HOSTNAME: metadata.name, PAPERCLIP_NAMESPACE: NAMESPACE },
    kubeconfigFor: async (token) =>
      await k8s.writeKubeconfig(join(directory, `user-${++files}`), { token, namespace: NAMESPACE }),
    stop: async () => {
      await stopSharedEngines();
      forgetSelfPods();
      processState().swept.clear();
      await k8s.stop();
      await rm(directory, { recursive: true });
    },
  };
}

const hello: ScriptedProgram = async function* () {
  yield '{"session":"S-new"}';
  yield '{"text":"hello"}';
  yield '{"done":true,"ok":true}';
  return 0;
};

/** Its clock is a real one: none of the process's watches ends, and is opened again, while requests are counted. */
export async function withSlowWorld(
  work: (world: World) => Promise<void>,
  alsoGranted: readonly PolicyRule[] = [],
): Promise<void> {
  const world = await startWorld({ timeScale: 1, delays: "fast" }, alsoGranted);
  try {
    await work(world);
  } finally {
    await world.stop();
  }
}

/** Of one agent, as the server has them. */
export function objectsOf({ k8s }: World, resource: "jobs" | "pods", agentId: string): StoredObject[] {
  return k8s.objects
    .list(resource, NAMESPACE)
    .filter(({ metadata }) => metadata.labels?.["paperclip.io/agent-id"] === agentId);
}

/** The kubelet waits for this Secret: it mounts no volume of one that does not stand. */
export function missesSecret({ k8s }: World, name: string): boolean {
  return k8s.objects
    .list("events", NAMESPACE)
    .some(({ message }) => String(message).includes(`secret "${name}" not found`));
}

/** The API server is away until `comesBack` is called. */
export function restart({ k8s }: World): { comesBack(): Promise<void> } {
  const { promise: until, resolve } = Promise.withResolvers<void>();
  const restarted = k8s.restart({ until });
  return {
    comesBack: () => {
      resolve();
      return restarted;
    },
  };
}

/** As a process that dies: the run is left alone, and nobody of this process follows it any more. */
export async function crash(each: Recorded): Promise<AdapterExecutionResult> {
  each.abort.abort(new Error("Legacy controller lease lost"));
  return await each.result;
}

/**
 * Counts how many of one agent run at once. On `task-1` it works until it is killed, on any other for a moment; it does not
 * look at SIGTERM, so that it lives through its grace period.
 */
export function countedAgent(world: World, agentId: string): { live: number; most: number } {
  const counts = { live: 0, most: 0 };
  world.agents.set(agentId, async function* (container) {
    counts.live += 1;
    counts.most = Math.max(counts.most, counts.live);
    yield '{"session":"S-1"}';
    try {
      await container.sleep(container.pod.labels["paperclip.io/task-id"] === "task-1" ? 3_600_000 : 100);
    } finally {
      counts.live -= 1;
    }
    yield '{"done":true,"ok":true}';
  });
  return counts;
}

export interface Recorded {
  readonly ctx: AdapterExecutionContext;
  readonly result: Promise<AdapterExecutionResult>;
  /** Everything that reached `onLog`, in order. */
  readonly log: { stream: string; chunk: string }[];
  /** The agent's own lines, without the adapter's. */
  output(): string[];
  /** The adapter's own lines. */
  notes(): string[];
  readonly meta: unknown[];
  readonly events: { eventType: string; message?: string | undefined; payload?: unknown }[];
  readonly calls: string[];
  readonly abort: AbortController;
  /** Resolves when a chunk that matches has reached `onLog`. */
  logged(pattern: string | RegExp): Promise<void>;
}

/** As docs/scale.md says, beyond `deploy/rbac.yaml`. */
export const SHARD_RULES: readonly PolicyRule[] = [{ apiGroups: [""], resources: ["pods"], verbs: ["patch"] }];

let runs = 0;

/** Starts one run. Each has a fresh run id unless one is given. */
export function run(
  world: World,
  adapter: ServerAdapterModule,
  options: {
    config?: Record<string, unknown>;
    overrides?: Partial<AdapterExecutionContext>;
    agentId?: string;
    taskId?: string | null;
    sessionId?: string;
    onLog?: AdapterExecutionContext["onLog"];
  } = {},
): Recorded {
  const log: Recorded["log"] = [];
  const meta: unknown[] = [];
  const events: Recorded["events"] = [];
  const calls: string[] = [];
  const abort = new AbortController();
  const waiting = new Set<() => void>();
  const base = contextOf();
  const {
    config = {},
    overrides = {},
    agentId = `agent-${++runs}`,
    taskId = "task-1",
    sessionId = null,
    onLog,
  } = options;
  const ctx: AdapterExecutionContext = {
    ...base,
    runId: `run-${++runs}-${Math.random().toString(36).slice(2, 8)}`,
    agent: { ...base.agent, id: agentId },
    runtime: { ...base.runtime, sessionId },
    config: { kubeconfig: world.kubeconfig, nodeSelector: "{}", tolerations: "[]", apiOutageSec: 1, ...config },
    context: taskId === null ? {} : { taskId },
    authToken: "run-jwt-canary-0001",
    signal: abort.signal,
    onCancellationReady: async () => void calls.push("ready"),
    onDispatch: () => void calls.push("dispatch"),
    onSpawn: async () => void calls.push("spawn"),
    onMeta: async (each) => {
      calls.push("meta");
      meta.push(each);
    },
    onEvent: async (each) => void events.push(each),
    onLog: async (stream, chunk) => {
      log.push({ stream, chunk });
      for (const check of [...waiting]) check();
      await onLog?.(stream, chunk);
    },
    ...overrides,
  };
  const own = (chunk: string) => chunk.startsWith("[paperclip] ");
  return {
    ctx,
    result: adapter.execute(ctx),
    log,
    output: () =>
      log
        .filter(({ chunk }) => !own(chunk))
        .map(({ chunk }) => chunk)
        .join("")
        .split("\n")
        .slice(0, -1),
    notes: () => log.filter(({ chunk }) => own(chunk)).map(({ chunk }) => chunk.trimEnd()),
    meta,
    events,
    calls,
    abort,
    logged: (pattern) =>
      new Promise((resolve) => {
        const check = () => {
          if (!log.some(({ chunk }) => (typeof pattern === "string" ? chunk.includes(pattern) : pattern.test(chunk))))
            return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
  };
}

export function adapterOf(
  world: Pick<World, "env">,
  overrides: Parameters<typeof testDefinition>[0] = {},
  options: ExecuteOptions = {},
): { adapter: ServerAdapterModule; outcomes: Outcome[] } {
  const { definition, outcomes } = testDefinition(overrides);
  return {
    adapter: createK8sAdapter(definition, {
      env: world.env,
      connectTimeoutMs: 3_000,
      lateLinesMs: LATE_LINES_MS,
      ...options,
    }),
    outcomes,
  };
}
