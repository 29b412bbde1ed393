import { type Bench, type Goal, inTurns, type Series, type Table } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { type Replay, startReplay, watchersOpen } from "../harness/replay.ts";
import { format, formatBytes, formatSpread, median, ratio, spread } from "../harness/stats.ts";
import type { CacheKind } from "../peers/caches.ts";
import type { Opened } from "../subjects/cache.ts";
import { NAMES } from "./ingest.ts";

const CONTESTANTS = ["floor-http2", "ours", "client-node", "fluent-client"] as const;
const CACHE = new URL("../subjects/cache.ts", import.meta.url);

/** From nothing to a complete cache. */
export const sync: Bench = {
  name: "sync",
  title: "Cold start",
  run: async (context) => {
    const sizes = context.quick ? [200, 1_000] : [1_000, 10_000, 50_000];
    const tables: Table[] = [];
    const goals: Goal[] = [];
    const growth: Record<string, Series> = {};
    for (const pods of sizes) {
      // The smallest takes a fraction of a second, most of it in code that runs for the first time: more rounds.
      const rounds = pods >= 50_000 ? Math.min(2, context.rounds) : pods <= 1_000 ? 3 * context.rounds : context.rounds;
      const taken = { ...context, rounds, quick: context.quick || pods >= 50_000 };
      const replay = await startReplay({ pods });
      try {
        const results = await inTurns(CONTESTANTS, taken, (kind) => measure(replay, kind, pods));
        const of = (kind: CacheKind, key: keyof Opened) => results[kind as "ours"].map((opened) => opened[key]);
        const floor = median(of("floor-http2", "wallMs"));
        tables.push({
          title: `${pods.toLocaleString("en-US")} pods, ${formatBytes(replay.bytes.pods)} of JSON`,
          columns: ["client", "ms until complete", "against the floor", "CPU ms", "peak memory above an idle process"],
          rows: CONTESTANTS.map((kind) => [
            NAMES[kind],
            formatSpread(spread(of(kind, "wallMs"))),
            ratio(median(of(kind, "wallMs")) / floor),
            format(median(of(kind, "cpuMs"))),
            formatBytes(median(of(kind, "peakBytes"))),
          ]),
        });
        const figure = median(of("ours", "wallMs")) / floor;
        const floors = of("floor-http2", "wallMs");
        // Other work stood in between: then the median is that work's.
        const isDisturbed = Math.max(...floors) > 2 * Math.min(...floors);
        goals.push({
          what: `cold start with ${pods.toLocaleString("en-US")} pods against bare list and parse`,
          goal: "≤ 1.2×",
          figure: ratio(figure),
          met: isDisturbed ? "void" : figure <= 1.2,
        });
        for (const kind of CONTESTANTS) {
          growth[kind] ??= { name: NAMES[kind], size: "pods", unit: "ms", points: [] };
          growth[kind]?.points.push([pods, median(of(kind, "wallMs"))]);
        }
      } finally {
        await replay.child.stop();
      }
    }
    const notes = [
      "The floor is a list by pages of 500, each parsed and dropped. k8s-run-informer asks for protobuf, the others for JSON.",
    ];
    return { tables, goals, series: Object.values(growth), notes };
  },
};

async function measure(replay: Replay, kind: CacheKind, pods: number): Promise<Opened> {
  const subject = new Child(CACHE, { execArgv: ["--max-old-space-size=8192"] });
  try {
    const opened = await subject.call<Opened>("open", { kind, endpoint: replay.endpoint });
    if (opened.pods !== pods) throw new Error(`${kind} told of ${opened.pods} pods instead of ${pods}`);
    return opened;
  } finally {
    await subject.stop();
    await watchersOpen(replay, "pods", 0);
  }
}
