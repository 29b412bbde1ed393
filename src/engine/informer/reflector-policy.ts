import { backoffMs, type Ceilings } from "../transport/backoff.ts";
import { ApiError, FrameError, isGone, retryAfterMs } from "../transport/index.ts";
import { ContentTypeError, ErrorFrame, StalledError, WatchProtocolError } from "./watch-errors.ts";

/**
 * What the reflector does next: one request at a time, in one of three states.
 *
 * ```
 *                 the server does not speak it
 *   InitWatch ─────────────────────────────────► InitPage ◄─┐ next page
 *     ▲  │ initial-events-end                        │  └───┘
 *     │  ▼                                           │ last page
 *     └─ Watching ◄──────────────────────────────────┘
 *        410; yields nothing, again and again        (else: Watching again, from the last version)
 * ```
 */
export type ReflectorState =
  /** A streaming list (KEP-3157), which goes on as the watch. */
  | { name: "InitWatch" }
  /** `pageSize` 0: the whole list in one answer. */
  | { name: "InitPage"; continueToken: string | null; pageSize: number }
  | { name: "Watching"; resourceVersion: string };

/** What one request came to. A page that came whole is not among them: the next page or the watch follows at once. */
export interface Outcome {
  /** The server answered the watch with a stream. */
  opened: boolean;
  /** Frames that told something. */
  frames: number;
  /** From the beginning of the answer to its end; 0 where there was none. */
  openMs: number;
  /** From the request to its end. */
  tookMs: number;
  /** A bookmark came in the course of the watch; the one that ends a streaming list does not count. */
  hadBookmark: boolean;
  /** Null: the stream ended cleanly. */
  error: Error | null;
}

/** What is remembered of earlier requests. All counts are in a row; a watch that was open for two minutes ends each row. */
export interface History {
  failures: number;
  /** Lists that a watch made necessary. */
  relists: number;
  /** Watches that opened and told nothing. */
  barren: number;
  /** Streaming lists that broke off, or were refused again and again. */
  brokenLists: number;
  /** The server does not speak the streaming list. */
  pagesOnly: boolean;
  /** The server, or what stands before it, refused protobuf, or sent some that cannot be read: JSON from then on. */
  jsonOnly: boolean;
  /** This server was seen to send bookmarks, so its silence means something. */
  hasBookmarks: boolean;
}

export interface BackoffOptions extends Ceilings {
  /** Shortest time between two openings of the same watch, in milliseconds, default 1 000. */
  minIntervalMs?: number;
}

export interface Timing extends BackoffOptions {
  pageSize: number;
  /** From 0 to below 1. */
  random: number;
}

export interface Decision {
  state: ReflectorState;
  waitMs: number;
  history: History;
  /** False: watches end like this. */
  isProblem: boolean;
}

export const NO_HISTORY: History = {
  failures: 0,
  relists: 0,
  barren: 0,
  brokenLists: 0,
  pagesOnly: false,
  jsonOnly: false,
  hasBookmarks: false,
};

/** Health is proven by time, as in client-go: one frame proves nothing, since the next watch may break after its first, too. */
const HEALTHY_MS = 2 * 60_000;
/** client-go's "very short watch": without a frame it is no watch. */
const SHORT_WATCH_MS = 1_000;
/** The ceiling is 3.2 s then: the server is there, though not as it should be. */
const ANSWERED_FAILURES = 2;
const BARREN_LIMIT = 3;
const SILENT_LIMIT = 2;
const BROKEN_LISTS_LIMIT = 2;
/** So many may be refused for a passing reason, before they count as broken. */
const REFUSED_LISTS_LIMIT = 2;

/** How a list begins. */
export function beginList(history: History, pageSize: number): ReflectorState {
  return history.pagesOnly || history.brokenLists >= BROKEN_LISTS_LIMIT
    ? { name: "InitPage", continueToken: null, pageSize }
    : { name: "InitWatch" };
}

/** Pure. `state` is the one in which the request ended: a streaming list that was completed ended as Watching. */
export function decide(state: ReflectorState, outcome: Outcome, before: History, timing: Timing): Decision {
  const history = remember(before, outcome);
  if (!before.jsonOnly && isRefusedFormat(outcome.error)) return { state, waitMs: 0, history, isProblem: false };
  switch (state.name) {
    case "InitWatch":
      return afterStreamingList(outcome, history, timing);
    case "InitPage":
      return spaced(afterPage(state, outcome, history, timing), outcome, timing);
    case "Watching":
      return spaced(afterWatch(state, outcome, { ...history, brokenLists: 0 }, timing), outcome, timing);
  }
}

function remember(history: History, { opened, openMs, frames, hadBookmark, error }: Outcome): History {
  const { pagesOnly } = history;
  const jsonOnly = history.jsonOnly || isNoProtobuf(error);
  const hasBookmarks = history.hasBookmarks || hadBookmark;
  if (opened && openMs >= HEALTHY_MS) return { ...NO_HISTORY, pagesOnly, jsonOnly, hasBookmarks };
  return { ...history, barren: frames > 0 ? 0 : history.barren, jsonOnly, hasBookmarks };
}

function afterStreamingList(outcome: Outcome, history: History, timing: Timing): Decision {
  const { opened, error } = outcome;
  const isExpired = isGone(causeOf(error));
  if (!isExpired && (isRefusal(error) || hasNoEnd(outcome))) {
    const pages = { ...history, pagesOnly: true };
    return { state: beginList(pages, timing.pageSize), waitMs: 0, history: pages, isProblem: !isRefusal(error) };
  }
  // Servers and proxies refuse what they do not know with any status, or none: an aggregated one with 500, a firewall with a reset.
  const isBroken = isExpired
    ? history.relists >= REFUSED_LISTS_LIMIT
    : opened || history.failures >= REFUSED_LISTS_LIMIT;
  const broken = { ...history, brokenLists: history.brokenLists + (isBroken ? 1 : 0) };
  const next = isExpired ? relist(broken, timing) : retry(beginList(broken, timing.pageSize), outcome, broken, timing);
  return spaced(next, outcome, timing);
}

function afterPage(
  state: Extract<ReflectorState, { name: "InitPage" }>,
  outcome: Outcome,
  history: History,
  timing: Timing,
): Decision {
  const { error } = outcome;
  const isToken = state.continueToken !== null;
  if (isGone(error) || (isToken && error instanceof ApiError && error.status === 400)) {
    const decision = relist(history, timing);
    // The token of the next list may expire as well: that list comes in one piece.
    return isToken ? { ...decision, state: { name: "InitPage", continueToken: null, pageSize: 0 } } : decision;
  }
  // An answer that is no list makes the whole list doubtful; else the same page is asked for again.
  const isDoubtful = error instanceof WatchProtocolError;
  return retry(isDoubtful ? beginList(history, timing.pageSize) : state, outcome, history, timing);
}

function afterWatch(state: ReflectorState, outcome: Outcome, before: History, timing: Timing): Decision {
  const { opened, frames, openMs, error } = outcome;
  if (isGone(causeOf(error))) return relist(before, timing);
  const history = frames > 0 ? answered(before) : before;
  if (error instanceof StalledError) return afterSilence(state, outcome, history, timing);
  if (error === null && (frames > 0 || openMs >= SHORT_WATCH_MS))
    return { state, waitMs: 0, history: { ...history, barren: 0 }, isProblem: false };
  // A watch that had told something and lost its connection is due again soon. What failed before it is not forgotten.
  if (frames > 0 && error instanceof ApiError)
    return { ...retry(state, outcome, { ...history, failures: 0 }, timing), history };
  // A lost connection or a refusal says nothing about our version; a watch that opens and tells nothing may.
  const isBarren = opened && frames === 0 && !(error instanceof ApiError);
  const counted = { ...history, barren: history.barren + (isBarren ? 1 : 0) };
  if (counted.barren >= BARREN_LIMIT) return relist(counted, timing);
  return retry(state, outcome, counted, timing);
}

/**
 * The watch told something, so its version was good and the list before it of use: the next failure and the next list wait no
 * longer than those of a server that answers. Their rows go on, since only time proves health.
 */
function answered(history: History): History {
  return {
    ...history,
    failures: Math.min(history.failures, ANSWERED_FAILURES),
    relists: Math.min(history.relists, ANSWERED_FAILURES),
  };
}

/** Servers without a watch cache and some proxies send no bookmarks: a silent watch is as it should be there. */
function afterSilence(state: ReflectorState, { opened, frames }: Outcome, history: History, timing: Timing): Decision {
  const again = { state, waitMs: 0, history, isProblem: true };
  if (!opened) return again;
  if (!history.hasBookmarks) return { ...again, isProblem: false };
  const barren = history.barren + (frames === 0 ? 1 : 0);
  if (barren < SILENT_LIMIT) return { ...again, history: { ...history, barren } };
  return relist({ ...history, hasBookmarks: false }, timing);
}

/** The first list is due at once, those after it wait longer and longer: a list is the dearest request there is. */
function relist(history: History, timing: Timing): Decision {
  const { relists } = history;
  return {
    state: beginList(history, timing.pageSize),
    waitMs: relists === 0 ? 0 : backoffMs(relists - 1, timing, timing.random),
    history: { ...history, relists: relists + 1, barren: 0 },
    isProblem: true,
  };
}

function retry(state: ReflectorState, { opened, error }: Outcome, history: History, timing: Timing): Decision {
  const askedMs = retryAfterMs(causeOf(error));
  const isThere = opened || askedMs !== undefined;
  const failures = isThere ? Math.min(history.failures, ANSWERED_FAILURES) : history.failures;
  return {
    state,
    waitMs: (askedMs ?? 0) + backoffMs(failures, timing, timing.random),
    history: { ...history, failures: failures + 1 },
    isProblem: true,
  };
}

/** Whatever ends a request, and however fast: a server or proxy that ends each at once is not asked in a tight loop. */
function spaced(decision: Decision, { tookMs }: Outcome, { minIntervalMs = 1_000 }: Timing): Decision {
  return { ...decision, waitMs: Math.max(decision.waitMs, minIntervalMs - tookMs) };
}

/** Servers without streaming lists refuse `sendInitialEvents` with 422 (feature gate off) or 400; 405 and 501 say the same. */
function isRefusal(error: Error | null): boolean {
  return error instanceof ApiError && [400, 405, 422, 501].includes(error.status);
}

function isRefusedFormat(error: Error | null): boolean {
  return error instanceof ApiError && (error.status === 406 || error.status === 415);
}

function isNoProtobuf(error: Error | null): boolean {
  if (error instanceof ApiError) return isRefusedFormat(error) || error.reason === "UnexpectedAnswer";
  return error instanceof ContentTypeError || (error instanceof FrameError && error.kind === "invalid_protobuf");
}

/**
 * A proxy or an older server that passes over `sendInitialEvents`: a list's body, a watch from now on, bookmarks without the
 * annotation. The paged list works everywhere.
 */
function hasNoEnd({ opened, error }: Outcome): boolean {
  if (error instanceof StalledError) return true;
  if (!opened || error instanceof ErrorFrame) return false;
  if (error instanceof FrameError) return error.kind === "invalid_json";
  return error === null || error instanceof WatchProtocolError;
}

function causeOf(error: Error | null): unknown {
  return error instanceof ErrorFrame ? error.status : error;
}
