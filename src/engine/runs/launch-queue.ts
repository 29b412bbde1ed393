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
  /** Launches that wait for their turn. */
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
  /** Its run has ended. */
  ended(): void;
}

interface Waiting {
  priority: number;
  since: number;
  begin(turn: Turn): void;
}

/**
 * A small API server takes about twenty requests of one client at a time before it refuses some with 429. What is answered makes
 * room for the next, and what is refused keeps its place until its next attempt, so a slow server is asked slowly.
 */
const MAX_CREATING = 10;

/** Brings launches into the order of their priority, and no more of them to the server than it bears. */
export class LaunchQueue {
  readonly #limits: { maxConcurrent: number; createsPerSecond: number; createBurst: number };
  readonly #onChange: () => void;
  /** The next one first. */
  readonly #waiting: Waiting[] = [];
  #creating = 0;
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
  turn(priority: number, signal: AbortSignal): Promise<Turn> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const waiting: Waiting = {
        priority,
        since: performance.now(),
        begin(turn) {
          signal.removeEventListener("abort", onAbort);
          resolve(turn);
        },
      };
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        this.#onChange();
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      const before = this.#waiting.findLastIndex((each) => each.priority >= priority);
      this.#waiting.splice(before + 1, 0, waiting);
      this.#next();
    });
  }

  stats(): QueueStats {
    const now = performance.now();
    return {
      waiting: this.#waiting.length,
      longestWaitMs: this.#waiting.reduce((longest, { since }) => Math.max(longest, now - since), 0),
      creating: this.#creating,
      running: this.#running,
    };
  }
  #next(): void {
    const { maxConcurrent, createsPerSecond, createBurst } = this.#limits;
    const now = performance.now();
    this.#tokens = Math.min(createBurst, this.#tokens + ((now - this.#filledAt) / 1_000) * createsPerSecond);
    this.#filledAt = now;
    clearTimeout(this.#timer);
    while (this.#running < maxConcurrent && this.#creating < MAX_CREATING) {
      if (this.#waiting.length === 0) break;
      if (this.#tokens < 1) {
        this.#timer = setTimeout(() => this.#next(), ((1 - this.#tokens) / createsPerSecond) * 1_000 + 1);
        this.#timer.unref();
        break;
      }
      this.#tokens -= 1;
      this.#waiting.shift()?.begin(this.#turn());
    }
    this.#onChange();
  }

  #turn(): Turn {
    this.#creating += 1;
    this.#running += 1;
    let isCreating = true;
    let isRunning = true;
    const created = () => {
      if (!isCreating) return;
      isCreating = false;
      this.#creating -= 1;
      this.#next();
    };
    const ended = () => {
      if (!isRunning) return;
      isRunning = false;
      this.#running -= 1;
      created();
      this.#next();
    };
    return { created, ended };
  }
}

function check(name: string, value: unknown, least: number): void {
  if (typeof value === "number" && value >= least) return;
  throw new TypeError(
    `${name} must be a number ${least === 1 ? "of at least 1" : "above 0"}, got ${JSON.stringify(value)}`,
  );
}
