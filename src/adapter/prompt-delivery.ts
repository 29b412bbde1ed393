import { type Cluster, isAlreadyExists, isConflict, isNotFound, type RunEngine } from "../engine/index.ts";
import { LabelKey } from "./names.ts";
import { processState } from "./process-state.ts";

/**
 * The run Secret: prompts that are too large for a variable, files, credentials.
 *
 * The Job is created first and the Secret second, owned by the Job from its birth. Until it exists the kubelet holds the
 * pod back (a Secret volume that is not optional, a `secretKeyRef`) and tries again by itself. So there is no moment at
 * which a crash leaves a Secret that nobody owns, no patch to set the owner afterwards, and an agent cannot start before
 * this process has said that it may.
 */
export interface RunSecret {
  readonly name: string;
  readonly data: Readonly<Record<string, string>>;
}

export interface SecretOwner {
  readonly namespace: string;
  readonly jobName: string;
  readonly uid: string;
  readonly adapterType: string;
  readonly runIdLabel: string | null;
}

const secretsPath = (namespace: string) => `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`;

/**
 * Creates the Secret of a Job. One of that name that stands already belongs to an earlier Job of the same name, whose
 * collection is under way, or to a request of ours whose answer was lost: it is replaced.
 * @throws ApiError
 */
export async function createRunSecret(
  cluster: Cluster,
  secret: RunSecret,
  owner: SecretOwner,
  signal: AbortSignal,
): Promise<void> {
  const path = secretsPath(owner.namespace);
  const create = () => cluster.json({ method: "POST", path, body: manifestOf(secret, owner), signal });
  try {
    await create();
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    await deleteRunSecret(cluster, owner.namespace, secret.name, signal);
    await create();
  }
}

/** One that is already gone is success. @throws ApiError */
export async function deleteRunSecret(
  cluster: Cluster,
  namespace: string,
  name: string,
  signal?: AbortSignal,
): Promise<void> {
  try {
    await cluster.json({
      method: "DELETE",
      path: `${secretsPath(namespace)}/${encodeURIComponent(name)}`,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

function manifestOf({ name, data }: RunSecret, owner: SecretOwner): Record<string, unknown> {
  const encoded: Record<string, string> = {};
  for (const [key, value] of Object.entries(data)) encoded[key] = Buffer.from(value, "utf8").toString("base64");
  return {
    apiVersion: "v1",
    kind: "Secret",
    type: "Opaque",
    metadata: {
      name,
      namespace: owner.namespace,
      labels: {
        [LabelKey.managedBy]: "paperclip",
        [LabelKey.adapterType]: owner.adapterType,
        ...(owner.runIdLabel === null ? {} : { [LabelKey.runId]: owner.runIdLabel }),
      },
      ownerReferences: [
        {
          apiVersion: "batch/v1",
          kind: "Job",
          name: owner.jobName,
          uid: owner.uid,
          controller: false,
          blockOwnerDeletion: false,
        },
      ],
    },
    data: encoded,
  };
}

const SWEEP_EVERY_MS = 5 * 60_000;
const ORPHAN_AGE_MS = 15 * 60_000;

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
 * Deletes run Secrets that the adapter of old left behind: without owner, without Job, a quarter of an hour old. The
 * precondition on the version makes sure that it is still the one that was looked at. At most every five minutes per
 * namespace, whatever the number of runs.
 *
 * @returns the names of those deleted
 * @throws ApiError
 */
export async function sweepOrphanedSecrets(
  engine: RunEngine,
  namespace: string,
  adapterType: string,
  signal: AbortSignal,
): Promise<string[]> {
  const { swept } = processState();
  const key = JSON.stringify([engine.cluster.server, namespace, adapterType]);
  const last = swept.get(key);
  if (last !== undefined && performance.now() - last < SWEEP_EVERY_MS) return [];
  swept.set(key, performance.now());
  const { cluster } = engine;
  const deleted: string[] = [];
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
      if (!isOld(metadata) || !(await hasNoJob(metadata.name, engine, namespace, signal))) continue;
      const { name, uid, resourceVersion } = metadata;
      const body = { apiVersion: "v1", kind: "DeleteOptions", preconditions: { uid, resourceVersion } };
      try {
        await cluster.json({
          method: "DELETE",
          path: `${secretsPath(namespace)}/${encodeURIComponent(name)}`,
          body,
          signal,
        });
        deleted.push(name);
      } catch (error) {
        // Changed or gone in the meantime: then it is not ours to delete.
        if (!isConflict(error) && !isNotFound(error)) throw error;
      }
    }
    next = page.metadata?.continue || undefined;
  } while (next !== undefined);
  return deleted;
}

/** The server's clock made the time; a few minutes of difference to ours do not matter at this age. */
function isOld({ name, creationTimestamp, ownerReferences = [] }: ListedSecret["metadata"]): boolean {
  if (ownerReferences.length > 0 || !name.endsWith("-prompt")) return false;
  return Date.now() - Date.parse(creationTimestamp) >= ORPHAN_AGE_MS;
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
  const path = `/apis/batch/v1/namespaces/${encodeURIComponent(namespace)}/jobs/${encodeURIComponent(jobName)}`;
  try {
    await engine.cluster.json({ path, signal });
    return false;
  } catch (error) {
    if (isNotFound(error)) return true;
    throw error;
  }
}
