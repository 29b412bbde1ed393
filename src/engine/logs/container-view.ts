import { containerFacts, podFacts } from "../facts.ts";
import type { Pod } from "../kubernetes.ts";
import type { ContainerView } from "./types.ts";

/** What a pod tells of one of its containers, for a log follow. `undefined`: the pod is deleted. */
export function containerView(pod: Pod | undefined, container: string): ContainerView {
  if (pod === undefined) return { phase: "gone", restartCount: 0, startedAt: null, finishedAt: null };
  const facts = containerFacts(pod, container);
  const { restartCount } = facts;
  const { hasEnded, disruption, killedByKubelet } = podFacts(pod);
  if (facts.state === "running") {
    // A virtual node may leave it at that. Of a pod that was ended from outside the container may have its grace yet.
    const isStale = hasEnded && disruption === null && killedByKubelet === null;
    return { phase: isStale ? "ended" : "running", restartCount, startedAt: facts.startedAt, finishedAt: null };
  }
  if (facts.state === "ended") {
    const { startedAt, finishedAt } = facts;
    return { phase: facts.isRestarted ? "waiting" : "ended", restartCount, startedAt, finishedAt };
  }
  // What could not be started has no log to wait for, nor has what never started in a pod that has ended.
  const isEnded = hasEnded || (facts.state === "never started" && !facts.isRestarted);
  return { phase: isEnded ? "ended" : "waiting", restartCount, startedAt: null, finishedAt: null };
}

/** The container has run, or runs; it may wait to be started again. */
export function hasStarted({ phase, startedAt, restartCount }: ContainerView): boolean {
  return phase === "running" || startedAt !== null || restartCount > 0;
}
