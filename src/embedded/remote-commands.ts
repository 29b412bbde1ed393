import type { EmbeddedKubernetes } from "./embedded-kubernetes.ts";
import type { ActiveFault } from "./faults/rule-set.ts";

export interface RemoteAnswer {
  id: unknown;
  result?: unknown;
  error?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: arguments come from another process; the methods check them
type Command = (...args: any[]) => unknown;

/** Runs commands from another process: the methods of `faults`, `restart`, counts, users. */
export class RemoteCommands {
  readonly #commands = new Map<string, Command>();
  readonly #active = new Map<number, ActiveFault>();
  #lastHandle = 0;

  constructor(k8s: EmbeddedKubernetes, stop: () => Promise<void>) {
    const add = (name: string, command: Command) => this.#commands.set(name, command);
    const addMethods = (prefix: string, target: object, methods: readonly string[]) => {
      for (const method of methods) {
        const call: unknown = (target as Record<string, unknown>)[method];
        if (typeof call === "function") add(`${prefix}${method}`, call.bind(target) as Command);
      }
    };
    for (const [prefix, target] of Object.entries({ faults: k8s.faults, nodes: k8s.nodes, images: k8s.images })) {
      const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(target));
      addMethods(
        `${prefix}.`,
        target,
        methods.filter((method) => method !== "constructor"),
      );
    }
    addMethods("", k8s, ["addUser", "evictPod", "failImagePull", "oomKill", "restart", "rotateLogs"]);
    addMethods("", k8s.authorization, ["addToken", "expireToken", "revoke", "setRules"]);
    addMethods("", k8s.objects, ["get", "list"]);
    add("remove", (handle: number) => {
      const fault = this.#active.get(handle);
      this.#active.delete(handle);
      fault?.remove();
      return fault !== undefined;
    });
    add("hits", (handle: number) => this.#active.get(handle)?.hits);
    add("requests", () => k8s.requests.snapshot());
    add("requests.reset", () => k8s.requests.reset());
    add("counts", () => ({
      jobs: k8s.objects.list("jobs").length,
      pods: k8s.objects.list("pods").length,
      secrets: k8s.objects.list("secrets").length,
      watches: k8s.openWatches,
      logs: k8s.openLogs,
    }));
    add("memory", () => process.memoryUsage());
    add("stop", () => void setImmediate(stop));
  }

  async runLine(line: string): Promise<RemoteAnswer> {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      return { id: null, error: `a command must be a line of JSON, got ${line.slice(0, 100)}` };
    }
    return this.run(message);
  }

  /** Answers every message. Never rejects. */
  async run(message: unknown): Promise<RemoteAnswer> {
    const { id = null, method, args = [] } = (message ?? {}) as { id?: unknown; method?: unknown; args?: unknown };
    const command = typeof method === "string" ? this.#commands.get(method) : undefined;
    if (command === undefined || !Array.isArray(args)) {
      const known = [...this.#commands.keys()].join(", ");
      return {
        id,
        error: `unknown command ${JSON.stringify(method)}; give {"id", "method", "args": […]} with one of: ${known}`,
      };
    }
    try {
      return { id, result: this.#toJson(await command(...args)) };
    } catch (error) {
      return { id, error: error instanceof Error ? error.message : String(error) };
    }
  }

  /** A fault that goes on is kept here, and named by a handle for `remove`. */
  #toJson(result: unknown): unknown {
    if (typeof result !== "object" || result === null || !("remove" in result)) return result;
    const handle = ++this.#lastHandle;
    this.#active.set(handle, result as ActiveFault);
    return { handle };
  }
}
