import { randomUUID } from "node:crypto";
import {
  ApiError,
  isAlreadyExists,
  isAmbiguous,
  isForbidden,
  isNotFound,
  LAUNCH_ID_ANNOTATION,
  type Run,
} from "../../engine/index.ts";
import { type AgentState, BootstrapError, reasonOf } from "../errors.ts";
import { isLeaseLoss } from "../host/stop.ts";
import type { RunManifest } from "../job/manifest.ts";
import { AnnotationKey } from "../job/names.ts";
import { bounded, settlesWithin } from "../wait.ts";
import type { GuardInput } from "./guard.ts";
import { deleteIf, keepInMind } from "./left-jobs.ts";
import { isProxyPage, patiently } from "./outage.ts";
import type { RivalWatch } from "./rivals.ts";
import { SecretDelivery, TakenOverError } from "./secret-delivery.ts";
import { policyOf } from "./site.ts";
import { stopJob } from "./stop-job.ts";

/** How long the pod of a Job that is withdrawn may take to go. It holds no agent: its Secret was never there. */
const WITHDRAW_TIMEOUT_MS = 20_000;

/** Where a Job is launched, and who hears of it. */
export type LaunchPlace = Pick<
  GuardInput,
  "engine" | "namespace" | "newcomer" | "ownership" | "config" | "signal" | "patience" | "say"
>;

/** A Job of this process. */
export interface Launched {
  readonly run: Run;
  /** Name of the Lease that stands on it. */
  readonly owner: string | null;
}

/**
 * Creates the Job, makes sure that it is the agent's only one, and gives it its Secret. Until the last step the agent
 * cannot start.
 *
 * @param watchRivals null: there can be none
 * @returns null when a rival was first: the guard has to decide again. A run whose signal aborted on the way comes back as
 * it is, for its session to stop it.
 * @throws BootstrapError; the signal's reason when there is no Job yet
 */
export async function launchRun(
  place: LaunchPlace,
  manifest: RunManifest,
  adapterType: string,
  watchRivals: (() => RivalWatch) | null,
): Promise<Launched | null> {
  const { signal, ownership } = place;
  await ownership.ensure(signal);
  const owner = ownership.lease?.name ?? null;
  const rivals = watchRivals?.() ?? null;
  let run: Run | null = null;
  let isAlone = false;
  const secret = new SecretDelivery(place, manifest, adapterType);
  try {
    run = await createJob(place, manifest, owner);
    const before = rivals === null ? [] : await rivals.before(run);
    if (before.length > 0) {
      const names = before.map(({ metadata }) => metadata.name).join(", ");
      place.say(
        "stdout",
        `Another process has just started this agent (${names}): Job ${manifest.jobName} is withdrawn`,
      );
      await withdraw(place, run);
      return null;
    }
    isAlone = true;
    const launched = { run, owner };
    return { run, owner: await patiently(place.engine, place.patience, () => secret.give(launched)) };
  } catch (error) {
    if (run === null) throw error;
    if (error instanceof TakenOverError) {
      run.release();
      throw error;
    }
    if (signal.aborted) {
      if (!isLeaseLoss(signal) || (await secret.mayHaveArrived())) return { run, owner };
      // It cannot go on: no process would give it its Secret, and until it is deleted it blocks the agent.
      await withdraw(place, run);
      throw signal.reason;
    }
    // Without its Secret no agent starts.
    const mayHaveStarted = await secret.mayHaveArrived();
    const isDeleted = await withdraw(place, run);
    const agent = !isDeleted && secret.mayStand ? "may-run" : mayHaveStarted ? "ended" : "never-ran";
    throw isAlone ? secretFailure(manifest, error, agent) : rivalFailure(manifest, error, agent);
  } finally {
    rivals?.close();
  }
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
    message: `The Secret ${secret.name} of the run could not be created: ${reasonOf(error)}`,
    family: isPermanent(error) ? null : "transient_upstream",
    agent,
    cause: error,
  });
}

async function createJob(
  place: LaunchPlace,
  { job, jobName, namespace }: RunManifest,
  owner: string | null,
): Promise<Run> {
  const { engine, signal, config, ownership } = place;
  const launchId = randomUUID();
  const marks = { [LAUNCH_ID_ANNOTATION]: launchId, ...(owner === null ? {} : { [AnnotationKey.owner]: owner }) };
  const { metadata } = job;
  const marked = { ...job, metadata: { ...metadata, annotations: { ...metadata.annotations, ...marks } } };
  try {
    return await engine.launch(marked, { signal, policy: policyOf(config) });
  } catch (error) {
    if (isAmbiguous(error)) {
      // It may have been carried out all the same: leave no Job behind that waits for a Secret.
      const deletion = bounded({ ms: 5_000 }, (limited) =>
        deleteIf({ name: jobName, launchId }, { engine, namespace, ownership, signal: limited }, () => true),
      );
      const isAnswered = await deletion.then(
        () => true,
        () => false,
      );
      if (!isAnswered) keepInMind(place, jobName, { launchId });
    }
    signal.throwIfAborted();
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
      cause: error,
    });
  }
}

/** The same request would fail again. A quota is answered with 403, too; it may have room later. */
function isPermanent(error: unknown): boolean {
  if (!(error instanceof ApiError)) return true;
  if (isForbidden(error) && /quota/i.test(error.message)) return false;
  if (isProxyPage(error)) return false;
  return (
    error.status >= 400 && error.status < 500 && error.status !== 408 && error.status !== 409 && error.status !== 429
  );
}

/** False when it cannot be told whether Job and pod are deleted. */
async function withdraw(place: LaunchPlace, run: Run): Promise<boolean> {
  const isDeleted = await isDone(stopJob(run, { ms: WITHDRAW_TIMEOUT_MS }), WITHDRAW_TIMEOUT_MS);
  if (!isDeleted && run.uid !== null) keepInMind(place, run.jobName, { uid: run.uid });
  run.release();
  return isDeleted;
}

/** Whether the deletion was answered in time, with success or with "there is none". */
async function isDone(deletion: Promise<unknown>, ms: number): Promise<boolean> {
  const outcome = deletion.then(() => true, isNotFound);
  return (await settlesWithin(outcome, ms)) && (await outcome);
}
