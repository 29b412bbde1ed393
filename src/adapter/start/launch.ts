import {
  ApiError,
  isAlreadyExists,
  isAmbiguous,
  isForbidden,
  isNotFound,
  jobPath,
  type Run,
} from "../../engine/index.ts";
import { type AgentState, BootstrapError, reasonOf } from "../errors.ts";
import { isLeaseLoss } from "../host/stop.ts";
import type { RunManifest } from "../job/manifest.ts";
import { LabelKey } from "../job/names.ts";
import { createRunSecret } from "../job/prompt-delivery.ts";
import { settlesWithin } from "../wait.ts";
import type { GuardInput } from "./guard.ts";
import { keepInMind } from "./left-jobs.ts";
import { RivalWatch } from "./rivals.ts";
import { policyOf } from "./site.ts";
import { stopJob } from "./stop-job.ts";

/** How long the pod of a Job that is withdrawn may take to go. It holds no agent: its Secret was never there. */
const WITHDRAW_TIMEOUT_MS = 20_000;

/**
 * Creates the Job, makes sure that it is the agent's only one, and gives it its Secret. Until the last step the agent
 * cannot start.
 *
 * @returns null when a rival was first: the guard has to decide again. A run whose signal aborted on the way comes back as
 * it is, for its session to stop it.
 * @throws BootstrapError; the signal's reason when there is no Job yet
 */
export async function launchRun(guard: GuardInput, manifest: RunManifest, adapterType: string): Promise<Run | null> {
  const { signal, config } = guard;
  const rivals = config.concurrencyPolicy === "parallel" ? null : new RivalWatch(guard, manifest.jobName);
  let run: Run | null = null;
  let isAlone = false;
  try {
    run = await createJob(guard, manifest);
    const before = rivals === null ? [] : await rivals.before(run);
    if (before.length > 0) {
      const names = before.map(({ metadata }) => metadata.name).join(", ");
      guard.say(
        "stdout",
        `Another process has just started this agent (${names}): Job ${manifest.jobName} is withdrawn`,
      );
      await withdraw(guard, run);
      return null;
    }
    isAlone = true;
    await giveSecret(guard, manifest, run, adapterType);
    return run;
  } catch (error) {
    if (run === null) throw error;
    if (signal.aborted) {
      if (!isLeaseLoss(signal) || manifest.secret === null) return run;
      // It cannot go on: no process would give it its Secret, and until it is deleted it blocks the agent.
      await withdraw(guard, run);
      throw signal.reason;
    }
    const isDeleted = await withdraw(guard, run);
    // Without its Secret no agent starts; without a Secret to wait for it may have.
    const mayRun = !isDeleted && (isAlone ? isAmbiguous(error) : manifest.secret === null);
    const agent = mayRun ? "may-run" : "never-ran";
    throw isAlone ? secretFailure(manifest, error, agent) : rivalFailure(manifest, error, agent);
  } finally {
    rivals?.close();
  }
}

async function giveSecret(
  { engine, namespace, signal }: GuardInput,
  { secret, jobName, job }: RunManifest,
  run: Run,
  adapterType: string,
): Promise<void> {
  if (secret === null || run.uid === null) return;
  const runIdLabel = job.metadata.labels[LabelKey.runId] ?? null;
  await createRunSecret(engine.cluster, secret, { namespace, jobName, uid: run.uid, adapterType, runIdLabel }, signal);
  // Until now it was not there because of us, however long the rival watch and the server took.
  run.configProvided();
}

function rivalFailure({ jobName }: RunManifest, error: unknown, agent: AgentState): BootstrapError {
  return new BootstrapError({
    code: "k8s_concurrency_guard_unreachable",
    message: `Whether Job ${jobName} is the agent's only one could not be seen: ${reasonOf(error)}`,
    family: "transient_upstream",
    agent,
    cause: error,
  });
}

function secretFailure({ secret }: RunManifest, error: unknown, agent: AgentState): BootstrapError {
  return new BootstrapError({
    code: "k8s_prompt_secret_create_failed",
    message: `The Secret ${secret?.name ?? ""} of the run could not be created: ${reasonOf(error)}`,
    family: isPermanent(error) ? null : "transient_upstream",
    agent,
    cause: error,
  });
}

async function createJob(guard: GuardInput, { job, jobName, namespace, secret }: RunManifest): Promise<Run> {
  const { engine, signal, config } = guard;
  try {
    return await engine.launch(job, { signal, policy: policyOf(config) });
  } catch (error) {
    const isLost = isAmbiguous(error);
    if (isLost) {
      // It may have been carried out all the same: leave no Job behind that waits for a Secret.
      const deleted = engine.cluster.json({
        method: "DELETE",
        path: jobPath(namespace, jobName),
        query: { propagationPolicy: "Foreground" },
        timeoutMs: 5_000,
      });
      if (!(await isDone(deleted, 5_000))) keepInMind(guard, jobName, null);
    }
    // Without a Secret to wait for, a Job that was created after all runs.
    const mayRun = isLost && secret === null;
    if (!mayRun) signal.throwIfAborted();
    if (isAlreadyExists(error)) {
      throw new BootstrapError({
        code: "k8s_concurrent_run_blocked",
        message: `Job ${jobName} of this very run was created by another process at the same moment.`,
        family: "transient_upstream",
        cause: error,
      });
    }
    throw new BootstrapError({
      code: "k8s_job_create_failed",
      message: `Job ${jobName} could not be created: ${reasonOf(error)}`,
      family: isPermanent(error) ? null : "transient_upstream",
      agent: mayRun ? "may-run" : "never-ran",
      cause: error,
    });
  }
}

/** The same request would fail again. A quota is answered with 403, too; it may have room later. */
function isPermanent(error: unknown): boolean {
  if (!(error instanceof ApiError)) return true;
  if (isForbidden(error) && /quota/i.test(error.message)) return false;
  return (
    error.status >= 400 && error.status < 500 && error.status !== 408 && error.status !== 409 && error.status !== 429
  );
}

/** False when it cannot be told whether Job and pod are deleted. */
async function withdraw(guard: GuardInput, run: Run): Promise<boolean> {
  const isDeleted = await isDone(stopJob(run, { timeoutMs: WITHDRAW_TIMEOUT_MS }), WITHDRAW_TIMEOUT_MS);
  if (!isDeleted) keepInMind(guard, run.jobName, run.uid);
  run.release();
  return isDeleted;
}

/** Whether the deletion was answered in time, with success or with "there is none". */
async function isDone(deletion: Promise<unknown>, ms: number): Promise<boolean> {
  const outcome = deletion.then(() => true, isNotFound);
  return (await settlesWithin(outcome, ms)) && (await outcome);
}
