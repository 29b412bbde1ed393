import { describe, expect, test } from "vitest";
import { resetTime } from "../../../src/claude/reset-time.ts";

const at = (text: string, now: string) => resetTime(text, new Date(now))?.toISOString() ?? null;

describe("when a limit ends", () => {
  test.each([
    ["resets 3pm (Europe/Berlin)", "2026-11-24T12:00:00Z", "2026-11-24T14:00:00.000Z"],
    ["resets 3pm (Europe/Berlin)", "2026-11-24T14:00:00Z", "2026-11-25T14:00:00.000Z"],
    ["limit reached · resets at 3:30 p.m. (America/New_York).", "2026-07-01T00:00:00Z", "2026-07-01T19:30:00.000Z"],
    ["resets 15:00 (UTC)", "2026-11-24T12:00:00Z", "2026-11-24T15:00:00.000Z"],
    ["resets 12am (Asia/Kolkata)", "2026-11-24T12:00:00Z", "2026-11-24T18:30:00.000Z"],
    ["resets 12pm (Asia/Kolkata)", "2026-11-24T12:00:00Z", "2026-11-25T06:30:00.000Z"],
    ["resets Dec 9 at 5am (UTC)", "2026-11-24T12:00:00Z", "2026-12-09T05:00:00.000Z"],
    ["resets December 9, 5:15am (UTC)", "2026-11-24T12:00:00Z", "2026-12-09T05:15:00.000Z"],
    ["resets Jan 2, 5am (UTC)", "2026-12-31T12:00:00Z", "2027-01-02T05:00:00.000Z"],
    ["It resets on Friday, Nov 27 at 10:00 AM UTC.", "2026-11-24T12:00:00Z", "2026-11-27T10:00:00.000Z"],
    ["resets Friday 10am (UTC)", "2026-11-24T12:00:00Z", "2026-11-27T10:00:00.000Z"],
    ["resets Tue 10:00 (UTC)", "2026-11-24T12:00:00Z", "2026-12-01T10:00:00.000Z"],
    ["resets Thursday", "2026-11-24T12:00:00Z", "2026-11-26T00:00:00.000Z"],
    ["suspended until 1 December 2026", "2026-11-24T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ["access is restored on the API; it renews on 2nd Dec.", "2026-11-24T12:00:00Z", "2026-12-02T00:00:00.000Z"],
    ["Please retry in 5h30m.", "2026-11-24T12:00:00Z", "2026-11-24T17:30:00.000Z"],
    ["Try again later: your limit will reset at 9:45 PM (UTC)", "2026-11-24T12:00:00Z", "2026-11-24T21:45:00.000Z"],
    ["Claude AI usage limit reached|1760000000", "2025-10-09T00:00:00Z", "2025-10-09T08:53:20.000Z"],
    ["Claude AI usage limit reached|1760000000000", "2025-10-09T00:00:00Z", "2025-10-09T08:53:20.000Z"],
    ["Next reset: Dec 1, 12am UTC", "2026-11-24T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ["Limit resets next Monday", "2026-11-24T12:00:00Z", "2026-11-30T00:00:00.000Z"],
    ["Access will resume on December 1", "2026-11-24T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ["Please try again in 1m30.5s.", "2026-11-24T12:00:00Z", "2026-11-24T12:01:30.500Z"],
    ["Monthly limit reached, resets on 12/01/2026", "2026-11-24T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ["Monthly limit reached, resets on 13/12/2026", "2026-11-24T12:00:00Z", "2026-12-13T00:00:00.000Z"],
    ["access will be restored at 2026/12/01 00:00 UTC", "2026-11-24T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ["Usage limit reached. Resets at 1796083200.", "2026-11-24T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ['{"resetsAt":1796083200000}', "2026-11-24T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ["resets 5pm PST", "2026-11-24T12:00:00Z", "2026-11-25T01:00:00.000Z"],
    ["resets 5pm PT", "2026-07-24T12:00:00Z", "2026-07-25T00:00:00.000Z"],
    ["resets 9am EST", "2026-11-24T12:00:00Z", "2026-11-24T14:00:00.000Z"],
    ["resets Dec 1, 9am CET", "2026-11-24T12:00:00Z", "2026-12-01T08:00:00.000Z"],
    ["resets 9am CEST", "2026-07-24T12:00:00Z", "2026-07-25T07:00:00.000Z"],
    ["resets Dec 1, 9am (GMT+1)", "2026-11-24T12:00:00Z", "2026-12-01T08:00:00.000Z"],
    ["resets Dec 1 at 9am UTC-05:30", "2026-11-24T12:00:00Z", "2026-12-01T14:30:00.000Z"],
    ["resets tomorrow at 3pm (UTC)", "2026-11-24T12:00:00Z", "2026-11-25T15:00:00.000Z"],
    ["resets today at 3pm (UTC)", "2026-11-24T12:00:00Z", "2026-11-24T15:00:00.000Z"],
    ["available again tomorrow", "2026-11-30T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ["resets at midnight UTC", "2026-11-24T12:00:00Z", "2026-11-25T00:00:00.000Z"],
    ["resets at noon (UTC)", "2026-11-24T11:00:00Z", "2026-11-24T12:00:00.000Z"],
    ["Your limit will reset on the 1st of December.", "2026-11-24T12:00:00Z", "2026-12-01T00:00:00.000Z"],
    ["will reset in 1 week", "2026-11-24T12:00:00Z", "2026-12-01T12:00:00.000Z"],
    ["Retry-After: 7200", "2026-11-24T12:00:00Z", "2026-11-24T14:00:00.000Z"],
  ])("%s at %s", (text, now, expected) => {
    expect(at(text, now)).toBe(expected);
  });

  test("over a change of clocks: 3am of the day after, whatever its offset", () => {
    // Berlin leaves summer time on 2026-10-25.
    expect(at("resets 3am (Europe/Berlin)", "2026-10-24T12:00:00Z")).toBe("2026-10-25T02:00:00.000Z");
    // 02:30 does not exist on 2026-03-29.
    expect(at("resets 2:30am (Europe/Berlin)", "2026-03-28T12:00:00Z")).toBe("2026-03-29T01:30:00.000Z");
  });

  test("a zone that nobody knows is the server's", () => {
    const here = at("resets 3pm", "2026-11-24T12:00:00Z");
    expect(at("resets 3pm (Middle/Earth)", "2026-11-24T12:00:00Z")).toBe(here);
    expect(here).not.toBeNull();
  });

  test.each([
    "",
    "resets soon",
    "resets monthly",
    "until marked",
    "resets 3",
    "resets 25:00",
    "resets 13pm",
    "resets 3:99pm",
    "presets 3pm",
  ])("%j says no time", (text) => {
    expect(at(text, "2026-11-24T12:00:00Z")).toBeNull();
  });
});
