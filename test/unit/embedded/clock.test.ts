import { afterEach, describe, expect, it } from "vitest";
import { Clock } from "../../../src/embedded/clock.ts";

const clocks: Clock[] = [];
function started(clock: Clock): Clock {
  clocks.push(clock);
  return clock;
}
afterEach(() => {
  for (const clock of clocks.splice(0)) clock.stop();
});

describe("Clock", () => {
  it("runs faster than the wall clock by its scale", async () => {
    // From 0 on: a date's milliseconds would be rounded by more than the clock may take between two readings.
    const clock = started(new Clock(100, 0));
    const before = performance.now();
    const begin = clock.now();
    const begun = performance.now();
    await clock.sleep(2000);
    const ending = performance.now();
    const virtual = clock.now() - begin;
    expect(virtual).toBeGreaterThanOrEqual(2000);
    expect(virtual).toBeGreaterThanOrEqual((ending - begun) * 100);
    expect(virtual).toBeLessThanOrEqual((performance.now() - before) * 100);
  });

  it("refuses a scale that is no number above 0, naming the option", () => {
    expect(() => new Clock(-1)).toThrow(/timeScale must be a number above 0.*got -1/);
    expect(() => new Clock(Number.NaN)).toThrow(/got NaN/);
  });

  it("fires timers in the order of their deadlines though all fall into one real millisecond", async () => {
    const clock = started(new Clock(1_000));
    const fired: { earliest: number; latest: number }[] = [];
    await new Promise<void>((resolve) => {
      for (const delay of [900, 100, 700, 300, 500]) {
        // The clock goes on while a timer is set: its deadline lies between these.
        const deadline = { earliest: clock.now() + delay, latest: 0 };
        clock.setTimeout(() => {
          fired.push(deadline);
          if (fired.length === 5) resolve();
        }, delay);
        deadline.latest = clock.now() + delay;
      }
    });
    for (const [index, { earliest }] of fired.entries())
      for (const later of fired.slice(index + 1)) expect(earliest).toBeLessThanOrEqual(later.latest);
  });

  it("keeps order over many timers, some of them cancelled", async () => {
    const clock = started(Clock.stepped(0));
    const fired: number[] = [];
    let state = 7;
    for (let i = 0; i < 2000; i++) {
      state = (state * 48271) % 2147483647;
      const delay = state % 1000;
      const timer = clock.setTimeout(() => fired.push(delay), delay);
      if (i % 3 === 0) timer.cancel();
    }
    await clock.advance(1000);
    expect(fired).toHaveLength(1333);
    expect(fired).toEqual([...fired].sort((a, b) => a - b));
  });

  it("rejects a sleep when its signal aborts", async () => {
    const clock = started(Clock.stepped());
    const abort = new AbortController();
    const sleep = clock.sleep(1000, abort.signal);
    abort.abort();
    await expect(sleep).rejects.toMatchObject({ name: "AbortError" });
    await expect(clock.sleep(1, abort.signal)).rejects.toMatchObject({ name: "AbortError" });
  });

  it("settles every sleep when stopped, and fires nothing later", async () => {
    const clock = new Clock(1);
    let fired = false;
    clock.setTimeout(() => {
      fired = true;
    }, 0);
    const sleep = clock.sleep(60_000);
    clock.stop();
    await expect(sleep).rejects.toMatchObject({ name: "AbortError" });
    await expect(clock.sleep(1)).rejects.toMatchObject({ name: "AbortError" });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(fired).toBe(false);
  });

  it("stepped, lets what a timer started run before the next timer", async () => {
    const clock = started(Clock.stepped(0));
    const seen: string[] = [];
    const program = async () => {
      await clock.sleep(10);
      seen.push(`a ${clock.now()}`);
      await clock.sleep(5);
      seen.push(`b ${clock.now()}`);
    };
    void program();
    clock.setTimeout(() => seen.push(`timer ${clock.now()}`), 15);
    await clock.advance(14);
    expect(seen).toEqual(["a 10"]);
    await clock.advance(6);
    expect(seen).toEqual(["a 10", "timer 15", "b 15"]);
    expect(clock.now()).toBe(20);
  });

  it("writes times as Kubernetes does", () => {
    const clock = started(Clock.stepped(Date.UTC(2026, 10, 23, 10, 44, 33, 999)));
    expect(clock.timestamp()).toBe("2026-11-23T10:44:33Z");
  });
});
