import { randomUUID } from "node:crypto";
import {
  ApiError,
  abortable,
  corePath,
  findObject,
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
import { AnnotationKey, LabelKey } from "../job/names.ts";
import { createRunSecret } from "../job/prompt-delivery.ts";
import { bounded, settlesWithin } from "../wait.ts";
import type { GuardInput } from "./guard.ts";
import { deleteIf, keepInMind } from "./left-jobs.ts";
import { patiently } from "./outage.ts";
import type { RivalWatch } from "./rivals.ts";
import { policyOf } from "./site.ts";
import { stopJob } from "./stop-job.ts";

/** How long the pod of a Job that is withdrawn may take to go. It holds no agent: its Secret was never there. */
const WITHDRAW_TIMEOUT_MS = 20_000;
/** How long a Secret's create that is under way may take yet when the host loses its lease. */
const LAST_CREATE_MS = 2_000;
/** And how long the look for that Secret, should its create not be answered. */
const LAST_LOOK_MS = 5_000;

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
  const secret: SecretState = { mayStand: false };
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
    const give = () => giveSecret(place, manifest, launched, adapterType, secret);
    return { run, owner: await patiently(place.engine, place.patience, give) };
  } catch (error) {
    if (run === null) throw error;
    if (error instanceof TakenOverError) {
      run.release();
      throw error;
    }
    if (signal.aborted) {
      if (!isLeaseLoss(signal) || (await mayHaveSecret(place, manifest, secret))) return { run, owner };
      // It cannot go on: no process would give it its Secret, and until it is deleted it blocks the agent.
      await withdraw(place, run);
      throw signal.reason;
    }
    // Without its Secret no agent starts.
    const mayHaveStarted = await mayHaveSecret(place, manifest, secret);
    const isDeleted = await withdraw(place, run);
    const agent = !isDeleted && secret.mayStand ? "may-run" : mayHaveStarted ? "ended" : "never-ran";
    throw isAlone ? secretFailure(manifest, error, agent) : rivalFailure(manifest, error, agent);
  } finally {
    rivals?.close();
  }
}

/** This process was stopped for so long that another one may have adopted the Job, whose agent it must not start now. */
class TakenOverError extends BootstrapError {
  constructor(jobName: string) {
    const message = `This process did not renew its Lease in time, so that Job ${jobName} may be another's by now; its agent was not started.`;
    super({ code: "k8s_concurrent_run_blocked", message, family: "transient_upstream" });
  }
}

interface SecretState {
  /** A create of it was sent, and was not certainly refused. */
  mayStand: boolean;
}

/** @returns the owner that stands on the Job then */
async function giveSecret(
  { engine, namespace, signal, ownership }: LaunchPlace,
  { secret, jobName, job }: RunManifest,
  { run, owner }: Launched,
  adapterType: string,
  state: SecretState,
): Promise<string | null> {
  const { uid } = run;
  if (uid === null) return owner;
  const confirmed = await ownership.confirm({ name: jobName, uid }, owner);
  if (confirmed === false) throw new TakenOverError(jobName);
  const runIdLabel = job.metadata.labels[LabelKey.runId] ?? null;
  const created = createRunSecret(engine.cluster, secret, { namespace, jobName, uid, adapterType, runIdLabel }, signal);
  const couldStand = state.mayStand;
  state.mayStand = true;
  created.catch((error) => {
    state.mayStand = couldStand || isAmbiguous(error);
  });
  try {
    await abortable(created, signal);
  } catch (error) {
    // The agent may run already, and a lost lease does not stop it. After a Stop the Secret is deleted with its Job.
    if (!isLeaseLoss(signal) || !(await settlesWithin(created, LAST_CREATE_MS))) throw error;
    await created;
  }
  // A variable that refers to it may have been called missing until now.
  run.configProvided();
  return confirmed;
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
  // A tunnel or proxy that does not know its cluster for a moment.
  if (error.status === 404 && !isNotFound(error)) return false;
  return (
    error.status >= 400 && error.status < 500 && error.status !== 408 && error.status !== 409 && error.status !== 429
  );
}

/** The Secret's create may have been carried out without an answer: then the agent runs. */
async function mayHaveSecret(
  { engine, namespace }: LaunchPlace,
  { secret }: RunManifest,
  { mayStand }: SecretState,
): Promise<boolean> {
  if (!mayStand) return false;
  const path = corePath(namespace, "secrets", secret.name);
  return await bounded({ ms: LAST_LOOK_MS }, (signal) => findObject(engine.cluster, path, signal)).then(
    (found) => found !== null,
    () => true,
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
