import type { ContainerSpec, PodSpec } from "../objects/workloads.ts";

/**
 * What the kubelet does after a container's exit: its first matching rule decides, then its own policy, then the pod's
 * (KEP-5307, KEP-5532).
 */
export function actionAfterExit(
  pod: PodSpec,
  container: ContainerSpec,
  exitCode: number,
): "none" | "restart" | "restart-all" {
  for (const { action, exitCodes } of container.restartPolicyRules ?? []) {
    if (exitCodes === undefined || exitCodes.values.includes(exitCode) !== (exitCodes.operator === "In")) continue;
    return action === "RestartAllContainers" ? "restart-all" : "restart";
  }
  const policy = container.restartPolicy ?? pod.restartPolicy ?? "Always";
  return policy === "Always" || (policy === "OnFailure" && exitCode !== 0) ? "restart" : "none";
}

/** The same for an init container that is no sidecar: one that succeeded is not run again under any policy. */
export function actionAfterInitExit(
  pod: PodSpec,
  container: ContainerSpec,
  exitCode: number,
): "none" | "restart" | "restart-all" {
  const action = actionAfterExit(pod, container, exitCode);
  return action === "restart" && exitCode === 0 ? "none" : action;
}

/** Whether some exit of a container restarts all of them: such a pod has the condition `AllContainersRestarting`. */
export function canRestartAll({ containers, initContainers = [] }: PodSpec): boolean {
  return [...containers, ...initContainers].some(({ restartPolicyRules }) =>
    restartPolicyRules?.some(({ action }) => action === "RestartAllContainers"),
  );
}
