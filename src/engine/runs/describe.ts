import { containerFacts, isSidecar, jobFacts, podFacts } from "../facts.ts";
import type { Pod } from "../kubernetes.ts";
import type { RunState } from "./run-state.ts";
import type { PhaseChange } from "./types.ts";

/** Where a run stands, for people. Pure; two states with the same phase and text are the same to a reader. */
export function describe(state: RunState, container: string | null): PhaseChange {
  const { job, pod } = state;
  if (job === null && pod === null && state.jobDeletedAt === null)
    return { phase: "unknown", text: "waiting for the Job to be seen" };
  if (state.jobDeletedAt !== null && (pod === null || state.podDeletedAt !== null))
    return { phase: "gone", text: "Job and pod are deleted" };
  if (pod === null || (state.podDeletedAt !== null && state.jobDeletedAt === null)) return describeJob(state);
  const name = container ?? pod.spec.containers[0]?.name ?? "";
  if (state.podDeletingAt !== null) {
    const said = describeContainer(pod, name);
    return {
      phase: "deleting",
      text: `pod ${pod.metadata.name} is being deleted${said === null ? "" : `; ${said}`}`,
    };
  }
  return describePod(pod, name);
}

function describeJob({ job, podDeletedAt }: RunState): PhaseChange {
  const facts = job === null ? null : jobFacts(job);
  if (facts?.end) return { phase: "ended", text: `Job ${facts.end.type}: ${facts.end.reason}` };
  if (facts?.state === "suspended")
    return { phase: "suspended", text: "Job is suspended; it starts when it is resumed" };
  if (facts?.isManagedElsewhere)
    return { phase: "created", text: `Job is run by ${job?.spec.managedBy}, which makes its pods elsewhere` };
  return {
    phase: "created",
    text: podDeletedAt === null ? "Job created; waiting for its pod" : "pod is deleted; waiting for the Job",
  };
}

function describePod(pod: Pod, container: string): PhaseChange {
  const { name } = pod.metadata;
  const facts = containerFacts(pod, container);
  const said = describeContainer(pod, container);
  const text = `pod ${name}: ${said}`;
  if (facts.state === "running") return { phase: "running", text };
  if (facts.state === "ended" || facts.state === "never started")
    return { phase: facts.isRestarted ? "starting" : "ended", text };
  const { hasEnded, isScheduled, unscheduled } = podFacts(pod);
  if (hasEnded) {
    const { phase = "", reason, message } = pod.status;
    return { phase: "ended", text: `pod ${name} ${phase}${colon(reason, message)}` };
  }
  if (!isScheduled)
    return {
      phase: "pending",
      text: `pod ${name} waits for a node${colon(unscheduled?.reason, unscheduled?.message)}`,
    };
  const init = pod.spec.initContainers?.find((each) => !isInitDone(pod, each.name));
  const initSaid = init === undefined ? null : describeContainer(pod, init.name);
  if (initSaid !== null) return { phase: "initializing", text: `pod ${name}: ${initSaid}` };
  return {
    phase: "starting",
    text: said === null ? `pod ${name} is on node ${pod.spec.nodeName ?? "?"}` : text,
  };
}

function isInitDone(pod: Pod, name: string): boolean {
  const facts = containerFacts(pod, name);
  if (facts.state === "ended") return facts.exitCode === 0;
  return facts.state === "running" && isSidecar(pod, name);
}

/** Null when the pod says nothing of it. */
function describeContainer(pod: Pod, name: string): string | null {
  const facts = containerFacts(pod, name);
  switch (facts.state) {
    case "unknown":
      return null;
    case "waiting":
      return `${name} is waiting${bracketed([facts.reason, facts.message].filter(Boolean).join(": "))}`;
    case "running":
      return `${name} is running`;
    case "never started":
      return `${name} could not be started${bracketed([facts.reason, facts.message].filter(Boolean).join(": "))}`;
    case "ended": {
      const why = bracketed(facts.reason === "Completed" ? "" : facts.reason);
      return `${name} ended with exit code ${facts.exitCode}${why}${facts.isRestarted ? " and is started again" : ""}`;
    }
  }
}

function colon(...parts: (string | undefined)[]): string {
  const text = parts.filter(Boolean).join(": ");
  return text === "" ? "" : `: ${text}`;
}

function bracketed(text: string): string {
  return text === "" ? "" : ` (${text})`;
}
