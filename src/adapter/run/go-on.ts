import { findObject, isDeleting, isNotFound, type Job, jobPath, LinkedAbort, type Run } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict } from "../definition.ts";
import { reasonOf } from "../errors.ts";
import { eventTo } from "../host/callbacks.ts";
import { AnnotationKey } from "../job/names.ts";
import type { Restart } from "../job/restart.ts";
import { pause } from "../start/guard.ts";
import { annotate, patchJob } from "../start/job-patch.ts";
import { launchAgain } from "../start/launch-fresh.ts";
import { patiently } from "../start/outage.ts";
import type { RunInput, Started } from "../start/run-input.ts";
import type { Hold } from "./hold.ts";

/** The Job that was disrupted. */
interface Former {
  readonly run: Run;
  readonly started: Started;
  readonly hold: Hold;
  /** Until the run as a whole is over its time. Null: it has no limit. */
  leftMs(): number | null;
}

/**
 * Launches the Job that goes on with a disrupted run. The former Job stands until then and says how the run goes on, for the process
 * that takes over should this one die.
 * @throws as `launchAgain`; the signal's reason; an error when the former Job is another process's, or was deleted by someone
 */
export async function goOn<Config extends BaseConfig, Verdict extends AgentVerdict>(
  input: RunInput<Config, Verdict>,
  former: Former,
  restart: Restart,
  waitMs: number,
): Promise<Started> {
  const { signal, log } = input;
  const { run, started, hold } = former;
  const where = restart.nodes.at(-1) === undefined ? "" : ` on node ${restart.nodes.at(-1)}`;
  const how =
    restart.how === "resume"
      ? `in its session ${restart.sessionId}`
      : restart.sessionId === null
        ? "from its beginning"
        : `with session ${restart.sessionId} from its prompt`;
  const when = waitMs === 0 ? "" : ` in ${Math.ceil(waitMs / 1_000)} s`;
  const text = `Job ${run.jobName} was ended from outside${where} (${restart.reason}): the run goes on ${how}${when}`;
  log.say("stdout", text);
  const payload = {
    jobName: run.jobName,
    reason: restart.reason,
    nodeName: restart.nodes.at(-1),
    attempt: restart.attempt,
  };
  eventTo(input.ctx, input.redactor)("k8s.disrupted", text, payload, "warn");
  const stop = new LinkedAbort([signal, hold.lost]);
  try {
    await mark(input, run, restart, stop.signal);
    await pause(waitMs, stop.signal);
    if (!(await hold.confirm())) throw hold.lost.reason;
    // As a Stop would be: someone wants the run to end.
    if (await isDeleted(input, run, stop.signal)) throw new Error("the Job was deleted meanwhile");
    return await launchAgain(input, started, restart, former.leftMs());
  } finally {
    stop.release();
  }
}

async function isDeleted<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { site: { engine }, patience }: RunInput<Config, Verdict>,
  { namespace, jobName, uid }: Run,
  signal: AbortSignal,
): Promise<boolean> {
  // Not of the cache: a watch may be down or behind.
  const find = () => findObject<Job>(engine.cluster, jobPath(namespace, jobName), signal);
  const job = await patiently(engine, { ...patience, signal, askedAt: performance.now() }, find);
  return job === null || job.metadata.uid !== uid || isDeleting(job);
}

async function mark<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { site, patience, log }: RunInput<Config, Verdict>,
  run: Run,
  restart: Restart,
  signal: AbortSignal,
): Promise<void> {
  const job = run.job();
  if (job === null) return;
  const { cluster } = site.engine;
  const annotation = { [AnnotationKey.nextRestart]: JSON.stringify(restart) };
  const write = () => patchJob(cluster, job.metadata, annotate(job.metadata, annotation), signal);
  try {
    await patiently(site.engine, { ...patience, signal, askedAt: performance.now() }, write);
  } catch (error) {
    signal.throwIfAborted();
    if (isNotFound(error)) throw error;
    log.say("stderr", `Job ${run.jobName} could not be marked for another server to go on with it: ${reasonOf(error)}`);
  }
}
