import type { Run, RunEnd } from "../../engine/index.ts";
import type { AgentVerdict } from "../definition.ts";
import type { AgentState } from "../errors.ts";
import type { RunLog } from "../host/run-log.ts";
import type { Started } from "../start/run-input.ts";
import { surelyNeverRan } from "./agent.ts";
import type { OutputReader } from "./follow.ts";
import type { Hold } from "./hold.ts";
import { stopRun } from "./stop-run.ts";

/** The agent of one Job: who reads its output, and what is certain of it. */
export class JobAgent<Verdict extends AgentVerdict> {
  readonly container: string;
  state: AgentState = "may-run";
  /** Null: its output was not read, since it was not seen to run. */
  reader: OutputReader<Verdict> | null = null;
  readonly #run: Run;
  readonly #launchedAt: number | null;
  readonly #hold: Hold;
  readonly #soonestStartMs: number;

  constructor({ run, launchedAt }: Started, container: string, hold: Hold, soonestStartMs: number) {
    this.container = container;
    this.#run = run;
    this.#launchedAt = launchedAt;
    this.#hold = hold;
    this.#soonestStartMs = soonestStartMs;
  }

  /** As far as the Job tells, whatever was read: see `surelyNeverRan`. */
  neverRan(end: RunEnd | null, wasBlind = false): boolean {
    const elapsedMs = this.#launchedAt === null ? Number.POSITIVE_INFINITY : performance.now() - this.#launchedAt;
    const isTooSoon = elapsedMs < this.#soonestStartMs;
    return surelyNeverRan(this.#run, this.container, end, { isTooSoon, wasBlind });
  }

  /** Deletes its Job. @returns whether Job and pod are known to be deleted */
  async delete(log: RunLog): Promise<boolean> {
    const isDeleted = await stopRun(this.#run, log, this.#hold);
    if (isDeleted) await this.reader?.stop();
    return isDeleted;
  }

  /** Deletes its Job, and says what is then certain of it. @returns how it ended, as far as that is known */
  async stop(log: RunLog): Promise<RunEnd | null> {
    const wasBlind = this.#run.unknownSince() !== null;
    const isDeleted = await this.delete(log);
    const end = await this.#run.terminated({ container: this.container, timeoutMs: 500 }).catch(() => null);
    const neverRan = this.reader === null && this.neverRan(end, wasBlind);
    this.state = !isDeleted ? "may-run" : neverRan ? "never-ran" : "ended";
    return end;
  }

  /** Somebody deletes its Job: when that is done, it has ended. */
  endWithJob(): void {
    const ended = () => {
      if (this.state === "may-run") this.state = "ended";
    };
    void this.#run.gone().then(ended, () => undefined);
  }
}
