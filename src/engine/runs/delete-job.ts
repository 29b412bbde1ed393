import type { Job } from "../kubernetes.ts";
import { jobPath } from "../paths.ts";
import { type Cluster, isConflict, isNotFound } from "../transport/index.ts";

export interface DeleteOptions {
  /** Default `Background`: the Job goes at once, its pods after their grace period. */
  propagationPolicy?: "Background" | "Foreground";
  /** Over the pods' own. */
  gracePeriodSeconds?: number;
  signal?: AbortSignal | undefined;
}

/** Deletes this Job and no other of its name. @throws ApiError, but for one that says it is gone already. */
export async function deleteJob(
  cluster: Cluster,
  { namespace, jobName, uid }: { namespace: string; jobName: string; uid: string | null },
  { propagationPolicy = "Background", gracePeriodSeconds, signal }: DeleteOptions,
): Promise<void> {
  try {
    await cluster.json({
      method: "DELETE",
      path: jobPath(namespace, jobName),
      body: {
        apiVersion: "v1",
        kind: "DeleteOptions",
        propagationPolicy,
        ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
        ...(uid === null ? {} : { preconditions: { uid } }),
      },
      signal,
    });
  } catch (error) {
    if (isNotFound(error)) return;
    // Another Job stands under the name, and ours is deleted; or an admission webhook does not allow it now.
    if (uid !== null && isConflict(error) && (await isAnother(cluster, jobPath(namespace, jobName), uid, signal)))
      return;
    throw error;
  }
}

/** Is this Job deleted? False where that cannot be learned. */
async function isAnother(cluster: Cluster, path: string, uid: string, signal?: AbortSignal): Promise<boolean> {
  try {
    const { metadata } = await cluster.json<Partial<Job>>({ path, signal });
    return metadata !== undefined && metadata.uid !== uid;
  } catch (error) {
    return isNotFound(error);
  }
}
