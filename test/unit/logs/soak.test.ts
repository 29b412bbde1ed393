import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { seededRandom } from "../../../src/embedded/random.ts";
import { followLogs, type LogGap, type LogLine } from "../../../src/engine/logs/index.ts";
import { Cluster } from "../../../src/engine/transport/index.ts";
import { LogServer, NO_LATE_LINES, type Refusal, TestContainer } from "./log-server.ts";

const STREAMS = 200;
const { LOG_SOAK_SECONDS, LOG_SOAK_SEED } = process.env;
const SECONDS = Number(LOG_SOAK_SECONDS ?? 8);
// As for `test/unit/hostile/fuzz`: what is new is for the long form.
const seed = Number(LOG_SOAK_SEED ?? (LOG_SOAK_SECONDS === undefined ? 2026 : Date.now() % 1_000_000));

interface Followed {
  written: readonly string[];
  /** Lines that were written before the last rotation. */
  rotatedTo: number;
  lines: readonly LogLine[];
  gaps: readonly LogGap[];
}

/**
 * Every line once, whole and in order. Lines may be missing only where a rotation took them and a gap names the times of the
 * lines around them; so may the rest of a line. Returns how many are missing, or throws what is wrong.
 */
function audit({ written, rotatedTo, lines, gaps }: Followed): number {
  let next = 0;
  let missing = 0;
  let last: LogLine | null = null;
  const isSaid = (before: LogLine | null) =>
    gaps.some((gap) => gap.after === (last?.time ?? null) && gap.before === (before?.time ?? null));
  const skipTo = (index: number, before: LogLine | null) => {
    const isPart = last?.terminated === false;
    // What was rotated away before the first read is known to nobody.
    const isMissing = isPart || (index > next && last !== null);
    if (isMissing && !isSaid(before)) throw new Error(`lines ${next}…${index - 1} are missing and it was not said`);
    if (index > Math.max(next, rotatedTo))
      throw new Error(`lines to ${index - 1} are missing, rotated to ${rotatedTo}`);
    missing += index - next;
  };
  for (const { reason, after, before, message } of gaps) {
    if (reason !== "rotated" || rotatedTo === 0) throw new Error(`a gap without a cause: ${message}`);
    if (after !== null && before !== null && after >= before)
      throw new Error(`a gap that ends before it begins: ${message}`);
  }
  for (const line of lines) {
    const { text, terminated } = line;
    if (terminated) {
      const index = Number.parseInt(text.slice(text.indexOf("/") + 1), 10);
      if (text !== written[index]) throw new Error(`"${text}" was never written`);
      if (index < next) throw new Error(`line ${index} came after line ${next - 1}`);
      skipTo(index, line);
      next = index + 1;
    } else if (last?.terminated === false || !written[next]?.startsWith(text.replace(/\ufffd+$/, ""))) {
      throw new Error(`"${text}" is no part of line ${next}: ${written[next]}`);
    }
    last = line;
  }
  skipTo(written.length, null);
  return missing;
}

test(
  `${STREAMS} follows over few connections, cut at random for ${SECONDS} s (seed ${seed}): 0 lost, 0 doubled, in order`,
  async () => {
    const random = seededRandom(seed);
    const server = await LogServer.start();
    const cluster = new Cluster({ kubeConfig: server.kubeConfig });
    const until = performance.now() + SECONDS * 1000;
    let cuts = 0;

    const refusals: Refusal[] = [
      { status: 500, message: "dial tcp: connect: connection refused" },
      { status: 404, message: "not found" },
      { status: 429, message: "too many requests" },
    ];
    const unlucky = () => {
      if (random() > 0.15) return null;
      cuts++;
      return refusals[Math.floor(random() * refusals.length)];
    };
    // What a follow relies on: a stream that ends cleanly just before its container does, and whose file is then rotated, was whole.
    const cut = (isRotated: boolean) => {
      if (performance.now() > until || random() > 0.85) return null;
      cuts++;
      const how = random() < 0.5 && !isRotated ? "clean" : "reset";
      return { atByte: Math.floor(random() * random() * 20_000), how } as const;
    };

    let last = 0n;
    const wallClock = () => {
      const now = BigInt(Date.now()) * 1_000_000n;
      last = now > last ? now : last + 1n;
      return last;
    };
    const follow = async (n: number) => {
      const c = server.add(new TestContainer(`soak-${n}`, wallClock));
      const isRotated = n % 4 === 0;
      c.cut = () => cut(isRotated);
      c.refuse = () => (performance.now() > until ? null : unlucky());
      const lines: LogLine[] = [];
      const gaps: LogGap[] = [];
      const stream = followLogs(cluster, c, { ...NO_LATE_LINES, onGap: (gap) => void gaps.push(gap) });
      // One in three is slow, so that connections break while it has lines left to take.
      const isSlow = n % 3 === 0;
      const done = (async () => {
        for await (const batch of stream.batches()) {
          lines.push(...batch);
          if (isSlow) await sleep(random() * 300);
        }
      })();
      const written: string[] = [];
      let rotatedTo = 0;
      while (performance.now() < until) {
        for (let burst = Math.floor(random() * 8); burst >= 0; burst--) {
          const text = `${n}/${written.length} ${"€x".repeat(Math.floor(random() * 40))}`;
          c.write(`${text}\n`);
          written.push(text);
        }
        if (random() < 0.01 && performance.now() < until - 1_500) c.restartKubelet();
        if (isRotated && random() < 0.03) {
          c.rotate();
          rotatedTo = written.length;
        }
        await sleep(random() * 400);
      }
      c.exit();
      // The pod tells of the end a little later, as it does.
      await sleep(random() * 500);
      c.tell({ phase: "ended" });
      await done;
      return { written, rotatedTo, lines, gaps, stats: stream.stats };
    };

    const resets = setInterval(() => server.resetConnections(), 3100);
    try {
      const results = await Promise.all(Array.from({ length: STREAMS }, (_, n) => follow(n)));
      const total = { lines: 0, missing: 0, gaps: 0, reads: 0, repeated: 0 };
      const wrong: string[] = [];
      for (const [n, followed] of results.entries()) {
        const { stats } = followed;
        try {
          total.missing += audit(followed);
        } catch (error) {
          wrong.push(`stream ${n}: ${error instanceof Error ? error.message : error}`);
        }
        total.lines += stats.lines;
        total.gaps += stats.gaps;
        total.reads += stats.reads;
        total.repeated += stats.repeated;
      }
      expect(wrong).toEqual([]);
      console.log(
        `log soak: ${STREAMS} follows, ${total.lines} lines, ${cuts} faults, ${total.gaps} gaps told, ` +
          `${total.missing} lines rotated away, ${total.reads} requests, ` +
          `${total.repeated} lines repeated by the server and dropped, at most ${server.mostConnections} connections`,
      );
      expect(cuts).toBeGreaterThan(total.reads / 10);
      expect(server.mostConnections).toBeLessThanOrEqual(4);
    } finally {
      clearInterval(resets);
      await cluster.close();
      await server.stop();
    }
  },
  (SECONDS + 180) * 1000,
);
