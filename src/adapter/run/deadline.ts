import { timer } from "../../engine/index.ts";
import type { Started } from "../start/run-input.ts";

/** The limit that its process gave the Job, in milliseconds. Null: none. */
export function ownLimitMs({ timeoutSec }: Pick<Started, "timeoutSec">): number | null {
  return timeoutSec > 0 ? timeoutSec * 1_000 : null;
}

/**
 * Until the Job's deadline, in milliseconds; where someone took that off the Job, until the run's own. Null: it has none.
 * @param now by the server's clock, as are the Job's times
 * @param followedMs for so long the Job was followed here
 */
export function timeLeftMs(
  started: Pick<Started, "run" | "timeoutSec">,
  now: number,
  followedMs: number,
): number | null {
  const job = started.run.job();
  const limitSec = job?.spec.activeDeadlineSeconds;
  const ownMs = ownLimitMs(started);
  if (job === null || limitSec === undefined) return ownMs === null ? null : ownMs - followedMs;
  const began = Date.parse(job.status.startTime ?? job.metadata.creationTimestamp);
  return limitSec * 1_000 - (Number.isNaN(began) ? 0 : Math.max(0, now - began));
}

/** The adapter's own limit of a Job, behind its `activeDeadlineSeconds`, should that not end it. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;

  /** @param leftMs until the Job's deadline; null: it has none */
  constructor(leftMs: number | null, graceSec: number) {
    if (leftMs === null) return;
    const ms = Math.max(1_000, leftMs + graceSec * 1000);
    this.#timer = timer(ms, () => this.#controller.abort(new Error("deadline")));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}
