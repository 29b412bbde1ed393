import { ForgottenTimes } from "./forgotten-times.ts";
import type { LinePlace } from "./line-place.ts";
import { compare, type ExpectedTime, keepLast, Replay, type Time } from "./replay.ts";

/** Where the log is read from: its beginning, the first line since a time, or somewhere in its middle. */
export type LogStart = "beginning" | "time" | "tail";

/**
 * Where a follow stands in a log, and which lines of a resumed read were delivered already.
 *
 * The log API knows no offsets: a resumed read can only ask for the lines since a time, which the server cuts to whole
 * seconds and applies to each line as a *filter*. So a resumed read repeats what was delivered of that second, and if
 * the node's clock went back in between, lines from long before. What tells the repeated from the new is the *sequence
 * of times*: the times of the lines delivered last are remembered (equal ones as one entry with a count), and the read
 * is aligned with them. Text is not compared: two identical lines are two lines.
 *
 * Exact, as long as the last delivered line is in the read, over equal times at the cut, over times that go back, and
 * over any number of cuts. When it is not in the read, the kubelet has rotated it away: that is said, never hidden.
 *
 * The one exception: a tail may begin amid lines of one time (conmon gives all lines of a buffer the same), and as long as no
 * other time has been delivered, a re-read does not tell how many of them stand before it. If the reads so far ended cleanly,
 * all of that time were there to be delivered, so all of them are repeated. If the last one was cut, the texts of the last few
 * delivered lines are looked for, and what stands behind them is new; identical runs of lines in that burst can mislead this.
 * A single line may also be the rest of a long one, for `tailLines` counts the parts of 16 KiB in which lines are stored: a re-read
 * then shows the whole line, with its earlier time, so any line up to that time will do.
 */
export class LogPosition {
  /**
   * Times of the lines delivered last, in order; neighbours differ. Seconds, nanoseconds and count of each, in one array: there may
   * be thousands of follows, and each line of each costs a look at the last of them.
   */
  #times: number[] = [];
  /** Latest time among the lines before the remembered ones; null: nothing was forgotten and the log was read from its beginning. */
  #before: Time | null = null;
  readonly #forgotten = new ForgottenTimes();
  #headOpen: boolean;
  #lines = 0;
  #holeAfter = 0;
  /** The line that was cut off before its newline came, if its time had come. */
  #unfinished: Time | null = null;
  /** Of the last lines of a tail that has shown one time only; null: a second time has come, or it is no tail. */
  #tailTexts: string[] | null;
  #wasCut = false;

  /** `after`: the line that the follow goes on behind. */
  constructor(start: LogStart = "beginning", after: Pick<LinePlace, "seconds" | "nanos" | "ordinal"> | null = null) {
    // A re-read may show older lines.
    this.#headOpen = start !== "beginning";
    this.#tailTexts = start === "tail" ? [] : null;
    if (after === null) return;
    this.#times.push(after.seconds, after.nanos, after.ordinal);
    this.#lines = after.ordinal;
  }

  /** Lines delivered. */
  get lines(): number {
    return this.#lines;
  }

  /**
   * Second since which a resumed read must ask, so that it shows the last delivered line; null: there is none, read from
   * where the follow began.
   */
  get resumeSeconds(): number | null {
    const last = this.#times.at(-WIDTH);
    if (last === undefined) return null;
    return this.#unfinished ? Math.min(last, this.#unfinished.seconds) : last;
  }

  /** Has no read found lines that were left out behind the delivered line of this number, nor behind a later one? Notes it. */
  isNewHole(line: number): boolean {
    if (line <= this.#holeAfter) return false;
    this.#holeAfter = line;
    return true;
  }

  /** Is this a step back in time, to a line that was delivered? (A clock that goes back meets no nanosecond twice.) */
  isDelivered(seconds: number, nanos: number): boolean {
    const last = this.#times.length - WIDTH;
    if (last < 0) return false;
    const lastSeconds = this.#times[last] as number;
    if (seconds > lastSeconds || (seconds === lastSeconds && nanos >= (this.#times[last + 1] as number))) return false;
    return this.#indexOf(seconds, nanos) >= 0 || this.#forgotten.has(seconds, nanos);
  }

  /** Of a delivered line: the latest time before it that is known to have been delivered. Null: none is. */
  timeBefore(seconds: number, nanos: number): string | null {
    const index = this.#indexOf(seconds, nanos);
    const before = index > 0 ? this.#timeAt(index - WIDTH) : this.#forgotten.before({ seconds, nanos });
    return before === null ? null : formatTime(before);
  }

  /** Notes that a line was delivered. */
  delivered(seconds: number, nanos: number, text: string): void {
    const times = this.#times;
    const last = times.length - WIDTH;
    this.#lines++;
    this.#unfinished = null;
    if (last >= 0 && times[last] === seconds && times[last + 1] === nanos) {
      times[last + 2] = (times[last + 2] as number) + 1;
      if (this.#tailTexts !== null) keepLast(this.#tailTexts, text);
      return;
    }
    if (last >= 0) this.#tailTexts = null;
    else if (this.#tailTexts !== null) keepLast(this.#tailTexts, text);
    if (times.length >= MAX_REMEMBERED * WIDTH) this.#forgetOlderHalf();
    times.push(seconds, nanos, 1);
  }

  /** Notes whether a read that was answered had shown all that there was, up to a newline. */
  readEnded(isWhole: boolean): void {
    this.#wasCut = !isWhole;
  }

  /** Notes that a line was cut off in its text: a resumed read must show it next. */
  unfinished(seconds: number, nanos: number): void {
    this.#unfinished = { seconds, nanos };
  }

  /** Begins the comparison for a read that asked for the lines from second `since` on (null: for all lines). */
  replay(since: number | null): Replay {
    const expected: ExpectedTime[] = [];
    let line = this.#lines;
    for (let at = 0; at < this.#times.length; at += WIDTH) line -= this.#times[at + 2] as number;
    for (let at = 0; at < this.#times.length; at += WIDTH) {
      const { seconds, nanos } = this.#timeAt(at);
      const count = this.#times[at + 2] as number;
      line += count;
      if (since !== null && seconds < since) continue;
      const previous = expected.at(-1);
      // Two entries that were apart become neighbours when the server's filter takes what stood between them.
      if (previous && previous.seconds === seconds && previous.nanos === nanos) {
        previous.count += count;
        previous.line = line;
      } else expected.push({ seconds, nanos, count, line });
    }
    const first = expected[0] ?? null;
    return new Replay(expected, {
      since,
      undelivered: this.#headOpen ? first : this.#before,
      unfinished: this.#unfinished,
      tail: first !== null && this.#tailTexts !== null ? { wasCut: this.#wasCut, texts: this.#tailTexts } : null,
    });
  }

  #indexOf(seconds: number, nanos: number): number {
    let index = this.#times.length - WIDTH;
    while (index >= 0 && (this.#times[index] !== seconds || this.#times[index + 1] !== nanos)) index -= WIDTH;
    return index;
  }

  #timeAt(index: number): Time {
    return { seconds: this.#times[index] as number, nanos: this.#times[index + 1] as number };
  }

  #forgetOlderHalf(): void {
    const drop = (MAX_REMEMBERED / 2) * WIDTH;
    for (let at = 0; at < drop; at += WIDTH) {
      const time = this.#timeAt(at);
      if (this.#before === null || compare(time, this.#before) > 0) this.#before = time;
      this.#forgotten.add(time);
    }
    this.#times.splice(0, drop);
    // From now on it is `before` that says which older lines a read may show.
    this.#headOpen = false;
  }
}

/** Times remembered per follow: 24 bytes each, so at most 24 KiB. One burst of more than half of it within a second still aligns. */
const MAX_REMEMBERED = 1024;
/** Numbers of one time. */
const WIDTH = 3;

function formatTime({ seconds, nanos }: Time): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanos).padStart(9, "0")}Z`;
}
