import { describe, expect, test } from "vitest";
import { lifeOf, thisProcess } from "../../../src/adapter/start/holder.ts";
import { durationMsOf, holderOf, type LeaseObject } from "../../../src/adapter/start/lease.ts";
import { CONFIRM_MS, judgeLease, type Sight } from "../../../src/adapter/start/lease-verdict.ts";
import fc from "../property.ts";

const LEASE_MS = 40_000;
const seen = (version: string, firstAt: number, lastAt = firstAt): Sight => ({ version, firstAt, lastAt });
const read = { version: "2", durationMs: LEASE_MS, writtenMsAgo: 0, life: "unknown", now: 1_000_000 } as const;

describe("one look at a Lease", () => {
  test.each([
    ["renewed a moment ago", undefined, {}, { state: "live", ms: LEASE_MS }],
    ["as old as it may be, less a second", undefined, { writtenMsAgo: LEASE_MS - 1_000 }, { state: "live", ms: 1_000 }],
    [
      "run out by the server's clock, first look",
      undefined,
      { writtenMsAgo: LEASE_MS },
      { state: "unsure", ms: CONFIRM_MS },
    ],
    [
      "run out, seen unchanged for a while",
      seen("2", 1_000_000 - 5_000),
      { writtenMsAgo: LEASE_MS },
      { state: "unsure", ms: CONFIRM_MS - 5_000 },
    ],
    [
      "run out, seen unchanged for long enough",
      seen("2", 1_000_000 - CONFIRM_MS),
      { writtenMsAgo: LEASE_MS },
      { state: "over" },
    ],
    [
      "the server's clock was set forward, and it is renewed",
      seen("1", 1_000_000 - CONFIRM_MS),
      { writtenMsAgo: 3_600_000 },
      { state: "live", ms: 1_000 },
    ],
    [
      "renewed since a look of long ago, and run out",
      seen("1", 0),
      { writtenMsAgo: LEASE_MS },
      { state: "unsure", ms: CONFIRM_MS },
    ],
    [
      "renewed since a look that is as long ago as it lasts",
      seen("1", 1_000_000 - LEASE_MS),
      { writtenMsAgo: LEASE_MS },
      { state: "unsure", ms: CONFIRM_MS },
    ],
    [
      "a server that does not tell when it was written",
      undefined,
      { writtenMsAgo: null },
      { state: "live", ms: LEASE_MS },
    ],
    [
      "the same, seen unchanged for as long as it lasts",
      seen("2", 1_000_000 - LEASE_MS),
      { writtenMsAgo: null },
      { state: "over" },
    ],
    ["its holder is dead", undefined, { life: "dead" }, { state: "over" }],
    [
      "run out, but its holder runs",
      undefined,
      { writtenMsAgo: LEASE_MS, life: "runs" },
      { state: "live", ms: LEASE_MS },
    ],
    [
      "its holder runs and has hung for as long as it lasts",
      seen("2", 1_000_000 - LEASE_MS),
      { life: "runs" },
      { state: "over" },
    ],
  ] as const)("%s", (_, before, more, verdict) => {
    expect(judgeLease(before, { ...read, ...more }).verdict).toEqual(verdict);
  });
});

/** One owner that renews, however late within the confirming time, under a server's clock that is set at will. */
describe("a Lease that somebody has changed", () => {
  const lease = (holder: string, spec: object = {}) =>
    ({ metadata: { annotations: { "paperclip.io/holder": holder } }, spec }) as unknown as LeaseObject;

  test.each(["null", "[]", '"pod-1"', "7", "{", '{"pid":"../1","place":7}'])(
    "its holder is said to be %s: whether that lives is not known",
    async (holder) => {
      expect(await lifeOf(holderOf(lease(holder)), await thisProcess("ns/pod"))).toBe("unknown");
    },
  );

  test.each([
    [40, 40_000],
    [undefined, 40_000],
    [null, 40_000],
    [0, 40_000],
    [-1, 40_000],
    ["ten", 40_000],
    [2 ** 31 - 1, 3_600_000],
  ])("its duration is %j s: it holds for %i ms", (leaseDurationSeconds, ms) => {
    expect(durationMsOf(lease("{}", { leaseDurationSeconds }))).toBe(ms);
  });
});

test("a process that renews is never taken for dead, whoever looks when, and however the server's clock is set", () => {
  const arbitrary = fc.record({
    renewals: fc.array(fc.integer({ min: 1, max: CONFIRM_MS - 1 }), { minLength: 1, maxLength: 40 }),
    looks: fc.array(fc.integer({ min: 0, max: 30_000 }), { minLength: 1, maxLength: 60 }),
    steps: fc.array(fc.integer({ min: -7_200_000, max: 7_200_000 }), { minLength: 60, maxLength: 60 }),
  });
  fc.assert(
    fc.property(arbitrary, ({ renewals, looks, steps }) => {
      let sight: Sight | undefined;
      let now = 0;
      const writtenAt = [0];
      for (const gap of renewals) writtenAt.push((writtenAt.at(-1) ?? 0) + gap);
      for (const [i, gap] of looks.entries()) {
        now += gap;
        const version = writtenAt.findLastIndex((at) => at <= now);
        // As long as it renews.
        if (version === writtenAt.length - 1) return;
        const writtenMsAgo = now - (writtenAt[version] ?? 0) + (steps[i] ?? 0);
        const judged = judgeLease(sight, {
          version: String(version),
          durationMs: LEASE_MS,
          writtenMsAgo,
          life: "unknown",
          now,
        });
        expect(judged.verdict.state).not.toBe("over");
        sight = judged.sight;
      }
    }),
    { numRuns: 2_000 },
  );
});

test("a process that renews no more is found dead within its Lease and the confirming time, by whoever asks as it is told", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 100_000 }), fc.boolean(), (diedMsAgo, isDated) => {
      let sight: Sight | undefined;
      let now = 0;
      for (let looks = 0; looks < 10; looks += 1) {
        const writtenMsAgo = isDated ? diedMsAgo + now : null;
        const judged = judgeLease(sight, { version: "1", durationMs: LEASE_MS, writtenMsAgo, life: "unknown", now });
        if (judged.verdict.state === "over") {
          expect(now).toBeLessThanOrEqual(LEASE_MS + CONFIRM_MS);
          return;
        }
        sight = judged.sight;
        now += judged.verdict.ms;
      }
      throw new Error("never found dead");
    }),
  );
});
