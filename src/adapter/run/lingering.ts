import { timer } from "../../engine/index.ts";
import type { AgentActivity } from "../definition.ts";

/**
 * Beyond the longest time that an agent waits for its own background work before it ends it: 10 min of current versions of Claude
 * Code. Older ones have no limit.
 */
const BACKGROUND_MS = 15 * 60_000;

/**
 * The limit of a process that has said its result and does not end, since something that it started holds it. Each piece of output
 * starts the time again, but not without end: what only prints lines is no work. Nothing is silent while the cluster cannot be
 * reached: then the time is not counted.
 */
export class Lingering {
  readonly #controller = new AbortController();
  readonly #graceMs: number;
  readonly #isReachable: () => boolean;
  #timer: NodeJS.Timeout | undefined;
  /** When the agent was last seen to become done. */
  #doneAt: number | null = null;

  constructor(graceMs: number, isReachable: () => boolean) {
    this.#graceMs = graceMs;
    this.#isReachable = isReachable;
  }

  /** Aborts when the process has lingered too long. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Output came, and this is what the agent is at since. */
  after(activity: AgentActivity): void {
    this.stop();
    const now = performance.now();
    this.#doneAt = activity === "done" ? (this.#doneAt ?? now) : null;
    if (activity === "working") return;
    const longestMs = Math.max(this.#graceMs, BACKGROUND_MS);
    const ms = this.#doneAt === null ? longestMs : Math.min(this.#graceMs, this.#doneAt + longestMs - now);
    // In two halves: where this process stood still, the output of that time is read before the second one is over.
    this.#timer = timer(ms / 2, () => {
      this.#timer = timer(ms / 2, () => this.#over(activity));
    });
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #over(activity: AgentActivity): void {
    if (this.#isReachable()) {
      this.#controller.abort(new Error("lingering"));
      return;
    }
    this.#doneAt = null;
    this.after(activity);
  }
}
