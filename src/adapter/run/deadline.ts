import type { Job } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";

const MAX_TIMER_MS = 2 ** 31 - 1;

/** The adapter's own limit of a run, behind the Job's `activeDeadlineSeconds`, should that not end it. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;

  /**
   * @param adopted the Job, of a run that an earlier process began
   * @param now by the server's clock, as are the Job's times
   */
  constructor({ timeoutSec, graceSec }: BaseConfig, adopted: Job | null, now: number) {
    const jobLimitSec = adopted?.spec.activeDeadlineSeconds;
    const limitSec = jobLimitSec ?? timeoutSec;
    if (limitSec <= 0) return;
    const began =
      adopted === null || jobLimitSec === undefined
        ? Number.NaN
        : Date.parse(adopted.status.startTime ?? adopted.metadata.creationTimestamp);
    const spentMs = Number.isNaN(began) ? 0 : Math.max(0, now - began);
    const ms = Math.max(1_000, (limitSec + graceSec) * 1000 - spentMs);
    this.#timer = setTimeout(() => this.#controller.abort(new Error("deadline")), Math.min(ms, MAX_TIMER_MS));
    this.#timer.unref();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}
