import { channel } from "node:diagnostics_channel";
import type { Bus } from "./bus.ts";
import type { EngineStats } from "./engine-types.ts";
import type { Freshness } from "./informer/informer.ts";
import type { RunEvents, RunRef } from "./runs/topics.ts";
import type { EngineTopics, WatchEvent } from "./topics.ts";

/**
 * What engines tell the process, for metrics and traces. Channels of `node:diagnostics_channel` have one name for all copies of this
 * code, so that a subscriber sees the engines of every bundle:
 *
 * - `k8s-run-informer:request`: `RequestMessage`
 * - `k8s-run-informer:watch`: `WatchEvent`
 * - `k8s-run-informer:run`: `RunMessage`
 * - `k8s-run-informer:log`: `LogMessage`
 *
 * The adapter has two more: `k8s-run-informer:start` and `k8s-run-informer:result`.
 */
const watches = channel("k8s-run-informer:watch");
const runs = channel("k8s-run-informer:run");

/** The events of runs that a channel carries; `phase` and `change` are left out, since each frame may bring one. */
const RUN_EVENTS = ["followed", "ready", "terminated", "gone", "pod", "gap", "restart", "released"] as const;
type RunEventName = (typeof RUN_EVENTS)[number];

/** Channel `k8s-run-informer:run`. */
export type RunMessage = {
  [E in RunEventName]: { type: E; run: RunRef; event: RunEvents[E]; server: string };
}[RunEventName];

/** What can be asked of each engine of this process, for gauges. */
export interface DiagnosedEngine {
  readonly cluster: { readonly server: string };
  readonly jobs: { freshness(): Freshness };
  readonly pods: { freshness(): Freshness };
  stats(): EngineStats;
}

const ENGINES = Symbol.for("k8s-run-informer.engines");

/** The engines of this process that have not been stopped, those of other copies of this code among them. */
export function liveEngines(): Set<DiagnosedEngine> {
  const known = globalThis as { [ENGINES]?: Set<DiagnosedEngine> };
  known[ENGINES] ??= new Set();
  return known[ENGINES];
}

/** Publishes what an engine's bus says. Returns the function that ends it. */
export function diagnose(engine: DiagnosedEngine & { readonly bus: Bus<EngineTopics> }): () => void {
  const { bus, cluster } = engine;
  liveEngines().add(engine);
  const stops = RUN_EVENTS.map((type) =>
    bus.subscribe(`run.${type}`, ({ run, event }) => {
      if (runs.hasSubscribers) runs.publish({ type, run, event, server: cluster.server } as RunMessage);
    }),
  );
  stops.push(
    bus.subscribe("watch", (event: WatchEvent) => {
      if (watches.hasSubscribers) watches.publish(event);
    }),
  );
  return () => {
    liveEngines().delete(engine);
    for (const stop of stops) stop();
  };
}
