import { describe, expect, test } from "vitest";
import { LogPosition, type LogStart } from "../../../src/engine/logs/log-position.ts";
import fc from "../property.ts";

/** A line of the model's log file: its time in nanoseconds, and its number. */
interface Entry {
  ns: number;
  id: number;
}

const SECOND = 1_000_000_000;
const seconds = (ns: number) => Math.floor(ns / SECOND);
const nanos = (ns: number) => ns % SECOND;

/** What the server shows of `file` since a second: the kubelet filters line by line. */
function served(file: Entry[], since: number | null): Entry[] {
  return since === null ? file : file.filter((entry) => entry.ns >= since * SECOND);
}

/** Follows the file over reads that show it up to `cut` lines of what is served; returns what was delivered. */
class Follower {
  readonly position: LogPosition;
  readonly got: number[] = [];
  gaps = 0;
  passedOver = 0;
  constructor(start?: LogStart) {
    this.position = new LogPosition(start);
  }
  read(file: Entry[], cut: number, margin = 0): void {
    const resume = this.position.resumeSeconds;
    const since = resume === null ? null : resume - margin;
    const replay = this.position.replay(since);
    const shown = served(file, since);
    for (const entry of shown.slice(0, cut)) {
      const verdict = replay.line(seconds(entry.ns), nanos(entry.ns));
      if (verdict === "repeated-text") replay.repeatedText(`line ${entry.id}`);
      if (verdict === "repeated" || verdict === "repeated-text") continue;
      if (verdict === "new-after-gap") this.gaps++;
      this.got.push(entry.id);
      this.position.delivered(seconds(entry.ns), nanos(entry.ns), `line ${entry.id}`);
    }
    this.position.readEnded(cut >= shown.length && replay.caughtUp);
    this.passedOver += replay.passedOver;
  }
}

const numbered = (times: number[]): Entry[] => times.map((ns, id) => ({ ns, id }));

/** Logs: steps forward in time, often none at all. */
const logs = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 1, max: 333_333_333 }) },
      { weight: 3, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.integer({ min: SECOND, max: 5 * SECOND }) },
    ),
    { minLength: 1, maxLength: 60 },
  )
  .map((steps) => {
    let now = 1000 * SECOND;
    return numbered(steps.map((step) => (now += step)));
  });

const cuts = fc.array(fc.record({ grown: fc.integer({ min: 0, max: 60 }), shown: fc.integer({ min: 0, max: 60 }) }), {
  maxLength: 8,
});

describe("LogPosition", () => {
  test("a re-read of the second does not deliver what was delivered, whatever the text", () => {
    const f = new Follower();
    const file = numbered([10.1, 10.5, 10.5, 10.9].map((s) => Math.round(s * SECOND)));
    f.read(file, 3);
    f.read(file, 4);
    expect(f.got).toEqual([0, 1, 2, 3]);
    expect(f.gaps).toBe(0);
  });

  test("lines with one time on both sides of the cut are told apart by their number", () => {
    const file = numbered([5, 5, 5, 5, 5].map((s) => Math.round(s * SECOND)));
    for (let cut = 0; cut <= 5; cut++) {
      const f = new Follower();
      f.read(file, cut);
      f.read(file, 5);
      expect(f.got, `cut after ${cut}`).toEqual([0, 1, 2, 3, 4]);
    }
  });

  test("a cut within the repeated part delivers nothing and forgets nothing", () => {
    const file = numbered([5.1, 5.2, 5.3, 5.4].map((s) => Math.round(s * SECOND)));
    const f = new Follower();
    f.read(file, 3);
    f.read(file, 1);
    f.read(file, 2);
    f.read(file, 4);
    expect(f.got).toEqual([0, 1, 2, 3]);
    expect(f.gaps).toBe(0);
  });

  test("each line once, in order, without a false gap, over any cuts and equal times", () => {
    fc.assert(
      fc.property(logs, cuts, (file, reads) => {
        const f = new Follower();
        for (const { grown, shown } of reads) f.read(file.slice(0, grown), shown);
        f.read(file, Number.POSITIVE_INFINITY);
        expect(f.got).toEqual(file.map((entry) => entry.id));
        expect(f.gaps + f.passedOver).toBe(0);
      }),
      { numRuns: 400 },
    );
  });

  test("a clock that goes back within the margin costs nothing", () => {
    // The step may fall anywhere, also while nobody reads. Margin 3 s, steps under 2 s in total between reads would be
    // needed to fool it; one step a log keeps the model inside what the margin promises.
    const oneStepBack = fc
      .tuple(logs, fc.nat(59), fc.integer({ min: 1, max: 2 * SECOND }))
      .map(([file, at, step]) => file.map((entry) => (entry.id < at ? entry : { ...entry, ns: entry.ns - step })));
    fc.assert(
      fc.property(oneStepBack, cuts, (file, reads) => {
        const f = new Follower();
        for (const { grown, shown } of reads) f.read(file.slice(0, grown), shown, 3);
        f.read(file, Number.POSITIVE_INFINITY, 3);
        expect(f.got).toEqual(file.map((entry) => entry.id));
        expect(f.gaps + f.passedOver).toBe(0);
      }),
      { numRuns: 400 },
    );
  });

  test("a clock that went far back while it was followed is resumed exactly, whatever stands between", () => {
    // 100, 101, back to 50, 51, 100 again: since 51 shows the old lines too.
    const file = numbered([50, 100, 101, 50.5, 51, 100, 101, 102].map((s) => Math.round(s * SECOND)));
    for (let cut = 1; cut <= file.length; cut++) {
      const f = new Follower();
      f.read(file, cut);
      f.read(file, Number.POSITIVE_INFINITY);
      // Cut before the step: the server's filter hides the lines after it. Everything else is exact.
      if (cut === 2 || cut === 3) continue;
      expect(f.got, `cut after ${cut}`).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(f.gaps).toBe(0);
    }
  });

  test("lines that the server's filter hid after a step back are noticed when they show up later", () => {
    const f = new Follower();
    const file = numbered([100, 60, 100.5, 61, 62].map((s) => Math.round(s * SECOND)));
    f.read(file.slice(0, 1), 1);
    f.read(file.slice(0, 3), 99); // since 100: 60 is hidden
    expect(f.got).toEqual([0, 2]);
    f.read(file, 99, 50); // since 50
    expect(f.got).toEqual([0, 2, 3, 4]);
    expect(f.passedOver).toBe(1);
  });

  test("rotation: a read without the last delivered line is a gap, one with it is none", () => {
    fc.assert(
      fc.property(logs, fc.nat(60), fc.nat(60), (withEqual, cut, rotatedAt) => {
        // Distinct times: at a rotation amid equal times the number of them that is gone cannot be known.
        const file = withEqual.map((entry) => ({ ...entry, ns: entry.ns + entry.id }));
        const f = new Follower();
        f.read(file, cut);
        const had = f.got.length;
        f.read(file.slice(rotatedAt), Number.POSITIVE_INFINITY);
        const rest = file.slice(Math.max(had, rotatedAt)).map((entry) => entry.id);
        expect(f.got).toEqual([...file.slice(0, had).map((entry) => entry.id), ...rest]);
        const lastShown = had === 0 || rotatedAt < had;
        expect(f.gaps).toBe(lastShown || rest.length === 0 ? 0 : 1);
      }),
      { numRuns: 400 },
    );
  });

  test("rotation amid equal times is said, since it cannot be exact", () => {
    const f = new Follower();
    f.read(numbered([7, 7, 7].map((s) => Math.round(s * SECOND))), 3);
    f.read(
      [
        { ns: 7 * SECOND, id: 2 },
        { ns: 8 * SECOND, id: 3 },
      ],
      9,
    );
    expect(f.got).toEqual([0, 1, 2, 3]);
    expect(f.gaps).toBe(1);
  });

  test("a follow that began in the middle drops older lines of the re-read", () => {
    const file = numbered([9.1, 9.2, 9.3, 9.4, 9.5].map((s) => Math.round(s * SECOND)));
    const f = new Follower("time");
    // tailLines=2 showed 2 and 3.
    f.read(file.slice(2, 4), 2);
    f.read(file, 9);
    expect(f.got).toEqual([2, 3, 4]);
    expect(f.gaps + f.passedOver).toBe(0);
  });

  test("a tail that begins amid lines of one time: each line from there once, in order, over any cuts", () => {
    fc.assert(
      fc.property(logs, fc.nat(60), fc.nat(60), cuts, (file, begun, tail, reads) => {
        // Lines of one time are written at once: no read sees half of them but by a cut.
        const whole = (count: number) => file.slice(0, file.findLastIndex(({ ns }) => ns === file[count - 1]?.ns) + 1);
        const first = whole(begun);
        const from = Math.max(0, first.length - 1 - tail);
        const f = new Follower("tail");
        f.read(first.slice(from), Math.max(1, reads[0]?.shown ?? 1));
        fc.pre(f.got.length > 0);
        for (const { grown, shown } of reads) f.read(whole(Math.max(begun, grown)), shown);
        f.read(file, Number.POSITIVE_INFINITY);
        expect(f.got).toEqual(file.slice(from).map((entry) => entry.id));
        expect(f.gaps + f.passedOver).toBe(0);
      }),
      { numRuns: 400 },
    );
  });

  test("a tail whose one time is rotated away is a gap, also when only some of its lines are left after a cut", () => {
    const file = numbered([7, 7, 7, 8].map((s) => s * SECOND));
    for (const [shown, left] of [
      [3, 3],
      [2, 2],
    ] as const) {
      const f = new Follower("tail");
      f.read(file.slice(0, 3), shown);
      f.read(file.slice(left), 9);
      expect(f.gaps, `cut after ${shown}`).toBe(1);
    }
  });

  test("a burst of more lines in a second than are remembered", () => {
    const file = numbered(Array.from({ length: 5000 }, (_, i) => 30 * SECOND + i * 100));
    for (const cut of [1, 1023, 1024, 1025, 2047, 4999]) {
      const f = new Follower();
      f.read(file, cut);
      f.read(file, 9999);
      expect(f.got.length, `cut after ${cut}`).toBe(5000);
      expect(f.got[4999]).toBe(4999);
      expect(f.gaps + f.passedOver).toBe(0);
    }
  });

  test("a line that was cut off before anything was delivered, and is gone afterwards, is a gap", () => {
    const position = new LogPosition();
    position.unfinished(5, 1);
    expect(position.replay(null).line(5, 1)).toBe("new");
    expect(position.replay(null).line(6, 0)).toBe("new-after-gap");
  });

  test("a line that was cut off, and begins a rotated file, is no gap: it stood right after the last delivered one", () => {
    const position = new LogPosition();
    position.delivered(5, 0, "");
    position.unfinished(5, 1);
    const replay = position.replay(5);
    expect(replay.line(5, 1)).toBe("new");
    expect(replay.line(5, 2)).toBe("new");
    expect(position.replay(5).line(5, 2)).toBe("new-after-gap");
  });

  test("the tail of a long line, stored in parts with their own times, is no line of its own at the head of a re-read", () => {
    const f = new Follower();
    f.read(numbered([9.5, 11.2].map((s) => Math.round(s * SECOND))), 2);
    const replay = f.position.replay(11);
    expect(replay.line(11, 100)).toBe("repeated");
    expect(replay.line(11, 200_000_000)).toBe("repeated");
    expect(replay.line(11, 300_000_000)).toBe("new");
  });

  test("nor is it at the head of a file that was rotated amid the line", () => {
    const f = new Follower();
    f.read(numbered([9.5, 9.6, 9.9].map((s) => Math.round(s * SECOND))), 3);
    // The second line's last parts are all that the new file has of it.
    const replay = f.position.replay(9);
    expect(replay.line(9, 610_000_000)).toBe("repeated");
    expect(replay.line(9, 900_000_000)).toBe("repeated");
    expect(replay.line(10, 0)).toBe("new");
    // Of the last delivered line nothing is left: a gap, whatever the head was.
    const lost = f.position.replay(9);
    expect(lost.line(9, 610_000_000)).toBe("repeated");
    expect(lost.line(10, 0)).toBe("new-after-gap");
  });

  test("a re-read in which a file comes more than once repeats it, and hides nothing", () => {
    const position = new LogPosition();
    for (const s of [1, 2, 7, 8, 9]) position.delivered(s, 0, "");
    const replay = position.replay(null);
    const shown = [1, 2, 7, 8, 7, 8, 7, 8, 9, 10];
    expect(shown.map((s) => replay.line(s, 0))).toEqual([...Array(9).fill("repeated"), "new"]);
    expect(replay.passedOver).toBe(0);
  });

  test("a step back in time to a line that was delivered is told from one to a line that was not, however long ago", () => {
    const position = new LogPosition();
    const times = Array.from({ length: 20_000 }, (_, i) => ({
      seconds: 1_000 + i,
      nanos: (i * 7_919) % 1_000_000_000,
    }));
    for (const { seconds, nanos } of times) position.delivered(seconds, nanos, "");
    for (const { seconds, nanos } of times.slice(0, -1)) expect(position.isDelivered(seconds, nanos)).toBe(true);
    // It is the last line, or of the same time: no step back.
    const last = times.at(-1) as (typeof times)[0];
    expect(position.isDelivered(last.seconds, last.nanos)).toBe(false);
    expect(position.isDelivered(last.seconds + 1, 0)).toBe(false);
    const wrong = times.slice(0, -1).filter(({ seconds, nanos }) => position.isDelivered(seconds, nanos + 1)).length;
    expect(wrong).toBeLessThan(200);
    // Of what came just before, the time is known; of what came long before, one that is not much earlier.
    const seconds = (time: string | null) => Date.parse(time ?? "") / 1000;
    const near = times.at(-10) as (typeof times)[0];
    expect(Math.floor(seconds(position.timeBefore(near.seconds, near.nanos)))).toBe(near.seconds - 1);
    const far = times[5_000] as (typeof times)[0];
    const before = seconds(position.timeBefore(far.seconds, far.nanos));
    expect(before).toBeLessThan(far.seconds);
    expect(before).toBeGreaterThan(far.seconds - 200);
    expect(position.timeBefore(1_000, 0)).toBeNull();
  });

  test("a server that shows lines before the second asked for does no harm", () => {
    const position = new LogPosition();
    for (const s of [100, 90, 101]) position.delivered(s, 0, "");
    const replay = position.replay(100);
    expect([100, 90, 101, 102].map((s) => replay.line(s, 0))).toEqual(["repeated", "repeated", "repeated", "new"]);
    expect(replay.passedOver).toBe(0);
  });

  test("an unfinished line with an earlier time moves the resume back", () => {
    const position = new LogPosition();
    position.delivered(100, 0, "");
    position.unfinished(60, 0);
    expect(position.resumeSeconds).toBe(60);
  });
});

describe("a step back in time", () => {
  const position = new LogPosition();
  for (const [at, ns] of [
    [9, 9],
    [10, 5],
    [10, 7],
  ] as const)
    position.delivered(at, ns, "");

  test("is one to a line that was delivered, and is not the last", () => {
    expect(position.isDelivered(9, 9)).toBe(true);
    expect(position.isDelivered(10, 5)).toBe(true);
    expect(position.isDelivered(10, 6)).toBe(false);
    expect(position.isDelivered(10, 7)).toBe(false);
    expect(position.isDelivered(11, 5)).toBe(false);
    expect(new LogPosition().isDelivered(10, 5)).toBe(false);
  });

  test("what stood before a delivered line", () => {
    expect(position.timeBefore(9, 9)).toBeNull();
    expect(position.timeBefore(10, 5)).toBe("1970-01-01T00:00:09.000000009Z");
    expect(position.timeBefore(10, 7)).toBe("1970-01-01T00:00:10.000000005Z");
  });
});

test("lines that were left out behind a delivered one are told once", () => {
  const position = new LogPosition();
  expect(position.lines).toBe(0);
  for (const ns of [100, 500, 900]) position.delivered(10, ns, "");
  const replay = position.replay(10);
  expect([100, 500, 300, 900].map((ns) => replay.line(10, ns))).toEqual(Array(4).fill("repeated"));
  expect([replay.passedOver, replay.holeAfter]).toEqual([1, 2]);
  expect([2, 2, 1, 3].map((line) => position.isNewHole(line))).toEqual([true, false, false, true]);
  expect(new LogPosition().isNewHole(1)).toBe(true);
});

test("more lines of one second than are remembered, with a clock that goes back: each once, no gap", () => {
  // One to three lines of each time.
  const times = Array.from({ length: 2_400 }, (_, i) => Math.floor(i / 6) * 3 + ([0, 1, 1, 2, 2, 2][i % 6] as number));
  const file = numbered(times.map((ns, i) => 10 * SECOND + (i < 600 ? 900_000_000 : 100_000_000) + ns));
  const f = new Follower();
  for (const cut of [500, 1_700, 2_300, 1_000, 2_400]) f.read(file, cut);
  expect(f.got).toEqual(file.map(({ id }) => id));
  expect([f.gaps, f.passedOver]).toEqual([0, 0]);
});
