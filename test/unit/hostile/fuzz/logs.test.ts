/**
 * The log follower over real connections, with whatever a kubelet, a container and a network do: each line once and in order,
 * exactly as it was written; what is missing lies behind a gap that was told before the line after it; no gap without a cause.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { followLogs, type LogGap } from "../../../../src/engine/logs/index.ts";
import { NO_LATE_LINES, type Refusal, startLogServer, type TestContainer, until } from "../../logs/log-server.ts";
import fc from "../../property.ts";
import { Dice, fuzz, fuzzTimeoutMs, seeds } from "./fuzz.ts";

const { cluster, container } = await startLogServer();

/** What happens beside cuts and refusals, which happen in each. */
type Kind = "nothing" | "rotations" | "restarts" | "deletion";
const ALLOWED: Record<Kind, LogGap["reason"][]> = {
  nothing: [],
  rotations: ["rotated"],
  // A log that begins anew looks like one that was rotated; which, the pod may tell too late.
  restarts: ["restarted", "rotated"],
  deletion: ["pod_gone"],
};

const REFUSALS: Refusal[] = [
  { status: 500, message: "dial tcp: connect: connection refused" },
  { status: 502, message: "<html>" },
  { status: 503, message: "overloaded", headers: { "retry-after": "0" } },
  { status: 429, message: "too many requests", headers: { "retry-after": "0" } },
];

interface Told {
  texts: string[];
  /** How many lines had been delivered when a gap was told. */
  gaps: { at: number; reason: LogGap["reason"] }[];
}

/** Bytes of a line, without newlines. */
function lineBytes(dice: Dice, index: number, isBig: boolean): Buffer {
  const mark = Buffer.from(`${index}|`);
  const body = (): Buffer => {
    switch (dice.below(9)) {
      case 0:
        return Buffer.from("\r");
      case 1:
        return Buffer.from([0, 0x0d, 0, 0x1b, 0x5b, 0x41]);
      case 2:
        return Buffer.from([0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80, 0xf0, 0x9f]);
      case 3:
        return Buffer.from("😀 é €".repeat(dice.below(200)));
      case 4:
        return Buffer.from("2026-11-24T10:00:00.950000000Z text");
      case 5:
        return Buffer.alloc(16_384 - mark.length + dice.below(3) - 1, "x");
      case 6:
        return Buffer.from("€".repeat(5_000 + dice.below(10_000)));
      case 7:
        return Buffer.from(`{"type":"result","n":${index}}`);
      default:
        return Buffer.alloc(0);
    }
  };
  return Buffer.concat([mark, isBig ? Buffer.alloc(1_000_000 + dice.below(100_000), "big€") : body()]);
}

/** The kubelet and the network misbehave for the first requests only, so that the scenario ends. */
function disturb(c: TestContainer, dice: Dice, kind: Kind, restartsKubelet: boolean): void {
  const faults = dice.below(7);
  const endsCleanly = kind !== "deletion" && kind !== "rotations" && !restartsKubelet;
  let wasClean = false;
  c.refuse = ({ index }) => {
    if (index >= faults || dice.chance(0.7)) return null;
    // Said five times of a container that has ended, it is true.
    return index === 0
      ? { status: 400, message: 'container "claude" in pod "p" is waiting to start: X' }
      : dice.pick(REFUSALS);
  };
  c.cut = ({ index }) => {
    if (index >= faults || dice.chance(0.3)) return null;
    // What a follow relies on: two reads in a row do not both end cleanly, by accident, where there is more; nor does one
    // just before the pod is deleted, or its file is rotated and it ends: a container that was killed looks like that.
    const isClean = !wasClean && endsCleanly && dice.chance(0.5);
    wasClean = isClean;
    const atByte = dice.chance(0.3) ? dice.below(80) : dice.below(40_000);
    return { atByte, how: isClean ? "clean" : "reset" };
  };
}

async function scenario(seed: number): Promise<{ kind: Kind; lines: number; bytes: number; gaps: number }> {
  const dice = new Dice(seed);
  const kind = dice.pick<Kind>(["nothing", "nothing", "rotations", "restarts", "deletion"]);
  const c = container();
  const restartsKubelet = kind !== "deletion" && dice.chance(0.3);
  disturb(c, dice, kind, restartsKubelet);
  const told: Told = { texts: [], gaps: [] };
  const stream = followLogs(cluster, c, {
    ...NO_LATE_LINES,
    onGap: ({ reason }) => void told.gaps.push({ at: told.texts.length, reason }),
  });
  const isSlow = dice.chance(0.2);
  const done = stream.forEach(async ({ text }) => {
    told.texts.push(text);
    if (isSlow && told.texts.length % 7 === 0) await sleep(1);
  });

  const written: string[] = [];
  let now = BigInt(Date.parse("2026-11-24T10:00:00.900Z")) * 1_000_000n;
  let restartCount = 0;
  const count = dice.below(60);
  const bigAt = dice.chance(0.1) ? dice.below(count) : -1;
  for (let i = 0; i < count; i += 1) {
    const bytes = lineBytes(dice, i, i === bigAt);
    written.push(bytes.toString("utf8"));
    now += BigInt(dice.pick([0, 0, 1, 300_000, 400_000_000, 1_000_000_000]));
    const isUnterminated = i === count - 1 && dice.chance(0.3);
    c.write(isUnterminated ? bytes : Buffer.concat([bytes, Buffer.from("\n")]), now);
    if (dice.chance(0.2)) await sleep(dice.below(20));
    if (restartsKubelet && dice.chance(0.05)) c.restartKubelet();
    if (kind === "rotations" && dice.chance(0.05)) {
      // For the same reason: the follow has come back.
      if (restartsKubelet) await until(() => c.isSent);
      c.rotate();
      // A kubelet looks at a file's size every ten seconds.
      now += 10_000_000_000n;
    }
    if (kind === "restarts" && i < count - 1 && restartCount < 3 && dice.chance(0.06)) {
      restartCount += 1;
      now += 1_500_000_000n;
      c.exit();
      if (dice.chance(0.5)) {
        c.tell({ phase: "waiting" });
        await sleep(dice.below(30));
      }
      c.restart();
      const startedAt = new Date(Number(now / 1_000_000n)).toISOString().replace(/\.\d+/, "");
      c.tell({ phase: "running", restartCount, startedAt });
    }
  }
  if (kind === "deletion") {
    if (dice.chance(0.7)) c.exit();
    await sleep(dice.below(300));
    c.tell({ phase: "gone" });
  } else {
    c.exit();
    if (dice.chance(0.7)) await sleep(dice.below(300));
    c.tell({ phase: "ended" });
  }
  await done;

  try {
    check(kind, written, told);
  } catch (cause) {
    throw new Error(
      `${kind}, ${JSON.stringify({ requests: c.requests.map(String), gaps: told.gaps, stats: stream.stats })}`,
      { cause },
    );
  }
  return { kind, lines: told.texts.length, bytes: stream.stats.bytes, gaps: told.gaps.length };
}

function check(kind: Kind, written: readonly string[], { texts, gaps }: Told): void {
  for (const { reason } of gaps) expect(ALLOWED[kind]).toContain(reason);
  let next = 0;
  for (let at = 0; at <= texts.length; at += 1) {
    const text = texts[at];
    let index = text === undefined ? written.length : Number.parseInt(text, 10);
    // What came of the last line before it was cut off for good, told by the gap after it.
    const isPart = text !== undefined && text !== written[index];
    if (isPart) {
      const begin = text.replace(/\ufffd+$/, "");
      index = written.findIndex((line, i) => i >= next && line.startsWith(begin));
      expect(gaps.map((gap) => gap.at)).toContain(at + 1);
    }
    expect(index, `line ${at} is none of those that were to come`).toBeGreaterThanOrEqual(next);
    // A file that was rotated away before anything of it was read is not known to have been.
    const isHead = kind === "rotations" && next === 0;
    // Of an instance that went before anything of it was read, the gap is told when the pod tells of it.
    const isLate = kind === "restarts" && gaps.some((gap) => gap.at >= at);
    if (index > next && !isHead && !isLate)
      expect(
        gaps.map((gap) => gap.at),
        `lines ${next} to ${index - 1} are missing`,
      ).toContain(at);
    next = index + 1;
  }
}

test("any log, any disturbance", { timeout: fuzzTimeoutMs() }, () => {
  const total = { scenarios: 0, lines: 0, bytes: 0, gaps: 0 };
  return fuzz(
    "log follows",
    fc.asyncProperty(seeds(40), async (list) => {
      const results = await Promise.all(
        list.map((seed) =>
          scenario(seed).catch((error: unknown) => {
            throw new Error(`scenario ${seed} fails`, { cause: error });
          }),
        ),
      );
      for (const { lines, bytes, gaps } of results) {
        total.scenarios += 1;
        total.lines += lines;
        total.bytes += bytes;
        total.gaps += gaps;
      }
    }),
    { triesAtOnce: 1, told: () => `, ${JSON.stringify(total)}` },
  );
});
