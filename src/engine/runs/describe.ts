import type { ContainerStatus, Pod } from "../kubernetes.ts";
import { condition, containerStatus, type RunState, terminalCondition } from "./run-state.ts";
import type { PhaseChange } from "./types.ts";

/** Where a run stands, for people. Pure; two states with the same phase and text are the same to a reader. */
export function describe(state: RunState, container: string | null): PhaseChange {
  const { job, pod } = state;
  if (job === null && pod === null && state.jobDeletedAt === null)
    return { phase: "unknown", text: "waiting for the Job to be seen" };
  if (state.jobDeletedAt !== null && (pod === null || state.podDeletedAt !== null))
    return { phase: "gone", text: "Job and pod are deleted" };
  if (pod === null || (state.podDeletedAt !== null && state.jobDeletedAt === null)) return describeJob(state);
  if (state.podDeletingAt !== null) {
    const ended = ofContainer(pod, container);
    return {
      phase: "deleting",
      text: `pod ${pod.metadata.name} is being deleted${ended === null ? "" : `; ${ended}`}`,
    };
  }
  return describePod(pod, container);
}

function describeJob({ job, podDeletedAt }: RunState): PhaseChange {
  const end = job === null ? null : terminalCondition(job);
  if (end !== null) return { phase: "ended", text: `Job ${end.type}: ${end.reason ?? ""}` };
  if (job?.spec.suspend === true) return { phase: "suspended", text: "Job is suspended; it starts when it is resumed" };
  return {
    phase: "created",
    text: podDeletedAt === null ? "Job created; waiting for its pod" : "pod is deleted; waiting for the Job",
  };
}

function describePod(pod: Pod, container: string | null): PhaseChange {
  const name = pod.metadata.name;
  const status = container === null ? pod.status.containerStatuses?.[0] : containerStatus(pod, container);
  if (status?.state?.terminated !== undefined) return { phase: "ended", text: `pod ${name}: ${ofStatus(status)}` };
  if (status?.state?.running !== undefined) return { phase: "running", text: `pod ${name}: ${status.name} is running` };
  if (pod.status.phase === "Failed" || pod.status.phase === "Succeeded") {
    const why = [pod.status.reason, pod.status.message].filter(Boolean).join(": ");
    return { phase: "ended", text: `pod ${name} ${pod.status.phase}${why === "" ? "" : `: ${why}`}` };
  }
  const scheduled = condition(pod.status.conditions, "PodScheduled");
  if (scheduled?.status !== "True") {
    const why = [scheduled?.reason, scheduled?.message].filter(Boolean).join(": ");
    return { phase: "pending", text: `pod ${name} waits for a node${why === "" ? "" : `: ${why}`}` };
  }
  const inits = pod.status.initContainerStatuses ?? [];
  const isDone = (each: ContainerStatus) =>
    each.state?.terminated?.exitCode === 0 || (each.started === true && isSidecar(pod, each.name));
  const init = inits.find((each) => !isDone(each));
  if (init !== undefined) return { phase: "initializing", text: `pod ${name}: ${ofStatus(init)}` };
  return {
    phase: "starting",
    text:
      status === undefined ? `pod ${name} is on node ${pod.spec.nodeName ?? "?"}` : `pod ${name}: ${ofStatus(status)}`,
  };
}

function isSidecar(pod: Pod, name: string): boolean {
  return pod.spec.initContainers?.find((each) => each.name === name)?.restartPolicy === "Always";
}

function ofContainer(pod: Pod, container: string | null): string | null {
  const status = container === null ? pod.status.containerStatuses?.[0] : containerStatus(pod, container);
  return status === undefined ? null : ofStatus(status);
}

function ofStatus({ name, state }: ContainerStatus): string {
  if (state?.terminated !== undefined) {
    const { exitCode, reason } = state.terminated;
    return `${name} ended with exit code ${exitCode}${reason === undefined || reason === "Completed" ? "" : ` (${reason})`}`;
  }
  if (state?.running !== undefined) return `${name} is running`;
  const waiting = [state?.waiting?.reason, state?.waiting?.message].filter(Boolean).join(": ");
  return `${name} is waiting${waiting === "" ? "" : ` (${waiting})`}`;
}
