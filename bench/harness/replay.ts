import type { Endpoint } from "../peers/kube-config.ts";
import { Child } from "./child.ts";
import type { ReplayAddress, ReplayOptions } from "./replay-server.ts";

export interface Replay {
  child: Child;
  endpoint: Endpoint;
  bytes: { pods: number; jobs: number };
}

const ENDED_AND_RUNNING = ["Running", "Succeeded", "Failed"];

/** Starts the replay server in its own process. */
export async function startReplay(options: Partial<ReplayOptions> = {}): Promise<Replay> {
  const child = new Child(new URL("./replay-server.ts", import.meta.url));
  const full: ReplayOptions = { pods: 0, jobs: 0, phases: ENDED_AND_RUNNING, ...options };
  const { url, ca, bytes } = await child.call<ReplayAddress>("start", full);
  return { child, endpoint: { url, ca, namespace: "bench" }, bytes };
}

/** Until so many watches of a resource are open. */
export async function watchersOpen({ child }: Replay, resource: "pods" | "jobs", count: number): Promise<void> {
  const giveUpAt = performance.now() + 30_000;
  while (true) {
    const open = (await child.call<Record<string, number>>("watchers"))[resource];
    if (open === count) return;
    if (performance.now() > giveUpAt) throw new Error(`${open} watches of ${resource} are open instead of ${count}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
