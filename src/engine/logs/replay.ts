import { hash } from "node:crypto";

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

  /** Whatever comes, `line` says `new` and nothing else changes. */
  get isOver(): boolean {
    return this.#caughtUp && this.#unfinished === null;
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
    // A file that is sent once more.
    const known = this.#indexOf(time);
    if (known >= 0 && known < this.#at) {
      this.#began = known;
      this.#moveTo(known);
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

/** A tail of which one time only has been delivered. */
interface Tail {
  wasCut: boolean;
  texts: readonly string[];
}

export interface ExpectedTime {
  seconds: number;
  nanos: number;
  count: number;
  /** Number of the last of these lines among all that were delivered. */
  line: number;
}

export interface Time {
  seconds: number;
  nanos: number;
}

export function compare(a: Time, b: Time): number {
  return a.seconds - b.seconds || a.nanos - b.nanos;
}

/** Texts remembered of a tail's first time, as hashes: a line may have megabytes. */
const MAX_TEXTS = 16;

/** Adds a text to those of a tail's first time. */
export function keepLast(texts: string[], text: string): void {
  texts.push(hash("sha1", text));
  if (texts.length > MAX_TEXTS) texts.shift();
}
