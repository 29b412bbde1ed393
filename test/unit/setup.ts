import { afterEach, expect } from "vitest";
import { takeMissed } from "./injected-faults.ts";

afterEach(() => {
  expect(takeMissed(), "faults that hit nothing").toEqual([]);
});
