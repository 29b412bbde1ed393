import { isConflict, isNotFound, type Job, jobPath, type Pod, type RunEngine } from "../engine/index.ts";
import { AnnotationKey, LabelKey, secretNameFor } from "./names.ts";
import { processState } from "./process-state.ts";
import { secretsPath } from "./prompt-delivery.ts";

export interface SweepInput {
  readonly engine: RunEngine;
  readonly namespace: string;
  readonly adapterType: string;
  readonly signal: AbortSignal;
  /** A line for the run's log. */
  say(text: string): void;
}

const SWEEP_EVERY_MS = 5 * 60_000;
/**
 * Far longer than any process takes to give its Job the Secret, all repetitions of the request included. The server's clock made
 * the time; a few minutes of difference to ours do not matter.
 */
const LEFT_AGE_MS = 15 * 60_000;

/**
 * Ends what processes left behind that died between two requests: Jobs without their Secret, Secrets of the adapter of old
 * without their Job. At most every five minutes per namespace, whatever the number of runs.
 *
 * @throws ApiError
 */
export async function sweep(input: SweepInput): Promise<void> {
  const { engine, namespace, adapterType } = input;
  const { swept } = processState();
  const key = JSON.stringify([engine.cluster.server, namespace, adapterType]);
  const last = swept.get(key);
  if (last !== undefined && performance.now() - last < SWEEP_EVERY_MS) return;
  swept.set(key, performance.now());
  await sweepHalfCreatedJobs(input);
  await sweepOrphanedSecrets(input);
}

/**
 * Jobs whose process died before it created their Secret. Their agent can never start, while the pod holds its node's room for
 * ever, unless the agent runs again. Found in the cache, made sure of at the server; nothing is deleted that has been changed
 * since (adopted, for one).
 */
async function sweepHalfCreatedJobs({ engine, namespace, signal, say }: SweepInput): Promise<void> {
  const { active } = processState();
  // Once for all Jobs: there may be thousands of either.
  const begun = new Set(
    engine.pods
      .list((pod) => !hasStartedNothing(pod))
      .flatMap(({ metadata }) => metadata.ownerReferences?.map(({ uid }) => uid) ?? []),
  );
  const found = engine.jobs.list(
    (job) =>
      job.metadata.namespace === namespace &&
      !active.has(job.metadata.uid) &&
      !begun.has(job.metadata.uid) &&
      mayBeHalfCreated(job),
  );
  for (const { metadata } of found) {
    const { name, uid } = metadata;
    const path = jobPath(namespace, name);
    const secret = secretNameFor(name);
    try {
      const job = await engine.cluster.json<FullJob>({ path, signal });
      const { resourceVersion } = job.metadata;
      if (job.metadata.uid !== uid || !isUnfinished(job) || !needsSecret(job, secret)) continue;
      if (await exists(engine, `${secretsPath(namespace)}/${encodeURIComponent(secret)}`, signal)) continue;
      const body = {
        apiVersion: "v1",
        kind: "DeleteOptions",
        propagationPolicy: "Foreground",
        preconditions: { uid, resourceVersion },
      };
      await engine.cluster.json({ method: "DELETE", path, body, signal });
      say(`Deleted Job ${name}: its process ended before it created Secret ${secret}, so its agent could never start`);
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
  }
}

/** As far as the Job itself says. */
function mayBeHalfCreated(job: Job): boolean {
  const { metadata } = job;
  if (metadata.deletionTimestamp !== undefined || !isOld(metadata.creationTimestamp)) return false;
  // The adapter of old creates the Secret first.
  if (metadata.annotations?.[AnnotationKey.workingDir] === undefined) return false;
  return isUnfinished(job);
}

/** One that is kept has lost its Secret after its end. */
function isUnfinished({ status = {} }: Pick<Partial<Job>, "status">): boolean {
  const { conditions = [], succeeded = 0, failed = 0 } = status;
  return succeeded + failed === 0 && !conditions.some((each) => each.status === "True");
}

function hasStartedNothing({ status }: Pod): boolean {
  return (status.containerStatuses ?? []).every(
    ({ state, lastState, restartCount }) =>
      state?.running === undefined &&
      state?.terminated === undefined &&
      lastState?.terminated === undefined &&
      restartCount === 0,
  );
}

interface FullJob {
  readonly metadata: { readonly uid: string; readonly resourceVersion: string };
  readonly status?: Job["status"];
  readonly spec?: {
    readonly template?: {
      readonly spec?: {
        readonly volumes?: readonly { readonly secret?: { readonly secretName?: string } }[];
        readonly containers?: readonly {
          readonly env?: readonly { readonly valueFrom?: { readonly secretKeyRef?: { readonly name?: string } } }[];
        }[];
      };
    };
  };
}

function needsSecret({ spec }: FullJob, name: string): boolean {
  const { volumes = [], containers = [] } = spec?.template?.spec ?? {};
  return (
    volumes.some(({ secret }) => secret?.secretName === name) ||
    containers.some(({ env = [] }) => env.some(({ valueFrom }) => valueFrom?.secretKeyRef?.name === name))
  );
}

async function exists(engine: RunEngine, path: string, signal: AbortSignal): Promise<boolean> {
  try {
    await engine.cluster.json({ path, signal });
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

interface ListedSecret {
  metadata: {
    name: string;
    uid: string;
    resourceVersion: string;
    creationTimestamp: string;
    ownerReferences?: unknown[];
  };
}

/**
 * Run Secrets that the adapter of old left behind: without owner, without Job. The precondition on the version makes sure that it
 * is still the one that was looked at.
 */
async function sweepOrphanedSecrets({ engine, namespace, adapterType, signal }: SweepInput): Promise<void> {
  const { cluster } = engine;
  let next: string | undefined;
  do {
    const page = await cluster.json<{ items?: ListedSecret[]; metadata?: { continue?: string } }>({
      path: secretsPath(namespace),
      query: {
        labelSelector: `${LabelKey.managedBy}=paperclip,${LabelKey.adapterType}=${adapterType}`,
        limit: 100,
        continue: next,
      },
      signal,
    });
    for (const { metadata } of page.items ?? []) {
      if (!isOrphan(metadata) || !(await hasNoJob(metadata.name, engine, namespace, signal))) continue;
      const { name, uid, resourceVersion } = metadata;
      const body = { apiVersion: "v1", kind: "DeleteOptions", preconditions: { uid, resourceVersion } };
      try {
        await cluster.json({
          method: "DELETE",
          path: `${secretsPath(namespace)}/${encodeURIComponent(name)}`,
          body,
          signal,
        });
      } catch (error) {
        // Changed or gone in the meantime: then it is not ours to delete.
        if (!isConflict(error) && !isNotFound(error)) throw error;
      }
    }
    next = page.metadata?.continue || undefined;
  } while (next !== undefined);
}

function isOrphan({ name, creationTimestamp, ownerReferences = [] }: ListedSecret["metadata"]): boolean {
  return ownerReferences.length === 0 && name.endsWith("-prompt") && isOld(creationTimestamp);
}

function isOld(creationTimestamp: string): boolean {
  return Date.now() - Date.parse(creationTimestamp) >= LEFT_AGE_MS;
}

/** The cache knows the Jobs of this shard; the server is asked before a Secret goes. */
async function hasNoJob(
  secretName: string,
  engine: RunEngine,
  namespace: string,
  signal: AbortSignal,
): Promise<boolean> {
  const jobName = secretName.slice(0, -"-prompt".length);
  if (!engine.jobs.synced || engine.jobs.get(namespace, jobName) !== undefined) return false;
  return !(await exists(engine, jobPath(namespace, jobName), signal));
}
