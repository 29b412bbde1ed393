import { describe, expect, it } from "vitest";
import {
  beginList,
  type Decision,
  decide,
  type History,
  NO_HISTORY,
  type Outcome,
  type ReflectorState,
} from "../../../src/engine/informer/reflector-policy.ts";
import {
  ContentTypeError,
  ErrorFrame,
  StalledError,
  WatchProtocolError,
} from "../../../src/engine/informer/watch-errors.ts";
import { ApiError, FrameError } from "../../../src/engine/transport/index.ts";

const InitWatch: ReflectorState = { name: "InitWatch" };
const FirstPage: ReflectorState = { name: "InitPage", continueToken: null, pageSize: 500 };
const NextPage: ReflectorState = { name: "InitPage", continueToken: "token", pageSize: 500 };
const WholeList: ReflectorState = { name: "InitPage", continueToken: null, pageSize: 0 };
const Watching: ReflectorState = { name: "Watching", resourceVersion: "7" };

const answer = (status: number, retryAfterMs?: number) =>
  new ApiError({
    status,
    reason: status === 410 ? "Expired" : "Some",
    message: "m",
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
const refused = new ApiError({ status: 0, reason: "ConnectionRefused", message: "m", sent: false });
const lost = new ApiError({ status: 0, reason: "ConnectionLost", message: "m" });
const frame = (code: number, retryAfterSeconds?: number) =>
  new ErrorFrame("/pods", {
    kind: "Status",
    code,
    reason: code === 410 ? "Expired" : "InternalError",
    ...(retryAfterSeconds === undefined ? {} : { details: { retryAfterSeconds } }),
  });
const silent = new StalledError("silent");
const protocol = new WatchProtocolError("no watch");
const bad = (kind: FrameError["kind"]) => new FrameError(kind, 1, "x", "bad");

/** A request that was never answered, after ten seconds. */
const unanswered: Outcome = { opened: false, frames: 0, openMs: 0, tookMs: 10_000, hadBookmark: false, error: refused };
/** A watch that was open for ten seconds and told something. */
const open: Outcome = { opened: true, frames: 3, openMs: 10_000, tookMs: 10_000, hadBookmark: false, error: null };
const barren: Outcome = { ...open, frames: 0, error: protocol };
/** Half of each ceiling: 500, 1 000, 2 000, 4 000, 8 000, 8 000 … */
const timing = { baseMs: 1_000, maxMs: 16_000, minIntervalMs: 1_000, pageSize: 500, random: 0.5 };

interface Row {
  state: ReflectorState;
  outcome: Outcome;
  history?: Partial<History>;
  /** What is not given stays: the state, the history; no wait, a problem. */
  decision: Partial<Omit<Decision, "history">> & { history?: Partial<History> };
}

function expectRow({ state, outcome, history = {}, decision }: Row): void {
  const before = { ...NO_HISTORY, ...history };
  expect(decide(state, outcome, before, timing)).toEqual({
    state,
    waitMs: 0,
    isProblem: true,
    ...decision,
    history: { ...before, ...decision.history },
  });
}

const table = (rows: Record<string, Row>) => it.each(Object.entries(rows))("%s", (_, row) => expectRow(row));

describe("a watch that ends", () => {
  table({
    "cleanly after some frames: another from the last version, at once": {
      state: Watching,
      outcome: open,
      decision: { isProblem: false },
    },
    "cleanly and without a frame, after a second: the same": {
      state: Watching,
      outcome: { ...open, frames: 0, openMs: 1_000 },
      history: { barren: 2 },
      decision: { isProblem: false, history: { barren: 0 } },
    },
    "cleanly and without a frame, sooner: is none": {
      state: Watching,
      outcome: { ...open, frames: 0, openMs: 999 },
      decision: { waitMs: 500, history: { failures: 1, barren: 1 } },
    },
    "cleanly right after a frame: another, a second after the last was asked for": {
      state: Watching,
      outcome: { ...open, frames: 1, openMs: 5, tookMs: 10 },
      decision: { waitMs: 990, isProblem: false },
    },
    "by a lost connection: backoff; nothing is known of its version": {
      state: Watching,
      outcome: { ...open, frames: 0, error: lost },
      history: { barren: 2 },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "by a lost connection after some frames: the first ceiling; what failed before it counts as of a server that answers":
      {
        state: Watching,
        outcome: { ...open, frames: 1, error: lost },
        history: { failures: 9, relists: 9, barren: 2 },
        decision: { waitMs: 500, history: { failures: 2, relists: 2, barren: 0 } },
      },
    "cleanly after some frames, with failures and lists before it: they count as those of a server that answers": {
      state: Watching,
      outcome: open,
      history: { failures: 1, relists: 9 },
      decision: { isProblem: false, history: { failures: 1, relists: 2 } },
    },
    "by a lost connection and without a frame, again and again: at most the third ceiling, since the server answers": {
      state: Watching,
      outcome: { ...open, frames: 0, error: lost },
      history: { failures: 9 },
      decision: { waitMs: 2_000, history: { failures: 3 } },
    },
    "by a lost connection and without a frame after one failure: the second ceiling": {
      state: Watching,
      outcome: { ...open, frames: 0, error: lost },
      history: { failures: 1 },
      decision: { waitMs: 1_000, history: { failures: 2 } },
    },
    "by an ERROR frame with advice: waits as long as it says, and backoff": {
      state: Watching,
      outcome: { ...open, error: frame(429, 3) },
      decision: { waitMs: 3_500, history: { failures: 1 } },
    },
    "after a bad frame behind good ones: the same version again": {
      state: Watching,
      outcome: { ...open, error: bad("invalid_json") },
      history: { barren: 2 },
      decision: { waitMs: 500, history: { failures: 1, barren: 0 } },
    },
    "with nothing but a bad frame: the same version again, twice": {
      state: Watching,
      outcome: { ...barren, error: bad("too_large") },
      history: { barren: 1 },
      decision: { waitMs: 500, history: { failures: 1, barren: 2 } },
    },
    "with nothing but a bad frame for the third time: a list": {
      state: Watching,
      outcome: { ...barren, error: bad("too_large") },
      history: { barren: 2 },
      decision: { state: InitWatch, history: { barren: 0, relists: 1 } },
    },
    "before it was answered, in another content type: says nothing about the version": {
      state: Watching,
      outcome: { ...unanswered, error: protocol },
      history: { barren: 2 },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "with an error that is none of ours: counts as told nothing": {
      state: Watching,
      outcome: { ...barren, error: new Error("x") },
      decision: { waitMs: 500, history: { failures: 1, barren: 1 } },
    },
  });
});

describe("a watch that cannot be opened", () => {
  table({
    "is tried again with a ceiling that doubles": {
      state: Watching,
      outcome: unanswered,
      history: { failures: 3 },
      decision: { waitMs: 4_000, history: { failures: 4 } },
    },
    "up to the last ceiling": {
      state: Watching,
      outcome: unanswered,
      history: { failures: 40 },
      decision: { waitMs: 8_000, history: { failures: 41 } },
    },
    "is tried again after what the server asked for; it is there, so the ceiling stays low": {
      state: Watching,
      outcome: { ...unanswered, error: answer(429, 5_000) },
      history: { failures: 9 },
      decision: { waitMs: 7_000, history: { failures: 3 } },
    },
    "at once when it is asked for no time": {
      state: Watching,
      outcome: { ...unanswered, error: answer(503, 0) },
      history: { failures: 9 },
      decision: { waitMs: 2_000, history: { failures: 3 } },
    },
    "never sooner than a second after the last try": {
      state: Watching,
      outcome: { ...unanswered, tookMs: 200 },
      decision: { waitMs: 800, history: { failures: 1 } },
    },
    "is tried again when it is forbidden": {
      state: Watching,
      outcome: { ...unanswered, error: answer(403) },
      history: { failures: 2 },
      decision: { waitMs: 2_000, history: { failures: 3 } },
    },
    "is asked again at once when no answer came for as long as silence lasts": {
      state: Watching,
      outcome: { ...unanswered, error: silent },
      history: { hasBookmarks: true, barren: 1 },
      decision: {},
    },
  });
});

describe("a server that does not speak protobuf, or not well", () => {
  const html = new ContentTypeError("text/html");
  const unexpected = new ApiError({ status: 200, reason: "UnexpectedAnswer", message: "m" });
  table({
    "406: the same in JSON, at once": {
      state: Watching,
      outcome: { ...unanswered, error: answer(406) },
      decision: { isProblem: false, history: { jsonOnly: true } },
    },
    "415 to a streaming list: the same in JSON, at once": {
      state: InitWatch,
      outcome: { ...unanswered, error: answer(415) },
      decision: { isProblem: false, history: { jsonOnly: true } },
    },
    "406 to JSON is a refusal like any other": {
      state: Watching,
      outcome: { ...unanswered, error: answer(406) },
      history: { jsonOnly: true },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "protobuf that cannot be read: JSON from then on": {
      state: Watching,
      outcome: { ...barren, error: bad("invalid_protobuf") },
      decision: { waitMs: 500, history: { jsonOnly: true, barren: 1, failures: 1 } },
    },
    "another content type: JSON from then on": {
      state: Watching,
      outcome: { ...barren, error: html },
      decision: { waitMs: 500, history: { jsonOnly: true, barren: 1, failures: 1 } },
    },
    "a page that is neither protobuf nor JSON: JSON from then on": {
      state: NextPage,
      outcome: { ...unanswered, error: unexpected },
      decision: { waitMs: 500, history: { jsonOnly: true, failures: 1 } },
    },
    "JSON that cannot be read says nothing of protobuf": {
      state: Watching,
      outcome: { ...barren, error: bad("invalid_json") },
      decision: { waitMs: 500, history: { barren: 1, failures: 1 } },
    },
    "JSON stays, also after a healthy watch": {
      state: Watching,
      outcome: { ...open, openMs: 2 * 60_000 },
      history: { jsonOnly: true },
      decision: { isProblem: false },
    },
  });
});

describe("a version that is too old", () => {
  table({
    "as a status: a list, at once": {
      state: Watching,
      outcome: { ...unanswered, error: answer(410) },
      history: { failures: 4, barren: 2 },
      decision: { state: InitWatch, history: { relists: 1, barren: 0 } },
    },
    "as a frame: a list, at once": {
      state: Watching,
      outcome: { ...open, error: frame(410) },
      decision: { state: InitWatch, history: { relists: 1 } },
    },
    "as a frame right after the opening: a list, a second after it": {
      state: Watching,
      outcome: { ...open, openMs: 3, tookMs: 4, error: frame(410) },
      decision: { state: InitWatch, waitMs: 996, history: { relists: 1 } },
    },
    "for the second time: a list after the first ceiling, whatever frames came": {
      state: Watching,
      outcome: { ...open, error: frame(410) },
      history: { relists: 1 },
      decision: { state: InitWatch, waitMs: 500, history: { relists: 2 } },
    },
    "for the fifth time: the ceiling has doubled each time": {
      state: Watching,
      outcome: { ...open, error: frame(410) },
      history: { relists: 4 },
      decision: { state: InitWatch, waitMs: 4_000, history: { relists: 5 } },
    },
    "where the server only pages: a list by pages": {
      state: Watching,
      outcome: { ...unanswered, error: answer(410) },
      history: { pagesOnly: true },
      decision: { state: FirstPage, history: { relists: 1 } },
    },
    "said of a streaming list: another one": {
      state: InitWatch,
      outcome: { ...open, error: frame(410) },
      decision: { state: InitWatch, history: { relists: 1 } },
    },
    "said of a streaming list at once: another one, a second later": {
      state: InitWatch,
      outcome: { ...unanswered, tookMs: 1, error: answer(410) },
      decision: { state: InitWatch, waitMs: 999, history: { relists: 1 } },
    },
    "said of a paged list: another one": {
      state: FirstPage,
      outcome: { ...unanswered, error: answer(410) },
      history: { pagesOnly: true, relists: 2 },
      decision: { state: FirstPage, waitMs: 1_000, history: { relists: 3 } },
    },
    "said of its continue token: the whole list in one answer": {
      state: NextPage,
      outcome: { ...unanswered, error: answer(410) },
      decision: { state: WholeList, history: { relists: 1 } },
    },
  });
});

describe("health", () => {
  const rows: History = { ...NO_HISTORY, failures: 5, relists: 5, barren: 2, brokenLists: 1, pagesOnly: true };
  const healthy: Outcome = { ...open, openMs: 120_000 };
  table({
    "is proven by two minutes of an open watch": {
      state: Watching,
      outcome: { ...healthy, error: lost },
      history: rows,
      decision: { waitMs: 500, history: { failures: 0, relists: 0, barren: 0, brokenLists: 0 } },
    },
    "makes the next failure the first": {
      state: Watching,
      outcome: { ...healthy, error: bad("invalid_json") },
      history: rows,
      decision: { waitMs: 500, history: { failures: 1, relists: 0, barren: 0, brokenLists: 0 } },
    },
    "is not proven by less": {
      state: Watching,
      outcome: { ...healthy, openMs: 119_999, error: frame(410) },
      history: rows,
      decision: { state: FirstPage, waitMs: 8_000, history: { relists: 6, barren: 0, brokenLists: 0 } },
    },
    "makes the next list due at once": {
      state: Watching,
      outcome: { ...healthy, error: frame(410) },
      history: { relists: 5 },
      decision: { state: InitWatch, history: { relists: 1 } },
    },
    "is not proven by two minutes without an answer": {
      state: Watching,
      outcome: { ...unanswered, openMs: 120_000, tookMs: 120_000 },
      history: { failures: 4 },
      decision: { waitMs: 8_000, history: { failures: 5 } },
    },
    "keeps what is known of the server's bookmarks": {
      state: Watching,
      outcome: { ...healthy, hadBookmark: true },
      history: { failures: 3 },
      decision: { isProblem: false, history: { failures: 0, hasBookmarks: true } },
    },
  });
});

describe("silence", () => {
  const silence: Outcome = { ...open, frames: 0, openMs: 90_000, tookMs: 90_000, error: silent };
  table({
    "where no bookmark ever came is how such servers are: another watch, no list, no problem": {
      state: Watching,
      outcome: silence,
      history: { barren: 2, failures: 3 },
      decision: { isProblem: false },
    },
    "where bookmarks came: another watch": {
      state: Watching,
      outcome: silence,
      history: { hasBookmarks: true },
      decision: { history: { barren: 1 } },
    },
    "where bookmarks came, after frames: does not count": {
      state: Watching,
      outcome: { ...silence, frames: 1 },
      history: { hasBookmarks: true, barren: 1 },
      decision: { history: { barren: 0 } },
    },
    "where bookmarks came, for the second time: a list, and no more of them before the next bookmark": {
      state: Watching,
      outcome: silence,
      history: { hasBookmarks: true, barren: 1 },
      decision: { state: InitWatch, history: { barren: 0, hasBookmarks: false, relists: 1 } },
    },
    "after a bookmark in this watch: bookmarks come": {
      state: Watching,
      outcome: { ...silence, frames: 1, hadBookmark: true },
      decision: { history: { hasBookmarks: true } },
    },
    "that was shorter than a second (a test's): the next watch waits": {
      state: Watching,
      outcome: { ...silence, tookMs: 100 },
      decision: { waitMs: 900, isProblem: false },
    },
  });
});

describe("a streaming list", () => {
  const paged = { state: FirstPage, history: { pagesOnly: true } };
  table({
    "that is refused with 422: pages, at once, and no problem": {
      state: InitWatch,
      outcome: { ...unanswered, tookMs: 5, error: answer(422) },
      decision: { ...paged, isProblem: false },
    },
    "that is refused with 400: pages": {
      state: InitWatch,
      outcome: { ...unanswered, error: answer(400) },
      decision: { ...paged, isProblem: false },
    },
    "that sends no object and no end: pages, at once": {
      state: InitWatch,
      outcome: { ...open, error: silent },
      decision: paged,
    },
    "that is not answered at all: pages": {
      state: InitWatch,
      outcome: { ...unanswered, error: silent },
      decision: paged,
    },
    "that ends without its end: pages": { state: InitWatch, outcome: { ...open, tookMs: 5 }, decision: paged },
    "that is a list's body, or has bookmarks without the annotation: pages": {
      state: InitWatch,
      outcome: { ...open, error: protocol },
      decision: paged,
    },
    "that is a list's body on many lines: pages": {
      state: InitWatch,
      outcome: { ...open, error: bad("invalid_json") },
      decision: paged,
    },
    "that is a page of HTML: again": {
      state: InitWatch,
      outcome: { ...unanswered, error: protocol },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "that breaks off: again": {
      state: InitWatch,
      outcome: { ...open, error: lost },
      decision: { waitMs: 500, history: { failures: 1, brokenLists: 1 } },
    },
    "that breaks off within a frame, for the second time: pages": {
      state: InitWatch,
      outcome: { ...open, error: bad("truncated") },
      history: { brokenLists: 1, failures: 1 },
      decision: { state: FirstPage, waitMs: 1_000, history: { failures: 2, brokenLists: 2 } },
    },
    "that breaks off within a frame at once: again, a second later": {
      state: InitWatch,
      outcome: { ...open, tookMs: 30, error: bad("truncated") },
      decision: { waitMs: 970, history: { failures: 1, brokenLists: 1 } },
    },
    "with a frame beyond the limit: again": {
      state: InitWatch,
      outcome: { ...open, error: bad("too_large") },
      decision: { waitMs: 500, history: { failures: 1, brokenLists: 1 } },
    },
    "with an ERROR frame: again": {
      state: InitWatch,
      outcome: { ...open, error: frame(500) },
      decision: { waitMs: 500, history: { failures: 1, brokenLists: 1 } },
    },
    "that the server does not answer: again, and it is no broken one": {
      state: InitWatch,
      outcome: { ...unanswered, error: answer(503) },
      history: { brokenLists: 1 },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "that is not answered for the third time: counts as a broken one": {
      state: InitWatch,
      outcome: { ...unanswered, error: answer(503) },
      history: { failures: 2 },
      decision: { waitMs: 2_000, history: { failures: 3, brokenLists: 1 } },
    },
    "that is refused for the fourth time: pages": {
      state: InitWatch,
      outcome: { ...unanswered, error: answer(500) },
      history: { failures: 3, brokenLists: 1 },
      decision: { state: FirstPage, waitMs: 4_000, history: { failures: 4, brokenLists: 2 } },
    },
    "that is refused with 405: pages, at once, and no problem": {
      state: InitWatch,
      outcome: { ...unanswered, error: answer(405) },
      decision: { ...paged, isProblem: false },
    },
    "that is called expired for the third time: counts as a broken one": {
      state: InitWatch,
      outcome: { ...open, error: frame(410) },
      history: { relists: 2, brokenLists: 1 },
      decision: { state: FirstPage, waitMs: 1_000, history: { relists: 3, brokenLists: 2 } },
    },
    "that is forbidden: again": {
      state: InitWatch,
      outcome: { ...unanswered, error: answer(403) },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "that was completed, so that its watch ends: broken ones before it are forgotten": {
      state: Watching,
      outcome: open,
      history: { brokenLists: 1 },
      decision: { isProblem: false, history: { brokenLists: 0 } },
    },
  });
});

describe("a page", () => {
  table({
    "that fails is asked for again, not those before it": {
      state: NextPage,
      outcome: { ...unanswered, error: answer(503) },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "that is refused for now: after what the server asked for": {
      state: NextPage,
      outcome: { ...unanswered, tookMs: 5, error: answer(429, 2_000) },
      decision: { waitMs: 2_500, history: { failures: 1 } },
    },
    "that fails at once: a second later": {
      state: FirstPage,
      outcome: { ...unanswered, tookMs: 5 },
      decision: { waitMs: 995, history: { failures: 1 } },
    },
    "whose token the server does not know: the whole list in one answer": {
      state: NextPage,
      outcome: { ...unanswered, error: answer(400) },
      decision: { state: WholeList, history: { relists: 1 } },
    },
    "without a token that is called bad: again": {
      state: FirstPage,
      outcome: { ...unanswered, error: answer(400) },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "that is forbidden: again": {
      state: NextPage,
      outcome: { ...unanswered, error: answer(403) },
      decision: { waitMs: 500, history: { failures: 1 } },
    },
    "that is no list: the list from its beginning": {
      state: NextPage,
      outcome: { ...unanswered, error: protocol },
      history: { pagesOnly: true },
      decision: { state: FirstPage, waitMs: 500, history: { failures: 1 } },
    },
  });
});

it("waits a second between two openings where nothing else is said", () => {
  const decided = decide(Watching, { ...open, tookMs: 0 }, NO_HISTORY, { pageSize: 500, random: 0 });
  expect(decided.waitMs).toBe(1_000);
});

it("backs off from 0.8 s to 30 s where nothing else is said", () => {
  const after = (failures: number) =>
    decide(Watching, unanswered, { ...NO_HISTORY, failures }, { pageSize: 500, random: 0.5 }).waitMs;
  expect([0, 1, 5, 6, 60].map(after)).toEqual([400, 800, 12_800, 15_000, 15_000]);
});

it("begins with a streaming list, unless the server does not speak it or it broke off twice", () => {
  expect(beginList(NO_HISTORY, 500)).toEqual(InitWatch);
  expect(beginList({ ...NO_HISTORY, brokenLists: 1 }, 500)).toEqual(InitWatch);
  expect(beginList({ ...NO_HISTORY, brokenLists: 2 }, 7)).toEqual({ ...FirstPage, pageSize: 7 });
  expect(beginList({ ...NO_HISTORY, pagesOnly: true }, 7)).toEqual({ ...FirstPage, pageSize: 7 });
});
