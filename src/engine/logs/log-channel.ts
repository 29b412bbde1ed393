import { channel } from "node:diagnostics_channel";
import type { LogSource } from "./types.ts";

/** What a follow has done. */
type LogActivity =
  | {
      type: "read";
      /** Requests of this follow, this one among them. */
      reads: number;
      /** How the one before it ended; the server ends one at a kubelet's restart and a rotation, too (`clean`). Null: it is the first. */
      after: "clean" | "broken" | "refused" | null;
    }
  /** So many lines are handed over, with so many bytes of text. */
  | { type: "lines"; lines: number; bytes: number };

/** Channel `k8s-run-informer:log`: each follow of a container's log. Its gaps and restarts are on the run's channel. */
export type LogMessage = LogActivity & { namespace: string; podName: string; container: string };

const logs = channel("k8s-run-informer:log");

export function publishRead(source: LogSource, reads: number, after: "clean" | "broken" | "refused" | null): void {
  if (logs.hasSubscribers) publish(source, { type: "read", reads, after });
}

/** Makes nothing while there is no subscriber: it is called for each chunk of a log. */
export function publishLines(source: LogSource, lines: number, bytes: number): void {
  if (logs.hasSubscribers) publish(source, { type: "lines", lines, bytes });
}

function publish({ namespace, podName, container }: LogSource, activity: LogActivity): void {
  const message: LogMessage = { namespace, podName, container, ...activity };
  logs.publish(message);
}
