import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import {
  type Cluster,
  type Job,
  jobFacts,
  jobPath,
  listEvents,
  podFacts,
  type Run,
  type StartFailure,
} from "../../engine/index.ts";
import { failed } from "../host/evidence.ts";
import { saysSecretIsLate } from "../job/names.ts";
import { cannotStart } from "./agent.ts";

const MAX_EVENTS = 5;
const EVENTS_TIMEOUT_MS = 5_000;

/** Why the agent's container never ran: the kubelet's words, then what the cluster's events say of its pod (or its Job). */
export async function explainStartFailure(
  cluster: Cluster,
  run: Run,
  failure: StartFailure,
  signal: AbortSignal,
): Promise<string> {
  const subject = failure.podName === null ? `Job ${run.jobName}` : `Pod ${failure.podName}`;
  const where = failure.container === null ? "" : `, container ${failure.container}`;
  const exit = failure.exitCode === null ? "" : ` (exit code ${failure.exitCode})`;
  const words = [failure.reason, failure.message].filter(Boolean).join(": ");
  const all = await eventsOf(cluster, run, signal);
  // It passed, unless it is what the pod waits for.
  const isOfMount = failure.code === "volume" || failure.code === "container_config";
  const events = isOfMount ? all : all.filter((text) => !saysSecretIsLate(text, run.jobName));
  return `${subject} could not start${where}: ${words || failure.code}${exit}${events.length === 0 ? "" : `. Events: ${events.join("; ")}`}`;
}

/** One list, only now that something failed; a cluster that does not let us look is no reason to fail differently. */
async function eventsOf(cluster: Cluster, run: Run, signal: AbortSignal): Promise<string[]> {
  const uid = run.pod()?.metadata.uid ?? run.uid;
  if (uid === null) return [];
  try {
    const limits = { timeoutMs: EVENTS_TIMEOUT_MS, signal };
    const events = await listEvents(cluster, run.namespace, `involvedObject.uid=${uid}`, limits);
    const texts = events
      .filter(({ type }) => type === "Warning")
      .map(
        ({ reason, message, count }) => `${reason || "?"}: ${message.trim()}${count > 1 ? ` (${count} times)` : ""}`,
      );
    return [...new Set(texts)].slice(-MAX_EVENTS);
  } catch {
    return [];
  }
}

/** May the same run start later without anyone changing something? */
function isTransientStart({ code, reason }: StartFailure): boolean {
  if (reason === "InvalidImageName" || reason === "ErrImageNeverPull") return false;
  return code === "image_pull" || code === "unschedulable" || code === "volume" || code === "start_timeout";
}

/** Of a run whose pod was never seen: does the server say that the Job stands and has had none? */
export async function countsNoPod(cluster: Cluster, { namespace, jobName, uid }: Run): Promise<boolean> {
  try {
    const job = await cluster.json<Job>({ path: jobPath(namespace, jobName), timeoutMs: 5_000 });
    return job.metadata.uid === uid && jobFacts(job).podsCounted === 0;
  } catch {
    return false;
  }
}

/** Will no pod of the run start any more? One that has ended may be kept; one that still tries might start an unheard agent. */
export function hasStartEnded(run: Run, container: string): boolean {
  const job = run.job();
  const pod = run.pod();
  return (
    (job !== null && jobFacts(job).end?.havePodsEnded === true) ||
    (pod !== null && (podFacts(pod).hasEnded || cannotStart(pod, container)))
  );
}

/** The host's result of a run that could not start, but for what is certain of its agent. */
export function startFailedResult(why: string, failure: StartFailure, adopted: boolean): AdapterExecutionResult {
  if (failure.code === "deadline") return { ...failed(why, "timeout"), timedOut: true };
  const result = failed(why, adopted ? "k8s_pod_reattach_failed" : "k8s_pod_schedule_failed");
  return isTransientStart(failure) ? { ...result, errorFamily: "transient_upstream" } : result;
}
