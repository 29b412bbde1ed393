import { isForbidden, isStrayAnswer, type Job, type Run, type RunEnd } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { type AgentState, reasonOf } from "../errors.ts";
import type { RunLog } from "../host/run-log.ts";
import { AnnotationKey, LabelKey, secretNameFor } from "../job/names.ts";
import { deleteRunSecret } from "../job/prompt-delivery.ts";
import { annotate, patchJob } from "../start/job-patch.ts";
import { ownerNameOf } from "../start/ownership.ts";
import { processState } from "../start/process-state.ts";
import { type Confirm, repeated } from "../start/repeated.ts";
import type { Site } from "../start/site.ts";
import { deleteAgain, GONE_TIMEOUT_MS, stopJob } from "../start/stop-job.ts";
import { bounded } from "../wait.ts";

/** Requests that tidy up do not hold up the result for longer. */
const CLEANUP_TIMEOUT_MS = 10_000;

function isFinal(error: unknown): boolean {
  return isForbidden(error) || !isStrayAnswer(error);
}

/** What an earlier process began of a run that has not begun here, as far as the cache knows. */
export function earlierTries({ engine, namespace }: Site, runLabel: string): readonly Job[] {
  const { active } = processState();
  return engine.jobs.list(
    ({ metadata }) =>
      metadata.namespace === namespace && metadata.labels?.[LabelKey.runId] === runLabel && !active.has(metadata.uid),
  );
}

/** Stops them all, but what another process owns that lives. @returns what is then certain of this run's agent. Never rejects. */
export async function stopEarlierTries(site: Site, runLabel: string): Promise<AgentState> {
  const { engine, namespace, ownership } = site;
  const tries = earlierTries(site, runLabel);
  if (tries.length === 0) return "never-ran";
  const stopped = await Promise.allSettled(
    tries.map(async (job) => {
      const { name: jobName, uid } = job.metadata;
      const owner = ownerNameOf(job);
      const state =
        owner === null ? null : await bounded({ ms: GONE_TIMEOUT_MS }, (signal) => ownership.stateOf(owner, signal));
      if (owner !== null && !ownership.isHere(owner) && state?.state !== "over")
        throw new Error("another server follows it");
      const run = engine.attach({ namespace, jobName, uid });
      try {
        await stopJob(run, { ms: GONE_TIMEOUT_MS });
      } finally {
        run.release();
      }
    }),
  );
  return stopped.every(({ status }) => status === "fulfilled") ? "ended" : "may-run";
}

/**
 * After a run's result was taken: the Job goes, unless it is to be kept or its log could not be read. Never rejects.
 * @returns false when it could be neither deleted nor marked, so that a server that takes it over would hand out the result again
 */
export async function cleanUp(input: {
  run: Run;
  site: Site;
  config: BaseConfig;
  log: RunLog;
  end: Pick<RunEnd, "kind" | "exitCode">;
  /** By its result, not by its container. */
  hasFailed: boolean;
  isLogLost: boolean;
  isAdopted: boolean;
  confirm: Confirm;
}): Promise<boolean> {
  const { run, site, config, log, end, hasFailed, isLogLost, isAdopted, confirm } = input;
  const { namespace, jobName, uid } = run;
  const { cluster } = site.engine;
  const { collected } = processState();
  if (uid !== null) collected.set(uid, "handed out");
  const job = run.job();
  /** This Job's, or one without an owner, as the former adapter makes them. */
  const deleteSecret = (signal: AbortSignal) =>
    deleteRunSecret(cluster, { namespace, name: secretNameFor(jobName) }, signal, ({ metadata }) =>
      (metadata.ownerReferences ?? []).every((owner) => owner.uid === uid),
    );
  const isRetained = config.retainJobs === true || (config.retainJobs === "failed" && hasFailed);
  /** Its result was taken: no later run shall take it again. */
  const markCollected = async (signal: AbortSignal) => {
    if (job === null || end.kind === "job_deleted") return;
    const at = { [AnnotationKey.collectedAt]: new Date(cluster.clock.now()).toISOString() };
    const mark = () => patchJob(cluster, job.metadata, annotate(job.metadata, at), signal);
    try {
      await repeated(mark, { signal, isFinal, confirm });
    } catch (error) {
      // Without the mark an ended Job whose agent exited with 0 is collected; where all Jobs are retained none is.
      if (config.retainJobs === true || end.exitCode !== 0) throw error;
      log.say("stderr", `It cannot be marked as collected, so it is deleted: ${reasonOf(error)}`);
      await deleteAgain(run, { propagationPolicy: "Background", signal }, { confirm });
    }
  };
  const tidy = async (signal: AbortSignal) => {
    if (isLogLost || isRetained) {
      const command = `kubectl logs -n ${namespace} job/${jobName}`;
      const why = isLogLost ? `: its log was not read to its end (${command})` : " (retainJobs)";
      log.say(isLogLost ? "stderr" : "stdout", `Job ${namespace}/${jobName} is kept${why}`);
      // Its output may still be had: by hand, or by the next run of the task in another server.
      if (isLogLost) return;
      // Neither is to be missed since the other fails.
      const [unmarked, secret] = await Promise.allSettled([
        markCollected(signal),
        repeated(() => deleteSecret(signal), { signal, isFinal }),
      ]);
      for (const each of [unmarked, secret]) if (each.status === "rejected") throw each.reason;
      return;
    }
    // An agent that was not seen to end may run on in its pod's grace period: its Job stays until then, for the guard to see.
    const propagationPolicy = end.exitCode === null ? "Foreground" : "Background";
    if (end.kind !== "job_deleted") await deleteAgain(run, { propagationPolicy, signal }, { confirm });
    // The Secrets of the adapter that this one replaces have no owner.
    const isForeign = isAdopted && job?.metadata.annotations?.[AnnotationKey.workingDir] === undefined;
    if (isForeign) await deleteSecret(signal);
  };
  try {
    await bounded({ ms: CLEANUP_TIMEOUT_MS }, tidy);
    return true;
  } catch (error) {
    if (uid !== null && !isLogLost && !isRetained && end.kind !== "job_deleted") collected.set(uid, "undeleted");
    log.say("stderr", `Cleaning up after Job ${namespace}/${jobName} failed: ${reasonOf(error)}`);
    return false;
  }
}
