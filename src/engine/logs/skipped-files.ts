import type { GapFacts } from "./gap.ts";
import type { TimedLine } from "./log-line-reader.ts";
import { compare, type Time } from "./replay.ts";

type Jump = Time & GapFacts;

/**
 * Where one read of a log may have passed over whole files.
 *
 * A kubelet that is held back takes notice of each rotation afterwards, and each time opens the newest file. For each file that it
 * passed over it sends one again. That proves the loss and not its place, which may be anywhere since the kubelet was last in step
 * with the rotations. But a lost file leaves a jump in time, and each one since then is remembered.
 */
export class SkippedFiles {
  #jumps: Jump[] = [];
  /** Since the kubelet was last in step, a gap was reported. */
  #hasReported = false;

  /** `next` follows `last`. Before it the read waited so many seconds for bytes, with a consumer that had room. */
  jump(last: TimedLine, next: TimedLine, waited: number): void {
    const { seconds, nanos, time } = next;
    const jump = seconds - last.seconds + (nanos - last.nanos) / 1e9;
    if (jump - waited >= LEAST_FILE_SECONDS) {
      this.#jumps.push({ seconds, nanos, after: last.time, before: time });
      if (this.#jumps.length > MAX_JUMPS) this.#joinOldest();
    } else if (waited >= IN_STEP_SECONDS && jump >= waited / 2) {
      // Written while the read waited: the kubelet was at the end of the newest file. What comes after a stall of the network was not.
      this.#jumps = [];
      this.#hasReported = false;
    }
  }

  /**
   * The file whose first line has the time `first` is sent again. `gap`: between that line and one before it. Returns where lines
   * are, or may be, missing that was not returned before.
   */
  resent(first: Time, gap: GapFacts): GapFacts[] {
    // What came behind its first line was in that file: nothing is missing there.
    const others = this.#jumps.filter((jump) => compare(jump, first) < 0);
    const own = this.#jumps.find((jump) => compare(jump, first) === 0);
    // A file that begins behind a jump follows a lost one. Else the lost one may be at another place.
    const certain = own !== undefined || (others.length === 0 && !this.#hasReported);
    this.#jumps = [];
    this.#hasReported = true;
    return [...others, { ...(own ?? gap), certain }];
  }

  #joinOldest(): void {
    const [oldest, second] = this.#jumps.splice(0, 2) as [Jump, Jump];
    this.#jumps.unshift({ ...second, after: oldest.after ?? null });
  }
}

/** A kubelet looks for logs to rotate every ten seconds, and at most every three: no file is lost that is much younger. */
const LEAST_FILE_SECONDS = 2;
/** Longer than bytes take on their way while the kubelet has more to send. */
const IN_STEP_SECONDS = 1;
const MAX_JUMPS = 64;
