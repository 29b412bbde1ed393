import { hash } from "node:crypto";

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
  /** Times of the lines delivered last, in order; neighbours differ. Parallel arrays: there may be thousands of follows. */
  #seconds: number[] = [];
  #nanos: number[] = [];
  #counts: number[] = [];
  /** Latest time among the lines before the remembered ones; null: nothing was forgotten and the log was read from its beginning. */
  #before: Time | null = null;
  #headOpen: boolean;
  #lastTime: string | null = null;
  #lines = 0;
  #holeAfter = 0;
  /** The line that was cut off before its newline came, if its time had come. */
  #unfinished: Time | null = null;
  /** Of the last lines of a tail that has shown one time only; null: a second time has come, or it is no tail. */
  #tailTexts: string[] | null;
  #wasCut = false;

  constructor(start: LogStart = "beginning") {
    // A re-read may show older lines.
    this.#headOpen = start !== "beginning";
    this.#tailTexts = start === "tail" ? [] : null;
  }

  /** Time of the last line delivered, as the kubelet wrote it. */
  get lastTime(): string | null {
    return this.#lastTime;
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
    const last = this.#seconds.at(-1);
    if (last === undefined) return null;
    return this.#unfinished ? Math.min(last, this.#unfinished.seconds) : last;
  }

  /** Has no read found lines that were left out behind the delivered line of this number, nor behind a later one? Notes it. */
  isNewHole(line: number): boolean {
    if (line <= this.#holeAfter) return false;
    this.#holeAfter = line;
    return true;
  }

  /** Notes that a line was delivered. */
  delivered(seconds: number, nanos: number, time: string, text: string): void {
    const last = this.#seconds.length - 1;
    this.#lastTime = time;
    this.#lines++;
    this.#unfinished = null;
    if (last >= 0 && this.#seconds[last] === seconds && this.#nanos[last] === nanos) {
      this.#counts[last] = (this.#counts[last] as number) + 1;
      if (this.#tailTexts !== null) keepLast(this.#tailTexts, text);
      return;
    }
    if (last >= 0) this.#tailTexts = null;
    else if (this.#tailTexts !== null) keepLast(this.#tailTexts, text);
    if (last + 1 >= MAX_REMEMBERED) this.#forgetOlderHalf();
    this.#seconds.push(seconds);
    this.#nanos.push(nanos);
    this.#counts.push(1);
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
    let line = this.#counts.reduce((left, count) => left - count, this.#lines);
    for (let i = 0; i < this.#seconds.length; i++) {
      const seconds = this.#seconds[i] as number;
      const count = this.#counts[i] as number;
      line += count;
      if (since !== null && seconds < since) continue;
      const nanos = this.#nanos[i] as number;
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

  #forgetOlderHalf(): void {
    const drop = MAX_REMEMBERED / 2;
    for (let i = 0; i < drop; i++) {
      const time = { seconds: this.#seconds[i] as number, nanos: this.#nanos[i] as number };
      if (this.#before === null || compare(time, this.#before) > 0) this.#before = time;
    }
    this.#seconds.splice(0, drop);
    this.#nanos.splice(0, drop);
    this.#counts.splice(0, drop);
    // From now on it is `before` that says which older lines a read may show.
    this.#headOpen = false;
  }
}

/** Times remembered per follow: 24 bytes each, so at most 24 KiB. One burst of more than half of it within a second still aligns. */
const MAX_REMEMBERED = 1024;

/** Texts remembered of a tail's first time, as hashes: a line may have megabytes. */
const MAX_TEXTS = 16;

function keepLast(texts: string[], text: string): void {
  texts.push(hash("sha1", text));
  if (texts.length > MAX_TEXTS) texts.shift();
}

/** A tail of which one time only has been delivered. */
interface Tail {
  wasCut: boolean;
  texts: readonly string[];
}

interface ExpectedTime {
  seconds: number;
  nanos: number;
  count: number;
  /** Number of the last of these lines among all that were delivered. */
  line: number;
}

/**
 * What a line of a resumed read is:
 * - `repeated`: it was delivered, or stands before where the follow began;
 * - `repeated-text`: the same, and `Replay.repeatedText` is to be told its text;
 * - `new`: deliver it;
 * - `new-after-gap`: deliver it; the last delivered line was not in this read, so lines may be missing before it.
 */
export type Verdict = "repeated" | "repeated-text" | "new" | "new-after-gap";

/** Compares one resumed read, line by line, with what was delivered. */
export class Replay {
  readonly #expected: readonly ExpectedTime[];
  readonly #since: number;
  /** Lines up to this time may stand in the read without being known: from before the follow began, or forgotten. */
  readonly #undelivered: Time | null;
  readonly #latest: Time | null;
  /** Latest and earliest of the expected times; they differ from last and first where a clock went back. */
  readonly #earliest: Time | null;
  #unfinished: Time | null;
  /** Entry that the read stands at, how many of its lines were seen, and the entry that it began with. -1: not begun. */
  #at = -1;
  #seen = 0;
  #began = -1;
  #caughtUp: boolean;
  #passedOver = 0;
  #holeAfter = 0;
  #isFirst = true;
  readonly #tail: Tail | null;
  /** Of a tail: what was delivered has been shown, as far as its one time tells. */
  #isTailShown = false;
  /** Last texts of its one time, and how many there were. */
  readonly #texts: string[] = [];
  #textCount = 0;

  constructor(
    expected: readonly ExpectedTime[],
    options: { since: number | null; undelivered: Time | null; unfinished: Time | null; tail: Tail | null },
  ) {
    this.#expected = expected;
    this.#since = options.since ?? Number.NEGATIVE_INFINITY;
    this.#undelivered = options.undelivered;
    let latest: Time | null = null;
    let earliest: Time | null = null;
    for (const time of expected) {
      if (latest === null || compare(time, latest) > 0) latest = time;
      if (earliest === null || compare(time, earliest) < 0) earliest = time;
    }
    this.#latest = latest;
    this.#earliest = earliest;
    this.#caughtUp = expected.length === 0;
    this.#unfinished = options.unfinished;
    this.#tail = options.tail;
  }

  /** The last delivered line was seen (or there is none): every further line is new. */
  get caughtUp(): boolean {
    return this.#caughtUp || this.#isTailShown;
  }

  /**
   * The read has ended: amid the line of time `rest`, or behind a newline. Has it shown all that an earlier one has seen? A line
   * of which half had come must be there, too; else it was rotated away with what followed it.
   */
  isCaughtUpAt(rest: Time | null): boolean {
    if (!this.caughtUp || this.#unfinished === null) return this.caughtUp;
    return rest !== null && compare(rest, this.#unfinished) === 0;
  }

  /**
   * Lines that stood between delivered ones without ever having been delivered: an earlier read left them out, since the
   * node's clock had gone back below the time that it asked for. Too late to deliver them in order.
   */
  get passedOver(): number {
    return this.#passedOver;
  }

  /** Number of the delivered line behind which the last of them stands; 0: there are none. */
  get holeAfter(): number {
    return this.#holeAfter;
  }

  line(seconds: number, nanos: number): Verdict {
    if (this.#caughtUp) {
      const unfinished = this.#unfinished;
      this.#unfinished = null;
      // With nothing delivered, the line that was cut off is the only one that the read can be held to.
      if (unfinished === null || this.#expected.length > 0) return "new";
      return compare({ seconds, nanos }, unfinished) > 0 ? "new-after-gap" : "new";
    }
    // Not asked for, so not reckoned with.
    if (seconds < this.#since) return "repeated";
    const time = { seconds, nanos };
    if (this.#tail !== null) return this.#afterTail(time, this.#tail);
    if (this.#at >= 0) return this.#continue(time);

    const index = this.#indexOf(time);
    if (index >= 0) {
      this.#began = index;
      this.#moveTo(index);
      return "repeated";
    }
    // The line that was cut off stood right after the last delivered one, and here it begins a file: nothing is missing.
    if (this.#unfinished !== null && compare(time, this.#unfinished) === 0) {
      this.#caughtUp = true;
      return "new";
    }
    // Earlier than all that is expected: from before the follow began, or the tail of a long line, which is stored in parts
    // of 16 KiB with a time each, whose first part is before `since`.
    if (this.#earliest !== null && compare(time, this.#earliest) < 0) return "repeated";
    if (this.#undelivered !== null && compare(time, this.#undelivered) <= 0) return "repeated";
    // A rotated file begins with the rest of the long line that was being written: with a time of its own, and no new line.
    // Should that be wrong, the next line is not a known one either, and the gap is said there.
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if (isFirst && this.#latest !== null && compare(time, this.#latest) < 0) return "repeated";
    this.#caughtUp = true;
    return "new-after-gap";
  }

  /** Tells the text of a line `repeated-text`. */
  repeatedText(text: string): void {
    const [tail] = this.#expected;
    if (tail === undefined || this.#tail === null) return;
    keepLast(this.#texts, text);
    this.#textCount++;
    const { texts } = this.#tail;
    if (this.#textCount < tail.count || !texts.every((each, i) => each === this.#texts.at(i - texts.length))) return;
    this.#caughtUp = true;
  }

  /** As long as the lines delivered of a tail have one time: see `LogPosition`. */
  #afterTail(time: Time, { wasCut }: Tail): Verdict {
    const [tail] = this.#expected as readonly [ExpectedTime];
    const order = compare(time, tail);
    if (order <= 0 && tail.count === 1) this.#isTailShown = true;
    if (order === 0) {
      this.#at = 0;
      if (!wasCut) this.#isTailShown = true;
      return wasCut ? "repeated-text" : "repeated";
    }
    const isUnfinished = this.#unfinished !== null && compare(time, this.#unfinished) === 0;
    // From before the tail.
    if (order < 0 && this.#at < 0 && !isUnfinished) return "repeated";
    const isNext = this.#isTailShown || isUnfinished;
    this.#unfinished = null;
    this.#caughtUp = true;
    return isNext ? "new" : "new-after-gap";
  }

  #continue(time: Time): Verdict {
    const current = this.#expected[this.#at] as ExpectedTime;
    if (compare(current, time) === 0) {
      if (this.#seen < current.count) {
        this.#seen++;
        this.#checkCaughtUp();
        return "repeated";
      }
      // More lines with this time than were delivered: the follow began amid them, or they were passed over.
      if (this.#at !== this.#began || this.#undelivered === null) this.#passOver(current);
      return "repeated";
    }
    const next = this.#expected[this.#at + 1];
    if (next && compare(next, time) === 0) {
      this.#moveTo(this.#at + 1);
      return "repeated";
    }
    const other = this.#realign(time);
    if (other >= 0) {
      this.#began = other - (this.#at - this.#began + 1);
      this.#moveTo(other);
      return "repeated";
    }
    if (this.#latest !== null && compare(time, this.#latest) > 0) {
      // Later than all that was delivered, and the last delivered line has not come: it is not in this read.
      this.#caughtUp = true;
      return "new-after-gap";
    }
    if (this.#undelivered === null || compare(time, this.#undelivered) > 0) this.#passOver(current);
    return "repeated";
  }

  #passOver({ line }: ExpectedTime): void {
    this.#passedOver++;
    this.#holeAfter = line;
  }

  #indexOf(time: Time): number {
    // A long tail of older lines must not cost a search each.
    if (this.#earliest !== null && compare(time, this.#earliest) < 0) return -1;
    return this.#expected.findIndex((expected) => compare(expected, time) === 0);
  }

  #moveTo(index: number): void {
    this.#at = index;
    this.#seen = 1;
    this.#checkCaughtUp();
  }

  #checkCaughtUp(): void {
    const current = this.#expected[this.#at] as ExpectedTime;
    if (this.#at === this.#expected.length - 1 && this.#seen >= current.count) this.#caughtUp = true;
  }

  /**
   * The same times can stand twice in what was delivered (a coarse clock that went back). If the read was taken for the
   * first occurrence and belongs to a later one, the index of `time` there; -1: no such place.
   */
  #realign(time: Time): number {
    const length = this.#at - this.#began + 1;
    for (let start = this.#began + 1; start + length < this.#expected.length; start++) {
      if (compare(this.#expected[start + length] as ExpectedTime, time) !== 0) continue;
      let same = true;
      for (let i = 0; same && i < length; i++) {
        same =
          compare(this.#expected[start + i] as ExpectedTime, this.#expected[this.#began + i] as ExpectedTime) === 0;
      }
      if (same) return start + length;
    }
    return -1;
  }
}

interface Time {
  seconds: number;
  nanos: number;
}

function compare(a: Time, b: Time): number {
  return a.seconds - b.seconds || a.nanos - b.nanos;
}
