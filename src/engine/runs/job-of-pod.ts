import type { Pod } from "../kubernetes.ts";

/** Index of pods by the namespace and name of the Job that controls them. */
export const PODS_BY_JOB = "job";

/** Namespace and name of the Job that controls it; null: no Job does. */
export function jobKeyOfPod({ metadata: { namespace, ownerReferences } }: Pod): string | null {
  const owner = ownerReferences?.[0];
  return owner?.kind === "Job" ? `${namespace}/${owner.name}` : null;
}

export function jobUidOfPod({ metadata }: Pod): string | null {
  return metadata.ownerReferences?.[0]?.uid ?? null;
}

/** In the order in which they were made. */
export function inOrder(pods: readonly Pod[]): Pod[] {
  return [...pods].sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? -1 : 1));
}
