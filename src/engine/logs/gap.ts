import type { LogGap, LogGapReason, LogSource } from "./types.ts";

/** `after`, `before`: times of the lines around the gap. `podName`: "" where the pod was never seen. */
export function describeGap(
  { podName, container }: Pick<LogSource, "podName" | "container">,
  reason: LogGapReason,
  after: string | null,
  before: string | null,
): LogGap {
  const from = after === null ? "from its beginning" : `after ${after}`;
  const to = before === null ? "" : ` and before ${before}`;
  const message = `log of ${podName || "a pod that was never seen"}/${container}: lines ${from}${to} may be missing: ${MEANING[reason]}`;
  return { podName, container, reason, after, before, message };
}

const MEANING: Record<LogGapReason, string> = {
  rotated: "the kubelet had rotated its log file before it could be read on",
  pod_gone: "the pod was deleted before the end of its log was seen",
  restarted: "the container was started again, and the log of its earlier instance is no longer there",
  clock_stepped: "the node's clock went back while the log was not being read",
  unreachable: "the container has ended and the server does not give the rest of its log",
  limit_reached: "limitBytes was reached",
};
