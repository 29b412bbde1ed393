import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import type { Redactor } from "../job/credentials.ts";
import { settlesWithin } from "../wait.ts";

/** A callback of the host writes to its database; one that takes longer than this hangs, and the run goes on without it. */
const CALLBACK_TIMEOUT_MS = 5_000;

/**
 * Calls the host and waits for it, within a bound and until the signal aborts. Never rejects: a host without the callback, one that
 * fails in it and one that hangs in it are no reason for a run to fail.
 */
export async function tell(call: () => unknown, signal?: AbortSignal): Promise<void> {
  await settlesWithin(
    (async () => {
      await call();
    })(),
    CALLBACK_TIMEOUT_MS,
    signal,
  );
}

export type TellEvent = (
  eventType: string,
  message: string,
  payload?: Record<string, unknown>,
  level?: "info" | "warn" | "error",
) => void;

/** Events that the host has not taken yet; those beyond are dropped, since it hangs. */
const MAX_WAITING_EVENTS = 200;

export function eventTo(ctx: AdapterExecutionContext, redactor: Redactor): TellEvent {
  let waiting = 0;
  return (eventType, message, payload, level = "info") => {
    if (waiting >= MAX_WAITING_EVENTS) return;
    waiting += 1;
    void tell(() =>
      ctx.onEvent?.({
        eventType: eventType.slice(0, 120),
        stream: "system",
        level,
        message: redactor.text(message),
        ...(payload === undefined ? {} : { payload: redactor.value(payload) as Record<string, unknown> }),
      }),
    ).then(() => {
      waiting -= 1;
    });
  };
}
