import { setTimeout as delay } from "node:timers/promises";
import { type CpuSample, serve, stopwatch } from "../harness/child.ts";
import { heapMethods } from "../harness/heap.ts";
import { messageMethods } from "../harness/messages.ts";
import { openRunner, type Runner, type RunnerOptions, type RunTimes } from "../peers/runners.ts";

/** One contestant that runs Jobs, in a process of its own. */

export interface RunsOptions {
  count: number;
  /** All are started within so many milliseconds. */
  rampMs: number;
  /** Virtual milliseconds; each run takes between the two. Null: until the server releases it. */
  runMs: readonly [from: number, to: number] | null;
  lineMs?: number;
  /** Names differ from all other calls'. */
  prefix: string;
  /** One after the other. */
  inSequence?: boolean;
  /** No more than so many wait for their container at any time. */
  startingAtOnce?: number;
}

export interface RunsResult extends CpuSample {
  times: RunTimes[];
  errors: string[];
  /** Resident set at its highest, in bytes. */
  peakBytes: number;
}

let runner: Runner | null = null;
let namespace = "";

async function run({
  count,
  rampMs,
  runMs,
  lineMs,
  prefix,
  inSequence = false,
  startingAtOnce = 10_000,
}: RunsOptions): Promise<RunsResult> {
  const open = runner;
  if (open === null) throw new Error("not open");
  const times: RunTimes[] = [];
  const errors: string[] = [];
  const stop = stopwatch();
  const starts = new Starts(startingAtOnce);
  const one = async (index: number) => {
    if (!inSequence) await delay((rampMs * index) / count);
    await starts.turn();
    const [from, to] = runMs ?? [0, 0];
    const ms = runMs === null ? null : Math.round(from + ((index * 0.618_034) % 1) * (to - from));
    const plan = { jobName: `${prefix}-${index}`, namespace, runMs: ms, ...(lineMs === undefined ? {} : { lineMs }) };
    await open
      .run(plan, () => starts.done())
      .then(
        (each) => times.push(each),
        (error: unknown) => errors.push(error instanceof Error ? error.message : String(error)),
      );
  };
  if (inSequence) for (let index = 0; index < count; index += 1) await one(index);
  else await Promise.all(Array.from({ length: count }, (_, index) => one(index)));
  return { ...stop(), times, errors, peakBytes: process.resourceUsage().maxRSS * 1024 };
}

/** Lets so many go at once, in the order in which they came. */
class Starts {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  async turn(): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  done(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

serve({
  ...heapMethods(),
  ...messageMethods(),
  open: async (options: RunnerOptions) => {
    namespace = options.endpoint.namespace;
    runner = await openRunner(options);
  },
  run,
  stats: () => runner?.stats() ?? null,
  cpuMs: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
  rssBytes: () => process.memoryUsage().rss,
  close: async () => await runner?.stop(),
});
