import {
  containerFacts,
  isEndUntold,
  isInit,
  isSidecar,
  jobFacts,
  type Pod,
  podFacts,
  type Run,
  type RunEnd,
} from "../../engine/index.ts";
import { settlesWithin } from "../wait.ts";

const LAST_WORD_MS = 3_000;

/** From a Job's creation to a container that runs takes longer than this: controller, scheduler, kubelet, sandbox, init container. */
export const SOONEST_START_MS = 1_000;

/** Did the container itself ever run? Where the node does not say, its log may. */
export function hasStarted(run: Run, container: string, end: RunEnd | null): boolean {
  if (end !== null && (end.startedAt !== null || end.exitCode !== null) && end.startFailure === null) return true;
  const pod = run.pod();
  return pod !== null && (containerFacts(pod, container).hasStarted === true || isEndUntold(pod, container));
}

/**
 * Is it certain that the container never ran? Only of a pod that was seen ended, or whose deletion was told with its last state,
 * without having started it. Of all others the container may have run while the watch was down or silent, or before the kubelet
 * said so; unless `isTooSoon`: the Job was deleted right after its creation. `wasBlind`: a watch was down before the run was stopped.
 */
export function surelyNeverRan(
  run: Run,
  container: string,
  end: RunEnd | null,
  { isTooSoon = false, wasBlind = false } = {},
): boolean {
  const job = run.job();
  const pod = run.pod();
  if (hasStarted(run, container, end)) return false;
  if (pod === null) return isTooSoon;
  if (wasBlind && isLost(pod, container)) return false;
  // A Job that a webhook allowed more than one pod: an earlier one may have come, run and failed unseen.
  if (job !== null && jobFacts(job).allowsRetries) return false;
  return run.isPodFinal || podFacts(pod).hasEnded || cannotStart(pod, container);
}

/**
 * Did the kubelet lose the container before it told of its start? Of a node that restarted it may have run. To be asked before the
 * pod's deletion: the kubelet says the same of a container that it never started before that.
 */
export function isLostAtStart(run: Run, container: string): boolean {
  const pod = run.pod();
  return pod !== null && podFacts(pod).deletingSince === null && isLost(pod, container);
}

function isLost(pod: Pod, container: string): boolean {
  const facts = containerFacts(pod, container);
  return facts.state === "ended" && facts.hasStarted === null;
}

/** The runtime could not start it, or an init container before it failed, and neither is tried again. */
export function cannotStart(pod: Pod, container: string): boolean {
  const facts = containerFacts(pod, container);
  return hasFailedInit(pod) || (facts.state === "never started" && !facts.isRestarted);
}

/** An init container that is not tried again: no other container will start. */
function hasFailedInit(pod: Pod): boolean {
  return (pod.status.initContainerStatuses ?? []).some(({ name }) => {
    if (!isInit(pod, name) || isSidecar(pod, name)) return false;
    const facts = containerFacts(pod, name);
    return (facts.state === "ended" || facts.state === "never started") && facts.exitCode !== 0 && !facts.isRestarted;
  });
}

/** Waits for the last state of a pod whose Job is deleted: it says whether the container ever ran. */
export async function podsLastWord(run: Run): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const check = () => {
    const pod = run.pod();
    if (pod === null || run.isPodFinal || podFacts(pod).hasEnded) resolve();
  };
  run.on("change", check);
  check();
  await settlesWithin(promise, LAST_WORD_MS);
  run.off("change", check);
}
