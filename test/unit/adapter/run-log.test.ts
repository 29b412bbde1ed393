import { describe, expect, test } from "vitest";
import { MAX_PIECE, piecesOf, RunLog } from "../../../src/adapter/host/run-log.ts";
import { Redactor } from "../../../src/adapter/job/credentials.ts";
import fc from "../property.ts";

describe("pieces for onLog", () => {
  test("whole lines together, as many as fit", () => {
    expect([...piecesOf(["a", "", "bc", "def"], 5)]).toEqual(["a\n\n", "bc\n", "def\n"]);
  });

  test("a line of exactly the limit is one piece", () => {
    expect([...piecesOf(["x".repeat(MAX_PIECE - 1)])]).toEqual([`${"x".repeat(MAX_PIECE - 1)}\n`]);
  });

  test("nothing for nothing", () => expect([...piecesOf([])]).toEqual([]));

  test("whatever the lines: nothing lost, nothing longer than the limit, no code point cut, no line cut that fits", () => {
    const line = fc.string({ unit: "grapheme", maxLength: 40 }).map((text) => text.replaceAll("\n", ""));
    fc.assert(
      fc.property(fc.array(line), fc.integer({ min: 2, max: 20 }), (lines, max) => {
        const pieces = [...piecesOf(lines, max)];
        expect(pieces.join("")).toBe(lines.map((text) => `${text}\n`).join(""));
        for (const piece of pieces) {
          expect(piece.length).toBeLessThanOrEqual(max);
          expect(piece.isWellFormed()).toBe(true);
        }
        if (lines.every((text) => text.length < max))
          for (const piece of pieces) expect(piece.endsWith("\n")).toBe(true);
      }),
    );
  });
});

describe("the run's log", () => {
  test("pieces go one after the other, each awaited, own lines between", async () => {
    const seen: string[] = [];
    let inFlight = 0;
    const log = new RunLog(async (stream, chunk) => {
      inFlight += 1;
      expect(inFlight).toBe(1);
      await new Promise(setImmediate);
      seen.push(`${stream}:${chunk}`);
      inFlight -= 1;
    }, new Redactor());
    log.say("stderr", "first");
    const done = log.output(["one", "two"]);
    log.say("stdout", "last");
    await done;
    expect(seen).toEqual(["stderr:[paperclip] first\n", "stdout:one\ntwo\n"]);
    await log.settled();
    expect(seen.at(-1)).toBe("stdout:[paperclip] last\n");
  });

  test.each([
    ["rejects", async () => Promise.reject(new Error("disk full"))],
    [
      "throws",
      () => {
        throw new Error("disk full");
      },
    ],
  ])("a host that %s costs the piece and nothing else", async (_, onLog) => {
    const log = new RunLog(onLog as () => Promise<void>, new Redactor());
    await log.output(["one"]);
    await log.output(["two"]);
    expect(log.failures).toBe(2);
    expect(log.firstError).toEqual(new Error("disk full"));
  });

  test("a host that hangs does not collect the adapter's own lines without end", async () => {
    let calls = 0;
    const log = new RunLog(() => {
      calls += 1;
      return new Promise(() => undefined);
    }, new Redactor());
    for (let i = 0; i < 100_000; i += 1) log.say("stdout", "still here");
    await new Promise(setImmediate);
    expect(calls).toBe(1);
  });

  test("secrets are taken out of the adapter's own lines, and only of those", async () => {
    const seen: string[] = [];
    const redactor = new Redactor();
    redactor.add("canary-12345");
    const log = new RunLog(async (_, chunk) => void seen.push(chunk), redactor);
    log.say("stderr", "failed with canary-12345");
    await log.output(["the agent's canary-12345"]);
    expect(seen).toEqual(["[paperclip] failed with ***REDACTED***\n", "the agent's canary-12345\n"]);
  });
});
