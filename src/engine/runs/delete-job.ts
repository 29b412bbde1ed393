import { jobPath } from "../job-path.ts";
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
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    // Gone, or another Job stands under the name (the uid precondition failed): ours is deleted.
    if (!isNotFound(error) && !(uid !== null && isConflict(error))) throw error;
  }
}
