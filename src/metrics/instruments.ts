import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Attributes, Meter, ObservableResult } from "@opentelemetry/api";
import {
  type EngineStats,
  liveEngines,
  type RequestMessage,
  type RunMessage,
  type WatchEvent,
} from "../engine/index.ts";

/** Seconds: requests take milliseconds, starts seconds, runs hours. */
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const START_SECONDS = [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600];
const RUN_SECONDS = [10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 21_600, 86_400];

interface Times {
  followedAt: number;
  readyAt: number | null;
}

/**
 * Measures every engine of this process on `meter`: counters and histograms from the diagnostics channels, gauges from the engines'
 * own counts when they are collected. No attribute names an agent, a run or a pod, so that their number stays small.
 * Returns the function that ends it.
 */
export function instrument(meter: Meter): () => void {
  const requests = meter.createCounter("k8s_run_informer.requests", { description: "Requests to the API server." });
  const requestDuration = meter.createHistogram("k8s_run_informer.request.duration", {
    unit: "s",
    description: "From a request's sending to the head of its answer.",
    advice: { explicitBucketBoundaries: REQUEST_SECONDS },
  });
  const watchLosses = meter.createCounter("k8s_run_informer.watch.losses", {
    description: "Watches that ended. cause: timeout (as every watch does after some minutes), or what was wrong.",
  });
  const followed = meter.createCounter("k8s_run_informer.runs.followed", {
    description: "Runs that were launched, or attached to.",
  });
  const ended = meter.createCounter("k8s_run_informer.runs.ended", { description: "Runs that ended, by how." });
  const startDuration = meter.createHistogram("k8s_run_informer.run.start.duration", {
    unit: "s",
    description: "From a launch's answer until the container runs.",
    advice: { explicitBucketBoundaries: START_SECONDS },
  });
  const runDuration = meter.createHistogram("k8s_run_informer.run.duration", {
    unit: "s",
    description: "From the container's start until its end is known.",
    advice: { explicitBucketBoundaries: RUN_SECONDS },
  });
  const gaps = meter.createCounter("k8s_run_informer.log.gaps", {
    description: "Places in logs where lines are, or may be, missing.",
  });
  const restarts = meter.createCounter("k8s_run_informer.run.restarts", {
    description: "Containers that were started again, and pods that took the place of another.",
  });

  const times = new Map<string, Times>();
  const onRequest = (message: unknown) => {
    const { verb, resource, status, durationMs } = message as RequestMessage;
    const attributes = { verb, resource, code: status === 0 ? "none" : String(status) };
    requests.add(1, attributes);
    requestDuration.record(durationMs / 1_000, { verb, resource });
  };
  const onWatch = (message: unknown) => {
    const { type, resource, error } = message as WatchEvent;
    if (type === "lost") watchLosses.add(1, { resource, cause: error === null ? "timeout" : causeOf(error) });
  };
  const onRun = (message: unknown) => {
    const { type, run, event } = message as RunMessage;
    const now = performance.now();
    const known = times.get(run.id);
    switch (type) {
      case "followed":
        times.set(run.id, { followedAt: now, readyAt: null });
        return followed.add(1, { how: event.how });
      case "ready":
        if (known === undefined || known.readyAt !== null) return;
        known.readyAt = now;
        return startDuration.record((now - known.followedAt) / 1_000);
      case "terminated":
        times.delete(run.id);
        ended.add(1, { kind: event.kind });
        if (known?.readyAt != null) runDuration.record((now - known.readyAt) / 1_000, { kind: event.kind });
        return;
      case "gone":
        times.delete(run.id);
        return;
      case "gap":
        return gaps.add(1, { reason: event.reason });
      case "pod":
      case "restart":
        return restarts.add(1, { of: type === "pod" ? "pod" : "container" });
    }
  };
  const channels = { request: onRequest, watch: onWatch, run: onRun };
  for (const [name, listener] of Object.entries(channels)) subscribe(`k8s-run-informer:${name}`, listener);
  const stopGauges = observeEngines(meter);
  return () => {
    for (const [name, listener] of Object.entries(channels)) unsubscribe(`k8s-run-informer:${name}`, listener);
    stopGauges();
    times.clear();
  };
}

/** Gauges of all engines together. */
function observeEngines(meter: Meter): () => void {
  const gauge = (name: string, description: string, unit?: string) =>
    meter.createObservableGauge(`k8s_run_informer.${name}`, { description, ...(unit === undefined ? {} : { unit }) });
  const active = gauge("runs.active", "Runs that are followed, by phase.");
  const objects = gauge("cache.objects", "Objects in the caches.");
  const open = gauge("watch.open", "1 while every watch of the resource is open.");
  const age = gauge("watch.age", "Since the last byte of the quietest watch; bookmarks keep it under a minute.", "s");
  const connections = gauge("connections.open", "Open connections to API servers.");
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

/** The reason of an API error, else the error's class: few values, whatever the message. */
function causeOf(error: Error): string {
  const { reason } = error as { reason?: unknown };
  return typeof reason === "string" && reason !== "" ? reason : error.name;
}
