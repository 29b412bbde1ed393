import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { followLogs } from "../../../src/engine/logs/index.ts";
import { Cluster } from "../../../src/engine/transport/index.ts";
import { LogServer, type Refusal, TestContainer } from "./log-server.ts";

const STREAMS = 200;
const SECONDS = Number(process.env.LOG_SOAK_SECONDS ?? 8);

/** Small and seeded: a failure can be run again. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const seed = Number(process.env.LOG_SOAK_SEED ?? Date.now() % 1_000_000);

test(
  `${STREAMS} follows over few connections, cut at random for ${SECONDS} s (seed ${seed}): 0 lost, 0 doubled, in order`,
  async () => {
    const random = mulberry32(seed);
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
    const cut = () => {
      if (performance.now() > until || random() > 0.85) return null;
      cuts++;
      return { atByte: Math.floor(random() * random() * 20_000), how: random() < 0.5 ? "clean" : "reset" } as const;
    };

    let last = 0n;
    const wallClock = () => {
      const now = BigInt(Date.now()) * 1_000_000n;
      last = now > last ? now : last + 1n;
      return last;
    };
    const follow = async (n: number) => {
      const c = server.add(new TestContainer(`soak-${n}`, wallClock));
      c.cut = cut;
      c.refuse = () => (performance.now() > until ? null : unlucky());
      const got: string[] = [];
      let gaps = 0;
      const stream = followLogs(cluster, c, { onGap: () => gaps++ });
      const done = stream.forEach((line) => void got.push(line.text));
      const written: string[] = [];
      while (performance.now() < until) {
        for (let burst = Math.floor(random() * 8); burst >= 0; burst--) {
          const text = `${n}/${written.length} ${"€x".repeat(Math.floor(random() * 40))}`;
          c.write(`${text}\n`);
          written.push(text);
        }
        if (random() < 0.01) c.restartKubelet();
        await sleep(random() * 400);
      }
      c.exit();
      // The pod tells of the end a little later, as it does.
      await sleep(random() * 500);
      c.tell({ phase: "ended" });
      await done;
      return { written, got, gaps, stats: stream.stats };
    };

    const resets = setInterval(() => server.resetConnections(), 3100);
    try {
      const results = await Promise.all(Array.from({ length: STREAMS }, (_, n) => follow(n)));
      const total = { lines: 0, reads: 0, repeated: 0 };
      for (const [n, { written, got, gaps, stats }] of results.entries()) {
        if (got.join("\n") !== written.join("\n")) expect(got, `stream ${n}`).toEqual(written);
        expect(gaps, `gaps of stream ${n}`).toBe(0);
        total.lines += got.length;
        total.reads += stats.reads;
        total.repeated += stats.repeated;
      }
      console.log(
        `log soak: ${STREAMS} follows, ${total.lines} lines, ${cuts} faults, ${total.reads} requests, ` +
          `${total.repeated} lines repeated by the server and dropped, at most ${server.mostConnections} connections`,
      );
      expect(cuts).toBeGreaterThan(STREAMS);
      expect(server.mostConnections).toBeLessThanOrEqual(4);
    } finally {
      clearInterval(resets);
      await cluster.close();
      await server.stop();
    }
  },
  (SECONDS + 60) * 1000,
);
