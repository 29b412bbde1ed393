import { timestamp } from "../clock.ts";
import { type Condition, type Pod, podOf } from "../objects/workloads.ts";
import type { DeleteOptions, ObjectStore } from "./store.ts";

/** Says on the pod that it has to go (KEP-3329), and deletes it: as the eviction API, the scheduler and the taint manager do. */
export function disruptPod(
  store: ObjectStore,
  pod: Pod,
  target: Condition,
  manager: string,
  options: DeleteOptions = {},
): void {
  const { namespace, name } = pod.metadata;
  const { phase } = pod.status;
  if (phase !== "Succeeded" && phase !== "Failed") {
    store.update(
      "pods",
      namespace,
      name,
      (draft) => {
        const { status } = podOf(draft);
        status.conditions = [...(status.conditions ?? []).filter(({ type }) => type !== target.type), target];
      },
      { manager, subresource: "status" },
    );
  }
  store.delete("pods", namespace, name, options);
}

/** The condition that says so. With `pod`: it names the generation that was seen, which the eviction API does not. */
export function disruptionTarget(reason: string, message: string, now: number, pod?: Pod): Condition {
  return {
    type: "DisruptionTarget",
    ...(pod === undefined ? {} : { observedGeneration: pod.metadata.generation ?? 1 }),
    status: "True",
    lastProbeTime: null,
    lastTransitionTime: timestamp(now),
    reason,
    message,
  };
}
