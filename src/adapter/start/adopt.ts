import { isNotFound, isRetryable } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict } from "../definition.ts";
import { BootstrapError, reasonOf } from "../errors.ts";
import { eventTo, tell } from "../host/callbacks.ts";
import { workingDirOf } from "../job/manifest.ts";
import { nextRestartOf, restartOf } from "../job/restart.ts";
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
  { definition, ctx, config, site, signal, log, redactor, runLabel, patience }: RunInput<Config, Verdict>,
  { newcomer, owners }: GuardInput,
  { job, isOwnRun, isEnded }: Adoption,
): Promise<Started | null> {
  const { namespace, engine } = site;
  const { name: jobName, uid } = job.metadata;
  const left = readLeftBehind(job);
  const prior = left.runId ?? "unknown";
  const owner = site.ownership.lease?.name ?? null;
  if (!isOwnRun || owner !== null) {
    // An ended one as well: its adopter hands out its result, and that is to happen once.
    if (!isOwnRun && ownerNameOf(job) === null && isJustAdopted(job, engine.cluster.clock.now()))
      throw new AdoptedElsewhereError(jobName);
    try {
      const run = { runId: ctx.runId, runIdLabel: runLabel, sessionId: newcomer.sessionId, owner };
      const write = () => relabel(engine.cluster, job, run, signal);
      if (!(await patiently(engine, { ...patience, askedAt: performance.now() }, write))) return null;
    } catch (error) {
      signal.throwIfAborted();
      // Who could not write its name would hand out the result besides the one who can.
      if (error instanceof AdoptedElsewhereError || isRetryable(error)) throw error;
      // Its owner had sent the deletion, and died: the guard looks again.
      if (isNotFound(error)) return null;
      log.say("stderr", `Job ${jobName} keeps the labels of run ${prior}: ${reasonOf(error)}`);
    }
  }
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
  await tell(
    () =>
      ctx.onMeta?.({
        adapterType: definition.type,
        command: `kubectl job/${jobName}`,
        cwd: left.workingDir ?? workingDirOf(ctx, config),
        commandArgs: [],
        commandNotes: [`Namespace: ${namespace}`, `Reattached to the Job of run ${prior}`, timeoutNote(config)],
        prompt: "",
        context: redactor.value(ctx.context) as Record<string, unknown>,
      }),
    signal,
  );
  const state = isEnded ? "has ended and whose result nobody took" : "is still running";
  log.say("stdout", `Reattaching to Job ${namespace}/${jobName} of run ${prior}, which ${state}`);
  eventTo(ctx, redactor)("k8s.job_adopted", `Reattached to Job ${jobName}`, {
    namespace,
    jobName,
    uid,
    priorRunId: prior,
  });
  return {
    run: engine.attach({ namespace, jobName, uid, policy: policyOf(config) }),
    adopted: true,
    formerRunId: isOwnRun || isEnded ? null : prior,
    owner,
    contestedUntil,
    launchedAt: null,
    sessionId: left.sessionId,
    workingDir: left.workingDir ?? workingDirOf(ctx, config),
    carry: left.carry,
    timeoutSec: job.spec.activeDeadlineSeconds ?? config.timeoutSec,
    restart: restartOf(job),
    next: nextRestartOf(job),
  };
}
