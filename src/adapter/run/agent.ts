import { mayTryAgain, type Pod, type Run, type RunEnd } from "../../engine/index.ts";

/** Did the container itself ever run? */
export function hasStarted(run: Run, container: string, end: RunEnd | null): boolean {
  if (end !== null && (end.startedAt !== null || end.exitCode !== null) && end.startFailure === null) return true;
  const status = run.pod()?.status.containerStatuses?.find((each) => each.name === container);
  return (
    status !== undefined &&
    (status.state?.running !== undefined ||
      status.state?.terminated?.startedAt !== undefined ||
      status.restartCount > 0)
  );
}

/** From a Job's creation to a container that runs takes longer than this: controller, scheduler, kubelet, sandbox, init container. */
export const SOONEST_START_MS = 1_000;

/**
 * Is it certain that the container never ran? Only of a pod that was seen over, or whose deletion was told with its last state,
 * without having started it. Of all others the container may have run while the watch was down or silent, or before the kubelet
 * said so; unless `isTooSoon`: the Job was deleted right after its creation.
 */
export function surelyNeverRan(run: Run, container: string, end: RunEnd | null, isTooSoon: boolean): boolean {
  const job = run.job();
  const pod = run.pod();
  if (hasStarted(run, container, end)) return false;
  if (pod === null) return isTooSoon;
  // A Job that a webhook allowed more than one pod: an earlier one may have come, run and failed unseen.
  if (job !== null && mayTryAgain(job)) return false;
  return run.isPodFinal || pod.status.phase === "Failed" || pod.status.phase === "Succeeded" || hasFailedInit(pod);
}

/** An init container that is not tried again: no other container will start. */
function hasFailedInit({ spec, status }: Pod): boolean {
  if (spec.restartPolicy !== "Never") return false;
  const sidecars = new Set(
    spec.initContainers?.filter((each) => each.restartPolicy === "Always").map(({ name }) => name),
  );
  return (status.initContainerStatuses ?? []).some(
    ({ name, state }) => !sidecars.has(name) && state?.terminated !== undefined && state.terminated.exitCode !== 0,
  );
}
