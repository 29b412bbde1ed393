/** How long a process that has said its result may go on. The whole of it, over the wire: test/unit/claude/lingering.test.ts. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Lingering } from "../../../src/adapter/run/lingering.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const SECOND = 1000;
const MINUTE = 60 * SECOND;

test("one that prints a line each second is ended after a quarter of an hour", () => {
  const lingering = new Lingering(30 * SECOND, () => true);
  let seconds = 0;
  for (; !lingering.signal.aborted && seconds < 3600; seconds += 1) {
    lingering.after("done");
    vi.advanceTimersByTime(SECOND);
  }
  expect(seconds).toBe(15 * 60);
});

test("work that goes on, and comes to a result again, gets the whole time again", () => {
  const lingering = new Lingering(30 * SECOND, () => true);
  for (let turn = 0; turn < 10; turn += 1) {
    lingering.after("done");
    vi.advanceTimersByTime(29 * SECOND);
    lingering.after("working");
    vi.advanceTimersByTime(5 * MINUTE);
  }
  expect(lingering.signal.aborted).toBe(false);
  lingering.after("done");
  vi.advanceTimersByTime(30 * SECOND);
  expect(lingering.signal.aborted).toBe(true);
});

test("no time is counted while the cluster cannot be reached", () => {
  let isReachable = false;
  const lingering = new Lingering(30 * SECOND, () => isReachable);
  lingering.after("done");
  vi.advanceTimersByTime(60 * MINUTE);
  expect(lingering.signal.aborted).toBe(false);
  isReachable = true;
  vi.advanceTimersByTime(30 * SECOND);
  expect(lingering.signal.aborted).toBe(true);
});
