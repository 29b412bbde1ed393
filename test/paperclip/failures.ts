/** Each kind of failure that an operator may see: how a test makes it, what the host does then, and what ends it. */
import { writeFile } from "node:fs/promises";
import type { ContainerContext, ScriptedProgram } from "../../src/embedded/index.ts";
import { type Agent, init, NAMESPACE, type PaperclipWorld, report, resulted, said } from "./world.ts";

export interface Failure {
  /** As the table in `docs/paperclip.md` has it. */
  readonly what: string;
  /** First word of the issue's title. */
  readonly name: string;
  /** Of the first run, as the host has it. */
  readonly errorCode: string;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly runtimeConfig?: object;
  /** What the agent's container does. Without one the failure comes before the container. */
  readonly program?: ScriptedProgram;
  /** Before there is an agent. Its configuration goes over `config`. */
  arrange?(): Promise<Record<string, unknown>>;
  /** Before the issue is assigned. */
  before?(agent: Agent): Promise<void>;
  /** After the issue was assigned. */
  act?(agent: Agent): Promise<void>;
  /** What an operator does. */
  heal?(agent: Agent): Promise<void>;
  readonly host: HostAnswer;
}

/** What the host does before a person acts. */
export interface HostAnswer {
  /** How often it starts the issue's run in all. */
  readonly runs: number;
  /** Of the issue in the end. */
  readonly status: "in_progress" | "blocked";
  /** A person must say over the API what became of the run before another starts. */
  readonly isHeld?: true;
}

const RETRIES: HostAnswer = { runs: 3, status: "in_progress" };

/** The column of `docs/paperclip.md`. */
export function inWords({ runs, status, isHeld }: HostAnswer): string {
  const again =
    runs === 1 ? "does not try again" : `tries again ${["", "once", "twice", "three times", "four times"][runs - 1]}`;
  return `${again}, then \`${status}\`${isHeld === true ? ", held" : ""}`;
}

/** Prints, then ends with the code. */
const exits = (code: number, ...lines: string[]): ScriptedProgram =>
  async function* () {
    yield init;
    yield* lines;
    return code;
  };

const refused = (text: string, status: number, over: Record<string, unknown> = {}) =>
  exits(1, resulted(text, { is_error: true, api_error_status: status, terminal_reason: "api_error", ...over }));

const ANSWER = said("Working on it");

/** Works until something from outside ends it. Where it has said something it is not begun again from its prompt. */
const ended = (end: (container: ContainerContext) => void, ...lines: string[]): ScriptedProgram =>
  async function* (container) {
    yield init;
    yield* lines;
    end(container);
    await container.sleep(600_000, { interruptible: true });
    return 143;
  };

const MAX_TURNS = exits(1, resulted("", { subtype: "error_max_turns", is_error: true, terminal_reason: "max_turns" }));

export function failures(world: PaperclipWorld): Failure[] {
  const { k8s } = world;
  /** A configuration that is wrong; an operator puts it right. */
  const misconfigured = (config: Record<string, unknown>, right: Record<string, unknown>) => ({
    config,
    heal: (agent: Agent) => world.configure(agent, { ...config, ...right }),
  });
  const busy = Promise.withResolvers<void>();
  world.programs.set("busy", async function* ({ env }) {
    yield init;
    await busy.promise;
    await report(env, { status: "done", comment: "Was busy." });
    yield resulted("Was busy.");
    return 0;
  });
  return [
    {
      what: "a key of the configuration is wrong",
      name: "config",
      errorCode: "k8s_config_invalid",
      ...misconfigured({ tolerations: "gpu" }, { tolerations: "" }),
      host: RETRIES,
    },
    {
      what: "a right is missing",
      name: "forbidden",
      errorCode: "k8s_forbidden",
      async arrange() {
        const token = k8s.addUser({ name: "paperclip", token: "token-without-rights" });
        return { kubeconfig: await world.writeKubeconfig("forbidden", { token }) };
      },
      heal: async () => {
        k8s.addUser({ name: "paperclip", token: "token-without-rights", groups: ["system:masters"] });
      },
      host: RETRIES,
    },
    {
      what: "the API server is away for longer than `apiOutageSec`",
      name: "away",
      errorCode: "k8s_api_unreachable",
      config: { apiOutageSec: 1 },
      async arrange() {
        const file = await world.writeKubeconfig("away");
        const text = JSON.stringify(k8s.kubeconfig).replaceAll(k8s.url, "https://127.0.0.1:1");
        await writeFile(file, text);
        return { kubeconfig: file };
      },
      heal: async () => {
        await world.writeKubeconfig("away");
      },
      host: RETRIES,
    },
    {
      what: "the namespace does not exist",
      name: "namespace",
      errorCode: "k8s_job_create_failed",
      ...misconfigured({ namespace: "nowhere" }, { namespace: NAMESPACE }),
      host: RETRIES,
    },
    {
      what: "the image cannot be pulled",
      name: "image",
      errorCode: "k8s_pod_schedule_failed",
      config: { image: "missing:1", imagePullGraceSec: 1 },
      async arrange() {
        k8s.failImagePull("missing:1");
        return {};
      },
      heal: async () => k8s.images.restore("missing:1"),
      host: RETRIES,
    },
    {
      what: "no node fits",
      name: "unschedulable",
      errorCode: "k8s_pod_schedule_failed",
      ...misconfigured({ nodeSelector: "disk=none", scheduleTimeoutSec: 1 }, { nodeSelector: "" }),
      host: RETRIES,
    },
    {
      what: "the runtime cannot start the container",
      name: "start-error",
      errorCode: "k8s_pod_schedule_failed",
      ...misconfigured({ image: "broken:1" }, { image: "claude:1" }),
      async arrange() {
        k8s.addProgram("broken:1/claude", { kind: "startError" });
        return {};
      },
      host: RETRIES,
    },
    {
      what: "another run of the agent is active (`concurrencyPolicy: block`)",
      name: "second",
      errorCode: "k8s_concurrent_run_blocked",
      config: { concurrencyPolicy: "block" },
      async before(agent) {
        await world.issue("busy first", agent);
        await world.untilPrinted(agent, init);
      },
      heal: async () => busy.resolve(),
      host: RETRIES,
    },
    {
      what: "`claude` is not in the image",
      name: "claude-missing",
      errorCode: "adapter_failed",
      program: exits(127, "sh: 1: exec: claude: not found"),
      host: RETRIES,
    },
    { what: "Claude crashes", name: "crash", errorCode: "adapter_failed", program: exits(1, "boom"), host: RETRIES },
    {
      what: "Claude is out of memory",
      name: "memory",
      errorCode: "claude_truncated",
      program: ended(({ pod, name }) => k8s.oomKill(pod.namespace, pod.name, name), ANSWER),
      host: RETRIES,
    },
    {
      what: "the pod is evicted, and no volume keeps its session",
      name: "evicted",
      errorCode: "claude_truncated",
      program: ended(({ pod }) => k8s.evictPod(pod.namespace, pod.name, "The node was low on memory."), ANSWER),
      host: RETRIES,
    },
    {
      what: "somebody deletes the pod",
      name: "drained",
      errorCode: "claude_truncated",
      program: ended(({ pod }) => k8s.objects.delete("pods", pod.namespace, pod.name), ANSWER),
      host: RETRIES,
    },
    {
      what: "somebody deletes the Job before Claude has answered",
      name: "deleted",
      errorCode: "k8s_job_deleted_externally",
      program: ended(({ pod }) => k8s.objects.delete("jobs", pod.namespace, pod.labels["job-name"] ?? "")),
      host: RETRIES,
    },
    {
      what: "`timeoutSec` is over",
      name: "deadline",
      errorCode: "timeout",
      config: { timeoutSec: 1, graceSec: 1 },
      program: ended(() => undefined),
      host: RETRIES,
    },
    {
      what: "the credential is refused",
      name: "login",
      errorCode: "claude_auth_required",
      program: refused("Invalid API key · Please run /login", 401),
      host: RETRIES,
    },
    {
      what: "the model provider is overloaded or limits the rate",
      name: "overloaded",
      errorCode: "claude_transient_upstream",
      program: refused("API Error: 529 overloaded", 529),
      host: RETRIES,
    },
    {
      what: "the usage limit is reached",
      name: "quota",
      errorCode: "provider_quota",
      program: refused("You've hit your usage limit", 429, { api_error: "usage_limit_reached" }),
      host: RETRIES,
    },
    {
      what: "the model does not exist",
      name: "model",
      errorCode: "model_not_found",
      program: refused("There's an issue with the selected model (claude-none)", 404),
      host: { runs: 1, status: "blocked" },
    },
    {
      what: "`maxTurnsPerRun` is reached in every run",
      name: "turns",
      errorCode: "max_turns_exhausted",
      program: MAX_TURNS,
      host: { runs: 5, status: "in_progress" },
    },
    {
      what: "the same with `maxTurnContinuation.enabled: false`",
      name: "turns-once",
      errorCode: "max_turns_exhausted",
      runtimeConfig: { heartbeat: { maxTurnContinuation: { enabled: false } } },
      program: MAX_TURNS,
      host: { runs: 2, status: "blocked" },
    },
    {
      what: "the session to resume is gone",
      name: "session",
      errorCode: "session_unavailable",
      program: exits(
        1,
        resulted("", {
          subtype: "error_during_execution",
          is_error: true,
          errors: ["No conversation found with session ID: 11111111-2222-3333-4444-555555555555"],
        }),
      ),
      host: RETRIES,
    },
    {
      what: "the limit in dollars is reached",
      name: "budget",
      errorCode: "budget_exhausted",
      program: exits(1, resulted("", { subtype: "error_max_budget_usd", is_error: true })),
      host: { runs: 1, status: "blocked", isHeld: true },
    },
    {
      what: "a person presses Stop",
      name: "stopped",
      errorCode: "cancelled",
      program: ended(() => undefined),
      async act(agent) {
        const run = await world.untilPrinted(agent, init);
        await world.server.api("POST", `/heartbeat-runs/${run.id}/cancel`, {});
      },
      host: { runs: 1, status: "in_progress" },
    },
  ];
}
