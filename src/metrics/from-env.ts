const PORT_VARIABLE = "K8S_RUN_INFORMER_METRICS_PORT";
const STARTED = Symbol.for("k8s-run-informer.metrics-server");

/**
 * Serves metrics on the port that `K8S_RUN_INFORMER_METRICS_PORT` names, once in a process, whatever number of copies of this code
 * is loaded. A port that cannot be had is a process warning: agents run all the same.
 */
export function serveMetricsFromEnv(env: NodeJS.ProcessEnv): void {
  const text = env[PORT_VARIABLE];
  const known = globalThis as { [STARTED]?: true };
  if (text === undefined || text === "" || known[STARTED] === true) return;
  known[STARTED] = true;
  start(text).catch((error: unknown) =>
    process.emitWarning(
      `${PORT_VARIABLE}: metrics are not served: ${error instanceof Error ? error.message : String(error)}`,
    ),
  );
}

async function start(text: string): Promise<void> {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535)
    throw new TypeError(`got ${JSON.stringify(text)}; give a port from 0 to 65535`);
  // A file of its own beside the bundle: it brings an SDK that most processes do not need.
  const here = import.meta.url;
  // This code is in the root's bundle and in a chunk: what both know is the folder that all are in.
  const file = here.endsWith(".ts")
    ? new URL("./server.ts", here).href
    : `${here.slice(0, here.lastIndexOf("/dist/"))}/dist/metrics/server.js`;
  const { serveMetrics } = (await import(file)) as typeof import("./server.ts");
  await serveMetrics({ port });
}
