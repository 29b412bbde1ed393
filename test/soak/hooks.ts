import { seededRandom } from "../../src/embedded/random.ts";
import { run } from "../e2e/support/shell.ts";

/** A container that runs, for what is done to one. */
export interface Subject {
  readonly node: string;
  readonly pod: string;
  readonly container: string;
}

interface Hook {
  readonly variable: string;
  readonly what: string;
  readonly everyMs: number;
  /** What it harms: containers of the whole node, the one it is about, none. */
  readonly harms: "node" | "pod" | "nothing";
}

/** What only the owner of a cluster can do to it: a shell command each. Those that are not set are left out. */
const HOOKS: readonly Hook[] = [
  { variable: "E2E_RESTART_APISERVER", what: "API server restarted", everyMs: 60_000, harms: "nothing" },
  { variable: "E2E_PAUSE_APISERVER", what: "API server paused", everyMs: 50_000, harms: "nothing" },
  { variable: "E2E_EXPIRE_VERSIONS", what: "versions expired", everyMs: 40_000, harms: "nothing" },
  { variable: "E2E_RESTART_KUBELET", what: "kubelet restarted", everyMs: 30_000, harms: "nothing" },
  { variable: "E2E_RESTART_RUNTIME", what: "container runtime restarted", everyMs: 90_000, harms: "node" },
  { variable: "E2E_TAINT_NODE", what: "node tainted NoExecute", everyMs: 120_000, harms: "node" },
  { variable: "E2E_EVICT", what: "pod evicted", everyMs: 20_000, harms: "pod" },
  { variable: "E2E_ROTATE_LOGS", what: "log rotated", everyMs: 15_000, harms: "pod" },
];

export interface HooksOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly kubeconfig: string;
  readonly namespace: string;
  readonly seed: number;
  /** One that runs; null: none does. */
  pick(share: number): Subject | null;
  /** Told before it is done. */
  onHarm(what: string, harms: Hook["harms"], subject: Subject): void;
  onFailure(what: string): void;
}

/** The weather of any cluster: commands that are run now and then, in an order that is the seed's. */
export class Hooks {
  readonly counts: Record<string, number> = {};
  readonly #options: HooksOptions;
  readonly #random: () => number;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #running = new Set<Promise<void>>();
  readonly #ended = new AbortController();

  constructor(options: HooksOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed ^ 0x40045);
  }

  begin(): void {
    for (const hook of HOOKS) {
      const command = this.#options.env[hook.variable]?.trim();
      if (!command) continue;
      this.counts[hook.what] = 0;
      this.#next(hook, command, hook.everyMs * this.#random());
    }
  }

  /** Resolves when what is under way has ended. */
  async end(): Promise<void> {
    this.#ended.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all(this.#running);
  }

  #next(hook: Hook, command: string, inMs: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      const running = this.#strike(hook, command).finally(() => {
        this.#running.delete(running);
        if (!this.#ended.signal.aborted) this.#next(hook, command, hook.everyMs * (0.5 + this.#random()));
      });
      this.#running.add(running);
    }, inMs);
    this.#timers.add(timer);
  }

  async #strike({ what, harms }: Hook, command: string): Promise<void> {
    const { kubeconfig, namespace, pick, onHarm, onFailure } = this.#options;
    const subject = pick(this.#random());
    if (subject === null) return;
    if (harms !== "nothing") onHarm(what, harms, subject);
    const { node, pod, container } = subject;
    const about = { E2E_NODE: node, E2E_POD_NAMESPACE: namespace, E2E_POD: pod, E2E_CONTAINER: container };
    try {
      await run("sh", ["-c", command], { env: { KUBECONFIG: kubeconfig, ...about } });
      this.counts[what] = (this.counts[what] ?? 0) + 1;
    } catch (error) {
      onFailure(`hook ${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
