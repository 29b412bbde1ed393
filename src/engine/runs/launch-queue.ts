import { setTimeout as delay } from "node:timers/promises";
import { CreateSlots } from "./create-slots.ts";

/** How many Jobs an engine creates at a time, and how fast. */
export interface LaunchLimits {
  /** Runs at a time: launched by this engine and not ended. Default: no limit. */
  maxConcurrent?: number | undefined;
  /** Create requests a second, in the long run. Default 200. */
  createsPerSecond?: number | undefined;
  /** Create requests at once after a pause. Default 400. */
  createBurst?: number | undefined;
}

export interface QueueStats {
  /** Launches that wait for their turn, those that the server refused for its load (429) included. */
  waiting: number;
  /** Milliseconds for which the longest of them has waited. */
  longestWaitMs: number;
  /** Create requests that are not answered yet. */
  creating: number;
  /** Launched and not ended. */
  running: number;
}

/** The turn of one launch. Both may be called more than once. */
export interface Turn {
  /** Its create request was answered. */
  created(): void;
  /** It was refused for the server's load: resolves when it may be sent again, `ms` from now at the earliest. @throws the signal's reason */
  refused(ms: number, signal: AbortSignal): Promise<void>;
  /** Its run has ended. */
  ended(): void;
}

interface Waiting {
  priority: number;
  since: number;
  /** Was sent before, and refused. */
  isAgain: boolean;
  begin(): void;
}

/** Brings launches into the order of their priority, and no more of them to the server than it bears. */
export class LaunchQueue {
  readonly #limits: { maxConcurrent: number; createsPerSecond: number; createBurst: number };
  readonly #onChange: () => void;
  /** The next one first. */
  readonly #waiting: Waiting[] = [];
  /** Refused, until they wait for a slot again. */
  #refused = 0;
  readonly #slots = new CreateSlots();
  #running = 0;
  /** Creates that are due now; a token bucket, as in client-go. */
  #tokens: number;
  #filledAt = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /** @throws TypeError naming the bad limit */
  constructor(limits: LaunchLimits, onChange: () => void) {
    const { maxConcurrent = Number.POSITIVE_INFINITY, createsPerSecond = 200, createBurst = 400 } = limits;
    check("maxConcurrent", maxConcurrent, 1);
    check("createsPerSecond", createsPerSecond, Number.MIN_VALUE);
    check("createBurst", createBurst, 1);
    this.#limits = { maxConcurrent, createsPerSecond, createBurst };
    this.#tokens = createBurst;
    this.#onChange = onChange;
  }

  /** Resolves with the launch's turn. Higher priorities come first, equal ones in the order of their calls. @throws the signal's reason */
  async turn(priority: number, signal: AbortSignal): Promise<Turn> {
    await this.#slot(priority, signal, false);
    return this.#turn();
  }

  stats(): QueueStats {
    const now = performance.now();
    return {
      waiting: this.#waiting.length + this.#refused,
      longestWaitMs: this.#waiting.reduce((longest, { since }) => Math.max(longest, now - since), 0),
      creating: this.#slots.taken,
      running: this.#running,
    };
  }

  /** Resolves when one create request may be sent. @throws the signal's reason */
  #slot(priority: number, signal: AbortSignal, isAgain: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const waiting: Waiting = {
        priority,
        since: performance.now(),
        isAgain,
        begin() {
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal.reason);
        this.#next();
      };
      signal.addEventListener("abort", onAbort, { once: true });
      const before = this.#waiting.findLastIndex((each) => each.priority >= priority);
      this.#waiting.splice(before + 1, 0, waiting);
      this.#next();
    });
  }

  #next(): void {
    const { maxConcurrent, createsPerSecond, createBurst } = this.#limits;
    const now = performance.now();
    this.#tokens = Math.min(createBurst, this.#tokens + ((now - this.#filledAt) / 1_000) * createsPerSecond);
    this.#filledAt = now;
    clearTimeout(this.#timer);
    for (let [next] = this.#waiting; next !== undefined; [next] = this.#waiting) {
      const isFree = next.isAgain ? this.#slots.isFreeAgain : this.#slots.isFree && this.#running < maxConcurrent;
      if (!isFree) break;
      if (this.#tokens < 1) {
        this.#timer = setTimeout(() => this.#next(), ((1 - this.#tokens) / createsPerSecond) * 1_000 + 1);
        this.#timer.unref();
        break;
      }
      this.#tokens -= 1;
      this.#slots.take();
      if (!next.isAgain) this.#running += 1;
      this.#waiting.shift();
      next.begin();
    }
    this.#onChange();
  }

  #turn(): Turn {
    let isCreating = true;
    let isRunning = true;
    const created = () => {
      if (!isCreating) return;
      isCreating = false;
      this.#slots.release();
      this.#next();
    };
    const refused = async (ms: number, signal: AbortSignal) => {
      isCreating = false;
      this.#slots.refuse();
      this.#refused += 1;
      this.#next();
      try {
        await delay(ms, undefined, { signal });
      } catch {
        throw signal.reason;
      } finally {
        this.#refused -= 1;
        this.#slots.retry();
      }
      await this.#slot(Number.POSITIVE_INFINITY, signal, true);
      isCreating = true;
    };
    const ended = () => {
      if (!isRunning) return;
      isRunning = false;
      this.#running -= 1;
      created();
      this.#next();
    };
    return { created, refused, ended };
  }
}

function check(name: string, value: unknown, least: number): void {
  if (typeof value === "number" && value >= least) return;
  throw new TypeError(
    `${name} must be a number ${least === 1 ? "of at least 1" : "above 0"}, got ${JSON.stringify(value)}`,
  );
}
