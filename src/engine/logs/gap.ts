import type { TimedLine } from "./log-line-reader.ts";
import type { LogGap, LogGapReason, LogSource } from "./types.ts";

/** Where lines are missing, and how sure that is. Default: after the last line, to the end of the log, and only possible. */
export interface GapFacts {
  after?: string | null;
  before?: string | null;
  certain?: boolean;
  /** What the server said. */
  words?: string | null;
}

/** `podName`: "" where the pod was never seen. */
export function describeGap(
  { podName, container }: Pick<LogSource, "podName" | "container">,
  reason: LogGapReason,
  { after = null, before = null, certain = false, words = null }: GapFacts,
): LogGap {
  const from = after === null ? "from its beginning" : `after ${after}`;
  const to = before === null ? "" : ` and before ${before}`;
  const are = certain ? "are" : "may be";
  const said = words === null ? "" : `; it said: ${words}`;
  const message = `log of ${podName || "a pod that was never seen"}/${container}: lines ${from}${to} ${are} missing: ${MEANING[reason]}${said}`;
  return { podName, container, reason, after, before, certain, message };
}

const MEANING: Record<LogGapReason, string> = {
  rotated: "the kubelet had rotated its log file before it could be read on",
  pod_gone: "the pod was deleted before the end of its log was seen",
  restarted: "the container was started again, and the log of its earlier instance is no longer there",
  clock_stepped: "the node's clock went back while the log was not being read",
  unreachable: "the container has ended and the server does not give the rest of its log",
  limit_reached: "limitBytes was reached",
};

/** What can be known of a log's first line. */
export interface HeadFacts {
  isFirstLine: ((text: string) => boolean) | undefined;
  /** When the container was started, by the node's clock; null: unknown. */
  startedAt: string | null;
  /** The server's clock in seconds when it began to answer the read that brought the line; null: it told no time. */
  serverTime: number | null;
}

/** Was the beginning of the log rotated away before the first read? Null: nothing speaks for it. */
export function headGap(first: TimedLine, { isFirstLine, startedAt, serverTime }: HeadFacts): GapFacts | null {
  if (isFirstLine !== undefined) return isFirstLine(first.text) ? null : { before: first.time, certain: true };
  if (startedAt === null || serverTime === null) return null;
  // Of a line that came while the log was read it is known that none stood before it.
  const wasThere = first.seconds < serverTime - CLOCK_SKEW_SECONDS;
  return wasThere && first.seconds - Date.parse(startedAt) / 1000 > SILENT_START_SECONDS
    ? { before: first.time }
    : null;
}

/** A read ended behind `last`, and the next one begins with `next` in another file: so close together, no file was lost between. */
export function isAdjacent(last: TimedLine, next: TimedLine): boolean {
  const ms = (next.seconds - last.seconds) * 1000 + (next.nanos - last.nanos) / 1e6;
  return ms >= 0 && ms <= ADJACENT_MS;
}

/** Clocks of the node and of the API server differ by less. */
const CLOCK_SKEW_SECONDS = 2;
/** A container that says nothing for so long after its start is unusual. */
const SILENT_START_SECONDS = 60;
const ADJACENT_MS = 50;
