import type { ReadOutcome } from "./follow-policy.ts";
import { LogPosition, type LogStart } from "./log-position.ts";
import type { TimedLine } from "./log-read.ts";

/** What is known of the container instance that is being followed. */
export class Instance {
  restartCount: number;
  readonly position: LogPosition;
  /** The first line delivered, and the time of the last one before it, of an earlier instance. */
  first: { seconds: number; time: string; after: string | null } | null = null;
  last: ReadOutcome | null = null;
  /** As in `FollowState`; when the last of them was, and since when the container is known not to run any more. */
  cleanEnds = 0;
  cleanAt = 0;
  overAt: number | null = null;
  idleReads = 0;
  refusals = 0;
  missedReads = 0;
  rested = false;
  endedAt: number | null = null;
  /** The line that was cut off before its newline. */
  unfinished: TimedLine | null = null;
  /** Where the last read ended, as lines and unfinished bytes; how many final reads in a row ended there. */
  endedWith = "";
  sameEnds = 0;
  /** Reads that ended cleanly although there was more: clean ends mean little here. */
  falseEnds = 0;

  constructor(restartCount: number, start: LogStart) {
    this.restartCount = restartCount;
    this.position = new LogPosition(start);
  }
}
