import {
  containerFacts,
  corePath,
  deleteUnchanged,
  findObject,
  type Job,
  jobFacts,
  jobPath,
  listed,
  type Pod,
  type RunEngine,
} from "../../engine/index.ts";
import { AnnotationKey, LabelKey, secretNameFor } from "../job/names.ts";
import { pause } from "../start/guard.ts";
import { LEASE_LABELS, type LeaseObject, leasesPath, writtenAt } from "../start/lease.ts";
import { CONFIRM_MS } from "../start/lease-verdict.ts";
import { type DeletionInput, deleteHalfCreated, deleteIf, isOld, LEFT_AGE_MS, mayBeLeft } from "../start/left-jobs.ts";
import { ownerNameOf } from "../start/ownership.ts";
import { processState } from "../start/process-state.ts";

export interface SweepInput extends DeletionInput {
  readonly adapterType: string;
  /** The agent's. */
  readonly containerName: string;
  /** A line for the run's log. */
  say(text: string): void;
}

const SWEEP_EVERY_MS = 5 * 60_000;

/**
 * Ends what processes left behind that died: Jobs without their Secret, Jobs whose agent has ended but not their pod, Secrets of the
 * former adapter without their Job, Leases; and Jobs that this one could not delete. At most every five minutes per namespace,
 * whatever the number of runs. Never rejects: what one step cannot do is left to the next sweep, and keeps no other step from its work.
 */
export async function sweep(input: SweepInput): Promise<void> {
  const { engine, namespace, adapterType } = input;
  const { swept } = processState();
  const key = JSON.stringify([engine.cluster.server, namespace, adapterType]);
  const last = swept.get(key);
  if (last !== undefined && performance.now() - last < SWEEP_EVERY_MS) return;
  swept.set(key, performance.now());
  const steps = [sweepHalfCreatedJobs, sweepEndedJobs, sweepCollectedJobs, sweepOrphanedSecrets, sweepLeases];
  for (const step of steps) await step(input).catch(() => undefined);
}

/**
 * Jobs whose process died before it created their Secret. Their agent can never start, while the pod holds room on its node
 * unless the agent runs again.
 */
async function sweepHalfCreatedJobs(input: SweepInput): Promise<void> {
  const { engine, say } = input;
  // Once for all Jobs: there may be thousands of either.
  const begun = new Set(engine.pods.list((pod) => !hasStartedNothing(pod)).flatMap(ownersOf));
  const found = leftJobs(input, (job) => {
    const { metadata } = job;
    const { podsCounted, podsAlive } = jobFacts(job);
    // One that is kept has lost its Secret after its end.
    if (metadata.annotations?.[AnnotationKey.collectedAt] !== undefined || podsCounted > podsAlive) return false;
    return isOld(metadata.creationTimestamp, engine.cluster.clock.now()) && !begun.has(metadata.uid);
  });
  for (const { metadata } of found) {
    if (!(await deleteHalfCreated(metadata, input))) continue;
    const { name } = metadata;
    const secret = secretNameFor(name);
    say(`Deleted Job ${name}: its process ended before it created Secret ${secret}, so its agent could never start`);
  }
}

/**
 * Jobs whose agent has ended in a pod that goes on for another container's sake (a mesh sidecar, for example). Kubernetes
 * counts `ttlSecondsAfterFinished` from the Job's end, which never comes; here it counts from the agent's.
 */
async function sweepEndedJobs(input: SweepInput): Promise<void> {
  const { engine, containerName, say } = input;
  const endedAt = new Map<string, number>();
  for (const pod of engine.pods.list()) {
    const agent = containerFacts(pod, containerName);
    // Not a number for one that has not ended, nor for a Job of several pods of which one has not.
    const at = Date.parse((agent.state === "ended" && !agent.isRestarted && agent.finishedAt) || "");
    for (const uid of ownersOf(pod)) endedAt.set(uid, Math.max(at, endedAt.get(uid) ?? at));
  }
  const endedMsAgo = ({ uid }: { uid: string }) => engine.cluster.clock.now() - (endedAt.get(uid) ?? Number.NaN);
  for (const { metadata } of leftJobs(input, (job) => endedMsAgo(job.metadata) >= LEFT_AGE_MS)) {
    const isDeleted = await deleteIf(metadata, input, ({ spec }) => {
      // Without one it is to be kept.
      const ttlSeconds = spec.ttlSecondsAfterFinished ?? Number.POSITIVE_INFINITY;
      return endedMsAgo(metadata) >= ttlSeconds * 1_000;
    });
    if (!isDeleted) continue;
    say(`Deleted Job ${metadata.name}: its agent has ended, and another container kept its pod beyond its TTL`);
  }
}

/**
 * Jobs of this process's runs whose deletion failed after their result was handed out: once this process ends, another one would
 * hand out the result again.
 */
async function sweepCollectedJobs({ engine, namespace, ownership, signal, say }: SweepInput): Promise<void> {
  const { active, collected } = processState();
  const isLeft = ({ metadata }: Job) =>
    metadata.namespace === namespace && collected.get(metadata.uid) === "undeleted" && !active.has(metadata.uid);
  for (const job of engine.jobs.list(isLeft)) {
    const { metadata } = job;
    const owner = ownerNameOf(job);
    if (owner !== null && !ownership.isHere(owner)) continue;
    const options = { propagationPolicy: "Foreground", signal } as const;
    const outcome = await deleteUnchanged(engine.cluster, jobPath(namespace, metadata.name), metadata, options);
    if (outcome !== "changed") collected.set(metadata.uid, "handed out");
    if (outcome === "deleted")
      say(`Deleted Job ${metadata.name}: its result was handed out, and its deletion had failed`);
  }
}

function ownersOf({ metadata }: Pod): string[] {
  return metadata.ownerReferences?.map(({ uid }) => uid) ?? [];
}

/** Unfinished Jobs of this adapter that no run of this process follows, as the cache has them. */
function leftJobs(input: SweepInput, isLeft: (job: Job) => boolean): readonly Job[] {
  const { engine, namespace } = input;
  const { active } = processState();
  return engine.jobs.list((job) => {
    const { uid, annotations = {} } = job.metadata;
    if (job.metadata.namespace !== namespace || active.has(uid)) return false;
    // The former adapter creates the Secret first, and waits for the Job's end.
    return annotations[AnnotationKey.workingDir] !== undefined && mayBeLeft(job, input) && isLeft(job);
  });
}

function hasStartedNothing(pod: Pod): boolean {
  return pod.spec.containers.every(({ name }) => {
    const facts = containerFacts(pod, name);
    return facts.hasStarted === false || facts.state === "unknown";
  });
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
 * Run Secrets that the former adapter left behind: without owner, without Job. The precondition on the version makes sure that it
 * is still the one that was looked at.
 */
async function sweepOrphanedSecrets({ engine, namespace, adapterType, signal }: SweepInput): Promise<void> {
  const { cluster } = engine;
  const labelSelector = selectorOf({ [LabelKey.managedBy]: "paperclip", [LabelKey.adapterType]: adapterType });
  const query = { labelSelector, pageSize: PAGE_SIZE, signal };
  for await (const { metadata } of listed<ListedSecret>(cluster, corePath(namespace, "secrets"), query)) {
    if (!isOrphan(metadata, cluster.clock.now()) || !(await hasNoJob(metadata.name, engine, namespace, signal)))
      continue;
    await deleteUnchanged(cluster, corePath(namespace, "secrets", metadata.name), metadata, { signal });
  }
}

function isOrphan({ name, creationTimestamp, ownerReferences = [] }: ListedSecret["metadata"], now: number): boolean {
  return ownerReferences.length === 0 && name.endsWith("-prompt") && isOld(creationTimestamp, now);
}

/**
 * Leases of servers that died, and whose runs no other server has asked after: not renewed for a quarter of an hour. A clock that was
 * set forward makes every Lease as old, so each is judged as at an adoption.
 */
async function sweepLeases({ engine, namespace, ownership, signal }: SweepInput): Promise<void> {
  if (ownership.lease === null) return;
  const { cluster } = engine;
  const query = { labelSelector: selectorOf(LEASE_LABELS), pageSize: PAGE_SIZE, signal };
  const unsure: string[] = [];
  for await (const lease of listed<LeaseObject>(cluster, leasesPath(namespace), query)) {
    const at = writtenAt(lease);
    if (at === null || cluster.clock.now() - at < LEFT_AGE_MS) continue;
    const { name } = lease.metadata;
    if ((await ownership.stateOf(name, signal)).state === "unsure") unsure.push(name);
  }
  if (unsure.length > 0) await pause(CONFIRM_MS, signal);
  // Deletes those that have run out.
  for (const name of unsure) await ownership.stateOf(name, signal);
}

/** Few at a time: a Secret may have a megabyte. */
const PAGE_SIZE = 100;

function selectorOf(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
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
  return (await findObject(engine.cluster, jobPath(namespace, jobName), signal)) === null;
}
