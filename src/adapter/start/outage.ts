import { setTimeout as sleep } from "node:timers/promises";
import { ApiError, isNotFound, isRetryable, type RunEngine } from "../../engine/index.ts";
import { BootstrapError, reasonOf } from "../errors.ts";
import { bounded, LateError } from "../wait.ts";

/** How long a run waits for the API server before its agent can start, and who hears of it. */
export interface Patience {
  readonly ms: number;
  readonly signal: AbortSignal;
  /** When the run asked to start, on the monotonic clock: one that waited in line for another's patience does not begin its own. */
  readonly askedAt: number;
  /** A line for the run's log and an event for the host. */
  tell(text: string): void;
}

/** The server was away when it was last asked: all runs of the process know, so that none asks again after its time. */
interface Outage {
  readonly since: number;
  readonly error: unknown;
}

const outages = new WeakMap<RunEngine, Outage>();

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
/** A request fails after its own repetitions: so long before, the server was away already. */
const REPETITIONS_MS = 15_000;

/** The server has answered. */
export function hasAnswered(engine: RunEngine): void {
  outages.delete(engine);
}

/**
 * Repeats `work` while the API server is away, for `patience.ms` at most. What the watches know to be down is waited for by all
 * runs at once (`engine.server`); what they do not know of, as a server that is frozen, is asked again after growing pauses.
 * @throws the first error of `work` once the time is over; any other error of it; the signal's reason
 */
export async function patiently<T>(engine: RunEngine, patience: Patience, work: () => Promise<T>): Promise<T> {
  const { ms, signal, askedAt } = patience;
  let own: Outage | null = null;
  let failedAt = 0;
  for (let tries = 0; ; tries += 1) {
    const known = outages.get(engine);
    if (known !== undefined && leftMs(known) <= 0) throw own?.error ?? known.error;
    const beganAt = performance.now();
    try {
      const result = await work();
      hasAnswered(engine);
      return result;
    } catch (error) {
      signal.throwIfAborted();
      if (!isOutage(error)) throw error;
      const now = performance.now();
      // Another outage, after a long wait for another run. What answers lists and nothing else is one and the same.
      if (own === null || now - failedAt > ms) own = { since: Math.max(beganAt, now - REPETITIONS_MS), error };
      failedAt = now;
      if (!outages.has(engine)) outages.set(engine, own);
      const left = Math.min(leftMs(own), leftMs(outages.get(engine) ?? own));
      if (left <= 0) throw own.error;
      if (own.error === error) patience.tell(waitingText(error, ms));
      await pause(engine, Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tries), left, signal);
    }
  }

  function leftMs({ since }: Outage): number {
    return ms - (performance.now() - Math.max(askedAt, since));
  }
}

export function waitingText(error: unknown, ms: number): string {
  return `The API server is away: waiting for it, ${Math.ceil(ms / 1000)} s at most (apiOutageSec). ${reasonOf(error)}`;
}

/** May the same step succeed once the server is back, and is it certain that no agent of this run has begun? */
function isOutage(error: unknown): boolean {
  if (error instanceof BootstrapError) {
    return error.agent === "never-ran" && error.family !== null && isOutage(error.cause);
  }
  return error instanceof LateError || isRetryable(error) || isProxyPage(error);
}

/** Is it the page of a tunnel or proxy that does not know its cluster for a moment? Kubernetes says what it is that does not exist. */
export function isProxyPage(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404 && !isNotFound(error);
}

async function pause(engine: RunEngine, pauseMs: number, leftMs: number, signal: AbortSignal): Promise<void> {
  const isKnown = engine.server.isDown;
  // The next try says whether the time is over.
  const wait = bounded({ signal, ms: leftMs }, (limited) => engine.server.whenBack(limited));
  await wait.catch((error: unknown) => {
    signal.throwIfAborted();
    if (!(error instanceof LateError)) throw error;
  });
  if (!isKnown) await sleep(Math.min(pauseMs, leftMs), undefined, { signal }).catch(() => signal.throwIfAborted());
}
