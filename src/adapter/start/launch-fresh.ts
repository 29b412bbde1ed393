import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict } from "../definition.ts";
import { eventTo, tell } from "../host/callbacks.ts";
import type { Restart } from "../job/restart.ts";
import { workingDirOf } from "../job/working-dir.ts";
import type { GuardInput } from "./guard.ts";
import { type Launched, type LaunchPlace, launchRun } from "./launch.ts";
import { type JobPurpose, prepareJob } from "./prepare-job.ts";
import { RivalWatch } from "./rivals.ts";
import { newcomerOf, type RunInput, type Started } from "./run-input.ts";

/**
 * Builds the first Job of a run and launches it.
 * @returns null when a rival was first: the guard has to decide again
 * @throws as `launchRun` and `prepareJob`
 */
export async function launchFresh<Config extends BaseConfig, Verdict extends AgentVerdict>(
  input: RunInput<Config, Verdict>,
  guard: GuardInput,
  sessionId: string | null,
): Promise<Started | null> {
  const { ctx, config, signal, definition } = input;
  const { timeoutSec } = config;
  const purpose = { sessionId, workingDir: workingDirOf(ctx, config), timeoutSec, restart: null };
  const { manifest, prepared } = await prepareJob(input, purpose);
  await tell(() => ctx.onDispatch?.(), signal);
  const launchedAt = performance.now();
  const isParallel = config.concurrencyPolicy === "parallel";
  const rivals = isParallel ? null : () => new RivalWatch(guard, manifest.jobName);
  const launched = await launchRun(guard, manifest, definition.type, rivals);
  return launched === null ? null : startedOf(input, launched, { ...purpose, launchedAt, carry: prepared.carry });
}

/**
 * Launches the Job that goes on with a disrupted run. Without the guard: the Job before stands, is this process's, and keeps every
 * other run of the agent waiting.
 * @param leftMs until the run as a whole is over its time; null: it has no limit
 * @throws as `launchRun` and `prepareJob`
 */
export async function launchAgain<Config extends BaseConfig, Verdict extends AgentVerdict>(
  input: RunInput<Config, Verdict>,
  { workingDir }: Pick<Started, "workingDir">,
  restart: Restart,
  leftMs: number | null,
): Promise<Started> {
  const { definition, site, config, signal, log } = input;
  const { sessionId } = restart;
  const timeoutSec = leftMs === null ? 0 : Math.max(1, Math.ceil(leftMs / 1_000));
  const purpose = { sessionId, workingDir, timeoutSec, restart };
  const { manifest, prepared } = await prepareJob(input, purpose);
  const place: LaunchPlace = {
    engine: site.engine,
    namespace: site.namespace,
    newcomer: newcomerOf(input, sessionId),
    ownership: site.ownership,
    config,
    signal,
    patience: { ...input.patience, askedAt: performance.now() },
    say: (stream, text) => log.say(stream, text),
  };
  const launchedAt = performance.now();
  const launched = await launchRun(place, manifest, definition.type, null);
  if (launched === null) throw new TypeError("a Job without rivals was withdrawn");
  return startedOf(input, launched, { ...purpose, launchedAt, carry: prepared.carry });
}

function startedOf<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { ctx, site, log, redactor }: RunInput<Config, Verdict>,
  { run, owner }: Launched,
  { launchedAt, carry = {}, ...purpose }: JobPurpose & { launchedAt: number; carry: Started["carry"] | undefined },
): Started {
  const { namespace, image } = site;
  const { jobName, uid } = run;
  const deadline = purpose.timeoutSec > 0 ? `${purpose.timeoutSec}s` : "none";
  log.say("stdout", `Created Job ${namespace}/${jobName} (image ${image}, deadline ${deadline})`);
  eventTo(ctx, redactor)("k8s.job_created", `Created Job ${jobName}`, { namespace, jobName, uid });
  return {
    run,
    adopted: false,
    formerRunId: null,
    owner,
    contestedUntil: null,
    launchedAt,
    carry,
    next: null,
    ...purpose,
  };
}
