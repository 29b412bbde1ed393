import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { failed } from "./evidence.ts";

/** What the host's `legacy-controller-lease` aborts the signal with, word for word. */
const LEASE_LOSS = "Legacy controller lease lost";

/**
 * The host aborts its signal for a person's Stop, and also when it can no longer renew its own lease on the run: its database is
 * away, or the server shuts down. The latter says nothing about the agent: it goes on, and a later run adopts it.
 */
export function isLeaseLoss({ reason }: AbortSignal): boolean {
  return reason instanceof Error && reason.message === LEASE_LOSS;
}

/** Has a person stopped the run? */
export function isStopped(signal: AbortSignal): boolean {
  return signal.aborted && !isLeaseLoss(signal);
}

export function cancelledResult(reason: unknown): AdapterExecutionResult {
  const said =
    reason instanceof Error && reason.name !== "AbortError" && reason.message !== "" ? `: ${reason.message}` : "";
  return failed(`Run cancelled${said}`, "cancelled");
}
