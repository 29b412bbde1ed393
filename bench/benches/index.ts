import type { Bench } from "../harness/bench.ts";

/** In the order in which they run. */
export const BENCHES: Record<string, () => Promise<Bench>> = {
  requests: async () => (await import("./requests.ts")).requests,
  latency: async () => (await import("./latency.ts")).latency,
  ingest: async () => (await import("./ingest.ts")).ingest,
  sync: async () => (await import("./sync.ts")).sync,
  memory: async () => (await import("./memory.ts")).memory,
  logs: async () => (await import("./logs.ts")).logs,
  runs: async () => (await import("./runs.ts")).runs,
  burst: async () => (await import("./burst.ts")).burst,
  metrics: async () => (await import("./metrics.ts")).metrics,
  idle: async () => (await import("./idle.ts")).idle,
  fleet: async () => (await import("./fleet.ts")).fleet,
};
