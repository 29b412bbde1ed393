import type { Job, KubeObject, Pod } from "../kubernetes.ts";
import { condition } from "./run-state.ts";

/** What ends a pod from outside, as its own status and metadata tell it. */

/** KEP-3329: the API's eviction, preemption, taint manager and pod GC say so in `DisruptionTarget`, the kubelet in `status.reason`. */
export function disruption(pod: Pod): { reason?: string; message?: string } | null {
  const target = condition(pod.status.conditions, "DisruptionTarget");
  if (target?.status === "True") return target;
  return DISRUPTED.has(pod.status.reason ?? "") ? pod.status : null;
}

/** Node pressure, preemption for a critical pod, loss and shutdown of the node (the last by three names over the releases). */
const DISRUPTED = new Set(["Evicted", "Preempting", "NodeLost", "Shutdown", "NodeShutdown", "Terminated"]);

/**
 * The kubelet ended the pod without any deletion: what its containers then exit with, 0 as it may be, is no end of their
 * own. `DeadlineExceeded` is that of the pod's own `activeDeadlineSeconds`.
 */
export function killedByKubelet(pod: Pod): { reason?: string; message?: string } | null {
  const target = condition(pod.status.conditions, "DisruptionTarget");
  if (target?.status === "True" && target.reason === "TerminationByKubelet") return target;
  const { phase, reason = "" } = pod.status;
  return phase === "Failed" && (DISRUPTED.has(reason) || reason === "DeadlineExceeded") ? pod.status : null;
}

/** When an object's deletion was asked for: its `deletionTimestamp` is when the grace period will be over. */
export function deletionBegan({ metadata }: KubeObject): number {
  const { deletionTimestamp = "", deletionGracePeriodSeconds = 0 } = metadata;
  return Date.parse(deletionTimestamp) - deletionGracePeriodSeconds * 1000;
}

/** The Job stands until its pods are gone; meanwhile its controller may call it failed for the loss of them. */
export function isDeletedInForeground(job: Job | null, pod: Pod): boolean {
  if (job?.metadata.deletionTimestamp === undefined) return false;
  return pod.metadata.deletionTimestamp === undefined || deletionBegan(job) <= deletionBegan(pod);
}
