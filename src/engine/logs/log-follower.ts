import { performance } from "node:perf_hooks";
import { bounded, LinkedAbort } from "../transport/index.ts";
import { hasStarted } from "./container-view.ts";
import { Delivery, type LogSink } from "./delivery.ts";
import {
  afterOutage,
  afterRead,
  afterRest,
  type FollowHistory,
  NEW_HISTORY,
  nextInstance,
  podSeen,
  type ReadOutcome,
  restOfInstance,
  wordsOfServer,
} from "./follow-history.ts";
import { nextStep } from "./follow-policy.ts";
import { headGap, isAdjacent } from "./gap.ts";
import { placeAfter } from "./line-place.ts";
import { publishRead } from "./log-channel.ts";
import type { TimedLine } from "./log-line-reader.ts";
import { LogPosition } from "./log-position.ts";
import { readLog } from "./log-read.ts";
import { firstInstance, requestFor, startOf } from "./log-request.ts";
import { nextChange } from "./next-change.ts";
import { QuietWatch } from "./quiet-watch.ts";
import { secondsOf } from "./timestamp.ts";
import type { ContainerView, LogOptions, LogSource, LogStats, LogTransport } from "./types.ts";

/**
 * Follows the log of one container: reads, and reads on from the last delivered line, until `nextStep` says that the log has
 * ended. At most one request is open at any time.
 */
export class LogFollower {
  readonly #transport: LogTransport;
  readonly #source: LogSource;
  readonly #options: LogOptions;
  readonly #delivery: Delivery;
  readonly #signal: AbortSignal;
  /** Of the container instance that is followed, as are position and history. */
  #restartCount: number;
  #position: LogPosition;
  /** When it ended, once the pod told. */
  #finishedAt: string | null = null;
  #history: FollowHistory = NEW_HISTORY;
  /** The rest of an instance that was started again is being read. */
  #previous = false;
  /** Whose lines were delivered: where the pod's times do not tell, the rest of the earlier instance does. */
  #whose: "this" | "either" | "next" = "this";
  /** The line at which track was last lost: the first of a rotated file, or of an instance that the pod has not told of yet. */
  #lostAt: TimedLine | null = null;
  #firstAnsweredAt: number | null = null;
  #endOfLastRead: ReadOutcome["end"] | null = null;
  /** Of the last read, if it was refused. */
  #error: unknown = null;

  constructor(transport: LogTransport, source: LogSource, options: LogOptions, sink: LogSink, signal: AbortSignal) {
    this.#transport = transport;
    this.#source = source;
    this.#options = options;
    const after = placeAfter(options, source.container);
    this.#restartCount = after?.restartCount ?? firstInstance(source.view(), options);
    this.#delivery = new Delivery(source, options, sink, this.#restartCount, after);
    this.#signal = signal;
    this.#position = new LogPosition(startOf(options), after);
  }

  get stats(): LogStats {
    return this.#delivery.stats;
  }

  /** Resolves at the end of the log, or once the signal aborts. Rejects with what trying again cannot help. */
  async run(): Promise<void> {
    try {
      while (!this.#signal.aborted && !this.#delivery.isLimited) {
        if (!(await this.#step())) return;
      }
    } finally {
      this.stats.state = "ended";
    }
  }

  /** False: the log has ended. */
  async #step(): Promise<boolean> {
    const view = this.#view();
    if (this.#whose === "next") {
      this.#becomeNext();
      return true;
    }
    if (this.#isRestarted(view)) {
      this.#leaveInstance(view);
      return true;
    }
    const step = nextStep({
      view,
      history: this.#history,
      lastLine: this.#lastLine(),
      isServerDown: this.#source.server?.isDown === true,
      once: this.#options.follow === false,
      // What an instance wrote is all there when the next one has been started.
      lateLinesMs: this.#previous ? 0 : (this.#options.lateLinesMs ?? LATE_LINES_MS),
      now: performance.now(),
      random: Math.random,
    });
    switch (step.do) {
      case "wait":
        this.stats.state = "waiting";
        await nextChange(this.#source, this.#signal);
        // An event is what the wait was for: no rest on top of it.
        this.#history = afterRest(this.#history);
        return true;
      case "rest":
        this.stats.state = "resting";
        await this.#rest(step.ms, step.hurry, view.phase);
        this.#history = afterRest(this.#history);
        return true;
      case "await-server":
        this.stats.state = "resting";
        await this.#awaitServer();
        this.#history = afterOutage(this.#history, performance.now());
        return true;
      case "read":
        this.stats.state = "reading";
        await this.#read(step.follow, view);
        return true;
      case "fail":
        throw this.#error;
      case "end":
        if (view.phase !== "gone" && this.#previous) {
          if (this.#whose === "either") this.#becomeNext();
          else await this.#enterNextInstance(step.gap !== null);
          return true;
        }
        await this.#deliverRest();
        if (step.gap) this.#delivery.gap(step.gap, { words: wordsOfServer(this.#history) });
        return false;
    }
  }

  #lastLine(): { seconds: number; marksEnd: boolean } | null {
    const { last } = this.#delivery;
    if (last === null) return null;
    const marksEnd = !this.#previous && this.#options.isLastLine?.(last.text) === true;
    return { seconds: last.seconds + last.nanos / 1e9, marksEnd };
  }

  #view(): ContainerView {
    const view = this.#source.view();
    if (view.restartCount === this.#restartCount) this.#finishedAt = view.finishedAt ?? this.#finishedAt;
    // The rest of an earlier instance is read as of a container that has ended, and so is one that is not to be followed.
    const isTaken = view.phase !== "gone" && (this.#previous || (this.#options.follow === false && hasStarted(view)));
    const seen = isTaken ? ({ ...view, phase: "ended" } as const) : view;
    this.#history = podSeen(this.#history, seen, performance.now());
    return seen;
  }

  async #rest(ms: number, hurry: boolean, phase: ContainerView["phase"]): Promise<void> {
    const until = performance.now() + ms;
    for (let left = ms; left > 0 && !this.#signal.aborted; left = until - performance.now()) {
      await nextChange(this.#source, this.#signal, left);
      const view = this.#view();
      if (view.phase === "gone" || this.#isRestarted(view) || (hurry && view.phase !== phase)) return;
    }
  }

  /** Not without end: where watches are cut off and logs are not, the next read shows it. */
  async #awaitServer(): Promise<void> {
    const { server } = this.#source;
    if (server === undefined) return;
    const late = () => new Error("the server's return was not told of");
    const back = bounded({ signal: this.#signal, ms: OUTAGE_MAX_MS, late }, (limited) => server.whenBack(limited));
    await back.catch(() => undefined);
  }

  // ---- reading

  async #read(follow: boolean, view: ContainerView): Promise<void> {
    const abort = new LinkedAbort([this.#signal]);
    const quiet = new QuietWatch(abort, follow ? QUIET_MS : QUIET_FINAL_MS, () => !follow || this.#hasStopped());
    const unsubscribe = this.#source.onChange(() => quiet.check());
    let serverTime: number | null = null;
    this.stats.reads++;
    publishRead(this.#source, this.stats.reads, this.#endOfLastRead);
    const request = requestFor(this.#source, this.#options, {
      follow,
      view,
      position: this.#position,
      history: this.#history,
      previous: this.#previous,
      isFirstInstance: this.stats.restarts === 0,
      firstAnsweredAt: this.#firstAnsweredAt,
    });
    const result = await readLog(
      this.#transport,
      request,
      this.#position,
      {
        delivery: this.#delivery,
        quiet,
        head: (line) => this.#checkHead(line, serverTime),
        limited: () => abort.abort(),
        gap: (next) => this.#lostTrack(next),
        passedOver: () => this.#delivery.gap("clock_stepped", { certain: true }),
        skipped: (gap) => this.#delivery.gap("rotated", gap),
        answered: (time) => {
          serverTime = time;
          this.#firstAnsweredAt ??= time;
          quiet.active();
        },
      },
      abort.signal,
    ).finally(() => {
      unsubscribe();
      quiet.close();
      abort.release();
    });

    const { outcome, unfinished } = result;
    this.stats.repeated += result.repeated;
    this.#error = result.error;
    this.#history = afterRead(this.#history, outcome, performance.now());
    this.#endOfLastRead = outcome.end;
    if (outcome.end === "refused") return;
    if (this.#whose === "either" && (outcome.caughtUp || outcome.end === "clean"))
      this.#whose = outcome.caughtUp ? "this" : "next";
    this.#position.readEnded(outcome.end === "clean" && outcome.caughtUp && !outcome.unfinished);
    if (unfinished === null) return;
    this.#delivery.unfinished = unfinished;
    this.#position.unfinished(unfinished.seconds, unfinished.nanos);
  }

  /** The container does not run any more, so an open stream has to end by itself within moments. */
  #hasStopped(): boolean {
    const view = this.#view();
    return view.phase === "ended" || view.phase === "gone" || this.#isRestarted(view);
  }

  // ---- what is missing

  #checkHead(first: TimedLine, serverTime: number | null): void {
    if (this.stats.restarts === 0 && startOf(this.#options) !== "beginning") return;
    const { isFirstLine } = this.#options;
    const { restartCount, startedAt } = this.#source.view();
    const isOther = this.#previous || restartCount !== this.#restartCount;
    const gap = headGap(first, { isFirstLine, startedAt: isOther ? null : startedAt, serverTime });
    if (gap !== null) this.#delivery.gap("rotated", gap);
  }

  async #deliverRest(): Promise<void> {
    const rest = await this.#delivery.rest();
    if (rest !== null) this.#position.delivered(rest.seconds, rest.nanos, rest.text);
  }

  /** The read goes on after the last delivered line without having shown it. False ends the read: it is another instance's log. */
  async #lostTrack(next: TimedLine): Promise<boolean> {
    if (this.#whose !== "this") {
      this.#whose = "next";
      return false;
    }
    // The log of a new instance looks the same as a rotated one, and the pod may tell of the restart a moment later.
    const until = performance.now() + RESTART_SETTLE_MS;
    for (;;) {
      const view = this.#view();
      if (this.#signal.aborted || this.#isRestarted(view)) return false;
      const left = until - performance.now();
      if (left <= 0 || view.phase === "ended" || view.phase === "gone") break;
      await nextChange(this.#source, this.#signal, left);
    }
    const { last, unfinished } = this.#delivery;
    const isCut = unfinished !== null;
    await this.#deliverRest();
    if (this.#delivery.isLimited) return false;
    // The kubelet ends a follow at the end of the file that it has open: behind it, the next one begins.
    const hasEnded = this.#view().phase === "ended" && this.#history.cleanEnds > 0;
    if (last !== null && hasEnded && isAdjacent(last, next)) return true;
    this.#delivery.gap("rotated", { before: next.time, certain: isCut });
    this.#lostAt = next;
    return true;
  }

  // ---- restarts of the container

  #isRestarted(view: ContainerView): boolean {
    return !this.#previous && view.phase !== "gone" && view.restartCount > this.#restartCount;
  }

  /** The container has been started again: go for the rest of the earlier instance first. */
  #leaveInstance(view: ContainerView): void {
    const { first, last } = this.#delivery;
    const startedAt = secondsOf(view.startedAt);
    // The pod told late. Since then the new instance was read, and what is missing of the earlier one was said.
    if (this.#lostAt !== null && this.#lostAt.seconds >= startedAt) {
      this.#become();
      return;
    }
    if (first !== null && first.seconds >= startedAt) {
      // Times of the pod are cut to the second, in which a container can end and be started again.
      this.#whose = last !== null && last.seconds > secondsOf(this.#finishedAt) ? "next" : "either";
      if (this.#whose === "next") return;
    }
    this.#previous = true;
    this.#history = restOfInstance(this.#history);
  }

  /** What was read is the next instance's, and nothing of this one was. */
  #becomeNext(): void {
    const { first } = this.#delivery;
    if (this.#previous) this.#history = nextInstance(this.#history);
    this.#previous = false;
    this.#become();
    if (first !== null) this.#delivery.gap("restarted", { after: first.after, before: first.time });
  }

  /** What was taken for an earlier instance is this one. */
  #become(): void {
    this.#restartCount = this.#source.view().restartCount;
    this.#finishedAt = null;
    this.#lostAt = null;
    this.#whose = "this";
    this.#delivery.instanceIs(this.#restartCount);
  }

  async #enterNextInstance(lost: boolean): Promise<void> {
    const { restartCount } = this.#source.view();
    const skipped = restartCount - this.#restartCount > 1;
    await this.#deliverRest();
    if (lost || skipped) this.#delivery.gap("restarted");
    this.#previous = false;
    this.#lostAt = null;
    this.#finishedAt = null;
    this.#restartCount = restartCount;
    this.#position = new LogPosition("beginning");
    this.#history = nextInstance(this.#history);
    this.#delivery.restart(restartCount);
  }
}

/** Default of `lateLinesMs`. */
const LATE_LINES_MS = 3_000;
const OUTAGE_MAX_MS = 60_000;
/** The pod's restart count can be this much later than the new instance's first line. */
const RESTART_SETTLE_MS = 2000;
/** A stream whose container has ended, and which brings nothing for so long, is held open by something that is dead. */
const QUIET_MS = 5000;
/** The same of a read without `follow`: a kubelet under load may take its time to begin. */
const QUIET_FINAL_MS = 30_000;
