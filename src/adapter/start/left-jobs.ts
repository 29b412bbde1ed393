import {
  ApiError,
  containerFacts,
  corePath,
  deleteUnchanged,
  type EngineView,
  findObject,
  isAlreadyExists,
  isForbidden,
  type Job,
  jobFacts,
  jobPath,
  LAUNCH_ID_ANNOTATION,
  type Pod,
  podFacts,
  type RunEngine,
} from "../../engine/index.ts";
import { AnnotationKey, secretNameFor } from "../job/names.ts";
import type { Newcomer } from "./orphans.ts";
import { type Ownership, ownerNameOf } from "./ownership.ts";
import { agentKeyOf, type JobIdentity, processState } from "./process-state.ts";

export interface DeletionInput {
  readonly engine: RunEngine;
  readonly namespace: string;
  readonly ownership: Ownership;
  readonly signal: AbortSignal;
}

export type Target = { readonly name: string } & JobIdentity;

/** A Job as the server has it: the cache keeps no volumes and no environment. */
export interface FullJob extends Omit<Job, "spec"> {
  readonly spec: Omit<Job["spec"], "template"> & {
    readonly ttlSecondsAfterFinished?: number;
    readonly template?: {
      readonly spec?: {
        readonly volumes?: readonly { readonly secret?: { readonly secretName?: string } }[];
        readonly containers?: readonly {
          readonly name: string;
          readonly env?: readonly { readonly valueFrom?: { readonly secretKeyRef?: { readonly name?: string } } }[];
        }[];
      };
    };
  };
}

/**
 * Far longer than any process takes to give its Job the Secret, or to collect a result, all repetitions of requests included.
 */
export const LEFT_AGE_MS = 15 * 60_000;

/** @param now by the server's clock, as is `time` */
export function isOld(time: string, now: number): boolean {
  return now - Date.parse(time) >= LEFT_AGE_MS;
}

/** Notes a Job that this process created, gave up and could not delete: the agent's next start in this process deletes it. */
export function keepInMind(
  { engine, namespace, newcomer }: Pick<DeletionInput, "engine" | "namespace"> & { newcomer: Newcomer },
  jobName: string,
  identity: JobIdentity,
): void {
  const { undeleted } = processState();
  const key = agentKeyOf(engine.cluster.server, namespace, newcomer.agentId);
  const jobs = undeleted.get(key) ?? new Map<string, JobIdentity>();
  undeleted.set(key, jobs.set(jobName, identity));
}

/**
 * Deletes what `keepInMind` noted: no process gives these Jobs a Secret any more, and until the sweep finds them they block the
 * agent. Never rejects: what still cannot be deleted stays noted, and the guard will see it.
 */
export async function deleteUndeleted(
  input: DeletionInput & { say(text: string): void },
  agentKey: string,
): Promise<void> {
  const { undeleted } = processState();
  const jobs = undeleted.get(agentKey);
  if (jobs === undefined) return;
  for (const [name, identity] of jobs) {
    try {
      // One whose create was never answered was given no Secret: that needs no look.
      const isLeft = "launchId" in identity ? () => true : (job: FullJob) => lacksSecret(job, input);
      if (await deleteIf({ name, ...identity }, input, isLeft)) {
        input.say(`Deleted Job ${name}, which was created for a start that failed`);
      }
      jobs.delete(name);
    } catch {
      // The server is still away.
    }
  }
  if (jobs.size === 0) undeleted.delete(agentKey);
}

export interface OrphanDeletion extends DeletionInput {
  /** All of the agent, also what another process of a sharded fleet owns. */
  readonly view: EngineView;
  readonly containerName: string;
  say(stream: "stdout", text: string): void;
}

/** May it wait for its Secret? No pod of it is known to have started the agent. */
export function mayLackSecret(
  { metadata: { uid } }: Job,
  { view, containerName }: Pick<OrphanDeletion, "view" | "containerName">,
): boolean {
  const isOurs = ({ metadata }: Pod) => metadata.ownerReferences?.[0]?.uid === uid;
  // In a pod that has ended it does not run any more, and one that is made then waits for the Secret, too.
  const runs = (pod: Pod) => !podFacts(pod).hasEnded && containerFacts(pod, containerName).hasStarted === true;
  return view.pods.list((pod) => isOurs(pod) && runs(pod)).length === 0;
}

/**
 * Deletes those Jobs that no process follows and whose process died before it created their Secret: their agent can never start,
 * whatever their task. @returns whether there was one @throws ApiError
 */
export async function deleteHalfCreatedOrphans(jobs: readonly Job[], input: OrphanDeletion): Promise<boolean> {
  let isAnyDeleted = false;
  for (const job of jobs) {
    if (!mayLackSecret(job, input)) continue;
    const { name, uid } = job.metadata;
    try {
      if (!(await deleteHalfCreated({ name, uid }, input))) continue;
    } catch (error) {
      // Neither the right to read Secrets nor to create them: it cannot be told.
      if (isForbidden(error)) continue;
      throw error;
    }
    isAnyDeleted = true;
    const text = `Deleted Job ${name}: its process ended before it created the run's Secret, so its agent could never start`;
    input.say("stdout", text);
  }
  return isAnyDeleted;
}

/** Deletes a Job that waits for a Secret that does not stand. @returns whether it did @throws ApiError */
export async function deleteHalfCreated(target: Target, input: DeletionInput): Promise<boolean> {
  return await deleteIf(target, input, (job) => lacksSecret(job, input));
}

/**
 * Does the Job need a Secret that does not stand? Without the right to read Secrets a dry run of its create tells: it is stored in
 * no case, and refused where the name is taken.
 * @throws ApiError
 */
export async function lacksSecret(
  job: FullJob,
  { engine, namespace, signal }: Pick<DeletionInput, "engine" | "namespace" | "signal">,
): Promise<boolean> {
  const secret = secretNameFor(job.metadata.name);
  if (!needsSecret(job, secret)) return false;
  const { cluster } = engine;
  let unread: unknown;
  try {
    return (await findObject(cluster, corePath(namespace, "secrets", secret), signal)) === null;
  } catch (error) {
    if (!isForbidden(error)) throw error;
    unread = error;
  }
  const dryRun = {
    path: corePath(namespace, "secrets"),
    query: { dryRun: "All" },
    body: { apiVersion: "v1", kind: "Secret", metadata: { name: secret } },
  };
  try {
    const { metadata } = await cluster.json<Partial<Job>>({ method: "POST", ...dryRun, signal });
    return metadata?.name === secret;
  } catch (error) {
    if (isAlreadyExists(error)) return false;
    // 400: an admission webhook takes no dry runs.
    throw error instanceof ApiError && error.status === 400 ? unread : error;
  }
}

function needsSecret({ spec }: FullJob, name: string): boolean {
  const { volumes = [], containers = [] } = spec.template?.spec ?? {};
  return (
    volumes.some(({ secret }) => secret?.secretName === name) ||
    containers.some(({ env = [] }) => env.some(({ valueFrom }) => valueFrom?.secretKeyRef?.name === name))
  );
}

/** Asks the server first, and deletes nothing that a live process owns or that was changed since (adopted, for example). @throws ApiError */
export async function deleteIf(
  target: Target,
  input: DeletionInput,
  isLeft: (job: FullJob) => boolean | Promise<boolean>,
): Promise<boolean> {
  const { engine, namespace, ownership, signal } = input;
  const path = jobPath(namespace, target.name);
  const job = await findObject<FullJob>(engine.cluster, path, signal);
  if (job === null || !isJob(job, target)) return false;
  if (!mayBeLeft(job, input) || !(await isLeft(job))) return false;
  const owner = ownerNameOf(job);
  if (owner !== null && !ownership.isHere(owner) && (await ownership.stateOf(owner, signal)).state !== "over")
    return false;
  const options = { propagationPolicy: "Foreground", signal } as const;
  // Missing: it stood a moment ago, so the answer to the first of several requests was lost.
  return (await deleteUnchanged(engine.cluster, path, job.metadata, options)) !== "changed";
}

/** By what identifies it, never by name alone: another process's Job of the same run has the same name. */
export function isJob({ metadata }: Job, identity: JobIdentity): boolean {
  return "uid" in identity
    ? metadata.uid === identity.uid
    : metadata.annotations?.[LAUNCH_ID_ANNOTATION] === identity.launchId;
}

/** Neither ended, nor being deleted, nor adopted a moment ago, unless by another process: whether that lives its Lease tells. */
export function mayBeLeft(job: Job, { engine, ownership }: Pick<DeletionInput, "engine" | "ownership">): boolean {
  const adoptedAt = job.metadata.annotations?.[AnnotationKey.adoptedAt];
  const owner = ownerNameOf(job);
  const isForeign = owner !== null && !ownership.isHere(owner);
  if (adoptedAt !== undefined && !isForeign && !isOld(adoptedAt, engine.cluster.clock.now())) return false;
  const { end, isDeleting } = jobFacts(job);
  return end === null && !isDeleting;
}
