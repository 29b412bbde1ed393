import { performance } from "node:perf_hooks";
import { LinkedAbort } from "../transport/index.ts";
import {
  afterRead,
  afterRest,
  type FollowHistory,
  NEW_HISTORY,
  nextInstance,
  podSeen,
  restOfInstance,
} from "./follow-history.ts";
import { nextStep } from "./follow-policy.ts";
import { describeGap } from "./gap.ts";
import { LogPosition } from "./log-position.ts";
import { type LogTransport, readLog, type TimedLine } from "./log-read.ts";
import { requestFor, startOf } from "./log-request.ts";
import { nextChange } from "./next-change.ts";
import { QuietWatch } from "./quiet-watch.ts";
import type { ContainerView, LogGap, LogGapReason, LogLine, LogOptions, LogRestart, LogSource } from "./types.ts";

/** What a follow has done so far. */
export interface LogStats {
  /** `waiting`: for the pod. `resting`: between two requests. */
  state: "idle" | "waiting" | "reading" | "resting" | "ended";
  /** Lines delivered, and the bytes of their text. */
  lines: number;
  bytes: number;
  /** Requests made. */
  reads: number;
  /** Lines received again after a cut, and dropped. */
  repeated: number;
  gaps: number;
  restarts: number;
}

/** Where a follow delivers to. None of these may throw. */
export interface LogSink {
  /** A promise holds the follow back until it resolves. */
  lines(lines: LogLine[]): Promise<void> | undefined;
  gap(gap: LogGap): void;
  restart(restart: LogRestart): void;
}

/** The container instance that is followed. */
interface Instance {
  readonly restartCount: number;
  readonly position: LogPosition;
  /** The first line delivered, and the time of the last one before it, of an earlier instance. */
  first: { seconds: number; time: string; after: string | null } | null;
  /** The line that was cut off before its newline. */
  unfinished: TimedLine | null;
}

/**
 * Follows the log of one container: reads, and reads on from the last delivered line, until `nextStep` says that the log has
 * ended. At most one request is open at any time.
 */
export class LogFollower {
  readonly #transport: LogTransport;
  readonly #source: LogSource;
  readonly #options: LogOptions;
  readonly #sink: LogSink;
  readonly #signal: AbortSignal;
  #instance: Instance;
  #history: FollowHistory = NEW_HISTORY;
  /** The rest of an instance that was started again is being read. */
  #previous = false;
  #limited = false;
  #firstAnsweredAt: number | null = null;
  #lastTime: string | null = null;
  /** Of the last line delivered; kept for `isLastLine` only. */
  #lastText: string | null = null;
  /** Of the last read, if it was refused. */
  #error: unknown = null;
  readonly stats: LogStats = { state: "idle", lines: 0, bytes: 0, reads: 0, repeated: 0, gaps: 0, restarts: 0 };

  constructor(transport: LogTransport, source: LogSource, options: LogOptions, sink: LogSink, signal: AbortSignal) {
    this.#transport = transport;
    this.#source = source;
    this.#options = options;
    this.#sink = sink;
    this.#signal = signal;
    this.#instance = newInstance(source.view().restartCount, new LogPosition(startOf(options)));
  }

  /** Resolves at the end of the log, or once the signal aborts. Rejects with what trying again cannot help. */
  async run(): Promise<void> {
    try {
      while (!this.#signal.aborted && !this.#limited) {
        if (!(await this.#step())) return;
      }
    } finally {
      this.stats.state = "ended";
    }
  }

  /** False: the log has ended. */
  async #step(): Promise<boolean> {
    const view = this.#view();
    if (this.#isRestarted(view)) {
      this.#leaveInstance(view);
      return true;
    }
    const step = nextStep({
      view,
      history: this.#history,
      lastLineSeen: this.#isLastLineSeen(),
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
      case "read":
        this.stats.state = "reading";
        await this.#read(step.follow, view);
        return true;
      case "fail":
        throw this.#error;
      case "end":
        if (view.phase !== "gone" && this.#previous) {
          await this.#enterNextInstance(step.gap !== null);
          return true;
        }
        await this.#deliverUnfinished();
        if (step.gap) this.#gap(step.gap, null);
        return false;
    }
  }

  #isLastLineSeen(): boolean {
    const { isLastLine } = this.#options;
    return isLastLine !== undefined && this.#lastText !== null && !this.#previous && isLastLine(this.#lastText);
  }

  #view(): ContainerView {
    const view = this.#source.view();
    // The rest of an earlier instance is read as of a container that has ended.
    const seen = this.#previous && view.phase !== "gone" ? ({ ...view, phase: "ended" } as const) : view;
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

  // ---- reading

  async #read(follow: boolean, view: ContainerView): Promise<void> {
    const instance = this.#instance;
    const abort = new AbortController();
    const linked = new LinkedAbort([this.#signal, abort.signal]);
    const quiet = new QuietWatch(abort, follow ? QUIET_MS : QUIET_FINAL_MS, () => !follow || this.#hasStopped());
    const unsubscribe = this.#source.onChange(() => quiet.check());
    this.stats.reads++;
    const request = requestFor(this.#source, this.#options, {
      follow,
      view,
      position: instance.position,
      history: this.#history,
      previous: this.#previous,
      isFirstInstance: this.stats.restarts === 0,
      firstAnsweredAt: this.#firstAnsweredAt,
    });
    const result = await readLog(
      this.#transport,
      request,
      instance.position,
      {
        lines: (lines) => this.#deliver(lines, abort),
        gap: (next) => this.#lostTrack(next),
        passedOver: () => this.#gap("clock_stepped", null),
        answered: (serverTime) => {
          this.#firstAnsweredAt ??= serverTime;
          quiet.active();
        },
        active: () => quiet.active(),
        held: () => quiet.held(),
      },
      linked.signal,
    );
    unsubscribe();
    quiet.close();
    linked.release();

    const { outcome, unfinished } = result;
    this.stats.repeated += result.repeated;
    this.#error = result.error;
    this.#history = afterRead(this.#history, outcome, performance.now());
    if (outcome.end === "refused") return;
    instance.position.readEnded(outcome.end === "clean" && outcome.caughtUp && !outcome.unfinished);
    if (unfinished === null) return;
    instance.unfinished = unfinished;
    instance.position.unfinished(unfinished.seconds, unfinished.nanos);
  }

  /** The container does not run any more, so an open stream has to end by itself within moments. */
  #hasStopped(): boolean {
    const view = this.#view();
    return view.phase === "ended" || view.phase === "gone" || this.#isRestarted(view);
  }

  // ---- delivering

  #deliver(lines: TimedLine[], abort: AbortController): Promise<void> | undefined {
    const instance = this.#instance;
    const [first] = lines;
    if (first !== undefined) instance.first ??= { seconds: first.seconds, time: first.time, after: this.#lastTime };
    instance.unfinished = null;
    const batch: LogLine[] = [];
    for (const line of lines) {
      if (this.#reachesLimit(line)) break;
      batch.push(this.#toLine(line, true));
    }
    const room = batch.length > 0 ? this.#sink.lines(batch) : undefined;
    if (!this.#limited) return room;
    const end = () => {
      this.#gap("limit_reached", null);
      abort.abort();
    };
    return room ? room.then(end) : void end();
  }

  #reachesLimit({ bytes }: TimedLine): boolean {
    const { limitBytes } = this.#options;
    this.#limited = limitBytes !== undefined && this.stats.bytes + bytes > limitBytes;
    return this.#limited;
  }

  #toLine({ text, time, bytes, omittedBytes }: TimedLine, terminated: boolean): LogLine {
    this.stats.lines++;
    this.stats.bytes += bytes;
    this.#lastTime = time;
    if (this.#options.isLastLine !== undefined) this.#lastText = text;
    const { podName } = this.#source;
    return omittedBytes > 0 ? { text, time, terminated, podName, omittedBytes } : { text, time, terminated, podName };
  }

  /** The log ends here, or its continuation is lost: what came of a last line is all that there is of it. */
  async #deliverUnfinished(): Promise<void> {
    const { unfinished, position } = this.#instance;
    this.#instance.unfinished = null;
    if (unfinished === null || this.#limited) return;
    // Of the line nothing but its time has come: that is no line yet.
    if (unfinished.bytes === 0 && unfinished.omittedBytes === 0) return;
    if (this.#reachesLimit(unfinished)) {
      this.#gap("limit_reached", null);
      return;
    }
    position.delivered(unfinished.seconds, unfinished.nanos, unfinished.time, unfinished.text);
    await this.#sink.lines([this.#toLine(unfinished, false)]);
  }

  /** The read goes on after the last delivered line without having shown it. True: it is a gap, and the read goes on. */
  async #lostTrack(next: TimedLine): Promise<boolean> {
    // The log of a new instance looks the same as a rotated one, and the pod may tell of the restart a moment later.
    const until = performance.now() + RESTART_SETTLE_MS;
    for (;;) {
      const view = this.#view();
      if (this.#signal.aborted || this.#isRestarted(view)) return false;
      const left = until - performance.now();
      if (left <= 0 || view.phase === "ended" || view.phase === "gone") break;
      await nextChange(this.#source, this.#signal, left);
    }
    await this.#deliverUnfinished();
    if (this.#limited) return false;
    this.#gap("rotated", next.time);
    return true;
  }

  #gap(reason: LogGapReason, before: string | null, after = this.#lastTime): void {
    this.stats.gaps++;
    this.#sink.gap(describeGap(this.#source, reason, after, before));
  }

  // ---- restarts of the container

  #isRestarted(view: ContainerView): boolean {
    return !this.#previous && view.phase !== "gone" && view.restartCount > this.#instance.restartCount;
  }

  /** The container has been started again: go for the rest of the earlier instance first. */
  #leaveInstance(view: ContainerView): void {
    const { first } = this.#instance;
    const startedAt = view.startedAt === null ? Number.NaN : Date.parse(view.startedAt) / 1000;
    if (first !== null && first.seconds >= startedAt) {
      // The pod told late: what was read is the new instance already, and nothing of the one before it.
      this.#instance = { ...this.#instance, restartCount: view.restartCount };
      this.#gap("restarted", first.time, first.after);
      return;
    }
    this.#previous = true;
    this.#history = restOfInstance(this.#history);
  }

  async #enterNextInstance(lost: boolean): Promise<void> {
    const { restartCount } = this.#source.view();
    const skipped = restartCount - this.#instance.restartCount > 1;
    await this.#deliverUnfinished();
    if (lost || skipped) this.#gap("restarted", null);
    this.#previous = false;
    this.#lastText = null;
    this.#instance = newInstance(restartCount, new LogPosition("beginning"));
    this.#history = nextInstance(this.#history);
    this.stats.restarts++;
    const { podName, container } = this.#source;
    this.#sink.restart({ podName, container, restartCount });
  }
}

function newInstance(restartCount: number, position: LogPosition): Instance {
  return { restartCount, position, first: null, unfinished: null };
}

/** The pod's restart count can be this much later than the new instance's first line. */
const RESTART_SETTLE_MS = 2000;
/** A stream whose container has ended, and which brings nothing for so long, is held open by something that is dead. */
const QUIET_MS = 5000;
/** The same of a read without `follow`: a kubelet under load may take its time to begin. */
const QUIET_FINAL_MS = 30_000;
