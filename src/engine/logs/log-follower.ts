import { performance } from "node:perf_hooks";
import { nextStep, speaksOfPodsEnd } from "./follow-policy.ts";
import { describeGap } from "./gap.ts";
import { Instance } from "./instance.ts";
import type { LogStart } from "./log-position.ts";
import { type LogReadRequest, type LogTransport, readLog, type TimedLine } from "./log-read.ts";
import { QuietWatch } from "./quiet-watch.ts";
import { SourceWatch } from "./source-watch.ts";
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

/**
 * Follows the log of one container: reads, decides by the pod what the end of a read means, and reads on from the last
 * delivered line, until the pod says that the container has ended and a further read has brought nothing more.
 *
 * At most one request is open at any time.
 */
export class LogFollower {
  readonly #transport: LogTransport;
  readonly #source: LogSource;
  readonly #options: LogOptions;
  readonly #sink: LogSink;
  readonly #signal: AbortSignal;
  readonly #path: string;
  readonly #watch: SourceWatch;
  #instance: Instance;
  /** The rest of an instance that was restarted is being read. */
  #previous = false;
  #everAnswered = false;
  #started = false;
  #limited = false;
  /** Server's clock at the first answer; where a follow of the tail began. */
  #tailFrom: number | null = null;
  #lastTime: string | null = null;
  /** Of the last read, if it was refused. */
  #error: unknown = null;
  /** Of the last line delivered; kept for `isLastLine` only. */
  #lastText: string | null = null;
  readonly stats: LogStats = { state: "idle", lines: 0, bytes: 0, reads: 0, repeated: 0, gaps: 0, restarts: 0 };

  constructor(transport: LogTransport, source: LogSource, options: LogOptions, sink: LogSink, signal: AbortSignal) {
    this.#transport = transport;
    this.#source = source;
    this.#options = options;
    this.#sink = sink;
    this.#signal = signal;
    const { namespace, podName } = source;
    this.#path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(podName)}/log`;
    this.#instance = new Instance(source.view().restartCount, startOf(options));
    this.#watch = new SourceWatch(source, signal);
  }

  /** Resolves at the end of the log, or once the signal aborts. Rejects with what no further try can mend. */
  async run(): Promise<void> {
    try {
      while (!this.#signal.aborted && !this.#limited) {
        if (!(await this.#step())) return;
      }
    } finally {
      this.stats.state = "ended";
      this.#watch.close();
    }
  }

  /** False: the log has ended. */
  async #step(): Promise<boolean> {
    const view = this.#view();
    if (this.#isRestarted(view)) {
      this.#leaveInstance(view);
      return true;
    }
    const instance = this.#instance;
    const step = nextStep({
      view,
      started: this.#started,
      last: instance.last,
      cleanEnds: instance.cleanEnds,
      overMs: instance.overAt === null ? 0 : Math.max(0, instance.overAt - instance.cleanAt),
      idleReads: instance.idleReads,
      refusals: instance.refusals,
      missedReads: instance.missedReads,
      rested: instance.rested,
      everAnswered: this.#everAnswered,
      lastLineSeen: this.#isLastLineSeen(),
      endedMs: instance.endedAt === null ? 0 : Math.max(1, performance.now() - instance.endedAt),
    });
    switch (step.do) {
      case "wait":
        this.stats.state = "waiting";
        await this.#watch.change();
        // An event is what the wait was for: no rest on top of it.
        instance.rested = true;
        return true;
      case "rest":
        this.stats.state = "resting";
        await this.#rest(step.ms, step.hurry, view.phase);
        instance.rested = true;
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
    const { phase } = view;
    if (phase === "running" || view.startedAt !== null || view.restartCount > 0) this.#started = true;
    const over = phase === "ended" || this.#previous;
    if (!over) this.#instance.endedAt = null;
    else this.#instance.endedAt ??= performance.now();
    if (phase === "running" && !this.#previous) this.#instance.overAt = null;
    else this.#instance.overAt ??= performance.now();
    // The rest of an earlier instance is read as of a container that has ended.
    return this.#previous && phase !== "gone" ? { ...view, phase: "ended" } : view;
  }

  async #rest(ms: number, hurry: boolean, phase: ContainerView["phase"]): Promise<void> {
    const until = performance.now() + ms;
    for (let left = ms; left > 0 && !this.#signal.aborted; left = until - performance.now()) {
      await this.#watch.change(left);
      const view = this.#view();
      if (view.phase === "gone" || this.#isRestarted(view) || (hurry && view.phase !== phase)) return;
    }
  }

  // ---- reading

  async #read(follow: boolean, view: ContainerView): Promise<void> {
    const instance = this.#instance;
    const abort = new AbortController();
    const onAbort = () => abort.abort(this.#signal.reason);
    this.#signal.addEventListener("abort", onAbort, { once: true });
    if (this.#signal.aborted) onAbort();
    const quiet = new QuietWatch(abort, follow ? QUIET_MS : QUIET_FINAL_MS, () => !follow || this.#isOver());
    this.#watch.onChange = () => quiet.check();
    this.stats.reads++;

    const result = await readLog(
      this.#transport,
      this.#request(follow, view),
      instance.position,
      {
        lines: (lines) => this.#deliver(lines, abort),
        gap: (next) => this.#lostTrack(next),
        passedOver: () => this.#gap("clock_stepped", null),
        answered: (serverTime) => {
          this.#everAnswered = true;
          this.#started = true;
          this.#tailFrom ??= serverTime;
          quiet.active();
        },
        active: () => quiet.active(),
        held: () => quiet.held(),
      },
      abort.signal,
    );

    this.#watch.onChange = null;
    quiet.close();
    this.#signal.removeEventListener("abort", onAbort);

    const { outcome } = result;
    this.stats.repeated += result.repeated;
    this.#error = result.error;
    if (instance.last?.end === "clean" && outcome.delivered > 0) instance.falseEnds++;
    instance.last = outcome;
    instance.rested = false;
    instance.idleReads = outcome.delivered > 0 ? 0 : instance.idleReads + 1;
    instance.refusals = outcome.end === "refused" ? instance.refusals + 1 : 0;
    // What counts is for how long nothing could be had; a slow consumer may have held the read back for hours.
    if (outcome.delivered > 0 && instance.endedAt !== null) instance.endedAt = performance.now();
    // One that was cut says nothing: the line may stand behind the cut.
    const isMissed = outcome.end === "clean" && outcome.final && !outcome.caughtUp;
    instance.missedReads = isMissed ? instance.missedReads + 1 : 0;
    if (outcome.end === "refused") {
      // Two clean ends at one place are proof enough.
      const isDoubtful = instance.cleanEnds < 2 && instance.overAt === null && !speaksOfPodsEnd(outcome);
      if (outcome.delivered > 0 || isDoubtful) instance.cleanEnds = 0;
      return;
    }
    // Amid a line it was cut, however cleanly: should the pod go now, the rest of the line is lost.
    const isCleanEnd = outcome.end === "clean" && outcome.caughtUp && !outcome.unfinished;
    instance.cleanEnds = !isCleanEnd ? 0 : outcome.delivered > 0 ? 1 : instance.cleanEnds + 1;
    instance.cleanAt = performance.now();
    instance.position.readEnded(isCleanEnd);
    if (result.unfinished) {
      instance.unfinished = result.unfinished;
      instance.position.unfinished(result.unfinished.seconds, result.unfinished.nanos);
    }
    // Where a read was cut says nothing of where the log ends.
    if (outcome.end !== "clean" || !outcome.caughtUp) return;
    const { unfinished } = result;
    const endedWith = `${instance.position.lines} ${unfinished ? `${unfinished.time} ${unfinished.bytes}` : ""}`;
    instance.sameEnds = outcome.final && endedWith === instance.endedWith ? instance.sameEnds + 1 : 0;
    instance.endedWith = endedWith;
    // An empty log, and one whose streams have ended cleanly before their time, takes one more proof.
    const proofs = instance.falseEnds > 0 || instance.position.lines === 0 ? 2 : 1;
    outcome.confirmed = instance.sameEnds >= proofs;
  }

  #request(follow: boolean, view: ContainerView): LogReadRequest {
    const { position, last } = this.#instance;
    const { tailLines, since } = this.#options;
    const first = this.stats.restarts === 0;
    const request: LogReadRequest = {
      path: this.#path,
      container: this.#source.container,
      follow,
      previous: this.#previous,
      since: first && since !== undefined ? Math.floor(since.getTime() / 1000) : null,
      notBefore: first ? since : undefined,
      tailLines: undefined,
      maxLineBytes: this.#options.maxLineBytes ?? DEFAULT_MAX_LINE_BYTES,
    };
    const resume = position.resumeSeconds;
    if (resume === null) {
      if (!first || tailLines === undefined) return request;
      // There was no tail to deliver: asking for it again would pass over what was printed meanwhile.
      const isEmpty = tailLines === 0 || (last !== null && last.end !== "refused" && last.openMs > EMPTY_TAIL_MS);
      return isEmpty && this.#tailFrom !== null ? { ...request, since: this.#tailFrom } : { ...request, tailLines };
    }
    // The margin is for a node whose clock goes back while the follow is cut: the server leaves out lines by their time.
    // If the last read did not even get through what it repeated, it has to be as short as can be.
    const stuck = last !== null && last.end !== "refused" && !last.caughtUp;
    let from = stuck ? resume : resume - CLOCK_MARGIN_SECONDS;
    // The container ended "before" its last line: the clock did go back, and this is the last chance to see.
    const finished = !follow && view.finishedAt !== null ? Date.parse(view.finishedAt) / 1000 : Number.NaN;
    if (finished < from) from = Math.floor(finished) - CLOCK_MARGIN_SECONDS;
    return { ...request, since: from };
  }

  /** The container does not run any more, so an open stream has to end by itself within moments. */
  #isOver(): boolean {
    const view = this.#view();
    return view.phase === "ended" || view.phase === "gone" || this.#isRestarted(view);
  }

  // ---- delivering

  #deliver(lines: TimedLine[], abort: AbortController): Promise<void> | undefined {
    const instance = this.#instance;
    const [first] = lines;
    if (first !== undefined) instance.first ??= { seconds: first.seconds, time: first.time, after: this.#lastTime };
    instance.unfinished = null;
    const { limitBytes } = this.#options;
    const batch: LogLine[] = [];
    for (const line of lines) {
      if (limitBytes !== undefined && this.stats.bytes + line.bytes > limitBytes) {
        this.#limited = true;
        break;
      }
      batch.push(this.#toLine(line, true));
      this.stats.lines++;
      this.stats.bytes += line.bytes;
      this.#lastTime = line.time;
      if (this.#options.isLastLine !== undefined) this.#lastText = line.text;
    }
    const room = batch.length > 0 ? this.#sink.lines(batch) : undefined;
    if (!this.#limited) return room;
    const end = () => {
      this.#gap("limit_reached", null);
      abort.abort();
    };
    return room ? room.then(end) : void end();
  }

  #toLine({ text, time, omittedBytes }: TimedLine, terminated: boolean): LogLine {
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
    const { limitBytes } = this.#options;
    if (limitBytes !== undefined && this.stats.bytes + unfinished.bytes > limitBytes) {
      this.#limited = true;
      this.#gap("limit_reached", null);
      return;
    }
    position.delivered(unfinished.seconds, unfinished.nanos, unfinished.time, unfinished.text);
    this.stats.lines++;
    this.stats.bytes += unfinished.bytes;
    this.#lastTime = unfinished.time;
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
      await this.#watch.change(left);
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
    const instance = this.#instance;
    const startedAt = view.startedAt === null ? Number.NaN : Date.parse(view.startedAt) / 1000;
    const { first } = instance;
    if (first !== null && first.seconds >= startedAt) {
      // The pod told late: what was read is the new instance already, and nothing of the one before it.
      instance.restartCount = view.restartCount;
      this.#gap("restarted", first.time, first.after);
      return;
    }
    this.#previous = true;
    instance.last = null;
    instance.idleReads = 0;
    instance.refusals = 0;
    instance.rested = false;
    instance.endedAt = performance.now();
  }

  async #enterNextInstance(lost: boolean): Promise<void> {
    const { restartCount } = this.#source.view();
    const skipped = restartCount - this.#instance.restartCount > 1;
    await this.#deliverUnfinished();
    if (lost || skipped) this.#gap("restarted", null);
    this.#previous = false;
    this.#lastText = null;
    this.#instance = new Instance(restartCount, "beginning");
    this.stats.restarts++;
    const { podName, container } = this.#source;
    this.#sink.restart({ podName, container, restartCount });
  }
}

/** A tail of no lines begins behind all that there is, and so amid nothing. */
function startOf({ tailLines, since }: LogOptions): LogStart {
  if (tailLines !== undefined && tailLines > 0) return "tail";
  return tailLines === undefined && since === undefined ? "beginning" : "time";
}

const DEFAULT_MAX_LINE_BYTES = 4 * 1024 * 1024;
const CLOCK_MARGIN_SECONDS = 2;
/** A read of the tail that has shown no line for so long has found none. */
const EMPTY_TAIL_MS = 1000;
/** The pod's restart count can be this much later than the new instance's first line. */
const RESTART_SETTLE_MS = 2000;
/** A stream whose container is over, and which brings nothing for so long, is held open by something that is dead. */
const QUIET_MS = 5000;
/** The same of a read without `follow`: a kubelet under load may take its time to begin. */
const QUIET_FINAL_MS = 30_000;
