import { performance } from "node:perf_hooks";
import type { ApiStream } from "../transport/index.ts";
import { consume } from "./consume.ts";
import type { Delivery } from "./delivery.ts";
import type { ReadOutcome } from "./follow-history.ts";
import type { GapFacts } from "./gap.ts";
import { decodeText, LogLineReader, type RawLine, type TimedLine } from "./log-line-reader.ts";
import type { LogPosition } from "./log-position.ts";
import type { LogReadRequest } from "./log-request.ts";
import type { QuietWatch } from "./quiet-watch.ts";
import type { Replay, Verdict } from "./replay.ts";
import { SkippedFiles } from "./skipped-files.ts";
import { TimestampParser } from "./timestamp.ts";
import type { LogTransport } from "./types.ts";

/** What a read tells while it goes on. A returned promise holds the read, and with it the socket, back. */
export interface LogReadHandler {
  /** Gets the new lines. */
  readonly delivery: Delivery;
  /** Learns of bytes that come, and of a consumer that holds the read back. */
  readonly quiet: QuietWatch;
  /** The first line of the container's instance; it is delivered next. */
  head(line: TimedLine): void;
  /** Nothing more can be delivered. */
  limited(): void;
  /** The last delivered line is not in this read, and `next` would be the first line after it. False ends the read. */
  gap(next: TimedLine): Promise<boolean>;
  /** Lines were found that an earlier read had left out. */
  passedOver(): void;
  /** The server begins a file again that it has sent, since it has passed over others: lines are, or may be, missing there. */
  skipped(gap: GapFacts): void;
  /** Answered with a log; `serverTime` is the server's clock in seconds. */
  answered(serverTime: number | null): void;
}

/** The end of one read. */
export interface LogReadResult {
  outcome: ReadOutcome;
  /** The line without newline at its end, if that is a new one. */
  unfinished: TimedLine | null;
  /** Lines dropped since they were delivered before. */
  repeated: number;
  /** Of a refused read. */
  error: unknown;
}

/** One request for the log, from the position on. How it went is its outcome; rejects only with what the handler throws. */
export async function readLog(
  transport: LogTransport,
  request: LogReadRequest,
  position: LogPosition,
  handler: LogReadHandler,
  signal: AbortSignal,
): Promise<LogReadResult> {
  const read = new LogRead(request, position, handler);
  const openedAt = performance.now();
  const { container, follow, previous, since, tailLines } = request;
  let answered = false;
  let serverTime: number | null = null;
  const facts = () => {
    const now = performance.now();
    return {
      final: !follow,
      delivered: read.delivered,
      openMs: now - openedAt,
      quietMs: now - (read.deliveredAt ?? openedAt),
      answered,
      serverTime,
      unfinished: read.isAmidLine,
    };
  };
  let stream: ApiStream;
  try {
    stream = await transport.open({
      path: request.path,
      query: {
        container,
        timestamps: true,
        follow: follow || undefined,
        previous: previous || undefined,
        sinceTime: since === null ? undefined : new Date(since * 1000).toISOString(),
        tailLines,
      },
      signal,
    });
  } catch (error) {
    // Aborted before it was answered is no answer.
    if (signal.aborted) return read.result({ end: "broken", caughtUp: false, ...facts() }, error);
    return read.result({ end: "refused", ...refusal(error), ...facts() }, error);
  }
  answered = true;
  serverTime = timeOf(stream.headers.date);
  handler.answered(serverTime);
  const isWhole = await consume(stream.body, read);
  if (!isWhole) return read.result({ end: "broken", caughtUp: read.caughtUp, ...facts() });
  const complaint = read.complaint();
  if (complaint === null) return read.result({ ...read.cleanEnd(), ...facts() });
  // The kubelet has begun its 200 answer by the time that it finds the file missing, and says so in the body.
  const refused = { end: "refused", status: 400, message: complaint, retryAfterMs: undefined } as const;
  return read.result({ ...refused, ...facts() }, new Error(complaint));
}

/** Of all reads, since each takes its lines at once: with a thousand of them, what is touched for each line costs the most. */
const time = new TimestampParser();

class LogRead {
  readonly #request: LogReadRequest;
  readonly #position: LogPosition;
  readonly #handler: LogReadHandler;
  readonly #delivery: Delivery;
  readonly #quiet: QuietWatch;
  readonly #reader: LogLineReader;
  #replay: Replay;
  /** `replay` has nothing more to say; nor has it since the last chunk, if it was reckoned with. */
  #isLive = false;
  #isReckoned = false;
  readonly #skipped = new SkippedFiles();
  /** Second of the last line delivered. */
  #second = Number.NaN;
  /** Since when nothing holds the read back, on the monotonic clock. */
  #freeSince = performance.now();
  /** Time of the line that a file begins with which was sent again. */
  #resentFrom: string | null = null;
  #timed = false;
  #tail: string | null = null;
  #repeated = 0;
  #complaint: string | null = null;
  /** It turned out to be no continuation of what was delivered: its lines are those of a new instance. */
  #isOther = false;
  delivered = 0;
  /** When the last of them came, on the monotonic clock. */
  deliveredAt: number | null = null;

  constructor(request: LogReadRequest, position: LogPosition, handler: LogReadHandler) {
    this.#request = request;
    this.#position = position;
    this.#handler = handler;
    this.#delivery = handler.delivery;
    this.#quiet = handler.quiet;
    this.#reader = new LogLineReader(request.maxLineBytes + LONGEST_TIME);
    this.#replay = position.replay(request.since);
  }

  /** To be asked at the end of the read. */
  get caughtUp(): boolean {
    return !this.#isOther && this.#replay.isCaughtUpAt(this.#rest());
  }

  get isAmidLine(): boolean {
    return this.#reader.unfinished() !== null;
  }

  /** How it ended, if the body came to its end. */
  cleanEnd(): Pick<Extract<ReadOutcome, { end: "clean" }>, "end" | "caughtUp" | "place"> {
    const rest = this.caughtUp ? this.#rest() : null;
    const place = `${this.#position.lines} ${rest ? `${rest.time} ${rest.bytes}` : ""}`;
    return { end: "clean", caughtUp: this.caughtUp, place };
  }

  /** False: the handler wants no more. A promise only where the handler has to be waited for. */
  push(chunk: Uint8Array): boolean | Promise<boolean> {
    this.#quiet.active();
    return this.#take(this.#reader.push(chunk), 0);
  }

  #take(lines: readonly RawLine[], from: number): boolean | Promise<boolean> {
    const { delivered } = this;
    for (let at = from; at < lines.length; at++) {
      const raw = lines[at] as RawLine;
      const timeEnd = time.parse(raw.bytes, raw.start, raw.end);
      if (timeEnd < 0) {
        this.#untimed(raw);
        continue;
      }
      this.#timed = true;
      const { seconds, nanos } = time;
      const verdict = this.#verdict(raw, timeEnd, seconds, nanos);
      if (verdict === "repeated" || verdict === "repeated-text") {
        if (verdict === "repeated-text") this.#replay.repeatedText(this.#decode(raw, timeEnd, seconds, nanos).text);
        this.#repeated++;
        continue;
      }
      if (this.#isTooEarly(seconds, nanos)) continue;
      const line = this.#decode(raw, timeEnd, seconds, nanos);
      if (verdict === "new-after-gap") return this.#takeAfterGap(lines, at + 1, line);
      this.#deliver(line);
    }
    if (!this.#isReckoned) {
      this.#isReckoned = this.#isLive;
      if (this.#replay.caughtUp && this.#position.isNewHole(this.#replay.holeAfter)) this.#handler.passedOver();
    }
    this.#freeSince = performance.now();
    if (this.delivered > delivered) this.deliveredAt = this.#freeSince;
    return this.#flush() ?? true;
  }

  #verdict({ bytes, start }: RawLine, timeEnd: number, seconds: number, nanos: number): Verdict {
    const verdict = this.#isLive ? "new" : this.#replayed(seconds, nanos);
    if (verdict !== "new" || !this.#position.isDelivered(seconds, nanos)) return verdict;
    const begin = bytes.toString("latin1", start, timeEnd);
    // It is sent once for each rotation, and what is lost before it is lost once.
    if (begin !== this.#resentFrom) {
      const gap = { after: this.#position.timeBefore(seconds, nanos), before: begin };
      for (const each of this.#skipped.resent({ seconds, nanos }, gap)) this.#handler.skipped(each);
    }
    this.#resentFrom = begin;
    this.#replay = this.#position.replay(this.#request.since);
    this.#isReckoned = false;
    return this.#replayed(seconds, nanos);
  }

  #replayed(seconds: number, nanos: number): Verdict {
    const verdict = this.#replay.line(seconds, nanos);
    this.#isLive = this.#replay.isOver;
    return verdict;
  }

  async #takeAfterGap(lines: readonly RawLine[], from: number, line: TimedLine): Promise<boolean> {
    await this.#flush();
    if (!(await this.#handler.gap(line))) {
      this.#isOther = true;
      return false;
    }
    this.#deliver(line);
    return this.#take(lines, from);
  }

  #deliver(line: TimedLine): void {
    if (line.seconds !== this.#second) this.#newSecond(line);
    this.#position.delivered(line.seconds, line.nanos, line.text);
    this.delivered++;
    if (this.#delivery.first === null) this.#handler.head(line);
    this.#delivery.line(line);
  }

  #newSecond(line: TimedLine): void {
    const { last } = this.#delivery;
    const now = performance.now();
    if (last !== null && !Number.isNaN(this.#second)) this.#skipped.jump(last, line, (now - this.#freeSince) / 1000);
    this.#second = line.seconds;
    this.#freeSince = now;
  }

  /** What the kubelet said in place of a log, or null. */
  complaint(): string | null {
    const rest = this.#reader.unfinished();
    if (rest && time.parse(rest.bytes, rest.start, rest.end) < 0) {
      const start = rest.bytes.toString("latin1", rest.start, Math.min(rest.end, rest.start + LONGEST_TIME));
      // A cut within the time leaves nothing but its characters.
      if (!/^[\d\-T:.Z+]*$/.test(start)) this.#untimed(rest);
    }
    return this.#complaint ?? (this.#timed ? null : this.#tail);
  }

  result(outcome: ReadOutcome, error: unknown = null): LogReadResult {
    return { outcome, unfinished: this.caughtUp ? this.#rest() : null, repeated: this.#repeated, error };
  }

  #flush(): Promise<true> | undefined {
    const room = this.#delivery.flush();
    if (this.#delivery.isLimited) this.#handler.limited();
    if (room === undefined) return undefined;
    this.#quiet.held();
    return room.then(() => {
      this.#freeSince = performance.now();
      this.#quiet.active();
      return true;
    });
  }

  /** The server counts in whole seconds, so a start `since` a moment shows what was before it in that second. */
  #isTooEarly(seconds: number, nanos: number): boolean {
    const { notBefore } = this.#request;
    if (notBefore === undefined || this.#position.lines > 0) return false;
    return seconds * 1000 + nanos / 1e6 < notBefore.getTime();
  }

  /** The line that the read ends in, if that is a new one. */
  #rest(): TimedLine | null {
    const rest = !this.#isOther && this.#replay.caughtUp ? this.#reader.unfinished() : null;
    if (rest === null) return null;
    const timeEnd = time.parse(rest.bytes, rest.start, rest.end);
    const { seconds, nanos } = time;
    // The blank after the time must have come, or the time itself may be cut.
    if (timeEnd < 0 || timeEnd === rest.end || this.#isTooEarly(seconds, nanos)) return null;
    return this.#decode(rest, timeEnd, seconds, nanos);
  }

  #decode({ bytes, start, end, omitted }: RawLine, timeEnd: number, seconds: number, nanos: number): TimedLine {
    const textStart = Math.min(timeEnd + 1, end);
    const { text, cut } = decodeText(bytes, textStart, end, this.#request.maxLineBytes);
    return {
      seconds,
      nanos,
      time: bytes.toString("latin1", start, timeEnd),
      text,
      omittedBytes: omitted + cut,
      bytes: end - textStart - cut,
    };
  }

  /**
   * A line without a time is no output of the container but the kubelet's own word. The one exception stands at the head of
   * a resumed read: the tail of a line whose first 16 KiB part is before `since`, for the kubelet puts a time only where a
   * line begins. There, lines with a time follow it.
   */
  #untimed({ bytes, start, end }: RawLine): void {
    const text = bytes.toString("utf8", start, Math.min(end, start + 300));
    if (!this.#timed && this.#tail === null && this.#request.since !== null) this.#tail = text;
    else this.#complaint ??= text;
  }
}

/** `2026-11-23T11:21:21.005102585+02:00`, a blank, and the rest of a character that a cut would fall into. */
const LONGEST_TIME = 39;

function timeOf(date: unknown): number | null {
  const ms = typeof date === "string" ? Date.parse(date) : Number.NaN;
  return Number.isNaN(ms) ? null : ms / 1000;
}

function refusal(error: unknown): { status: number; message: string; retryAfterMs: number | undefined } {
  const { status, retryAfterMs } = (error ?? {}) as { status?: unknown; retryAfterMs?: unknown };
  return {
    status: typeof status === "number" ? status : 0,
    message: error instanceof Error ? error.message : String(error),
    retryAfterMs: typeof retryAfterMs === "number" ? retryAfterMs : undefined,
  };
}
