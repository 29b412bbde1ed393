import { channel, subscribe, unsubscribe } from "node:diagnostics_channel";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { instrument } from "../../src/metrics/instruments.ts";

const CHANNELS = ["request", "watch", "run", "log", "start", "result"].map((name) => `k8s-run-informer:${name}`);

export interface MeasuringCost {
  messages: number;
  /** Of all messages, once. */
  cpuMs: number;
  /** Of one scrape. */
  scrapeMs: number;
}

/** What runs tell the diagnostics channels is kept, and told again to the instruments alone, so that their cost is seen without noise. */
export function messageMethods() {
  const kept: [name: string, message: unknown][] = [];
  const listeners = CHANNELS.map((name) => [name, (message: unknown) => kept.push([name, message])] as const);
  return {
    keepMessages: () => {
      for (const [name, listener] of listeners) subscribe(name, listener);
    },
    measuringCost: async (times: number): Promise<MeasuringCost> => {
      for (const [name, listener] of listeners) unsubscribe(name, listener);
      const reader = new PrometheusExporter({ preventServerStart: true });
      const stop = instrument(new MeterProvider({ readers: [reader] }).getMeter("bench"));
      const tellAll = () => {
        for (const [name, message] of kept) channel(name).publish(message);
      };
      tellAll();
      const cpuMs = cpuOf(() => {
        for (let time = 0; time < times; time += 1) tellAll();
      });
      const serializer = new PrometheusSerializer();
      const began = process.cpuUsage();
      for (let time = 0; time < times; time += 1) serializer.serialize((await reader.collect()).resourceMetrics);
      const scraped = process.cpuUsage(began);
      stop();
      return {
        messages: kept.length,
        cpuMs: cpuMs / times,
        scrapeMs: (scraped.user + scraped.system) / 1_000 / times,
      };
    },
  };
}

function cpuOf(work: () => void): number {
  const began = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1_000;
}
