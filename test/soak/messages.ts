/** What the processes of the soak tell each other, over Node's IPC. */
import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { AuditResult } from "../../src/cli/fleet/line-audit.ts";
import type { Form } from "./script.ts";

/** Where the agents run, and as what. */
export interface Place {
  readonly form: Form;
  readonly kubeconfig: string;
  readonly namespace: string;
  readonly image: string;
  readonly cpu: string;
  readonly memory: string;
  /** Some runs go on in another Job. */
  readonly moves: boolean;
}

export interface RunOrder {
  readonly kind: "run";
  readonly index: number;
  readonly attempt: number;
  readonly runId: string;
  /** Nobody cancels it. */
  readonly isUndisturbed: boolean;
}

export type ToWorker =
  | RunOrder
  | { readonly kind: "finish" }
  | { readonly kind: "explain"; readonly index: number }
  /** From now on this process's clock is so many milliseconds ahead of the machine's. */
  | { readonly kind: "clock"; readonly aheadMs: number };

export interface RunReport {
  readonly kind: "ran";
  readonly index: number;
  readonly attempt: number;
  readonly runId: string;
  readonly result: AdapterExecutionResult;
  readonly audit: AuditResult;
  /** Announced gaps. */
  readonly gaps: number;
  readonly adopted: boolean;
  /** Null: none was created. */
  readonly jobUid: string | null;
  /** The adapter's own words, the last of them. */
  readonly notes: readonly string[];
  readonly elapsedMs: number;
  /** The signal was aborted before `execute` returned: by a person's Stop, or because the host took its runs from this server. */
  readonly aborted: "stop" | "handed back" | null;
}

export interface Sample {
  readonly kind: "sample";
  /** After a full collection, bytes. */
  readonly heap: number;
  readonly rss: number;
  /** Timers, sockets, pipes: what keeps the event loop busy. */
  readonly handles: number;
  readonly running: number;
}

export interface Left {
  readonly kind: "left";
  readonly resources: Record<string, number>;
  readonly state: Record<string, number>;
}

export type FromWorker =
  | { readonly kind: "ready" }
  | { readonly kind: "explained"; readonly index: number; readonly text: string }
  | RunReport
  | Sample
  /** Something that must never happen in a host process. */
  | { readonly kind: "wrong"; readonly what: string }
  /** After `finish`: what is left. */
  | Left;

/** How one container of an agent ended, as the cluster has it. */
export interface ContainerEnd {
  /** By uid: a killed process may have ended a Job of the same name. */
  readonly jobUid: string;
  readonly runId: string;
  readonly exitCode: number;
  readonly reason: string;
  /** It was started: the kubelet also gives an exit code to one that never was. */
  readonly ran: boolean;
  /** Lines that it has written. Null: that is not known. */
  readonly written: number | null;
}

/** What is true of one agent, whatever anybody was told. */
export interface AgentTruth {
  readonly ends: readonly ContainerEnd[];
  /** Each prompt that an agent began with, and its Job: not again for a second pod, or a container that was started again. */
  readonly begun: readonly { readonly runId: string; readonly jobUid: string }[];
  /** More than one container ran at once: which. */
  readonly overlap: string | null;
  /** Lines before this one may have been rotated away. */
  readonly rotatedTo: number;
  /** How many lines its container had written at each rotation, give or take one. */
  readonly rotations: readonly number[];
  /** Uids of Jobs whose container's kubelet restarted in the moments before its end. */
  readonly endedBlind: readonly string[];
  /** What befell its containers that no script says: a node restarted, a taint, an eviction. */
  readonly struck: readonly string[];
  /** Nothing of it can have gone unseen. */
  readonly isComplete: boolean;
}

/** What is left when everything has settled. */
export interface Remains {
  readonly left: Record<string, string[]>;
  /** Run ids of Jobs whose container cannot start: without their Secret (its process was killed too soon) or image. */
  readonly waiting: readonly string[];
}

export interface Figures {
  /** How often each fault was hit; 0 for what never was. */
  readonly faults: Record<string, number>;
  /** Bytes of the cluster's process; 0 where it is none of ours. */
  readonly rss: number;
  /** What else there is to say at the end. */
  readonly notes: readonly string[];
}

export type ToCluster =
  | { readonly kind: "clear" | "remains" | "figures" }
  | { readonly kind: "agent" | "forget" | "explain"; readonly agentId: string };

export type FromCluster =
  | { readonly kind: "ready"; readonly kubeconfig: string }
  | { readonly kind: "wrong"; readonly what: string }
  | { readonly kind: "cleared" }
  | { readonly kind: "remains"; readonly remains: Remains }
  | { readonly kind: "figures"; readonly figures: Figures }
  | { readonly kind: "agent"; readonly agentId: string; readonly truth: AgentTruth }
  | { readonly kind: "explain"; readonly agentId: string; readonly text: string };
