import type { Job, Run, RunEnd } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { reasonOf } from "../errors.ts";
import { AnnotationKey, LabelKey, secretNameFor } from "../job/names.ts";
import { deleteRunSecret } from "../job/prompt-delivery.ts";
import type { RunLog } from "../run/run-log.ts";
import { processState } from "../start/process-state.ts";
import { markCollected } from "../start/reattach.ts";
import type { Site } from "../start/site.ts";

/** Requests that tidy up do not hold up the result for longer. */
const CLEANUP_TIMEOUT_MS = 10_000;

/** How long a Job that was told to stop may take to go: the pod's grace and some. The host waits 60 s for all of it. */
export const GONE_TIMEOUT_MS = 30_000;

/**
 * Deletes a Job whose agent may still run, and waits until it and its pods are gone. In the foreground: the Job stays until then,
 * so that whoever lists the agent's Jobs sees it.
 * @throws ApiError, RunTimeoutError, the signal's reason
 */
export async function stopJob(run: Run, limits: { signal?: AbortSignal; timeoutMs?: number }): Promise<void> {
  const { signal } = limits;
  await run.delete({ propagationPolicy: "Foreground", ...(signal === undefined ? {} : { signal }) });
  await run.gone(limits);
}

/** What an earlier process began of a run that has not begun here, as far as the cache knows. */
export function earlierTries({ engine, namespace }: Site, runLabel: string): readonly Job[] {
  const { active } = processState();
  return engine.jobs.list(
    ({ metadata }) =>
      metadata.namespace === namespace && metadata.labels?.[LabelKey.runId] === runLabel && !active.has(metadata.uid),
  );
}

/** Stops them all. False when one may go on. Never rejects. */
export async function stopEarlierTries(site: Site, runLabel: string): Promise<boolean> {
  const { engine, namespace } = site;
  const signal = AbortSignal.timeout(GONE_TIMEOUT_MS);
  const stopped = await Promise.allSettled(
    earlierTries(site, runLabel).map(async ({ metadata: { name: jobName, uid } }) => {
      const run = engine.attach({ namespace, jobName, uid });
      try {
        await stopJob(run, { signal });
      } finally {
        run.release();
      }
    }),
  );
  return stopped.every(({ status }) => status === "fulfilled");
}

/** After a run's result was taken: the Job goes, unless it is to be kept or its log could not be read. Never rejects. */
export async function cleanUp(input: {
  run: Run;
  site: Site;
  config: BaseConfig;
  log: RunLog;
  end: Pick<RunEnd, "kind" | "exitCode">;
  isLogLost: boolean;
  isAdopted: boolean;
}): Promise<void> {
  const { run, site, config, log, end, isLogLost, isAdopted } = input;
  const { namespace, jobName, uid } = run;
  const { cluster } = site.engine;
  if (uid !== null) processState().collected.set(uid, true);
  const giveUp = AbortSignal.timeout(CLEANUP_TIMEOUT_MS);
  const job = run.job();
  try {
    if (isLogLost) {
      const command = `kubectl logs -n ${namespace} job/${jobName}`;
      log.say("stderr", `Job ${namespace}/${jobName} is kept: its log was not read to its end (${command})`);
    } else if (config.retainJobs) {
      log.say("stdout", `Job ${namespace}/${jobName} is kept (retainJobs)`);
      await deleteRunSecret(cluster, namespace, secretNameFor(jobName), giveUp);
      if (job !== null && end.kind !== "job_deleted") await markCollected(cluster, job, giveUp);
    } else {
      // An agent that was not seen to end may run on in its pod's grace period: its Job stays until then, for the guard to see.
      const propagationPolicy = end.exitCode === null ? "Foreground" : "Background";
      if (end.kind !== "job_deleted") await run.delete({ propagationPolicy, signal: giveUp });
      // The Secrets of the adapter of old have no owner.
      const isForeign = isAdopted && job?.metadata.annotations?.[AnnotationKey.workingDir] === undefined;
      if (isForeign) await deleteRunSecret(cluster, namespace, secretNameFor(jobName), giveUp);
    }
  } catch (error) {
    log.say("stderr", `Cleaning up after Job ${namespace}/${jobName} failed: ${reasonOf(error)}`);
  }
}
