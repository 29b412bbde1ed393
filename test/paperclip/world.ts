import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { EmbeddedKubernetes, type ScriptedProgram } from "../../src/embedded/index.ts";
import { PaperclipServer } from "./server.ts";

export const NAMESPACE = "agents";
export const ADAPTER = "claude_k8s";
export const PACKAGE = join(import.meta.dirname, "../..");

export interface Issue {
  id: string;
  identifier: string;
  title: string;
  status: string;
  executionBlocker?: { cause?: string; recoveryActionId?: string; runId?: string } | null;
}

export interface HostRun {
  id: string;
  status: string;
  errorCode: string | null;
  error: string | null;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  resultJson: Record<string, unknown> | null;
  sessionIdAfter?: string | null;
  contextSnapshot?: { issueId?: string; wakeReason?: string } | null;
}

export interface Agent {
  id: string;
  name: string;
}

/** One server, one embedded cluster, one company: what an operator has after the README's steps. */
export class PaperclipWorld {
  readonly server: PaperclipServer;
  readonly k8s: EmbeddedKubernetes;
  readonly company: string;
  /** Of its issues' names, and of its pages' paths. */
  readonly prefix: string;
  readonly directory: string;
  readonly kubeconfig: string;
  /** What `claude` does for an issue, by the first word of its title. */
  readonly programs = new Map<string, ScriptedProgram>();

  private constructor(
    server: PaperclipServer,
    k8s: EmbeddedKubernetes,
    company: { id: string; issuePrefix: string },
    directory: string,
    kubeconfig: string,
  ) {
    this.server = server;
    this.k8s = k8s;
    this.company = company.id;
    this.prefix = company.issuePrefix;
    this.directory = directory;
    this.kubeconfig = kubeconfig;
  }

  static async start(): Promise<PaperclipWorld> {
    const directory = await mkdtemp(join(tmpdir(), "paperclip-"));
    const k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: [NAMESPACE] });
    const kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: NAMESPACE });
    await chmodForServer(directory, kubeconfig);
    const server = await PaperclipServer.start(join(directory, "home"), {});
    const company = await server.api<{ id: string; issuePrefix: string }>("POST", "/companies", { name: "Acme" });
    const world = new PaperclipWorld(server, k8s, company, directory, kubeconfig);
    k8s.addProgram("claude", (container) => world.#claude(container));
    return world;
  }

  async stop(): Promise<void> {
    await this.server.kill("SIGTERM");
    await this.k8s.stop();
    await rm(this.directory, { recursive: true, force: true });
  }

  async installFolder(): Promise<void> {
    await this.server.api("POST", "/adapters/install", { packageName: PACKAGE, isLocalPath: true });
  }

  config(overrides: Record<string, unknown> = {}): Record<string, unknown> {
    return {
      kubeconfig: this.kubeconfig,
      namespace: NAMESPACE,
      image: "claude:1",
      env: { ANTHROPIC_API_KEY: { type: "plain", value: "sk-ant-canary-0001" } },
      ...overrides,
    };
  }

  agent(name: string, config: Record<string, unknown> = {}, runtimeConfig: object = {}): Promise<Agent> {
    return this.server.api<Agent>("POST", `/companies/${this.company}/agents`, {
      name,
      role: "engineer",
      adapterType: ADAPTER,
      adapterConfig: this.config(config),
      runtimeConfig,
    });
  }

  /** Changes the agent's configuration, as its form does. */
  async configure(agent: Agent, config: Record<string, unknown>): Promise<void> {
    await this.server.api("PATCH", `/agents/${agent.id}`, { adapterConfig: this.config(config) });
  }

  /** Another kubeconfig of the same cluster, which the server may read. */
  async writeKubeconfig(name: string, options: { token?: string } = {}): Promise<string> {
    const file = join(this.directory, `kubeconfig-${name}`);
    await this.k8s.writeKubeconfig(file, { namespace: NAMESPACE, ...options });
    await chmod(file, 0o644);
    return file;
  }

  /** Assigning an issue is what starts a run. */
  issue(title: string, agent: Agent): Promise<Issue> {
    return this.server.api<Issue>("POST", `/companies/${this.company}/issues`, {
      title,
      status: "todo",
      assigneeAgentId: agent.id,
    });
  }

  comment(issue: Issue, body: string): Promise<unknown> {
    return this.server.api("POST", `/issues/${issue.id}/comments`, { body });
  }

  async comments(issue: Issue): Promise<string[]> {
    const found = await this.server.api<{ body: string }[]>("GET", `/issues/${issue.id}/comments`);
    return found.map(({ body }) => body);
  }

  /** As an operator does over the API: the run that the host holds the issue for has ended, and did nothing. */
  async liftHold({ id, executionBlocker }: Issue): Promise<void> {
    await this.server.api("POST", `/issues/${id}/recovery-actions/resolve`, {
      actionId: executionBlocker?.recoveryActionId,
      outcome: "restored",
      sourceIssueStatus: "todo",
      executionReconciliation: {
        runId: executionBlocker?.runId,
        providerStopped: true,
        actionOutcome: "mixed",
        outcomeEvidence: "The Job and its pod are deleted, as kubectl get jobs,pods shows.",
      },
    });
  }

  see(issue: Issue): Promise<Issue> {
    return this.server.api<Issue>("GET", `/issues/${issue.id}`);
  }

  /** The agent's runs, the oldest first. */
  async runs(agent: Agent): Promise<HostRun[]> {
    const path = `/companies/${this.company}/heartbeat-runs?agentId=${agent.id}&limit=200`;
    const found = await this.server.api<HostRun[]>("GET", path);
    return found.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  }

  run(id: string): Promise<HostRun> {
    return this.server.api<HostRun>("GET", `/heartbeat-runs/${id}`);
  }

  /** What the adapter has delivered so far; "" before its first line. */
  async log(run: HostRun): Promise<string> {
    const path = `/heartbeat-runs/${run.id}/log?limitBytes=900000`;
    const { status, json } = await this.server.answer<{ content: string }>("GET", path);
    if (status === 404) return "";
    // What stands behind the last newline is being written.
    return json.content
      .split("\n")
      .slice(0, -1)
      .map((line) => (JSON.parse(line) as { chunk: string }).chunk)
      .join("");
  }

  /** Asks the server until `take` has an answer: it has no event that a test could await. */
  async until<T>(what: string, take: () => Promise<T | null | undefined | false>, ms = 120_000): Promise<T> {
    const end = performance.now() + ms;
    for (;;) {
      const taken = await take();
      if (taken !== null && taken !== undefined && taken !== false) return taken;
      if (performance.now() > end) throw new Error(`${what}: not within ${ms} ms`);
      await delay(250);
    }
  }

  untilStatus(issue: Issue, status: string, ms?: number): Promise<Issue> {
    return this.until(
      `issue "${issue.title}" to be ${status}`,
      async () => {
        const seen = await this.see(issue);
        return seen.status === status ? seen : null;
      },
      ms,
    );
  }

  /** The agent's first run, once its log has the line. */
  untilPrinted(agent: Agent, line: string): Promise<HostRun> {
    return this.until(`${agent.name} to print`, async () => {
      const [first] = await this.runs(agent);
      return first?.status === "running" && (await this.log(first)).includes(line) ? first : null;
    });
  }

  /** The nth run (from 1) of an agent, once it has ended. */
  untilEnded(agent: Agent, nth: number, ms?: number): Promise<HostRun> {
    return this.until(
      `run ${nth} of ${agent.name} to end`,
      async () => {
        const run = (await this.runs(agent))[nth - 1];
        return run !== undefined && run.status !== "queued" && run.status !== "running" ? await this.run(run.id) : null;
      },
      ms,
    );
  }

  async *#claude(container: Parameters<ScriptedProgram>[0]): AsyncGenerator<string, number, undefined> {
    // Without an issue it is the environment test's probe: a script for a real shell, on a machine without Claude.
    if (container.env.PAPERCLIP_TASK_ID === undefined) {
      yield* await shellOutput(container);
      return 0;
    }
    const title = await titleOf(container.env);
    const program = this.programs.get(title.split(" ")[0] ?? "") ?? doneProgram;
    const output = program(container);
    if (!(Symbol.asyncIterator in output)) return (await output) ?? 0;
    for (;;) {
      const { value, done } = await output.next();
      if (done) return value ?? 0;
      yield value as string;
    }
  }
}

export const SESSION = "11111111-2222-3333-4444-555555555555";
export const init = JSON.stringify({
  type: "system",
  subtype: "init",
  session_id: SESSION,
  model: "claude-scripted",
  tools: [],
});

export function said(text: string): string {
  const usage = { input_tokens: 10, output_tokens: 20 };
  const message = { id: "msg_1", role: "assistant", stop_reason: "end_turn", usage, content: [{ type: "text", text }] };
  return JSON.stringify({ type: "assistant", session_id: SESSION, message });
}

export function resulted(text: string, over: Record<string, unknown> = {}): string {
  return JSON.stringify({
    type: "result",
    subtype: "success",
    is_error: false,
    num_turns: 3,
    duration_ms: 1_000,
    total_cost_usd: 0.25,
    session_id: SESSION,
    result: text,
    usage: { input_tokens: 100, output_tokens: 200 },
    terminal_reason: "completed",
    ...over,
  });
}

/** What an agent does: it reports over the API with the key that it was given, then prints its result. */
export const doneProgram: ScriptedProgram = async function* ({ env }) {
  yield init;
  yield said("Working on it");
  await report(env, { status: "done", comment: "Finished the work." });
  yield resulted("Finished the work.");
  return 0;
};

/** @throws Error with the server's answer: it stands in the container's output then. */
export async function report(env: Readonly<Record<string, string>>, change: object): Promise<void> {
  await asAgent(env, "PATCH", `/api/issues/${env.PAPERCLIP_TASK_ID}`, change);
}

async function shellOutput({ command, env }: Parameters<ScriptedProgram>[0]): Promise<string[]> {
  const [file = "", ...args] = command;
  const path = (process.env.PATH ?? "").split(":").filter((folder) => !existsSync(join(folder, "claude")));
  const options = { env: { ...env, PATH: path.join(":"), HOME: tmpdir() } };
  const { stdout } = await promisify(execFile)(file, args, options);
  return stdout.trim().split("\n");
}

async function titleOf(env: Readonly<Record<string, string>>): Promise<string> {
  const issue = (await asAgent(env, "GET", `/api/issues/${env.PAPERCLIP_TASK_ID}`)) as Issue;
  return issue.title;
}

async function asAgent(
  env: Readonly<Record<string, string>>,
  method: string,
  path: string,
  body?: object,
): Promise<unknown> {
  const answer = await fetch(`${env.PAPERCLIP_API_URL}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${env.PAPERCLIP_API_KEY}`,
      "x-paperclip-run-id": env.PAPERCLIP_RUN_ID ?? "",
      "content-type": "application/json",
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

async function chmodForServer(directory: string, file: string): Promise<void> {
  await chmod(directory, 0o755);
  await chmod(file, 0o644);
}
