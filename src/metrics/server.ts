import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { liveEngines } from "../engine/index.ts";
import { instrument } from "./instruments.ts";

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * A small HTTP server of its own, for programs in which no endpoint can be mounted:
 *
 * - `/metrics`: Prometheus text
 * - `/healthz`: 200 while the process answers
 * - `/readyz`: 200 while every watch of every engine is open, else 503 with what is wrong
 *
 * @throws Error when the port is taken
 */
export async function serveMetrics({
  port,
  host = "0.0.0.0",
}: {
  port: number;
  host?: string;
}): Promise<MetricsServer> {
  const reader = new PrometheusExporter({ preventServerStart: true });
  const provider = new MeterProvider({ readers: [reader] });
  const stop = instrument(provider.getMeter("k8s-run-informer"));
  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true);
  const server = createServer((request, response) => {
    const answer = (status: number, body: string) => {
      response.writeHead(status, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
      response.end(body);
    };
    switch (request.url?.split("?")[0]) {
      case "/metrics":
        reader.collect().then(
          ({ resourceMetrics }) => answer(200, serializer.serialize(resourceMetrics)),
          (error: unknown) => answer(500, `${String(error)}\n`),
        );
        return;
      case "/healthz":
        return answer(200, "ok\n");
      case "/readyz": {
        const problems = problemsOfWatches();
        return answer(problems.length === 0 ? 200 : 503, problems.length === 0 ? "ok\n" : `${problems.join("\n")}\n`);
      }
      default:
        return answer(404, "there are /metrics, /healthz and /readyz\n");
    }
  });
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (error) {
    stop();
    throw error;
  }
  // It must not keep the process from ending.
  server.unref();
  return {
    port: portOf(server),
    close: async () => {
      stop();
      server.closeAllConnections();
      server.close();
      await provider.shutdown();
    },
  };
}

function problemsOfWatches(): string[] {
  const problems: string[] = [];
  for (const { cluster, jobs, pods } of liveEngines())
    for (const [resource, informer] of Object.entries({ jobs, pods })) {
      const { connected, error } = informer.freshness();
      if (!connected)
        problems.push(
          `${cluster.server}: the watch of ${resource} is not open${error === null ? "" : `: ${error.message}`}`,
        );
    }
  return problems;
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
