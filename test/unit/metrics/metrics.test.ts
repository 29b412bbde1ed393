/** What a Prometheus would scrape, and what OpenTelemetry's SDK gets, of an engine on the embedded Kubernetes. */
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { RunEngine } from "../../../src/engine/index.ts";
import { observeEngines } from "../../../src/metrics/index.ts";
import { type MetricsServer, serveMetrics } from "../../../src/metrics/server.ts";
import { testDefinition } from "../adapter/test-definition.ts";
import { crash, run as startRun, startWorld } from "../adapter/world.ts";
import { kubeConfigOf } from "../engine/harness.ts";

const labels = { app: "metrics" };
let k8s: EmbeddedKubernetes;
let server: MetricsServer;

beforeEach(async () => {
  k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["agents"] });
  k8s.addProgram("main", async function* ({ args, sleep }) {
    yield "a line";
    if (args.includes("wait")) await sleep(1e9, { interruptible: true });
    return args.includes("fail") ? 3 : 0;
  });
  server = await serveMetrics({ port: 0, host: "127.0.0.1" });
});
afterEach(async () => {
  await server.close();
  await k8s.stop();
});

const job = (name: string, ...args: string[]) => ({
  metadata: { name, namespace: "agents", labels },
  spec: {
    backoffLimit: 0,
    template: {
      metadata: { labels },
      spec: { restartPolicy: "Never", containers: [{ name: "main", image: "main:1", args }] },
    },
  },
});

async function scrape(path = "/metrics"): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
  return { status: response.status, text: await response.text() };
}

/** The value of a series, or null. */
async function value(series: string): Promise<number | null> {
  const { text } = await scrape();
  const line = text.split("\n").find((each) => each.startsWith(`${series} `));
  return line === undefined ? null : Number(line.slice(series.length + 1).split(" ")[0]);
}

test("runs, requests and watches are counted, and gauges say how it stands", async () => {
  expect(await value("k8s_run_informer_runs_active")).toBeNull();
  await using engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: "agents", labels });
  const good = await engine.launch(job("good"));
  const bad = await engine.launch(job("bad", "fail"));
  const long = await engine.launch(job("long", "wait"));
  await good.terminated({ container: "main" });
  await bad.terminated({ container: "main" });
  await long.podReady({ container: "main" });

  expect(await value('k8s_run_informer_runs_followed_total{how="launch"}')).toBe(3);
  expect(await value('k8s_run_informer_runs_ended_total{kind="succeeded"}')).toBe(1);
  expect(await value('k8s_run_informer_runs_ended_total{kind="failed"}')).toBe(1);
  expect(await value('k8s_run_informer_runs_active{phase="running"}')).toBe(1);
  expect(await value('k8s_run_informer_requests_total{verb="create",resource="jobs",code="201"}')).toBe(3);
  expect(await value('k8s_run_informer_cache_objects{resource="pods"}')).toBe(3);
  expect(await value('k8s_run_informer_watch_open{resource="jobs"}')).toBe(1);
  expect(await value("k8s_run_informer_launches_waiting")).toBe(0);
  const { text } = await scrape();
  expect(text).toMatch(/k8s_run_informer_run_start_duration_count 3/);
  expect(text).toMatch(/k8s_run_informer_request_duration_bucket/);
  // Attributes are few, whatever runs: no name of a run, pod or agent.
  expect(text).not.toMatch(/good|"bad|long|agents/);
});

test("/readyz fails while a watch is not open, /healthz does not", async () => {
  await using engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: "agents", labels });
  expect(await scrape("/readyz")).toEqual({ status: 200, text: "ok\n" });
  const lost = new Promise<void>((resolve) => {
    engine.bus.subscribe("watch", ({ type }) => {
      if (type === "lost") resolve();
    });
  });
  await k8s.stop();
  await lost;
  const { status, text } = await scrape("/readyz");
  expect(status).toBe(503);
  expect(text).toMatch(/the watch of (jobs|pods) is not open/);
  expect((await scrape("/healthz")).status).toBe(200);
  expect(await scrape("/nope")).toMatchObject({ status: 404 });
});

test("a program's own OpenTelemetry SDK gets the same, and nothing after the end of it", async () => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  const stop = observeEngines(provider);
  await using engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: "agents", labels });
  const run = await engine.launch(job("one"));
  await run.terminated({ container: "main" });
  await provider.forceFlush();
  const names = () =>
    exporter
      .getMetrics()
      .at(-1)
      ?.scopeMetrics.flatMap(({ metrics }) => metrics.map(({ descriptor }) => descriptor.name)) ?? [];
  expect(names()).toEqual(expect.arrayContaining(["k8s_run_informer.runs.ended", "k8s_run_informer.run.duration"]));
  stop();
  await provider.shutdown();
});

test("of logs: the bytes of their lines, and requests after the first by what ended the one before", async () => {
  k8s.addProgram("main", async function* ({ sleep }) {
    yield "東京";
    await sleep(1e9, { interruptible: true });
    return 0;
  });
  await using engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: "agents", labels });
  const run = await engine.launch(job("told", "wait"));
  const lines = run.logs({ container: "main" })[Symbol.asyncIterator]();
  expect((await lines.next()).value?.text).toBe("東京");
  expect(await value("k8s_run_informer_log_bytes_total")).toBe(6);
  expect(k8s.faults.cutOpenLogs({ how: "reset" })).toBe(1);
  const end = lines.next();
  await expect.poll(() => value('k8s_run_informer_log_reconnects_total{cause="broken"}')).toBe(1);
  await run.delete({ gracePeriodSeconds: 0 });
  await end;
  // What was read before the cut is not counted again.
  expect(await value("k8s_run_informer_log_bytes_total")).toBe(6);
});

test("of the adapter: what the guard decided, adoptions, results by code and their cost", async () => {
  const world = await startWorld();
  try {
    const finish = Promise.withResolvers<void>();
    world.agents.set("ada", async function* () {
      yield '{"text":"hello"}';
      await finish.promise;
      yield '{"done":true,"ok":true}';
      return 0;
    });
    const adapter = createK8sAdapter(testDefinition().definition, { env: world.env });
    const begin = (taskId: string) =>
      startRun(world, adapter, { agentId: "ada", taskId, config: { concurrencyPolicy: "block" } });
    const first = begin("task-1");
    await first.logged("hello");
    expect((await begin("task-2").result).errorCode).toBe("k8s_concurrent_run_blocked");
    await crash(first);
    const second = begin("task-1");
    await second.logged("Reattaching");
    finish.resolve();
    expect((await second.result).errorMessage).toBeUndefined();

    const decision = (decision: string, code = "none") =>
      value(`k8s_run_informer_guard_decisions_total{decision="${decision}",code="${code}"}`);
    expect(await decision("start")).toBe(1);
    expect(await decision("adopt")).toBe(1);
    expect(await decision("refuse", "k8s_concurrent_run_blocked")).toBe(1);
    expect(await value("k8s_run_informer_adoptions_total")).toBe(1);
    expect(await value('k8s_run_informer_results_total{code="none"}')).toBe(1);
    expect(await value('k8s_run_informer_results_total{code="cancelled"}')).toBe(1);
    expect(await value("k8s_run_informer_cost_total")).toBe(0.5);
  } finally {
    await world.stop();
  }
});
