import { type Bench, inTurns, type Series } from "../harness/bench.ts";
import { Child, type CpuSample } from "../harness/child.ts";
import { type Replay, startReplay, watchersOpen } from "../harness/replay.ts";
import { format, formatSpread, median, ratio, spread } from "../harness/stats.ts";
import type { CacheKind } from "../peers/caches.ts";
import { buildClientGo, type ClientGo, GoChild } from "../peers/client-go-peer.ts";
import type { Opened } from "../subjects/cache.ts";
import { decoding } from "./decoding.ts";

const NODE_CONTESTANTS = [
  "floor-http2",
  "floor-http1",
  "floor-bytes",
  "ours",
  "ours-json",
  "client-node",
  "fluent-client",
] as const;
type Contestant = (typeof NODE_CONTESTANTS)[number] | "client-go";
const CACHE = new URL("../subjects/cache.ts", import.meta.url);

interface Ingest {
  frames: number;
  bytes: number;
  sample: CpuSample;
}

/** A burst of MODIFIED frames on an open watch of 2 000 pods. */
export const ingest: Bench = {
  name: "ingest",
  title: "Watch frames taken in",
  run: async (context) => {
    const pods = context.quick ? 200 : 2_000;
    const frames = context.quick ? 1_000 : 20_000;
    const replay = await startReplay({ pods });
    const clientGo = buildClientGo();
    const hasGo = typeof clientGo === "object";
    const contestants: Contestant[] = [...NODE_CONTESTANTS, ...(hasGo ? (["client-go"] as const) : [])];
    const start = (kind: Contestant): Child | GoChild =>
      kind === "client-go" ? new GoChild(clientGo as ClientGo) : new Child(CACHE);
    const nameOf = (kind: Contestant) => (kind === "client-go" ? (clientGo as ClientGo).name : NAMES[kind]);
    try {
      const results = await inTurns(contestants, context, (kind) => measure(replay, kind, start(kind), frames));
      const cpuUs = (kind: Contestant) => results[kind].map(({ sample }) => (sample.cpuMs * 1000) / frames);
      const perSecond = (kind: Contestant) => results[kind].map(({ sample }) => (frames / sample.wallMs) * 1000);
      const floor = median(cpuUs("floor-http2"));
      const ours = median(cpuUs("ours"));
      const best = Math.min(median(cpuUs("client-node")), median(cpuUs("fluent-client")));
      const points: [number, number][] = [];
      for (const size of context.quick ? [20] : [200, 20_000]) {
        const other = await startReplay({ pods: size });
        const { sample } = await measure(other, "ours", start("ours"), frames);
        points.push([size, (sample.cpuMs * 1000) / frames]);
        await other.child.stop();
      }
      points.push([pods, ours]);
      points.sort(([a], [b]) => a - b);
      const jsonBytes = Math.round((results["ours-json"][0]?.bytes ?? 0) / frames);
      const frameBytes = Math.round((results.ours[0]?.bytes ?? 0) / frames);
      const series: Series[] = [
        { name: "k8s-run-informer", size: "pods in the cache", unit: "CPU µs a frame", points },
      ];
      return {
        series,
        tables: [
          {
            title: `${frames.toLocaleString("en-US")} MODIFIED frames of ${jsonBytes.toLocaleString("en-US")} bytes of JSON, ${frameBytes.toLocaleString("en-US")} of protobuf, cache of ${pods.toLocaleString("en-US")}`,
            columns: ["client", "CPU µs a frame", "against the floor", "frames/s"],
            rows: contestants.map((kind) => [
              nameOf(kind),
              formatSpread(spread(cpuUs(kind))),
              ratio(median(cpuUs(kind)) / floor),
              formatSpread(spread(perSecond(kind))),
            ]),
          },
          decoding(context.quick),
        ],
        goals: [
          {
            what: "CPU a frame, HTTP/2 and TLS included, against bare reading and JSON.parse",
            goal: "≤ 0.5×",
            figure: ratio(ours / floor),
            met: ours <= 0.5 * floor,
          },
          {
            what: "CPU a frame against the better of the two other informers",
            goal: "< 1×",
            figure: ratio(ours / best),
            met: ours < best,
          },
          ...(hasGo
            ? [
                {
                  what: "CPU a frame against client-go's typed informer, in Go",
                  goal: "< 1×",
                  figure: ratio(ours / median(cpuUs("client-go"))),
                  met: ours < median(cpuUs("client-go")),
                },
              ]
            : []),
        ],
        notes: [
          "The floor keeps nothing: it splits lines and parses them. k8s-run-informer asks for protobuf, as of a real server; all others but client-go get JSON. client-node and fluent-client speak HTTP/1.1, the others HTTP/2 as a Kubernetes client should.",
          `HTTP/2 and TLS alone, of Node, take ${format(median(cpuUs("floor-bytes")))} µs a frame of protobuf: no client in Node can be below ${ratio(median(cpuUs("floor-bytes")) / floor)} of the floor. What is left for decoding, trimming, the cache and delivery is ${format(ours - median(cpuUs("floor-bytes")))} µs.`,
          ...(hasGo ? [] : [`client-go's typed informer was skipped: ${clientGo}.`]),
        ],
      };
    } finally {
      await replay.child.stop();
      if (hasGo) clientGo.remove();
    }
  },
};

export const NAMES: Record<CacheKind, string> = {
  ours: "k8s-run-informer",
  "ours-json": "k8s-run-informer, JSON",
  "ours-whole": "k8s-run-informer, whole objects",
  "client-node": "client-node makeInformer",
  "fluent-client": "kubernetes-fluent-client",
  "floor-http2": "floor: undici (HTTP/2) + JSON.parse",
  "floor-http1": "floor: undici (HTTP/1.1) + JSON.parse",
  "floor-bytes": "HTTP/2 and TLS of Node alone, protobuf",
};

async function measure(replay: Replay, kind: Contestant, subject: Child | GoChild, frames: number): Promise<Ingest> {
  try {
    await subject.call<Opened>("open", { kind, endpoint: replay.endpoint });
    await watchersOpen(replay, "pods", 1);
    // A part first, so that the engine's compilers have seen the code.
    await burst(replay, subject, Math.round(frames / 5));
    return { frames, ...(await burst(replay, subject, frames)) };
  } finally {
    await subject.stop();
    await watchersOpen(replay, "pods", 0);
  }
}

async function burst(
  replay: Replay,
  subject: Child | GoChild,
  count: number,
): Promise<{ bytes: number; sample: CpuSample }> {
  await subject.call("arm", count);
  const { bytes } = await replay.child.call<{ bytes: number }>("modify", { count });
  return { bytes, sample: await subject.call<CpuSample>("taken") };
}
