/**
 * `k8s-run-informer/metrics`: OpenTelemetry metrics of every engine in this process. Needs `@opentelemetry/api`, and an SDK that the
 * program has set up; without an SDK nothing is measured.
 */
import { type MeterProvider, metrics } from "@opentelemetry/api";
import { instrument } from "./instruments.ts";

/** Begins to measure. Default: the global meter provider. Returns the function that ends it. */
export function observeEngines(provider: MeterProvider = metrics.getMeterProvider()): () => void {
  return instrument(provider.getMeter("k8s-run-informer"));
}
