import type { FollowHistory, ReadOutcome } from "./follow-history.ts";
import type { ContainerView, LogGapReason } from "./types.ts";

/** What is known when the next step is to be chosen. */
export interface FollowState {
  view: ContainerView;
  history: FollowHistory;
  /** The last line delivered of this instance, with its time; `marksEnd`: by its text it is the last of the output. */
  lastLine: { seconds: number; marksEnd: boolean } | null;
  /** The engine's watches have lost the server. */
  isServerDown: boolean;
  /** What there is now is wanted, and nothing is to be waited for. */
  once: boolean;
  /** So long after the container's end lines may still come, in milliseconds. */
  lateLinesMs: number;
  /** Milliseconds, of the clock that `history` counts by. */
  now: number;
  /** From 0 to 1. */
  random: () => number;
}

export type FollowStep =
  | { do: "read"; follow: boolean }
  /** Wait so long, or until the pod changes: any change of phase if `hurry`, else only its deletion. Then choose again. */
  | { do: "rest"; ms: number; hurry: boolean }
  /** Wait for a change of the pod. */
  | { do: "wait" }
  /** Wait for the server's return. */
  | { do: "await-server" }
  | { do: "end"; gap: LogGapReason | null }
  /** The request itself is wrong or not allowed: trying again does not help. */
  | { do: "fail" };

/** The pod tells of its container's end a little after the stream does: so long we wait for it before we ask again. */
export const CLEAN_END_SETTLE_MS = 250;
/**
 * The same where the last line has marked the end of the output: nothing is missing, so there is no hurry. A kubelet looks at
 * its containers about once a second and then reports.
 */
const LAST_LINE_SETTLE_MS = 5_000;
const CLEAN_END_MAX_MS = 5_000;
/** A stream that ended cleanly so long before the pod told of its container's end may have ended for another reason. */
export const CLEAN_END_TRUST_MS = 1_000;
const LAST_LINE_MAX_MS = 60_000;
/** A container that has ended so shortly after its last line has written nothing behind it. One clock, the node's, tells both. */
const LAST_LINE_TO_END_SECONDS = 2;
/** A container has ended and its log cannot be had for so long: give up, and say so. */
export const ENDED_GIVE_UP_MS = 120_000;
const ANSWERED_MAX_MS = 2_000;
/** A stream that was open for so long was healthy, even if the container said nothing. */
const HEALTHY_MS = 10_000;
/** So many final reads in a row without the last delivered line: it is not there any more. */
const ROTATED_AFTER_READS = 3;
/** So many times in a row the log was forbidden before any of it was had: it is no matter of a moment. */
const FORBIDDEN_AFTER_READS = 5;
/** So many times in a row the server said that it has no log of an ended container. */
const UNAVAILABLE_AFTER_READS = 5;
/** The same in the kubelet's words where its runtime does not answer: 13 s at least, since a containerd that restarts takes up to ten. */
const NO_RUNTIME_AFTER_READS = 8;

/** Chooses what to do next. Pure. The pod decides: the end of a stream, a 404 and silence mean nothing by themselves. */
export function nextStep(state: FollowState): FollowStep {
  for (const [when, then] of rowsFor(state)) if (when(state)) return then(state);
  throw new TypeError("unreachable: each table ends with a row that always holds");
}

type Row = readonly [when: (state: FollowState) => boolean, then: (state: FollowState) => FollowStep];

function rowsFor(state: FollowState): readonly Row[] {
  const { view, history } = state;
  const { last } = history;
  if (view.phase === "gone") return POD_DELETED;
  const wouldRead = last?.end !== "clean" || history.rested;
  if (state.isServerDown && !history.awaitedServer && wouldRead) return OUTAGE;
  if (last === null) return NOT_READ_YET;
  if (last.end === "refused") return REFUSED;
  return view.phase === "running" ? WHILE_RUNNING : AFTER_CONTAINER_END;
}

const always = () => true;
const wait = (): FollowStep => ({ do: "wait" });
const read = (follow: boolean) => (): FollowStep => ({ do: "read", follow });
const readOn = ({ view }: FollowState): FollowStep => ({ do: "read", follow: view.phase === "running" });
const rest = (ms: number, hurry: boolean): FollowStep => ({ do: "rest", ms, hurry });
const hasRested = ({ history }: FollowState) => history.rested;

const POD_DELETED: readonly Row[] = [
  [(state) => !state.history.started || (sawEnd(state) && !isKubeletAway(state)), () => ({ do: "end", gap: null })],
  [always, () => ({ do: "end", gap: "pod_gone" })],
];

/** The watches ask for the server already; a thousand follows that do so, too, keep it down. */
const OUTAGE: readonly Row[] = [[always, () => ({ do: "await-server" })]];

const NOT_READ_YET: readonly Row[] = [
  [({ once, view }) => once && view.phase === "waiting", () => ({ do: "end", gap: null })],
  [({ view }) => view.phase === "waiting", wait],
  [always, readOn],
];

const REFUSED: readonly Row[] = [
  [isFatal, () => ({ do: "fail" })],
  // Not started yet, or about to be started again.
  [(state) => state.view.phase === "waiting" && isNoLog(refusal(state)), wait],
  // The pod ended before its container was started: there is no log.
  [
    (state) => state.view.phase === "ended" && !state.history.started && refusal(state).status === 400,
    () => ({ do: "end", gap: null }),
  ],
  [hasRested, readOn],
  [(state) => state.view.phase === "ended" && isUnavailable(state), () => ({ do: "end", gap: "unreachable" })],
  // Retry-After is a lower bound; the jitter on top keeps a thousand follows from coming back in one moment.
  [
    always,
    (state) => {
      const { retryAfterMs = 0 } = refusal(state);
      const ms = retryAfterMs + backoff(state.history.refusals - 1, state.random);
      return rest(Math.min(ms, untilGivenUp(state)), false);
    },
  ],
];

/**
 * A clean end while the container runs: a kubelet that restarts, or the container's own end a moment before the pod tells of it,
 * which is the usual case. A rest saves a request in the latter, and ends with the pod's change.
 */
const WHILE_RUNNING: readonly Row[] = [
  [hasRested, read(true)],
  [
    ({ history }) => history.last?.end === "broken",
    (state) => rest(Math.min(ANSWERED_MAX_MS, backoff(fruitless(state), state.random)), true),
  ],
  // It was cut amid a line: no reason to wait.
  [(state) => endsAmidLine(state) && fruitless(state) === 0, read(true)],
  // The pod's word is late, as when thousands of runs end together: each further read adds to what the server is late with.
  [
    ({ lastLine }) => lastLine?.marksEnd === true,
    (state) => rest(Math.min(LAST_LINE_MAX_MS, doubled(LAST_LINE_SETTLE_MS, fruitless(state))), true),
  ],
  [(state) => fruitless(state) === 0, () => rest(CLEAN_END_SETTLE_MS, true)],
  [always, (state) => rest(Math.min(CLEAN_END_MAX_MS, backoff(fruitless(state), state.random)), true)],
];

/** Also between two instances (CrashLoopBackOff), while the server still gives the log of the one that ended. */
const AFTER_CONTAINER_END: readonly Row[] = [
  [(state) => state.once && isCaughtUp(state), () => ({ do: "end", gap: null })],
  // Another may follow such a line, and a stream that ended before its container did has not shown it.
  [
    (state) => isEndMarked(state) && isCaughtUp(state) && !endsAmidLine(state),
    (state) => (isFinal(state) || outlivedContainer(state) ? ended(null)(state) : read(false)()),
  ],
  // Some runtimes tell of an exit before the log is complete.
  [
    (state) => isClean(state) && !isSettled(state) && !hasRested(state),
    (state) => rest(state.lateLinesMs - endedMs(state), false),
  ],
  [(state) => isClean(state) && !isFinal(state), read(false)],
  // Complete when one more read brings nothing new: a clean end alone may be a kubelet's restart.
  [(state) => isConfirmed(state) && isSettled(state), ended(null)],
  [(state) => isRotated(state) && sawEnd(state), ended(null)],
  [isRotated, ended("rotated")],
  [(state) => isClean(state) && state.history.idleReads === 0, read(false)],
  [hasRested, read(false)],
  [(state) => endedMs(state) > ENDED_GIVE_UP_MS && state.history.idleReads > 0, ended("unreachable")],
  // The server is there and the way to it is bad. A cut among repeated lines brings nothing new, many times in a row: short rests.
  [
    always,
    ({ history, random }) =>
      rest(Math.min(ANSWERED_MAX_MS, backoff(Math.max(0, history.idleReads - 1), random)), false),
  ],
];

function ended(gap: LogGapReason | null): (state: FollowState) => FollowStep {
  return ({ view }) => (view.phase === "waiting" ? { do: "wait" } : { do: "end", gap });
}

type Refused = Extract<ReadOutcome, { end: "refused" }>;

function refusal({ history: { last } }: FollowState): Refused {
  if (last?.end !== "refused") throw new TypeError("asked for the refusal of a read that was answered");
  // A gateway's page, or a Status in the place of a log: whatever its status, it says nothing of the log.
  return /: an HTML page |^\s*(<|\{"kind":"Status")/.test(last.message) ? { ...last, status: 502 } : last;
}

/** What only another request, or another right, helps. */
function isFatal(state: FollowState): boolean {
  const { status, message } = refusal(state);
  if (status < 400 || status >= 500) return false;
  // `container nope is not valid for pod p`, `a container name must be specified …`: reason is BadRequest for all of them.
  if (status === 400) return /is not valid for pod|must be specified|parsing time/.test(message);
  // An API server that has just started refuses for a moment what is allowed. What was allowed once will be again. A kubelet that
  // refuses its API server says nothing of our rights.
  if (status === 403 && message.includes(": Forbidden (user=")) return false;
  if (status === 403) return !state.history.everAnswered && state.history.sameRefusals >= FORBIDDEN_AFTER_READS;
  // What Kubernetes says of a request that is wrong. Gateways know more: 407, 421, 431, 451, 460, 499.
  return [405, 406, 414, 415, 422].includes(status);
}

function isNoLog({ status }: Refused): boolean {
  return status === 400 || status === 404;
}

function isUnavailable(state: FollowState): boolean {
  const { status, message } = refusal(state);
  const isOfRuntime = /\bunable to retrieve container logs\b/.test(message);
  const reads = isOfRuntime ? NO_RUNTIME_AFTER_READS : UNAVAILABLE_AFTER_READS;
  const isDenied = status === 400 && state.history.sameRefusals >= reads;
  return isDenied || endedMs(state) > ENDED_GIVE_UP_MS;
}

function isClean({ history: { last } }: FollowState): boolean {
  return last?.end === "clean";
}

function isFinal({ history: { last } }: FollowState): boolean {
  return last?.final === true;
}

function isCaughtUp({ history: { last } }: FollowState): boolean {
  return last?.end === "clean" && last.caughtUp;
}

function endsAmidLine({ history: { last } }: FollowState): boolean {
  return last?.end === "clean" && last.unfinished;
}

/** An empty log, and one whose streams have ended cleanly before their time, takes one more proof. */
function isConfirmed(state: FollowState): boolean {
  const { falseEnds, confirmations, delivered } = state.history;
  return isCaughtUp(state) && confirmations >= (falseEnds > 0 || delivered === 0 ? 2 : 1);
}

/** How often in a row nothing new came, and the stream did not live long either. */
function fruitless({ history: { last, idleReads } }: FollowState): number {
  return last !== null && last.openMs >= HEALTHY_MS ? 0 : idleReads;
}

function endedMs({ history, now }: FollowState): number {
  return history.endedAt === null ? 0 : now - history.endedAt;
}

function isEndMarked({ view, lastLine }: FollowState): boolean {
  return lastLine?.marksEnd === true && endedWithin(view, lastLine, LAST_LINE_TO_END_SECONDS);
}

function endedWithin({ finishedAt }: ContainerView, lastLine: { seconds: number }, seconds: number): boolean {
  return finishedAt !== null && Math.abs(Date.parse(finishedAt) / 1000 - lastLine.seconds) <= seconds;
}

/**
 * The last stream ended no sooner than the container, by the node's clock: that of its last line's time, after which it was silent
 * for so long. The container's end is cut to the second.
 */
function outlivedContainer({ view: { finishedAt }, history: { last }, lastLine }: FollowState): boolean {
  if (finishedAt === null || last === null || lastLine === null) return false;
  return lastLine.seconds * 1000 + last.quietMs >= Date.parse(finishedAt);
}

/** The last read was opened so long after the container's end that no line can have come since. */
function isSettled({ view: { finishedAt }, history, lateLinesMs }: FollowState): boolean {
  const { last, endedAt, openedAt, seenRunning } = history;
  if (endedAt === null || openedAt - endedAt >= lateLinesMs) return true;
  // Who comes to a container that ended long ago need not wait. Its `finishedAt` is cut to the second.
  const serverTime = last?.serverTime ?? null;
  if (seenRunning || finishedAt === null || serverTime === null) return false;
  return serverTime * 1000 - Date.parse(finishedAt) >= lateLinesMs + 1000;
}

/** Of a container that has ended: how long its log is asked for yet. */
function untilGivenUp(state: FollowState): number {
  return state.view.phase === "ended" ? Math.max(0, ENDED_GIVE_UP_MS - endedMs(state)) + 1 : Number.POSITIVE_INFINITY;
}

/** The last delivered line is not in the log any more. */
function isRotated(state: FollowState): boolean {
  return isClean(state) && state.history.missedReads >= ROTATED_AFTER_READS;
}

/**
 * The rest of the log cannot be had: was its end seen? The stream of a container that is killed ends cleanly, once all that it
 * printed has been sent; that of a container that runs on, when its kubelet restarts. What tells them apart is what comes next: the
 * pod's own word within moments, a second read that ends at the same place, or a container that ended just after its last line.
 */
function sawEnd({ view, history, lastLine }: FollowState): boolean {
  const { cleanEnds, answeredAt, stoppedAt } = history;
  if (cleanEnds !== 1) return cleanEnds > 1;
  const lateMs = stoppedAt === null ? 0 : stoppedAt - answeredAt;
  return lateMs <= CLEAN_END_TRUST_MS || (lastLine !== null && endedWithin(view, lastLine, LAST_LINE_TO_END_SECONDS));
}

/** "Not found" after a clean end takes nothing away, for the log goes with the pod; a kubelet that cannot be reached leaves it open. */
function isKubeletAway(state: FollowState): boolean {
  return state.history.last?.end === "refused" && !isNoLog(refusal(state));
}

function doubled(ms: number, times: number): number {
  return ms * 2 ** Math.min(times, 10);
}

/** 0.2 s, doubled to 30 s; between half and the whole of it. */
function backoff(failures: number, random: () => number): number {
  return Math.min(30_000, doubled(200, failures)) * (0.5 + random() / 2);
}
