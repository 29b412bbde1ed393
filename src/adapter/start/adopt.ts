import { isNotFound, isRetryable, type Job } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict } from "../definition.ts";
import { BootstrapError, reasonOf } from "../errors.ts";
import { eventTo, tell } from "../host/callbacks.ts";
import { nextRestartOf, restartOf } from "../job/restart.ts";
import { workingDirOf } from "../job/working-dir.ts";
import type { GuardInput } from "./guard.ts";
import { CONFIRM_MS } from "./lease-verdict.ts";
import type { Adoption } from "./orphans.ts";
import { patiently } from "./outage.ts";
import { ownerNameOf } from "./ownership.ts";
import { AdoptedElsewhereError, isJustAdopted, readLeftBehind, relabel } from "./reattach.ts";
import { type RunInput, type Started, timeoutNote } from "./run-input.ts";
import { policyOf } from "./site.ts";

/**
 * Takes over a run that an earlier process left behind.
 * @returns null when its Job was deleted meanwhile
 * @throws BootstrapError, ApiError; the signal's reason
 */
export async function adopt<Config extends BaseConfig, Verdict extends AgentVerdict>(
  input: RunInput<Config, Verdict>,
  { newcomer, owners }: GuardInput,
  { job, isOwnRun, isEnded }: Adoption,
): Promise<Started | null> {
  const { ctx, config, site, signal } = input;
  const { namespace, engine } = site;
  const { name: jobName, uid } = job.metadata;
  const left = readLeftBehind(job);
  const prior = left.runId ?? "unknown";
  const workingDir = left.workingDir ?? workingDirOf(ctx, config);
  const owner = site.ownership.lease?.name ?? null;
  const isToBeWritten = !isOwnRun || owner !== null;
  if (isToBeWritten && !(await takeOver(input, job, { prior, isOwnRun, sessionId: newcomer.sessionId }))) return null;
  const former = owners.get(ownerNameOf(job) ?? "");
  const isContested = former?.state === "over" && former.mayBeUnheard === true;
  const contestedUntil = isContested ? performance.now() + CONFIRM_MS : null;
  try {
    await engine.claim({ namespace, jobName, uid }, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw new BootstrapError({
      code: "k8s_pod_reattach_failed",
      message: `Job ${jobName} could not be moved to this process's shard, so nobody would see it end: ${reasonOf(error)}`,
      family: "transient_upstream",
      cause: error,
    });
  }
  await tellAdoption(input, job, { prior, workingDir, isEnded });
  return {
    run: engine.attach({ namespace, jobName, uid, policy: policyOf(config) }),
    adopted: true,
    formerRunId: isOwnRun || isEnded ? null : prior,
    owner,
    contestedUntil,
    launchedAt: null,
    sessionId: left.sessionId,
    workingDir,
    carry: left.carry,
    timeoutSec: job.spec.activeDeadlineSeconds ?? config.timeoutSec,
    restart: restartOf(job),
    next: nextRestartOf(job),
  };
}

/**
 * Writes this run and its owner on the Job: that of one that has ended, too, since its result is to be handed out once.
 * @returns false when the Job was deleted meanwhile
 */
async function takeOver<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { ctx, site, signal, log, runLabel, patience }: RunInput<Config, Verdict>,
  job: Job,
  { prior, isOwnRun, sessionId }: { prior: string; isOwnRun: boolean; sessionId: string | null },
): Promise<boolean> {
  const { engine, ownership } = site;
  const { name: jobName } = job.metadata;
  if (!isOwnRun && ownerNameOf(job) === null && isJustAdopted(job, engine.cluster.clock.now()))
    throw new AdoptedElsewhereError(jobName);
  const run = { runId: ctx.runId, runIdLabel: runLabel, sessionId, owner: ownership.lease?.name ?? null };
  try {
    const write = () => relabel(engine.cluster, job, run, signal);
    return await patiently(engine, { ...patience, askedAt: performance.now() }, write);
  } catch (error) {
    signal.throwIfAborted();
    // A process that cannot write its name would hand out the result, and so would the one that can.
    if (error instanceof AdoptedElsewhereError || isRetryable(error)) throw error;
    // Its owner had sent the deletion, and died: the guard looks again.
    if (isNotFound(error)) return false;
    log.say("stderr", `Job ${jobName} keeps the labels of run ${prior}: ${reasonOf(error)}`);
    return true;
  }
}

/** Tells the host, and the run's log, whose Job this run goes on with. */
async function tellAdoption<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { definition, ctx, config, site, signal, log, redactor }: RunInput<Config, Verdict>,
  job: Job,
  { prior, workingDir, isEnded }: { prior: string; workingDir: string; isEnded: boolean },
): Promise<void> {
  const { namespace } = site;
  const { name: jobName, uid } = job.metadata;
  await tell(
    () =>
      ctx.onMeta?.({
        adapterType: definition.type,
        command: `kubectl job/${jobName}`,
        cwd: workingDir,
        commandArgs: [],
        commandNotes: [`Namespace: ${namespace}`, `Reattached to the Job of run ${prior}`, timeoutNote(config)],
        prompt: "",
        context: redactor.value(ctx.context) as Record<string, unknown>,
      }),
    signal,
  );
  const state = isEnded ? "has ended and whose result nobody took" : "is still running";
  log.say("stdout", `Reattaching to Job ${namespace}/${jobName} of run ${prior}, which ${state}`);
  const payload = { namespace, jobName, uid, priorRunId: prior };
  eventTo(ctx, redactor)("k8s.job_adopted", `Reattached to Job ${jobName}`, payload);
}
