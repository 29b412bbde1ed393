import { hasStarted } from "./container-view.ts";
import type { ContainerView } from "./types.ts";

/** How a read of the log went. */
export type ReadOutcome = {
  /** The read was opened, without `follow`, when the container was known not to run any more. */
  final: boolean;
  /** Lines that it delivered. */
  delivered: number;
  /** How long it was open, in milliseconds. */
  openMs: number;
  /** For how long before its end it had brought no new line, in milliseconds. */
  quietMs: number;
  /** Its clock in seconds when the server began to answer with a log; null: it did not, or told no time. */
  serverTime: number | null;
  /** The server began to answer with a log. */
  answered: boolean;
  /** Bytes of a line without newline stand at its end. */
  unfinished: boolean;
} & (
  | {
      /** The stream ended by itself. */
      end: "clean";
      /** It showed the last line delivered before it (trivially true when there was none). */
      caughtUp: boolean;
      /** Where it ended: equal for two reads that ended at the same byte of the log. */
      place: string;
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

/** What is known of the container instance that is followed. The functions below make one from another. */
export interface FollowHistory {
  /** Null: this instance has not been read. */
  readonly last: ReadOutcome | null;
  /** The container is known to have run. */
  readonly started: boolean;
  /** Some read has been answered with a log, of this instance or an earlier one. */
  readonly everAnswered: boolean;
  /** It was seen to run: the time of its end is our own observation. */
  readonly seenRunning: boolean;
  /**
   * Reads in a row, up to the last one that was answered with a log, that ended cleanly and brought nothing after the first of
   * them, which ended right behind the newline of the last delivered line. Only following reads count beside the first. 0 also
   * where a refusal speaks of a kubelet in trouble.
   */
  readonly cleanEnds: number;
  /** When the last read that was answered was opened, and when it ended. */
  readonly openedAt: number;
  readonly answeredAt: number;
  /** Following reads that broke. */
  readonly breaks: number;
  /** Since when the container is known not to run; null: it runs. */
  readonly stoppedAt: number | null;
  /** Since when it is known to have ended, or since it last gave new lines or the server came back; null: it has not ended. */
  readonly endedAt: number | null;
  /** Reads in a row, up to and with `last`, that delivered nothing. */
  readonly idleReads: number;
  /** Refusals in a row, up to and with `last`. Not the same as `idleReads`: a container may be silent through many good reads. */
  readonly refusals: number;
  /** Those of them, up to and with `last`, that have its status: a server that does not answer has not said no. */
  readonly sameRefusals: number;
  /** Final reads in a row, up to and with `last`, that ended cleanly without the last delivered line. */
  readonly missedReads: number;
  /** Lines that all reads together delivered. */
  readonly delivered: number;
  /** Where the last complete read ended, and how many final reads in a row have ended there after it. */
  readonly place: string;
  readonly confirmations: number;
  /** Reads that ended cleanly although there was more: clean ends mean little here. */
  readonly falseEnds: number;
  /** The rest that was chosen after `last` has been taken; the return of the server was waited for. */
  readonly rested: boolean;
  readonly awaitedServer: boolean;
}

export const NEW_HISTORY: FollowHistory = {
  last: null,
  started: false,
  seenRunning: false,
  everAnswered: false,
  cleanEnds: 0,
  openedAt: 0,
  answeredAt: 0,
  breaks: 0,
  stoppedAt: null,
  endedAt: null,
  idleReads: 0,
  refusals: 0,
  sameRefusals: 0,
  missedReads: 0,
  delivered: 0,
  place: "",
  confirmations: 0,
  falseEnds: 0,
  rested: false,
  awaitedServer: false,
};

/** The container was started again: nothing is known of the new instance. */
export function nextInstance({ started, everAnswered }: FollowHistory): FollowHistory {
  return { ...NEW_HISTORY, started, everAnswered };
}

/** The container was started again: its earlier instance, which may not have been read to its end, is read as `previous`. */
export function restOfInstance(history: FollowHistory): FollowHistory {
  return { ...history, last: null, idleReads: 0, refusals: 0, sameRefusals: 0, rested: false, endedAt: null };
}

/** The pod was looked at. Returns the same object where that tells nothing new. Times are milliseconds of one clock. */
export function podSeen(history: FollowHistory, view: ContainerView, now: number): FollowHistory {
  const { phase } = view;
  const started = history.started || hasStarted(view);
  const seenRunning = history.seenRunning || phase === "running";
  const stoppedAt = phase === "running" ? null : (history.stoppedAt ?? now);
  const endedAt = phase === "ended" ? (history.endedAt ?? now) : null;
  const isSame =
    started === history.started &&
    seenRunning === history.seenRunning &&
    stoppedAt === history.stoppedAt &&
    endedAt === history.endedAt;
  return isSame ? history : { ...history, started, seenRunning, stoppedAt, endedAt };
}

export function afterRest(history: FollowHistory): FollowHistory {
  return { ...history, rested: true };
}

/** The server's return was waited for. What cannot be asked does not count against the patience with a log. */
export function afterOutage(history: FollowHistory, now: number): FollowHistory {
  return { ...history, rested: true, awaitedServer: true, endedAt: history.endedAt === null ? null : now };
}

/** A read has ended. */
export function afterRead(history: FollowHistory, outcome: ReadOutcome, now: number): FollowHistory {
  const { last } = history;
  const hasDelivered = outcome.delivered > 0;
  const isClean = outcome.end === "clean";
  const counted: FollowHistory = {
    ...history,
    last: outcome,
    started: history.started || outcome.answered,
    everAnswered: history.everAnswered || outcome.answered,
    rested: false,
    awaitedServer: false,
    delivered: history.delivered + outcome.delivered,
    falseEnds: history.falseEnds + (last?.end === "clean" && hasDelivered ? 1 : 0),
    idleReads: hasDelivered ? 0 : history.idleReads + 1,
    refusals: outcome.end === "refused" ? history.refusals + 1 : 0,
    sameRefusals: sameRefusals(history, outcome),
    // What counts is for how long nothing could be had; a slow consumer may have held the read back for hours.
    endedAt: hasDelivered && history.endedAt !== null ? now : history.endedAt,
    // One that was cut says nothing: the line may stand behind the cut.
    missedReads: isClean && outcome.final && !outcome.caughtUp ? history.missedReads + 1 : 0,
  };
  if (outcome.end === "refused") {
    return hasDelivered || isDoubt(history, outcome) ? { ...counted, cleanEnds: 0 } : counted;
  }
  const answered: FollowHistory = {
    ...counted,
    openedAt: now - outcome.openMs,
    answeredAt: now,
    cleanEnds: cleanEnds(history, outcome),
    breaks: history.breaks + (outcome.end === "broken" && !outcome.final ? 1 : 0),
  };
  // Where a read was cut says nothing of where the log ends.
  if (!isClean || !outcome.caughtUp) return answered;
  return {
    ...answered,
    place: outcome.place,
    confirmations: outcome.final && outcome.place === history.place ? history.confirmations + 1 : 0,
  };
}

function sameRefusals({ last, sameRefusals }: FollowHistory, outcome: ReadOutcome): number {
  if (outcome.end !== "refused") return 0;
  return last?.end === "refused" && last.status === outcome.status ? sameRefusals + 1 : 1;
}

function cleanEnds(history: FollowHistory, outcome: ReadOutcome): number {
  // Amid a line it was cut, however cleanly: should the pod go now, the rest of the line is lost.
  if (outcome.end !== "clean" || outcome.unfinished) return 0;
  if (outcome.delivered > 0) return outcome.caughtUp ? 1 : 0;
  if (outcome.caughtUp) return history.cleanEnds + 1;
  // Without the last line: its file was rotated away. That one that follows ends at all tells that the container has ended.
  return history.cleanEnds > 0 && !outcome.final ? history.cleanEnds + 1 : history.cleanEnds;
}

/** After a clean end, a refusal that is not about the pod's deletion speaks of a kubelet in trouble. Two clean ends are proof enough. */
function isDoubt({ cleanEnds, stoppedAt }: FollowHistory, refusal: { status: number; message: string }): boolean {
  return cleanEnds < 2 && stoppedAt === null && !speaksOfPodsEnd(refusal);
}

/**
 * The log was refused while the container was not known to have ended. Only that the pod itself is not there any more fits an
 * end of the container just before; a kubelet that has just started says of a pod that runs that it knows no such log.
 */
function speaksOfPodsEnd({ status, message }: { status: number; message: string }): boolean {
  return status === 404 && /\bpods "[^"]*" not found/.test(message);
}

/** What the server said when it refused the last read; null: it did not. */
export function wordsOfServer({ last }: FollowHistory): string | null {
  return last?.end === "refused" ? last.message.slice(0, MAX_WORDS) : null;
}

const MAX_WORDS = 500;
