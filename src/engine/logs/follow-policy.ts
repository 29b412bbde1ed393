import type { ContainerView, LogGapReason } from "./types.ts";

/** How a read of the log went. */
export type ReadOutcome = {
  /** The read was opened, without `follow`, when the container was known not to run any more. */
  final: boolean;
  /** Lines that it delivered. */
  delivered: number;
  /** How long it was open, in milliseconds. */
  openMs: number;
} & (
  | {
      /** The stream ended by itself. */
      end: "clean";
      /** It showed the last line delivered before it (trivially true when there was none). */
      caughtUp: boolean;
      /** Bytes of a line without newline stand at its end. */
      unfinished: boolean;
      /** A final read that ended exactly where the reads before it did: nothing can be missing at its end. */
      confirmed: boolean;
    }
  | { end: "broken"; caughtUp: boolean }
  | {
      /** Answered with an error instead of a log. Status 0: not answered at all. */
      end: "refused";
      status: number;
      message: string;
      retryAfterMs: number | undefined;
    }
);

/** What is known when the next step is to be chosen. */
export interface FollowState {
  view: ContainerView;
  /** The container is known to have run. */
  started: boolean;
  /** Null: this container instance has not been read. */
  last: ReadOutcome | null;
  /**
   * Reads in a row, up to the last one that was answered with a log, that ended cleanly at the same place: behind a newline,
   * and having shown the last delivered line. 0 also where what came after the first speaks of a kubelet in trouble.
   */
  cleanEnds: number;
  /** How long after the last of them the container was known not to run any more, in milliseconds; 0: before, or it runs. */
  overMs: number;
  /** Reads in a row, up to and with `last`, that delivered nothing. */
  idleReads: number;
  /** Refusals in a row, up to and with `last`. Not told by `idleReads`: a container may be silent through many good reads. */
  refusals: number;
  /** Final reads in a row, up to and with `last`, that ended cleanly without the last delivered line. */
  missedReads: number;
  /** The rest that was chosen after `last` has been taken. */
  rested: boolean;
  /** Some read has been answered with a log. */
  everAnswered: boolean;
  /** How long the container has been known to have ended, in milliseconds; 0: it has not. */
  endedMs: number;
  /** The last line delivered marks the end of the output. */
  lastLineSeen: boolean;
}

export type FollowStep =
  | { do: "read"; follow: boolean }
  /** Wait so long, or until the pod changes: any change of phase if `hurry`, else only its deletion. Then choose again. */
  | { do: "rest"; ms: number; hurry: boolean }
  /** Wait for a change of the pod. */
  | { do: "wait" }
  | { do: "end"; gap: LogGapReason | null }
  /** The request itself is wrong or not allowed; no waiting mends that. */
  | { do: "fail" };

/** The pod tells of its container's end a little after the stream does: so long we wait for it before we ask again. */
export const CLEAN_END_SETTLE_MS = 250;
/**
 * The same where the last line has marked the end of the output: nothing is missing, so there is no hurry. A kubelet looks at
 * its containers about once a second and then reports.
 */
export const LAST_LINE_SETTLE_MS = 5_000;
const CLEAN_END_MAX_MS = 5_000;
/** A stream that ended cleanly so long before the pod told of its container's end may have ended for another reason. */
export const CLEAN_END_TRUST_MS = 1_000;
const LAST_LINE_MAX_MS = 60_000;
/** A container has ended and its log cannot be had for so long: give up, and say so. */
export const ENDED_GIVE_UP_MS = 120_000;
const ANSWERED_MAX_MS = 2_000;
/** A stream that was open for so long was healthy, even if the container said nothing. */
const HEALTHY_MS = 10_000;
/** So many final reads in a row without the last delivered line: it is not there any more. */
const ROTATED_AFTER_READS = 3;
/** So many times in a row the server said that it has no log of an ended container. */
const UNAVAILABLE_AFTER_READS = 5;

/**
 * Chooses what to do next. Pure. The pod decides: the end of a stream, a 404 and silence mean nothing by themselves.
 */
export function nextStep(state: FollowState, random: () => number = Math.random): FollowStep {
  const { view, last } = state;
  if (view.phase === "gone") return { do: "end", gap: !state.started || sawEnd(state) ? null : "pod_gone" };
  if (last === null)
    return view.phase === "waiting" ? { do: "wait" } : { do: "read", follow: view.phase === "running" };
  if (last.end === "refused") return afterRefusal(state, last, random);
  if (view.phase === "running") return whileRunning(state, last, random);
  const step = afterContainerEnd(state, last, random);
  // Between two instances (CrashLoopBackOff) the server still gives the log of the one that ended.
  return view.phase === "waiting" && step.do === "end" ? { do: "wait" } : step;
}

type Answered = Exclude<ReadOutcome, { end: "refused" }>;
type Refused = Extract<ReadOutcome, { end: "refused" }>;

function whileRunning(state: FollowState, last: Answered, random: () => number): FollowStep {
  if (state.rested) return { do: "read", follow: true };
  const idle = last.openMs >= HEALTHY_MS ? 0 : state.idleReads;
  // The container's end cuts the rest short: what is left is then read without following, all at once.
  if (last.end === "broken") return { do: "rest", ms: answered(idle, random), hurry: true };
  // A clean end while the container runs: a kubelet that restarts, or the container's own end a moment before the pod
  // tells of it, which is the usual case. The short rest saves a request in the latter. A stream that ends amid a line
  // was cut: no reason to wait.
  if (last.unfinished && idle === 0) return { do: "read", follow: true };
  // The pod's word is late, as when thousands of runs end together: the more often there was nothing more, the less a further
  // read is worth, and each adds to what the server is late with. The pod's change cuts the rest short.
  if (state.lastLineSeen) return { do: "rest", ms: doubled(LAST_LINE_SETTLE_MS, idle, LAST_LINE_MAX_MS), hurry: true };
  if (idle === 0) return { do: "rest", ms: CLEAN_END_SETTLE_MS, hurry: true };
  return { do: "rest", ms: Math.min(CLEAN_END_MAX_MS, backoff(idle, random)), hurry: true };
}

function afterContainerEnd(state: FollowState, last: Answered, random: () => number): FollowStep {
  if (last.end === "clean") {
    if (state.lastLineSeen && last.caughtUp && !last.unfinished) return { do: "end", gap: null };
    if (!last.final) return { do: "read", follow: false };
    // Complete when one more read brings nothing new: a clean end alone may be a kubelet's restart.
    if (last.confirmed) return { do: "end", gap: null };
    if (!last.caughtUp && state.missedReads >= ROTATED_AFTER_READS) return { do: "end", gap: "rotated" };
    if (last.delivered > 0) return { do: "read", follow: false };
  }
  if (state.rested) return { do: "read", follow: false };
  if (state.endedMs > ENDED_GIVE_UP_MS && state.idleReads > 0) return { do: "end", gap: "unreachable" };
  return { do: "rest", ms: answered(Math.max(0, state.idleReads - 1), random), hurry: false };
}

function afterRefusal(state: FollowState, last: Refused, random: () => number): FollowStep {
  const { phase } = state.view;
  const { status } = last;
  if (isFatal(status, last.message, state.everAnswered)) return { do: "fail" };
  if (phase === "waiting" && (status === 400 || status === 404)) return { do: "wait" };
  // The pod ended before its container was started: there is no log.
  if (phase === "ended" && !state.started && status === 400) return { do: "end", gap: null };
  if (state.rested) return { do: "read", follow: phase === "running" };
  if (phase === "ended") {
    const unavailable = status === 400 && state.refusals >= UNAVAILABLE_AFTER_READS;
    if (unavailable || state.endedMs > ENDED_GIVE_UP_MS) return { do: "end", gap: "unreachable" };
  }
  const ms = backoff(state.refusals - 1, random);
  // Retry-After is a lower bound; the jitter on top keeps a thousand follows from coming back in one moment.
  return { do: "rest", ms: (last.retryAfterMs ?? 0) + ms, hurry: false };
}

/** 4xx that only another request mends. A kubelet that has just started answers 404 for a pod that runs; 400 is also "not started". */
function isFatal(status: number, message: string, everAnswered: boolean): boolean {
  if (status < 400 || status >= 500) return false;
  // `container nope is not valid for pod p`, `a container name must be specified …`: reason is BadRequest for all of them.
  if (status === 400) return /is not valid for pod|must be specified|parsing time/.test(message);
  if (status === 401 || status === 403) return !everAnswered;
  return ![404, 408, 409, 410, 425, 429].includes(status);
}

/**
 * The pod is gone: was the end of its log seen? The stream of a container that is killed ends cleanly, once all that it
 * printed has been sent; that of a container that runs on, when its kubelet restarts. What tells them apart is what comes next:
 * the pod's own word within moments, or a second read that ends at the same place. Being refused as "not found" after that
 * takes nothing away, for the log goes with the pod; but a kubelet that could not be reached leaves it open.
 */
function sawEnd({ last, cleanEnds, overMs }: FollowState): boolean {
  if (cleanEnds === 0 || (cleanEnds === 1 && overMs > CLEAN_END_TRUST_MS)) return false;
  return last?.end !== "refused" || last.status === 404 || last.status === 400;
}

/**
 * The log was refused while the container was not known to have ended. Only that the pod itself is not there any more fits an
 * end of the container just before; a kubelet that has just started says of a pod that runs that it knows no such log.
 */
export function speaksOfPodsEnd({ status, message }: { status: number; message: string }): boolean {
  return status === 404 && /\bpods "[^"]*" not found/.test(message);
}

/**
 * After a read that was answered: the server is there and the way to it is bad. A cut while old lines are repeated brings
 * nothing new, and may do so many times in a row, so this rest stays short.
 */
function answered(failures: number, random: () => number): number {
  return Math.min(ANSWERED_MAX_MS, backoff(failures, random));
}

function doubled(ms: number, times: number, maxMs: number): number {
  return Math.min(maxMs, ms * 2 ** Math.min(times, 10));
}

/** 0.2 s, doubled to 30 s; between half and the whole of it. */
function backoff(failures: number, random: () => number): number {
  return Math.min(30_000, 200 * 2 ** Math.min(failures, 10)) * (0.5 + random() / 2);
}
