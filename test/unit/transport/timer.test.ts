import { once } from "node:events";
import { expect, it, onTestFinished } from "vitest";
import { timer } from "../../../src/engine/transport/timer.ts";

it("a timer whose time is over fires at once, one for longer than Node counts does not, and neither makes Node warn", async () => {
  const warnings: string[] = [];
  const heard = ({ name }: Error) => warnings.push(name);
  process.on("warning", heard);
  onTestFinished(() => void process.off("warning", heard));
  let isEarly = false;
  const long = timer(2 ** 40, () => {
    isEarly = true;
  });
  await new Promise<void>((resolve) => void timer(-0.5, resolve).ref());
  await new Promise<void>((resolve) => void timer(Number.NEGATIVE_INFINITY, resolve).ref());
  // Node tells of warnings in their order.
  process.emitWarning("the last one", "TheLast");
  while (!warnings.includes("TheLast")) await once(process, "warning");
  expect(warnings).toEqual(["TheLast"]);
  expect(isEarly).toBe(false);
  clearTimeout(long);
});
