import type { Condition, Job } from "./kubernetes.ts";

/** What one Job says by itself. Pure. */

export interface JobFacts {
  state: "running" | "suspended" | "succeeded" | "failed";
  /** The condition that ended it. It can be true before its pods have ended, and cannot be taken back. */
  end: JobEnd | null;
  /** Its deletion was asked for; it stands until its finalizers are removed. */
  isDeleting: boolean;
  /** How many pods may fail before it does. */
  backoffLimit: number;
  /** By its spec another pod may follow one that failed: `backoffLimit`, `podFailurePolicy` (KEP-3329). */
  allowsRetries: boolean;
  /** KEP-4368: the pods are made elsewhere, and this status is a copy. This cluster may never have a pod of it. */
  isManagedElsewhere: boolean;
  /** How many pods its status counts, in whatever state; and of these, how many have not ended. */
  podsCounted: number;
  podsAlive: number;
}

export interface JobEnd extends Words {
  type: string;
  /** `Complete` and `Failed` come when the pods have ended, `SuccessCriteriaMet` and `FailureTarget` before (KEP-3998, KEP-4026). */
  havePodsEnded: boolean;
}

/** Its deletion was asked for; it stands until its finalizers are removed and, a pod, until its containers have ended. */
export function isDeleting({ metadata }: { readonly metadata?: { readonly deletionTimestamp?: string } }): boolean {
  // None: an answer, which may be a proxy's.
  return metadata?.deletionTimestamp !== undefined;
}

export interface Words {
  reason: string;
  /** Empty when there is none. */
  message: string;
}

export function jobFacts({ metadata, spec, status }: Job): JobFacts {
  const end = endOfJob(status.conditions);
  const hasSucceeded = end?.type === "Complete" || end?.type === "SuccessCriteriaMet";
  const running = spec.suspend === true ? "suspended" : "running";
  const { backoffLimit = 6 } = spec;
  const { active = 0, terminating = 0, succeeded = 0, failed = 0 } = status;
  return {
    state: end === null ? running : hasSucceeded ? "succeeded" : "failed",
    end,
    isDeleting: isDeleting({ metadata }),
    backoffLimit,
    allowsRetries: backoffLimit > 0 || spec.podFailurePolicy !== undefined,
    isManagedElsewhere: spec.managedBy !== undefined && spec.managedBy !== "kubernetes.io/job-controller",
    podsCounted: active + terminating + succeeded + failed,
    podsAlive: active + terminating,
  };
}

function endOfJob(conditions: readonly Condition[] = []): JobEnd | null {
  let found: JobEnd | null = null;
  for (const { type, status, reason = "", message = "" } of conditions) {
    if (status !== "True") continue;
    if (type === "Complete" || type === "Failed") return { type, reason, message, havePodsEnded: true };
    if (type === "SuccessCriteriaMet" || type === "FailureTarget")
      found = { type, reason, message, havePodsEnded: false };
  }
  return found;
}
