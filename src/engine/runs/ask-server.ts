import { setTimeout as delay } from "node:timers/promises";
import { listAll } from "../informer/page-request.ts";
import { type Trim, trimJob, trimPod } from "../informer/trim.ts";
import type { Job, Pod } from "../kubernetes.ts";
import { findObject } from "../object-requests.ts";
import { corePath, jobPath } from "../paths.ts";
import { backoffMs } from "../transport/backoff.ts";
import { bounded, type Cluster, isForbidden } from "../transport/index.ts";
import type { Ask } from "./deletion.ts";
import { inOrder } from "./job-of-pod.ts";
import type { RunRecord } from "./run-record.ts";
import { isOf, livePods } from "./run-state.ts";

/** Of all attempts together: a run's end waits for it. */
const ASK_TIMEOUT_MS = 5_000;

/**
 * Asks the server what `what` names, and folds its answers into the record. Where no answer comes in time, the record stays as it is.
 * Resolves with whether it told of the pods.
 */
export async function askServer(
  cluster: Cluster,
  record: RunRecord,
  what: Ask,
  stopped: AbortSignal,
): Promise<boolean> {
  const { namespace, jobName } = record.ref;
  const late = () => new Error(`the server did not tell of Job ${namespace}/${jobName} within ${ASK_TIMEOUT_MS} ms`);
  const ask = (signal: AbortSignal) =>
    Promise.allSettled([
      what.job ? askForJob(cluster, record, signal) : null,
      what.pods ? askForPods(cluster, record, signal) : null,
    ]);
  const answers = await bounded({ signal: [stopped, record.closed], ms: ASK_TIMEOUT_MS, late }, ask).catch(() => null);
  return what.pods && answers?.[1].status === "fulfilled";
}

async function askForJob(cluster: Cluster, record: RunRecord, signal: AbortSignal): Promise<void> {
  const { job: known, jobDeletedAt } = record.state;
  if (known === null) return;
  const { namespace, jobName } = record.ref;
  const job = await get(cluster, jobPath(namespace, jobName), trimJob, signal);
  // The watch has told of the deletion while the request was under way: the answer is older.
  if (record.state.jobDeletedAt !== jobDeletedAt) return;
  const at = performance.now();
  const frame = { resource: "jobs", at, isAnswer: true } as const;
  if (job?.metadata.uid === known.metadata.uid) record.frame({ ...frame, type: "applied", object: job });
  else record.frame({ ...frame, type: "deleted", object: known });
}

async function askForPods(cluster: Cluster, record: RunRecord, signal: AbortSignal): Promise<void> {
  const before = livePods(record.state);
  const listed = await listPods(cluster, record, before, signal);
  const at = performance.now();
  const live = livePods(record.state);
  const isDeletedMeanwhile = ({ metadata: { uid } }: Pod) => before.some(isOf(uid)) && !live.some(isOf(uid));
  for (const object of inOrder(listed.filter((pod) => !isDeletedMeanwhile(pod))))
    record.frame({ resource: "pods", type: "applied", object, at, isAnswer: true });
  // A pod that was created after the list began need not be in it.
  for (const object of before) {
    if (isDeletedMeanwhile(object) || listed.some(isOf(object.metadata.uid))) continue;
    record.frame({ resource: "pods", type: "deleted", object, at, isAnswer: true });
  }
}

/** Who may not list pods may still get those that are known. */
async function listPods(
  cluster: Cluster,
  { ref: { namespace, jobName } }: RunRecord,
  known: readonly Pod[],
  signal: AbortSignal,
): Promise<Pod[]> {
  try {
    const labelSelector = `job-name=${jobName}`;
    return await listAll(cluster, corePath(namespace, "pods"), trimPod, { labelSelector, signal });
  } catch (error) {
    if (!isForbidden(error) || known.length === 0) throw error;
    const got = known.map(({ metadata: { name } }) => get(cluster, corePath(namespace, "pods", name), trimPod, signal));
    return (await Promise.all(got)).filter((pod) => pod !== null);
  }
}

/** What the server says of a Job that is attached to and that the cache does not hold. */
export type Sighting = { job: Job } | { job: null; refusal: Error | null };

/** Asks until it is answered, or `isOpen` says that it need not be. Null then. */
export async function findJob(
  cluster: Cluster,
  { namespace, jobName }: { namespace: string; jobName: string },
  isOpen: () => boolean,
  signal: AbortSignal,
): Promise<Sighting | null> {
  for (let attempt = 0; isOpen(); attempt += 1) {
    try {
      const job = await get(cluster, jobPath(namespace, jobName), trimJob, signal);
      return isOpen() ? (job === null ? { job, refusal: null } : { job }) : null;
    } catch (error) {
      if (isForbidden(error)) return isOpen() ? { job: null, refusal: error as Error } : null;
      await delay(backoffMs(attempt, {}, Math.random()), undefined, { signal, ref: false }).catch(() => undefined);
    }
  }
  return null;
}

/** Null: there is none. */
async function get<T>(cluster: Cluster, path: string, trim: Trim<T>, signal: AbortSignal): Promise<T | null> {
  const found = await findObject<unknown>(cluster, path, signal);
  if (found === null) return null;
  const object = trim(found);
  if (object === null) throw new TypeError(`the answer to GET ${path} is not a Kubernetes object`);
  return object;
}
