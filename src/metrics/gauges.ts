import type { Attributes, Meter, ObservableResult } from "@opentelemetry/api";
import { type EngineStats, liveEngines } from "../engine/index.ts";

/** Gauges of all engines together. */
export function observeGauges(meter: Meter): () => void {
  const gauge = (name: string, description: string, unit?: string) =>
    meter.createObservableGauge(`k8s_run_informer.${name}`, { description, ...(unit === undefined ? {} : { unit }) });
  const active = gauge("runs.active", "Runs that are followed, by phase.");
  const objects = gauge("cache.objects", "Objects in the caches.");
  const open = gauge("watch.open", "1 while every watch of the resource is open.");
  const age = gauge("watch.age", "Since the last byte of the quietest watch; bookmarks keep it under a minute.", "s");
  const connections = gauge("connections.open", "Open connections to API servers.");
  const launches = gauge("launches.waiting", "Launches that wait for their turn.");
  const launchWait = gauge("launches.wait", "Since the oldest of them was asked for.", "s");
  const observe = (of: typeof active, collect: (result: ObservableResult) => void) => {
    of.addCallback(collect);
    return () => of.removeCallback(collect);
  };
  const each =
    (take: (stats: EngineStats) => Iterable<readonly [number, Attributes?]>) => (result: ObservableResult) => {
      const sums = new Map<string, [number, Attributes]>();
      for (const engine of liveEngines())
        for (const [value, attributes = {}] of take(engine.stats())) {
          const key = JSON.stringify(attributes);
          sums.set(key, [value + (sums.get(key)?.[0] ?? 0), attributes]);
        }
      for (const [value, attributes] of sums.values()) result.observe(value, attributes);
    };
  const worst =
    (take: (freshness: { connected: boolean; ageMs: number }) => number, pick: (...of: number[]) => number) =>
    (result: ObservableResult) => {
      const engines = [...liveEngines()];
      if (engines.length === 0) return;
      for (const resource of ["jobs", "pods"] as const)
        result.observe(pick(...engines.map((engine) => take(engine[resource].freshness()))), { resource });
    };
  const stops = [
    observe(
      active,
      each(({ phases }) => Object.entries(phases).map(([phase, count]) => [count, { phase }] as const)),
    ),
    observe(
      objects,
      each(({ informers }) =>
        informers.map((informer) => [informer.objects, { resource: informer.resource }] as const),
      ),
    ),
    observe(
      connections,
      each(({ requests }) => [[requests.connectionsOpen]]),
    ),
    observe(
      launches,
      each(({ queue }) => [[queue.waiting]]),
    ),
    observe(launchWait, (result) => {
      const waits = [...liveEngines()].map((engine) => engine.stats().queue.longestWaitMs);
      if (waits.length > 0) result.observe(Math.max(...waits) / 1_000);
    }),
    observe(
      open,
      worst(({ connected }) => Number(connected), Math.min),
    ),
    observe(
      age,
      worst(({ ageMs }) => (Number.isFinite(ageMs) ? ageMs / 1_000 : 0), Math.max),
    ),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
