import { isLabelKey, isLabelValue } from "../kubernetes-names.ts";
import { listed } from "./informer/page-request.ts";
import type { ObjectMeta } from "./kubernetes.ts";
import { corePath, jobPath } from "./paths.ts";
import type { JobManifest } from "./runs/launch.ts";
import { type Cluster, isConflict, isNotFound } from "./transport/index.ts";

/**
 * One of several processes that share a namespace, each watching only the Jobs that it owns. Without shards every process gets
 * the events of every run; with them the bytes that the API server sends do not grow with the number of processes.
 *
 * The value stands as a label on Job and pods: `launch` sets it, the watches select by it, `claim` changes it. It has to
 * outlive the process if what it left behind is to be found by the same name: a StatefulSet's pod name is a good one.
 */
export interface Shard {
  /** Default `k8s-run-informer/shard`. */
  label?: string;
  /** A label value that no other process uses at the same time. */
  value: string;
}

export const SHARD_LABEL = "k8s-run-informer/shard";

/** The Job belongs to another process since we looked. */
export class ShardClaimError extends Error {
  override readonly name = "ShardClaimError";
  readonly code = "shard_claimed";
  readonly namespace: string;
  readonly jobName: string;
  /** Value of the shard that has it now; null when it has none. */
  readonly owner: string | null;
  constructor(namespace: string, jobName: string, owner: string | null) {
    super(
      `Job ${namespace}/${jobName} was claimed by ${owner === null ? "another process" : `shard ${owner}`} meanwhile`,
    );
    this.namespace = namespace;
    this.jobName = jobName;
    this.owner = owner;
  }
}

/** The labels of a shard: one, or none where there are no shards. @throws TypeError naming the bad field */
export function shardLabels(shard: Shard | undefined): Readonly<Record<string, string>> {
  if (shard === undefined) return {};
  const { label = SHARD_LABEL, value } = shard;
  if (!isLabelKey(label)) {
    throw new TypeError(`shard.label must be a Kubernetes label key, got ${JSON.stringify(label)}`);
  }
  if (!isLabelValue(value) || value === "") {
    throw new TypeError(
      `shard.value must be a Kubernetes label value (1 to 63 letters, digits, "-", "_", "."), got ${JSON.stringify(value)}`,
    );
  }
  return { [label]: value };
}

/** The manifest with labels added to the Job and to its pod template. */
export function withLabels(job: JobManifest, labels: Readonly<Record<string, string>>): JobManifest {
  if (Object.keys(labels).length === 0) return job;
  const { metadata, spec } = job;
  const { template } = spec;
  return {
    ...job,
    metadata: { ...metadata, labels: { ...metadata.labels, ...labels } },
    spec: {
      ...spec,
      template: {
        ...template,
        metadata: { ...template.metadata, labels: { ...template.metadata?.labels, ...labels } },
      },
    },
  };
}

export interface ClaimTarget {
  namespace: string;
  jobName: string;
  /** Only the Job with this uid. */
  uid?: string | undefined;
  /** The shard that it was left behind by, where the caller has looked before: another one is a ShardClaimError. */
  from?: string | null | undefined;
}

interface Labelled {
  metadata: Pick<ObjectMeta, "name" | "uid" | "resourceVersion" | "labels" | "ownerReferences">;
}

/**
 * Moves a Job and its pods to a shard. Of several that try at the same moment exactly one succeeds: the Job's patch carries the
 * version that was read. The pods follow one by one, since the template's labels cannot be changed; a pod that the Job makes
 * later carries its first owner's label.
 * @throws ShardClaimError, ApiError (404: the Job is gone), the signal's reason
 */
export async function claimJob(
  cluster: Cluster,
  { namespace, jobName, uid, from }: ClaimTarget,
  [label, value]: readonly [label: string, value: string],
  signal?: AbortSignal,
): Promise<void> {
  const path = jobPath(namespace, jobName);
  let expected = from;
  for (let attempt = 1; ; attempt += 1) {
    const { metadata } = await cluster.json<Labelled>({ path, signal });
    const owner = metadata.labels?.[label] ?? null;
    if (uid !== undefined && metadata.uid !== uid) throw new ShardClaimError(namespace, jobName, owner);
    // Ours already: also when our own patch was carried out and its answer lost.
    if (owner === value) break;
    if (expected !== undefined && owner !== expected) throw new ShardClaimError(namespace, jobName, owner);
    expected = owner;
    try {
      await cluster.json({
        method: "PATCH",
        path,
        contentType: MERGE_PATCH,
        body: patchOf(metadata, label, value, true),
        signal,
      });
      break;
    } catch (error) {
      // Something else about the Job changed, or its owner did: look again.
      if (!isConflict(error) || attempt === CLAIM_ATTEMPTS) throw error;
    }
  }
  await claimPods(cluster, namespace, jobName, [label, value], signal);
}

async function claimPods(
  cluster: Cluster,
  namespace: string,
  jobName: string,
  [label, value]: readonly [label: string, value: string],
  signal: AbortSignal | undefined,
): Promise<void> {
  // The older of the two names: every version sets it.
  const pods = listed<Labelled>(cluster, corePath(namespace, "pods"), { labelSelector: `job-name=${jobName}`, signal });
  for await (const { metadata } of pods) {
    if (metadata.labels?.[label] === value) continue;
    const body = patchOf(metadata, label, value, false);
    try {
      await cluster.json({
        method: "PATCH",
        path: corePath(namespace, "pods", metadata.name),
        contentType: MERGE_PATCH,
        body,
        signal,
      });
    } catch (error) {
      // The pod has gone, or another of its name stands there: nothing to watch.
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}

function patchOf(
  { uid, resourceVersion }: Labelled["metadata"],
  label: string,
  value: string,
  atVersion: boolean,
): object {
  return { metadata: { uid, ...(atVersion ? { resourceVersion } : {}), labels: { [label]: value } } };
}

/** A Job changes a few times in its life, and never in a row of so many. */
const CLAIM_ATTEMPTS = 10;
const MERGE_PATCH = "application/merge-patch+json";
