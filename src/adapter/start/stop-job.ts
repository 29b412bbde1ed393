import type { Run } from "../../engine/index.ts";

/** How long a Job that is stopped may take until it and its pods are deleted: the pod's grace and some. The host waits 60 s. */
export const GONE_TIMEOUT_MS = 30_000;

/**
 * Deletes a Job whose agent may still run, and waits until it and its pods are deleted. In the foreground: the Job stands until
 * then, so that whoever lists the agent's Jobs sees it.
 * @throws ApiError, RunTimeoutError, the signal's reason
 */
export async function stopJob(run: Run, limits: { signal?: AbortSignal; timeoutMs?: number }): Promise<void> {
  const { signal } = limits;
  await run.delete({ propagationPolicy: "Foreground", ...(signal === undefined ? {} : { signal }) });
  await run.gone(limits);
}
