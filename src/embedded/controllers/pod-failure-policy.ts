import type { ContainerStatus, Job, Pod, PodFailurePolicyRule } from "../objects/workloads.ts";

/** What a Job's `podFailurePolicy` makes of one failed pod (KEP-3329). */
export interface PodVerdict {
  /** Ignored pods are replaced without counting against `backoffLimit`. */
  counts: boolean;
  /** Why the Job fails at once, if it does. */
  jobFailure: string | undefined;
}

const COUNTED: PodVerdict = { counts: true, jobFailure: undefined };

/** The first rule that matches decides; a pod that none matches counts. */
export function judgeFailedPod(job: Job, pod: Pod): PodVerdict {
  for (const [index, rule] of (job.spec.podFailurePolicy?.rules ?? []).entries()) {
    const matched = matchedBy(rule, pod);
    if (matched === undefined) continue;
    if (rule.action === "Ignore") return { counts: false, jobFailure: undefined };
    if (rule.action !== "FailJob") return COUNTED;
    return { counts: true, jobFailure: `${matched} matching FailJob rule at index ${index}` };
  }
  return COUNTED;
}

/** What the rule found, in the controller's words. */
function matchedBy({ onExitCodes, onPodConditions = [] }: PodFailurePolicyRule, pod: Pod): string | undefined {
  const { namespace, name } = pod.metadata;
  if (onExitCodes !== undefined) {
    const { containerName, operator, values } = onExitCodes;
    for (const status of containersOf(pod)) {
      const exitCode = status.state.terminated?.exitCode ?? 0;
      if (exitCode === 0 || (containerName !== undefined && containerName !== status.name)) continue;
      if (values.includes(exitCode) !== (operator === "In")) continue;
      return `Container ${status.name} for pod ${namespace}/${name} failed with exit code ${exitCode}`;
    }
  }
  for (const { type, status = "True" } of onPodConditions) {
    if (!pod.status.conditions?.some((entry) => entry.type === type && entry.status === status)) continue;
    return `Pod ${namespace}/${name} has condition ${type}`;
  }
  return undefined;
}

function containersOf({ status }: Pod): ContainerStatus[] {
  return [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])];
}
