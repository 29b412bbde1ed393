/** What the processes of the soak tell each other, over Node's IPC. */
import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { AuditResult } from "../../src/cli/fleet/line-audit.ts";

export interface RunOrder {
  readonly kind: "run";
  readonly index: number;
  readonly attempt: number;
  readonly runId: string;
  /** Nobody cancels it. */
  readonly isUndisturbed: boolean;
}

export type ToWorker = RunOrder | { readonly kind: "finish" } | { readonly kind: "explain"; readonly index: number };

export interface RunReport {
  readonly kind: "ran";
  readonly index: number;
  readonly attempt: number;
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
  /** The signal was aborted before `execute` returned. */
  readonly cancelled: boolean;
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

export type FromWorker =
  | { readonly kind: "ready" }
  | { readonly kind: "explained"; readonly index: number; readonly text: string }
  | RunReport
  | Sample
  /** Something that must never happen in a host process. */
  | { readonly kind: "wrong"; readonly what: string }
  /** After `finish`: what is left. */
  | { readonly kind: "left"; readonly resources: Record<string, number>; readonly state: Record<string, number> };

/** How one container of an agent ended, as the cluster's own store has it. */
export interface ContainerEnd {
  /** By uid: a killed process may have ended a Job of the same name. */
  readonly jobUid: string;
  readonly runId: string;
  readonly exitCode: number;
  readonly reason: string;
  /** It was started: the kubelet also gives an exit code to one that never was. */
  readonly ran: boolean;
  /** Lines that it has written. */
  readonly written: number;
}

export type ToCluster =
  | { readonly kind: "clear" }
  | { readonly kind: "truth" }
  | { readonly kind: "explain"; readonly agentId: string };

export interface Truth {
  readonly kind: "truth";
  readonly ends: Record<string, ContainerEnd[]>;
  /** Agents that ever had more than one container running, and which. */
  readonly overlaps: Record<string, string>;
  readonly started: number;
  /** Run ids of Jobs whose container cannot start. */
  readonly waiting: readonly string[];
  /** Jobs that the cluster ended in the sweep's place: fifteen minutes are too long to wait for. */
  readonly leftToSweep: number;
  readonly left: Record<string, string[]>;
  readonly faults: Record<string, number>;
  readonly requests: number;
  readonly connectionsOpened: number;
}

export type FromCluster =
  | { readonly kind: "ready"; readonly kubeconfig: string }
  | { readonly kind: "wrong"; readonly what: string }
  | { readonly kind: "cleared" }
  | { readonly kind: "explained"; readonly text: string }
  | Truth;
