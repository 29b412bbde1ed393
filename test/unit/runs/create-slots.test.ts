/** How many creates may be under way, after what the server said to those before. */
import { describe, expect, it } from "vitest";
import { CreateSlots } from "../../../src/engine/runs/create-slots.ts";

/** Takes what is free; how many that were. */
function fill(slots: CreateSlots): number {
  let count = 0;
  for (; slots.isFree; count += 1) slots.take();
  return count;
}

function accept(slots: CreateSlots, count: number): void {
  for (let index = 0; index < count; index += 1) {
    slots.take();
    slots.release();
  }
}

describe("slots for creates", () => {
  it("are ten at first, and half as many more after each ten rounds without a refusal, to fifty", () => {
    const slots = new CreateSlots();
    const limits: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      const limit = fill(slots);
      limits.push(limit);
      for (let index = 0; index < limit; index += 1) slots.release();
      accept(slots, 9 * limit);
    }
    expect(limits).toEqual([10, 15, 22, 33, 49, 50]);
  });

  it("are one less after each refusal, and then grow one by one", () => {
    const slots = new CreateSlots();
    expect(fill(slots)).toBe(10);
    for (let index = 0; index < 3; index += 1) slots.refuse();
    expect([slots.taken, slots.isFree]).toEqual([7, false]);
    for (let index = 0; index < 7; index += 1) slots.release();
    accept(slots, 62);
    expect(fill(slots)).toBe(7);
    slots.release();
    expect(fill(slots)).toBe(2);
  });

  it("leave the last one empty for a create that was refused before", () => {
    const slots = new CreateSlots();
    fill(slots);
    slots.refuse();
    slots.release();
    expect([slots.taken, slots.isFree, slots.isFreeAgain]).toEqual([8, true, false]);
    slots.release();
    expect(slots.isFreeAgain).toBe(true);
  });

  it("are none when all were refused, until the first may be sent again", () => {
    const slots = new CreateSlots();
    const count = fill(slots);
    for (let index = 0; index < count; index += 1) slots.refuse();
    slots.take();
    slots.refuse();
    expect([slots.taken, slots.isFree]).toEqual([0, false]);
    slots.retry();
    slots.retry();
    expect([slots.isFree, slots.isFreeAgain]).toEqual([true, true]);
    expect(fill(slots)).toBe(1);
  });
});
