import { describeGap, type GapFacts } from "./gap.ts";
import { type LinePlace, positionPrefix } from "./line-place.ts";
import { publishLines } from "./log-channel.ts";
import type { TimedLine } from "./log-line-reader.ts";
import type { LogGap, LogGapReason, LogLine, LogOptions, LogRestart, LogSource, LogStats } from "./types.ts";

export const NEW_STATS: LogStats = { state: "idle", lines: 0, bytes: 0, reads: 0, repeated: 0, gaps: 0, restarts: 0 };

/** Where a follow delivers to. None of these may throw. */
export interface LogSink {
  /** A promise holds the follow back until it resolves. */
  lines(lines: LogLine[]): Promise<void> | undefined;
  gap(gap: LogGap): void;
  restart(restart: LogRestart): void;
}

/** Hands lines, gaps and restarts of one follow to its consumer, and knows what was delivered last. */
export class Delivery {
  readonly #source: LogSource;
  readonly #limitBytes: number;
  readonly #sink: LogSink;
  readonly stats: LogStats = { ...NEW_STATS };
  /** `limitBytes` is reached: nothing more is delivered. */
  isLimited = false;
  /** Of this instance of the container, and the time of the last line before it, of an earlier one. */
  first: { seconds: number; time: string; after: string | null } | null = null;
  last: TimedLine | null = null;
  /** A line of this instance that was cut off before its newline. */
  unfinished: TimedLine | null = null;
  #batch: LogLine[] | null = null;
  #hasToldLimit = false;
  #publishedBytes = 0;
  #lastTime: string | null = null;
  #restartCount: number;
  /** Of the last line: which of the lines of its time it is, and what its position begins with. */
  #ordinal = 0;
  #prefix = "";

  /** `after`: the line that the follow goes on behind. */
  constructor(source: LogSource, options: LogOptions, sink: LogSink, restartCount: number, after: LinePlace | null) {
    this.#source = source;
    this.#limitBytes = options.limitBytes ?? Number.POSITIVE_INFINITY;
    this.#sink = sink;
    this.#restartCount = restartCount;
    if (after === null) return;
    this.#lastTime = after.time;
    this.#ordinal = after.ordinal;
  }

  /** A whole line. `flush` hands it over, with those before it. */
  line(line: TimedLine): void {
    this.unfinished = null;
    if (this.isLimited || this.#reachesLimit(line)) return;
    const made = this.#toLine(line, true);
    // Not a literal, for the same reason as `Line`.
    if (this.#batch === null) this.#batch = Array.of(made);
    else this.#batch.push(made);
  }

  /** A promise holds the follow back. */
  flush(): Promise<void> | undefined {
    const batch = this.#batch;
    let room: Promise<void> | undefined;
    if (batch !== null) {
      this.#batch = null;
      this.#publish(batch.length);
      room = this.#sink.lines(batch);
    }
    if (!this.isLimited || this.#hasToldLimit) return room;
    this.#hasToldLimit = true;
    const tell = () => this.gap("limit_reached", { certain: true });
    return room ? room.then(tell) : void tell();
  }

  /**
   * The log ends here, or its continuation is lost: what came of a last line is all that there is of it. Resolves with that line,
   * null when there was none.
   */
  async rest(): Promise<TimedLine | null> {
    const { unfinished } = this;
    this.unfinished = null;
    // Of the line nothing but its time has come: that is no line yet.
    if (unfinished === null || this.isLimited || (unfinished.bytes === 0 && unfinished.omittedBytes === 0)) return null;
    if (this.#reachesLimit(unfinished)) {
      this.gap("limit_reached", { certain: true });
      return null;
    }
    const line = this.#toLine(unfinished, false);
    this.#publish(1);
    await this.#sink.lines([line]);
    return unfinished;
  }

  gap(reason: LogGapReason, facts: GapFacts = {}): void {
    this.stats.gaps++;
    this.#sink.gap(describeGap(this.#source, reason, { after: this.#lastTime, ...facts }));
  }

  /** The lines that follow are those of a new instance. */
  restart(restartCount: number): void {
    this.first = null;
    this.last = null;
    this.instanceIs(restartCount);
    this.stats.restarts++;
    const { podName, container } = this.#source;
    this.#sink.restart({ podName, container, restartCount });
  }

  /** What was taken for another instance is this one. */
  instanceIs(restartCount: number): void {
    this.#restartCount = restartCount;
    this.#ordinal = 0;
    this.#prefix = "";
  }

  #publish(lines: number): void {
    const bytes = this.stats.bytes - this.#publishedBytes;
    this.#publishedBytes = this.stats.bytes;
    publishLines(this.#source, lines, bytes);
  }

  #reachesLimit({ bytes }: TimedLine): boolean {
    this.isLimited = this.stats.bytes + bytes > this.#limitBytes;
    return this.isLimited;
  }

  #toLine(line: TimedLine, terminated: boolean): LogLine {
    const { text, time, omittedBytes } = line;
    this.stats.lines++;
    this.stats.bytes += line.bytes;
    this.first ??= { seconds: line.seconds, time, after: this.#lastTime };
    this.#count(time);
    this.last = line;
    this.#lastTime = time;
    // Two strings joined are not copied until someone reads them.
    const made = new Line(text, time, terminated, this.#source.podName, this.#prefix + time);
    if (omittedBytes > 0) made.omittedBytes = omittedBytes;
    return made;
  }

  #count(time: string): void {
    const ordinal = this.#ordinal > 0 && time === this.#lastTime ? this.#ordinal + 1 : 1;
    if (ordinal === this.#ordinal && this.#prefix !== "") return;
    this.#ordinal = ordinal;
    const { podName, container } = this.#source;
    this.#prefix = positionPrefix({ podName, container, restartCount: this.#restartCount, ordinal });
  }
}

/** A class for the reason that `Item` of `Handoff` is one: a consumer holds it until the next line comes. */
class Line implements LogLine {
  readonly text: string;
  readonly time: string;
  readonly terminated: boolean;
  readonly podName: string;
  readonly position: string;
  declare omittedBytes?: number;

  constructor(text: string, time: string, terminated: boolean, podName: string, position: string) {
    this.text = text;
    this.time = time;
    this.terminated = terminated;
    this.podName = podName;
    this.position = position;
  }
}
