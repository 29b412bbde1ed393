import type { Job } from "../../engine/index.ts";

const MAX_TIMER_MS = 2 ** 31 - 1;

/** Until the Job's deadline, in milliseconds. Null: it has none. @param now by the server's clock, as are the Job's times */
export function timeLeftMs({ spec, status, metadata }: Job, now: number): number | null {
  const limitSec = spec.activeDeadlineSeconds;
  if (limitSec === undefined) return null;
  const began = Date.parse(status.startTime ?? metadata.creationTimestamp);
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
