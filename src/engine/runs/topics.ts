import type { Pod } from "../kubernetes.ts";
import type { LogGap, LogRestart } from "../logs/index.ts";
import type { PhaseChange, RunEnd } from "./types.ts";

/** Which run an event is about. */
export interface RunRef {
  /** Unlike any other run of this process: two may follow the same Job. */
  readonly id: string;
  readonly namespace: string;
  readonly jobName: string;
  /** The Job's; null until it was seen or created. */
  readonly uid: string | null;
}

/** What happens to a run, and what is told of it. */
export interface RunEvents {
  /** It is followed: it was launched here, or attached to. `since`: monotonic milliseconds, before the create request left. */
  followed: { how: "launch" | "attach"; since: number };
  /** Readable progress, each state once. */
  phase: PhaseChange;
  /** The log of an awaited container can be read. */
  ready: Pod;
  /** A newer pod took the place of the one known (retry, eviction). */
  pod: PodChange;
  /** One for each container that is awaited. */
  terminated: RunEnd;
  /** Job and pods are deleted. */
  gone: undefined;
  /** It is not followed any more: `release()`, or its engine was stopped. The last event of a run. */
  released: undefined;
  /** `job()` or `pod()` may have changed, or the run is not followed any more. */
  change: undefined;
  /** Lines of its log are, or may be, missing. */
  gap: LogGap;
  /** Its container was started again. */
  restart: LogRestart;
}

export interface PodChange {
  pod: Pod;
  previous: Pod;
}

/** What runs publish on the engine's bus: `run.phase`, `run.terminated`, … Key: the run's id. */
export type RunTopics = { [E in keyof RunEvents as `run.${E}`]: { run: RunRef; event: RunEvents[E] } };
