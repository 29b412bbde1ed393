/**
 * `k8s-run-informer/metrics`: OpenTelemetry metrics and traces of every engine in this process. Needs `@opentelemetry/api`, and an
 * SDK that the program has set up; without an SDK nothing is measured.
 */
import { type MeterProvider, metrics, type TracerProvider, trace } from "@opentelemetry/api";
import { instrument } from "./instruments.ts";
import { traceRuns } from "./spans.ts";

const SCOPE = "k8s-run-informer";

/** Begins to measure, and to make a span for each run. Default: the global providers. Returns the function that ends it. */
export function observeEngines(
  meters: MeterProvider = metrics.getMeterProvider(),
  tracers: TracerProvider = trace.getTracerProvider(),
): () => void {
  const stops = [instrument(meters.getMeter(SCOPE)), traceRuns(tracers.getTracer(SCOPE))];
  return () => {
    for (const stop of stops) stop();
  };
}
