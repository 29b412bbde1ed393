import type { Meter } from "@opentelemetry/api";
import type { ResultMessage, StartMessage } from "../adapter/diagnostics.ts";
import type { LogGapReason, LogMessage, RequestMessage, RunEndKind, RunMessage, WatchEvent } from "../engine/index.ts";
import { listen } from "./channels.ts";
import { observeGauges } from "./gauges.ts";

/** Seconds: requests take milliseconds, starts seconds, runs hours. */
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const START_SECONDS = [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600];
const RUN_SECONDS = [10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 21_600, 86_400];

const ENDS: readonly RunEndKind[] = [
  "succeeded",
  "failed",
  "deadline",
  "job_deleted",
  "pod_deleted",
  "evicted",
  "start_failed",
];
const GAPS: readonly LogGapReason[] = [
  "rotated",
  "pod_gone",
  "restarted",
  "clock_stepped",
  "unreachable",
  "limit_reached",
];

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
  const to = instrumentsOf(meter);
  const times = new Map<string, Times>();
  const onRequest = ({ verb, resource, status, durationMs }: RequestMessage) => {
    const attributes = { verb, resource, code: status === 0 ? "none" : String(status) };
    to.requests.add(1, attributes);
    to.requestDuration.record(durationMs / 1_000, { verb, resource });
  };
  const onWatch = ({ type, resource, error }: WatchEvent) => {
    if (type === "lost") to.watchLosses.add(1, { resource, cause: error === null ? "timeout" : causeOf(error) });
  };
  const onRun = ({ type, run, event }: RunMessage) => {
    const now = performance.now();
    const known = times.get(run.id);
    switch (type) {
      case "followed":
        times.set(run.id, { followedAt: now, readyAt: null });
        return to.followed.add(1, { how: event.how });
      case "ready":
        if (known === undefined || known.readyAt !== null) return;
        known.readyAt = now;
        return to.startDuration.record((now - known.followedAt) / 1_000);
      case "terminated":
        times.delete(run.id);
        to.ended.add(1, { kind: event.kind });
        if (known?.readyAt != null) to.runDuration.record((now - known.readyAt) / 1_000, { kind: event.kind });
        return;
      case "gone":
      case "released":
        times.delete(run.id);
        return;
      case "gap":
        return to.gaps.add(1, { reason: event.reason });
      case "pod":
      case "restart":
        return to.restarts.add(1, { of: type === "pod" ? "pod" : "container" });
    }
  };
  const onLog = (each: LogMessage) => {
    if (each.type === "lines") to.logBytes.add(each.bytes);
    else if (each.after !== null) to.logReconnects.add(1, { cause: each.after });
  };
  const onStart = (each: StartMessage) => {
    if (each.type === "decision") to.decisions.add(1, { decision: each.decision, code: each.code ?? "none" });
    else if (each.isAdopted) to.adoptions.add(1);
  };
  const onResult = ({ result: { errorCode, costUsd } }: ResultMessage) => {
    to.results.add(1, { code: errorCode ?? "none" });
    // A counter takes no negative number, and no agent is to be believed.
    if (typeof costUsd === "number" && costUsd > 0 && Number.isFinite(costUsd)) to.cost.add(costUsd);
  };
  const stopListening = listen({
    request: onRequest,
    watch: onWatch,
    run: onRun,
    log: onLog,
    start: onStart,
    result: onResult,
  });
  const stopGauges = observeGauges(meter);
  return () => {
    stopListening();
    stopGauges();
    times.clear();
  };
}

/** Counters with few attributes are there from the beginning, at zero. */
function instrumentsOf(meter: Meter) {
  const counter = (name: string, description: string, unit?: string) =>
    meter.createCounter(`k8s_run_informer.${name}`, { description, ...(unit === undefined ? {} : { unit }) });
  const seconds = (name: string, explicitBucketBoundaries: number[], description: string) =>
    meter.createHistogram(`k8s_run_informer.${name}`, { unit: "s", description, advice: { explicitBucketBoundaries } });
  const to = {
    requests: counter("requests", "Requests to the API server."),
    requestDuration: seconds(
      "request.duration",
      REQUEST_SECONDS,
      "From a request's sending to the head of its answer.",
    ),
    watchLosses: counter(
      "watch.losses",
      "Watches that ended. cause: timeout (as every watch does after some minutes), or what was wrong.",
    ),
    followed: counter("runs.followed", "Runs that were launched, or attached to."),
    ended: counter("runs.ended", "Runs that ended, by how."),
    startDuration: seconds("run.start.duration", START_SECONDS, "From a launch's answer until the container runs."),
    runDuration: seconds("run.duration", RUN_SECONDS, "From the container's start until its end is known."),
    gaps: counter("log.gaps", "Places in logs where lines are, or may be, missing."),
    logBytes: counter("log.bytes", "Text of log lines, handed over.", "By"),
    logReconnects: counter(
      "log.reconnects",
      "Requests for a log after the first of its follow. cause: how the one before ended.",
    ),
    decisions: counter(
      "guard.decisions",
      "What the adapter's guard of one run an agent decided. code: why it refused.",
    ),
    adoptions: counter("adoptions", "Runs of an earlier process that the adapter took over."),
    results: counter("results", "Results of the adapter by error code; none: it has no code, as a success."),
    cost: counter("cost", "What runs cost, as their output says.", "USD"),
    restarts: counter("run.restarts", "Containers that were started again, and pods that took the place of another."),
  };
  // A counter that begins with its first event rises from nothing, which no `increase()` sees.
  for (const kind of ENDS) to.ended.add(0, { kind });
  for (const reason of GAPS) to.gaps.add(0, { reason });
  for (const cause of ["clean", "broken", "refused"]) to.logReconnects.add(0, { cause });
  for (const what of ["pod", "container"]) to.restarts.add(0, { of: what });
  for (const counter of [to.logBytes, to.adoptions, to.cost]) counter.add(0);
  return to;
}

/** The reason of an API error, else the error's class: few values, whatever the message. */
function causeOf(error: Error): string {
  const { reason } = error as { reason?: unknown };
  return typeof reason === "string" && reason !== "" ? reason : error.name;
}
