import type { Run } from "../../engine/index.ts";
import { reasonOf } from "../errors.ts";
import type { RunLog } from "../host/run-log.ts";
import { GONE_TIMEOUT_MS, stopJob } from "../start/stop-job.ts";
import type { Hold } from "./hold.ts";

/** The host waits 60 s for a run that was told to stop: the pod's grace may take most of it. */
const MAX_GONE_TIMEOUT_MS = 50_000;
/** From a pod's last moment to its Job's deletion, as the watch tells it. */
const AFTER_GRACE_MS = 15_000;

/** Deletes Job and pod and waits until they are deleted. False when that cannot be told. */
export async function stopRun(run: Run, log: RunLog, hold: Hold): Promise<boolean> {
  // Jobs of the adapter that this one replaces have 30 s of grace, and a shell as process 1 that uses them up.
  const graceMs = (run.pod()?.spec.terminationGracePeriodSeconds ?? 0) * 1000;
  const ms = Math.min(MAX_GONE_TIMEOUT_MS, Math.max(GONE_TIMEOUT_MS, graceMs + AFTER_GRACE_MS));
  try {
    await stopJob(run, { ms, signal: hold.lost, confirm: () => hold.confirm() });
    return true;
  } catch (error) {
    const job = `${run.namespace}/${run.jobName}`;
    log.say("stderr", `Job ${job} could not be stopped within ${ms / 1000}s: ${reasonOf(error)}`);
    return false;
  }
}
