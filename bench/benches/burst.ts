import { type Bench, inTurns } from "../harness/bench.ts";
import { Child } from "../harness/child.ts";
import { Kubernetes } from "../harness/kubernetes.ts";
import { format, median, ratio } from "../harness/stats.ts";
import type { BurstKind } from "../subjects/burst.ts";

const SUBJECT = new URL("../subjects/burst.ts", import.meta.url);
const CONTESTANTS = ["told", "ours", "each"] as const satisfies readonly BurstKind[];
const NAMES: Record<BurstKind, string> = {
  told: "floor: told how many creates the server takes at a time",
  ours: "k8s-run-informer",
  each: "all at once, each again after Retry-After",
};
/** 100 creates a second. */
const LIMIT = { seats: 20, workMs: 200 };

interface Measured {
  /** To the last pod that runs, as the server saw it. */
  seconds: number;
  refusals: number;
  refusedTwice: number;
}

/** Launches that a server of API priority and fairness does not take all at once. */
export const burst: Bench = {
  name: "burst",
  title: "A burst of launches",
  run: async (context) => {
    const count = context.quick ? 100 : 2_000;
    const results = await inTurns(CONTESTANTS, { ...context, quick: true, rounds: 1 }, (kind) => measure(kind, count));
    const of = (kind: BurstKind, take: (measured: Measured) => number) => median(results[kind].map(take));
    const seconds = (kind: BurstKind) => of(kind, (each) => each.seconds);
    const floor = seconds("told");
    const twice = of("ours", ({ refusedTwice }) => refusedTwice);
    return {
      tables: [
        {
          title: `${count.toLocaleString("en-US")} launches at once; the server works on ${LIMIT.seats} creates at a time, ${LIMIT.workMs} ms on each, and refuses the rest`,
          columns: [
            "client",
            "s to the last pod",
            "against the floor",
            "refused with 429",
            "Jobs refused twice or more",
          ],
          rows: CONTESTANTS.map((kind) => [
            NAMES[kind],
            format(seconds(kind)),
            ratio(seconds(kind) / floor),
            format(of(kind, ({ refusals }) => refusals)),
            format(of(kind, ({ refusedTwice }) => refusedTwice)),
          ]),
        },
      ],
      goals: [
        { what: "Jobs refused twice, in a burst", goal: "0", figure: format(twice), met: twice === 0 },
        {
          what: "time to the last pod of a burst against who is told the server's limit",
          goal: "≤ 1.2×",
          figure: ratio(seconds("ours") / floor),
          met: seconds("ours") <= 1.2 * floor,
        },
      ],
      notes: [
        `The server's limit alone comes to ${format((count * LIMIT.workMs) / LIMIT.seats / 1_000)} s. k8s-run-informer is not told of it: it begins with ten creates at a time, adds to them while none is refused, and takes one away with each refusal.`,
      ],
    };
  },
};

async function measure(kind: BurstKind, count: number): Promise<Measured> {
  const kubernetes = await Kubernetes.start({ delays: "fast" });
  const subject = new Child(SUBJECT);
  try {
    await subject.call("open", { kind, endpoint: kubernetes.endpoint, seats: LIMIT.seats });
    await kubernetes.child.call("hold");
    await kubernetes.child.call("limitSeats", { ...LIMIT, match: { verb: "create", resource: "jobs" } });
    const at = performance.now();
    await subject.call("launch", count);
    await kubernetes.child.call("runningIs", count);
    const seconds = (performance.now() - at) / 1_000;
    const refusals = await kubernetes.child.call<number[]>("refusals");
    return {
      seconds,
      refusals: refusals.reduce((sum, times) => sum + times, 0),
      refusedTwice: refusals.filter((times) => times > 1).length,
    };
  } finally {
    await subject.stop();
    await kubernetes.stop();
  }
}
