import type { Pod } from "../kubernetes.ts";
import type { ContainerView } from "./types.ts";

/** What a pod tells of one of its containers, for a log follow. `undefined`: the pod is gone. */
export function containerView(pod: Pod | undefined, container: string): ContainerView {
  if (pod === undefined) return { phase: "gone", restartCount: 0, startedAt: null, finishedAt: null };
  const { containerStatuses = [], initContainerStatuses = [], phase } = pod.status;
  const status = [...containerStatuses, ...initContainerStatuses].find(({ name }) => name === container);
  const restartCount = status?.restartCount ?? 0;
  const isPodOver = phase === "Succeeded" || phase === "Failed";
  const { running, terminated } = status?.state ?? {};
  if (running) return { phase: "running", restartCount, startedAt: running.startedAt ?? null, finishedAt: null };
  if (terminated) {
    const { exitCode, startedAt = null, finishedAt = null } = terminated;
    const isOver = isPodOver || pod.metadata.deletionTimestamp !== undefined || !isRestarted(pod, container, exitCode);
    return { phase: isOver ? "ended" : "waiting", restartCount, startedAt, finishedAt };
  }
  // A pod that is over without having started the container has no log to wait for.
  return { phase: isPodOver ? "ended" : "waiting", restartCount, startedAt: null, finishedAt: null };
}

function isRestarted(pod: Pod, container: string, exitCode: number): boolean {
  const { restartPolicy = "Always", initContainers = [] } = pod.spec;
  const init = initContainers.find(({ name }) => name === container);
  const policy = init?.restartPolicy ?? restartPolicy;
  // An init container that has succeeded is done, whatever the pod's policy.
  if (init && init.restartPolicy !== "Always" && exitCode === 0) return false;
  return policy === "Always" || (policy === "OnFailure" && exitCode !== 0);
}
