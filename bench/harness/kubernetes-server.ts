import {
  type ActiveSeatLimit,
  type ContainerContext,
  EmbeddedKubernetes,
  type EmbeddedKubernetesOptions,
  type SeatLimitOptions,
} from "../../src/embedded/index.ts";
import { monotonicMs, serve } from "./child.ts";

/**
 * The embedded Kubernetes in its own process. Its containers print the stream of a Claude run; `BENCH_RUN_MS` says how long
 * they take by the cluster's clock, `BENCH_LINE_MS` how often they print; without the former they end when `release` is called.
 */

/** When the server itself wrote that a run's container runs, and that it has ended, in `monotonicMs`. */
export interface ServerTimes {
  readyAt: number | null;
  endedAt: number | null;
}

export const NAMESPACE = "bench";
export const CONTAINER = "claude";

let k8s: EmbeddedKubernetes | null = null;
const times = new Map<string, ServerTimes>();
let running = 0;
let limit: ActiveSeatLimit | undefined;
let release = () => {};
let released = Promise.resolve();
let onRunning = () => {};

interface PodLike {
  metadata: { ownerReferences?: { name: string }[]; namespace?: string; labels?: Record<string, string> };
  status?: { containerStatuses?: { name: string; state?: { running?: object; terminated?: object } }[] };
}

async function start(options: EmbeddedKubernetesOptions): Promise<{ url: string; ca: string }> {
  k8s = await EmbeddedKubernetes.start({ ...options, namespaces: [NAMESPACE], events: "none", overcommit: true });
  k8s.addUser({ name: "bench", token: "bench", groups: ["system:masters"] });
  k8s.addProgram(CONTAINER, claude);
  k8s.objects.onChange(({ type, resource, object }) => {
    if (resource !== "pods" || type === "DELETED") return;
    note(object as unknown as PodLike);
  });
  return { url: k8s.url, ca: k8s.ca };
}

function note({ metadata, status }: PodLike): void {
  const job = metadata.ownerReferences?.[0]?.name;
  const state = status?.containerStatuses?.find(({ name }) => name === CONTAINER)?.state;
  if (job === undefined || state === undefined) return;
  let known = times.get(job);
  if (known === undefined) {
    known = { readyAt: null, endedAt: null };
    times.set(job, known);
  }
  if (state.running !== undefined && known.readyAt === null) {
    known.readyAt = monotonicMs();
    running += 1;
    onRunning();
  }
  if (state.terminated !== undefined && known.endedAt === null) {
    known.endedAt = monotonicMs();
    running -= 1;
  }
}

async function* claude(container: ContainerContext): AsyncGenerator<string, number, undefined> {
  const { BENCH_RUN_MS, BENCH_LINE_MS } = container.env;
  yield line({ type: "system", subtype: "init", session_id: SESSION, model: "bench", tools: [] });
  if (BENCH_RUN_MS === undefined) {
    for (let step = 0; step < 5; step += 1) yield thought(step);
    await released;
    for (let step = 5; step < 10; step += 1) yield thought(step);
  } else {
    const runMs = Number(BENCH_RUN_MS);
    const everyMs = Number(BENCH_LINE_MS ?? 1_000);
    for (let at = 0; at < runMs; at += everyMs) {
      await container.sleep(Math.min(everyMs, runMs - at));
      yield thought(at);
    }
  }
  yield line({
    type: "result",
    subtype: "success",
    is_error: false,
    session_id: SESSION,
    result: "Done.",
    total_cost_usd: 0.01,
    usage: { input_tokens: 10, output_tokens: 20 },
  });
  return 0;
}

const SESSION = "00000000-0000-4000-8000-000000000000";

function thought(step: number): string {
  const content = [{ type: "text", text: `Step ${step}: reading the issue, the files that it names and their tests` }];
  return line({ type: "assistant", session_id: SESSION, message: { id: `msg_${step}`, role: "assistant", content } });
}

function line(event: object): string {
  return JSON.stringify(event);
}

serve({
  start,
  counts: () => k8s?.requests.snapshot(),
  cpuMs: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
  times: () => [...times],
  /** Containers started from now on run until `release`. */
  hold: () => {
    released = new Promise<void>((resolve) => {
      release = resolve;
    });
  },
  release: () => release(),
  /** Resolves when so many containers run. */
  runningIs: async (count: number) => {
    await new Promise<void>((resolve) => {
      onRunning = () => {
        if (running >= count) resolve();
      };
      onRunning();
    });
  },
  /** Resolves when no Job and no pod is left. */
  empty: async () => {
    await k8s?.objects.until(() =>
      ["jobs", "pods"].every((each) => k8s?.objects.list(each as "jobs", NAMESPACE).length === 0),
    );
    times.clear();
  },
  limitSeats: (options: SeatLimitOptions) => {
    limit = k8s?.faults.limitSeats(options);
  },
  /** How often each object was refused that was. */
  refusals: () => [...(limit?.refusals.values() ?? [])],
  openWatches: () => k8s?.openWatches,
});
