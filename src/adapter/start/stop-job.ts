import { type DeleteOptions, lacksRight, type Run } from "../../engine/index.ts";
import { bounded, LateError } from "../wait.ts";
import { type Again, type Confirm, repeated } from "./repeated.ts";

/** How long a Job that is stopped may take until it and its pods are deleted: the pod's grace and some. The host waits 60 s. */
export const GONE_TIMEOUT_MS = 30_000;

/**
 * Deletes a Job whose agent may still run, and waits until it and its pods are deleted. In the foreground: the Job stands until
 * then, so that whoever lists the agent's Jobs sees it.
 * @throws ApiError, the signal's reason, an error when the time is over
 */
export async function stopJob(
  run: Run,
  { signal, ms, confirm }: { signal?: AbortSignal | undefined; ms: number; confirm?: Confirm },
): Promise<void> {
  let refusal: unknown = null;
  // Whoever refuses, as a proxy whose login has run out: as long as the agent may run, only a right that is missing is final.
  const isFinal = (error: unknown) => {
    refusal = error;
    return lacksRight(error);
  };
  const late = () => (refusal instanceof Error ? refusal : new LateError(ms));
  await bounded({ signal, ms, late }, async (limited) => {
    await deleteAgain(run, { propagationPolicy: "Foreground", signal: limited }, { isFinal, confirm });
    refusal = null;
    await run.gone({ signal: limited });
  });
}

/** @throws ApiError once it is final, the signal aborts, or the Job is another process's */
export async function deleteAgain(
  run: Run,
  options: DeleteOptions & { signal: AbortSignal },
  again: Omit<Again, "signal">,
): Promise<void> {
  await repeated(() => run.delete(options), { signal: options.signal, ...again });
}
