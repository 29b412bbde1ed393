import { describe, expect, test } from "vitest";
import { TimestampParser } from "../../../src/engine/logs/timestamp.ts";
import fc from "../property.ts";

const parse = (line: string) => {
  const parser = new TimestampParser();
  const end = parser.parse(Buffer.from(line), 0, Buffer.byteLength(line));
  return end < 0 ? null : { end, seconds: parser.seconds, nanos: parser.nanos };
};

describe("TimestampParser", () => {
  test("what kubelets write", () => {
    const seconds = Date.parse("2026-11-23T11:21:21Z") / 1000;
    expect(parse("2026-11-23T11:21:21.005102585Z hi")).toEqual({ end: 30, seconds, nanos: 5_102_585 });
    expect(parse("2026-11-23T11:21:21Z hi")).toEqual({ end: 20, seconds, nanos: 0 });
    expect(parse("2026-11-23T11:21:21.5Z hi")).toEqual({ end: 22, seconds, nanos: 500_000_000 });
    expect(parse("2026-11-23T13:21:21.000000001+02:00 hi")).toEqual({ end: 35, seconds, nanos: 1 });
    expect(parse("2026-11-23T03:51:21.000000001-07:30 ")).toEqual({ end: 35, seconds, nanos: 1 });
    expect(parse("2026-11-23T11:21:21.005102585Z")).toEqual({ end: 30, seconds, nanos: 5_102_585 });
  });

  test("what is no time", () => {
    for (const line of [
      "",
      "hi",
      "failed to create fsnotify watcher: too many open files",
      "2026-11-23T11:21:21.005102585",
      "2026-11-23T11:21:21.005102585Zhi",
      "2026-11-23 11:21:21.005102585Z hi",
      "2026-13-23T11:21:21.005102585Z hi",
      "2026-11-23T11:21:21.Z hi there",
      "2026-11-23T11:21:21.0051025851Z hi",
      "2026-11-23T11:21:21.0+02:0 hi",
    ]) {
      expect(parse(line), line).toBeNull();
    }
  });

  test("agrees with Date on any time, one parser over many lines", () => {
    const parser = new TimestampParser();
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), max: new Date("2199-12-31"), noInvalidDate: true }),
        fc.nat(999_999),
        (date, rest) => {
          const line = Buffer.from(`${date.toISOString().slice(0, -1)}${String(rest).padStart(6, "0")}Z x`);
          expect(parser.parse(line, 0, line.length)).toBe(30);
          expect(parser.seconds).toBe(Math.floor(date.getTime() / 1000));
          expect(parser.nanos).toBe((date.getTime() % 1000) * 1_000_000 + rest);
        },
      ),
    );
  });
});
