import { channel } from "node:diagnostics_channel";
import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { RunRef } from "../engine/index.ts";
import { BootstrapError } from "./errors.ts";

const starts = channel("k8s-run-informer:start");
const results = channel("k8s-run-informer:result");

/** Channel `k8s-run-informer:start`: what the guard decided for a run, and that its Job is followed. */
export type StartMessage =
  /** `wait`: for another run of the agent; a further decision follows. `code`: of a refusal, the host's `errorCode`. */
  | { type: "decision"; decision: "start" | "adopt" | "wait" | "refuse"; code: string | null }
  /** `isAdopted`: an earlier process began it. A result follows. */
  | { type: "started"; run: RunRef; isAdopted: boolean };

/** Channel `k8s-run-informer:result`: one a call of `execute`. */
export interface ResultMessage {
  /** One for each Job that it had, the latest last. None: it failed before a Job was followed. */
  runs: readonly RunRef[];
  /** As the host gets it. */
  result: AdapterExecutionResult;
}

export function publishStart(message: StartMessage): void {
  if (starts.hasSubscribers) starts.publish(message);
}

/** What the guard decided, where `pass` says it. */
export async function publishDecision<T extends { kind: "start" | "adopt" }>(pass: Promise<T>): Promise<T> {
  try {
    const passage = await pass;
    publishStart({ type: "decision", decision: passage.kind, code: null });
    return passage;
  } catch (error) {
    if (error instanceof BootstrapError) publishStart({ type: "decision", decision: "refuse", code: error.code });
    throw error;
  }
}

export function publishResult(runs: readonly RunRef[], result: AdapterExecutionResult): void {
  const message: ResultMessage = { runs, result };
  if (results.hasSubscribers) results.publish(message);
}
