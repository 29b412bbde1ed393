import { LabelKey } from "../../adapter/job/names.ts";
import { describe, INITIAL_STATE, type Job, type Pod, type RunState, reduceRun } from "../../engine/index.ts";
import { inOrder, jobUidOfPod } from "../../engine/runs/job-of-pod.ts";
import { formatAge } from "../text-width.ts";

/** One run as a person wants to see it. */
export interface RunRow {
  name: string;
  agent: string;
  phase: string;
  /** The kubelet's, scheduler's or Job controller's words. */
  text: string;
  ageMs: number;
  restarts: number;
  node: string;
  /** Name of the newest pod. */
  pod: string | null;
}

export const RUN_TITLES = ["RUN", "AGENT", "PHASE", "AGE", "RESTARTS", "NODE", "WHAT"] as const;

/** What a narrow terminal can do without, first of all. */
export const EXPENDABLE_TITLES = ["NODE", "RESTARTS"] as const;

/** The pod's name is the run's and some letters: in a table it only takes the room of what is said of it. */
export function cellsOf({ name, agent, phase, ageMs, restarts, node, text }: RunRow): string[] {
  return [name, agent, phase, formatAge(ageMs), String(restarts), node, text.replace(/^pod [^\s:]+: /, "")];
}

/** `pods`: as of `byOwner`. `now`: wall clock milliseconds. */
export function rowOf(job: Job, pods: readonly Pod[], now: number): RunRow {
  const state = stateOf(job, pods);
  const { phase, text } = describe(state, null);
  const statuses = state.pod?.status.containerStatuses ?? [];
  return {
    name: job.metadata.name,
    agent: job.metadata.annotations?.["paperclip.io/agent-name"] ?? job.metadata.labels?.[LabelKey.agentId] ?? "",
    phase,
    text,
    ageMs: now - Date.parse(job.metadata.creationTimestamp),
    restarts: statuses.reduce((sum, { restartCount }) => sum + restartCount, 0) + state.podChanges,
    node: state.pod?.spec.nodeName ?? "",
    pod: state.pod?.metadata.name ?? null,
  };
}

/** The fold of what a list shows of one run. */
function stateOf(job: Job, pods: readonly Pod[]): RunState {
  let state = reduceRun(INITIAL_STATE, { resource: "jobs", type: "applied", object: job, at: 0 });
  for (const object of pods) state = reduceRun(state, { resource: "pods", type: "applied", object, at: 0 });
  return state;
}

/** Pods by the uid of the Job that controls them, the newest last. */
export function byOwner(pods: readonly Pod[]): ReadonlyMap<string | null, readonly Pod[]> {
  return Map.groupBy(inOrder(pods), jobUidOfPod);
}
