import { corePath } from "../paths.ts";
import type { FollowHistory } from "./follow-history.ts";
import type { LogPosition, LogStart } from "./log-position.ts";
import type { ContainerView, LogOptions, LogSource } from "./types.ts";

export interface LogReadRequest {
  path: string;
  container: string;
  follow: boolean;
  previous: boolean;
  /** Whole second since 1970; null: from the beginning. */
  since: number | null;
  /** Lines before this time are not wanted, as long as none was delivered. */
  notBefore: Date | undefined;
  tailLines: number | undefined;
  maxLineBytes: number;
}

/** Where a follow stands when it asks for the log. */
export interface Standing {
  follow: boolean;
  view: ContainerView;
  position: LogPosition;
  history: FollowHistory;
  /** The rest of an instance that was started again. */
  previous: boolean;
  /** The container instance that the follow began with. */
  isFirstInstance: boolean;
  /** Server's clock in seconds at the first answer; null: none yet, or it told no time. */
  firstAnsweredAt: number | null;
}

/** What to ask the server for next, so that its answer shows the last delivered line and all after it. Pure. */
export function requestFor(source: LogSource, options: LogOptions, standing: Standing): LogReadRequest {
  const { namespace, podName, container } = source;
  const { since, maxLineBytes = DEFAULT_MAX_LINE_BYTES } = options;
  const { follow, previous, isFirstInstance } = standing;
  return {
    path: `${corePath(namespace, "pods", podName)}/log`,
    container,
    follow,
    previous,
    notBefore: isFirstInstance ? since : undefined,
    maxLineBytes,
    ...rangeOf(options, standing),
  };
}

/** A tail of no lines begins behind all that there is, and so amid nothing. */
export function startOf({ tailLines, since, after }: LogOptions): LogStart {
  if (tailLines !== undefined && tailLines > 0) return "tail";
  return (tailLines ?? since ?? after) === undefined ? "beginning" : "time";
}

/**
 * The instance of the container that a follow begins with, by its restart count. A container that was started again before its log is
 * followed from its beginning has an earlier instance, of which the server keeps the log of the last one.
 */
export function firstInstance({ restartCount }: ContainerView, options: LogOptions): number {
  return options.follow !== false && startOf(options) === "beginning" ? 0 : restartCount;
}

type Range = Pick<LogReadRequest, "since" | "tailLines">;

function rangeOf({ tailLines, since }: LogOptions, standing: Standing): Range {
  const { position, isFirstInstance } = standing;
  if (position.resumeSeconds !== null)
    return { since: resumeSince(position.resumeSeconds, standing), tailLines: undefined };
  if (!isFirstInstance) return { since: null, tailLines: undefined };
  const start = since === undefined ? null : Math.floor(since.getTime() / 1000);
  if (tailLines === undefined) return { since: start, tailLines };
  // There was no tail to deliver: asking for it again would pass over what was printed meanwhile.
  const { firstAnsweredAt, history } = standing;
  const isEmpty = tailLines === 0 || hasShownNoTail(history);
  return isEmpty && firstAnsweredAt !== null
    ? { since: firstAnsweredAt, tailLines: undefined }
    : { since: start, tailLines };
}

function hasShownNoTail({ last }: FollowHistory): boolean {
  return last !== null && last.end !== "refused" && !last.unfinished && last.openMs > EMPTY_TAIL_MS;
}

/**
 * `resume`: second of the last delivered line. The server leaves out lines by their time, and a node's clock may go back. Null: all
 * that there is.
 */
function resumeSince(resume: number, { follow, view, history }: Standing): number | null {
  const { last, breaks, falseEnds } = history;
  // If the last read did not even get through what it repeated, it has to be as short as can be.
  const isStuck = last !== null && last.end !== "refused" && !last.caughtUp;
  if (follow) return isStuck ? resume : resume - CLOCK_MARGIN_SECONDS;
  // The container ended "before" its last line: the clock did go back, by who knows how much, and this is the last chance to see.
  const finished = view.finishedAt === null ? Number.NaN : Math.floor(Date.parse(view.finishedAt) / 1000);
  if (finished < resume) return isStuck ? finished - CLOCK_MARGIN_SECONDS : null;
  if (isStuck) return resume;
  return resume - (breaks + falseEnds > 0 ? LAST_CLOCK_MARGIN_SECONDS : CLOCK_MARGIN_SECONDS);
}

const DEFAULT_MAX_LINE_BYTES = 4 * 1024 * 1024;
const CLOCK_MARGIN_SECONDS = 2;
/** Of the reads after the container's end, where the log was cut before. */
const LAST_CLOCK_MARGIN_SECONDS = 60;
/** A read of the tail that has shown no line for so long has found none. */
const EMPTY_TAIL_MS = 1000;
