import { setTimeout as sleep } from "node:timers/promises";
import { type DeleteOptions, isForbidden, isUnauthorized, type Run } from "../../engine/index.ts";
import { bounded } from "../wait.ts";

/** How long a Job that is stopped may take until it and its pods are deleted: the pod's grace and some. The host waits 60 s. */
export const GONE_TIMEOUT_MS = 30_000;

const AGAIN_MS = 1_000;

/**
 * Deletes a Job whose agent may still run, and waits until it and its pods are deleted. In the foreground: the Job stands until
 * then, so that whoever lists the agent's Jobs sees it.
 * @throws ApiError, the signal's reason, an error when the time is over
 */
export async function stopJob(
  run: Run,
  { signal, ms }: { signal?: AbortSignal | undefined; ms: number },
): Promise<void> {
  await bounded({ signal, ms }, async (limited) => {
    await deleteAgain(run, { propagationPolicy: "Foreground", signal: limited });
    await run.gone({ signal: limited });
  });
}

/**
 * Sends the deletion until it is answered with success or refused for want of a right. A proxy before the API server may answer
 * with anything for a while, also with what looks like Kubernetes' own.
 * @throws ApiError 401, 403; the signal's reason
 */
export async function deleteAgain(run: Run, options: DeleteOptions & { signal: AbortSignal }): Promise<void> {
  const { signal } = options;
  while (true) {
    try {
      return await run.delete(options);
    } catch (error) {
      if (isForbidden(error) || isUnauthorized(error)) throw error;
      await sleep(AGAIN_MS, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) throw error;
    }
  }
}
