/** A scripted Claude for a run that is disrupted: one script for each Job that the run has, and what each was started with. */

import { KubeConfig } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll } from "vitest";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import type { ExecuteOptions } from "../../../src/adapter/run/execute.ts";
import { claudeDefinition } from "../../../src/claude/definition.ts";
import type { ContainerContext } from "../../../src/embedded/index.ts";
import { Cluster } from "../../../src/engine/index.ts";
import { LATE_LINES_MS, NAMESPACE, objectsOf, type Recorded, run, startWorld, type World } from "../adapter/world.ts";
import type { Victim } from "../disruptions.ts";

export const SESSION = "11111111-2222-4333-8444-555555555555";

export const init = (id = SESSION) =>
  JSON.stringify({ type: "system", subtype: "init", session_id: id, model: "claude-x" });
let messages = 0;
export const said = (text: string) =>
  JSON.stringify({
    type: "assistant",
    session_id: SESSION,
    message: { id: `msg_${++messages}`, content: [{ type: "text", text }], usage: { output_tokens: 4 } },
  });
export const toolUse = (command: string) =>
  JSON.stringify({
    type: "assistant",
    session_id: SESSION,
    message: { id: `msg_${++messages}`, content: [{ type: "tool_use", id: "t1", name: "Bash", input: { command } }] },
  });
export const background = (...ids: string[]) =>
  JSON.stringify({ type: "system", subtype: "background_tasks_changed", tasks: ids.map((task_id) => ({ task_id })) });
/** Costs half a dollar. */
export const result = (text: string, turns = 1) =>
  JSON.stringify({
    ...{ type: "result", subtype: "success", is_error: false, session_id: SESSION, num_turns: turns, result: text },
    total_cost_usd: 0.5,
    model_usage_since_last_result: { "claude-x": { inputTokens: 10, outputTokens: 20, costUSD: 0.5 } },
  });

export interface Start {
  readonly jobName: string;
  readonly nodeName: string;
  readonly command: string;
  readonly prompt: string;
}

export interface Agent {
  readonly id: string;
  /** What each of its processes was started with, in order. */
  readonly starts: Start[];
  /** How many ran at once at most. */
  most: number;
  /** Resolves when the lines of so many processes have been printed. */
  printed(count: number): Promise<void>;
}

/** @param printed what it has to say has been said */
export type Script = (container: ContainerContext, printed: () => void) => AsyncGenerator<string, number | undefined>;

/** Prints the lines and then works until it is ended. */
export function printsAndWorks(...lines: string[]): Script {
  return async function* (container, printed) {
    yield* lines;
    printed();
    await container.sleep(1e9);
    return 0;
  };
}

export function printsAndEnds(...lines: string[]): Script {
  return async function* () {
    yield* lines;
    return 0;
  };
}

export class InterruptedWorld {
  #world: World | null = null;
  /** Of an admin. */
  #cluster: Cluster | null = null;
  readonly #scripts = new Map<string, Script[]>();
  readonly #agents = new Map<string, Agent>();
  readonly #printed = new Map<string, (index: number) => void>();
  readonly #live = new Map<string, number>();
  #nodes = 0;

  /** One world for the tests of the file that calls this: it is started before the first of them and stopped after the last. */
  static ofThisFile(): InterruptedWorld {
    const cluster = new InterruptedWorld();
    beforeAll(() => cluster.#start());
    afterEach(() => cluster.#renewNodes());
    afterAll(() => cluster.stop());
    return cluster;
  }

  static async start(): Promise<InterruptedWorld> {
    const cluster = new InterruptedWorld();
    await cluster.#start();
    return cluster;
  }

  private constructor() {}

  get world(): World {
    if (this.#world === null) throw new Error("the world is started before the first test");
    return this.#world;
  }

  async #start(): Promise<void> {
    const nodes = ["n1", "n2", "n3"].map((name) => ({ name }));
    const world = await startWorld({ nodes, overcommit: false });
    this.#world = world;
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(JSON.stringify(world.k8s.kubeconfigFor({ namespace: NAMESPACE })));
    this.#cluster = new Cluster({ kubeConfig });
    const play = (container: ContainerContext) => this.#play(container);
    world.k8s.addProgram("claude", play);
  }

  async stop(): Promise<void> {
    await this.#cluster?.close();
    await this.#world?.stop();
  }

  /** A new agent: one script a process; the last one goes on for all further. */
  agent(...scripts: Script[]): Agent {
    const id = `cut-${this.#agents.size + 1}`;
    const printed: PromiseWithResolvers<void>[] = [];
    const ofProcess = (index: number) => {
      printed[index] ??= Promise.withResolvers();
      return printed[index];
    };
    this.#printed.set(id, (index) => ofProcess(index).resolve());
    const agent: Agent = { id, starts: [], most: 0, printed: (count) => ofProcess(count - 1).promise };
    this.#agents.set(id, agent);
    this.#scripts.set(id, scripts);
    return agent;
  }

  execute(agent: Agent, options: Parameters<typeof run>[2] = {}, times: ExecuteOptions = {}): Recorded {
    const { config, overrides, ...rest } = options;
    const adapter = createK8sAdapter(claudeDefinition(), {
      env: this.world.env,
      connectTimeoutMs: 3_000,
      lateLinesMs: LATE_LINES_MS,
      ...times,
    });
    return run(this.world, adapter, {
      ...rest,
      agentId: agent.id,
      config: { image: "claude:1", promptTemplate: "Do the work.", paperclipRuntimeSkills: [], ...config },
      ...(overrides === undefined ? {} : { overrides }),
    });
  }

  jobs(agent: Agent) {
    return objectsOf(this.world, "jobs", agent.id);
  }

  pods(agent: Agent) {
    return objectsOf(this.world, "pods", agent.id);
  }

  isRunning(agent: Agent): boolean {
    return this.#running(agent).length === 1;
  }

  #running(agent: Agent) {
    return this.pods(agent).filter(
      ({ metadata, status }) =>
        metadata.deletionTimestamp === undefined && (status as { phase?: string }).phase === "Running",
    );
  }

  /** The agent's pod that runs now. */
  victim(agent: Agent): Victim {
    const pods = this.#running(agent);
    const [pod] = pods;
    if (pod === undefined || pods.length > 1) throw new Error(`${pods.length} pods of ${agent.id} run`);
    const { nodeName } = pod.spec as { nodeName: string };
    const { k8s } = this.world;
    return { k8s, cluster: this.#cluster as Cluster, namespace: NAMESPACE, podName: pod.metadata.name, nodeName };
  }

  /** Nodes that a disruption has taken are replaced. */
  #renewNodes(): void {
    const { k8s } = this.world;
    for (const { metadata, spec } of k8s.objects.list("nodes")) {
      if ((spec as { taints?: unknown[] } | undefined)?.taints !== undefined) k8s.nodes.remove(metadata.name);
    }
    while (k8s.nodes.names().length < 3) k8s.nodes.add({ name: `new-${++this.#nodes}` });
  }

  async *#play(container: ContainerContext): AsyncGenerator<string, number | undefined> {
    const id = container.pod.labels["paperclip.io/agent-id"] ?? "";
    const agent = this.#agents.get(id);
    const scripts = this.#scripts.get(id) ?? [];
    const script = scripts[Math.min(agent?.starts.length ?? 0, scripts.length - 1)];
    if (agent === undefined || script === undefined) throw new Error(`no script for agent ${id}`);
    const index = agent.starts.length;
    agent.starts.push({
      jobName: container.pod.labels["batch.kubernetes.io/job-name"] ?? "",
      nodeName: container.pod.nodeName,
      command: container.command.join(" "),
      prompt: container.files.readText("/tmp/prompt/prompt.txt"),
    });
    const live = (this.#live.get(id) ?? 0) + 1;
    this.#live.set(id, live);
    agent.most = Math.max(agent.most, live);
    try {
      return yield* script(container, () => this.#printed.get(id)?.(index));
    } finally {
      this.#live.set(id, (this.#live.get(id) ?? 1) - 1);
    }
  }
}
