/** The span of each run, as OpenTelemetry's SDK exports it, of runs on the embedded Kubernetes. */
import { AsyncLocalStorage } from "node:async_hooks";
import { type Context, type ContextManager, context, ROOT_CONTEXT, SpanStatusCode, trace } from "@opentelemetry/api";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { RunEngine } from "../../../src/engine/index.ts";
import { createServerAdapter } from "../../../src/index.ts";
import { observeEngines } from "../../../src/metrics/index.ts";
import { contextOf } from "../adapter/fixtures.ts";
import { startWorld } from "../adapter/world.ts";
import {
  InterruptedWorld,
  init,
  printsAndEnds,
  printsAndWorks,
  result,
  said,
  toolUse,
} from "../claude/interrupted-agent.ts";
import { evict } from "../disruptions.ts";
import { kubeConfigOf } from "../engine/harness.ts";

let exporter: InMemorySpanExporter;
let provider: BasicTracerProvider;

beforeEach(() => {
  exporter = new InMemorySpanExporter();
  provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  context.setGlobalContextManager(new AsyncContext());
});
afterEach(async () => {
  context.disable();
  await provider.shutdown();
});

/** As `@opentelemetry/context-async-hooks` does it, which a program's SDK brings. */
class AsyncContext implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();
  active = () => this.#storage.getStore() ?? ROOT_CONTEXT;
  with: ContextManager["with"] = (active, work, self, ...args) =>
    this.#storage.run(active, () => work.call(self as ThisParameterType<typeof work>, ...args));
  bind: ContextManager["bind"] = (_active, target) => target;
  enable = () => this;
  disable = () => this;
}

const namesOf = ({ events }: ReadableSpan) => events.map(({ name }) => name);

describe("a program's own runs", () => {
  const labels = { app: "spans" };
  let k8s: EmbeddedKubernetes;
  beforeEach(async () => {
    k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["agents"] });
    k8s.addProgram("main", async function* ({ args }) {
      yield "a line";
      return args.includes("fail") ? 3 : 0;
    });
  });
  afterEach(() => k8s.stop());

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

  test("a span goes from the create request to the end, within the trace of its caller", async () => {
    const stop = observeEngines(new MeterProvider(), provider);
    await using engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: "agents", labels });
    const caller = provider.getTracer("program").startSpan("nightly");
    const [good, bad] = await context.with(trace.setSpan(ROOT_CONTEXT, caller), () =>
      Promise.all([engine.run(job("good")), engine.run(job("bad", "fail"))]),
    );
    expect([good.hasSucceeded, bad.hasSucceeded]).toEqual([true, false]);
    const spans = Object.fromEntries(
      exporter.getFinishedSpans().map((span) => [String(span.attributes["k8s.job.name"]), span]),
    );
    expect(Object.keys(spans).sort()).toEqual(["bad", "good"]);
    for (const span of Object.values(spans)) {
      expect(span.name).toBe("k8s_run_informer.run");
      expect(span.spanContext().traceId).toBe(caller.spanContext().traceId);
      expect(span.parentSpanContext?.spanId).toBe(caller.spanContext().spanId);
      expect(namesOf(span)).toEqual(["ready", "ended"]);
      expect(span.attributes).toMatchObject({ "k8s.namespace.name": "agents", "k8s_run_informer.how": "launch" });
    }
    expect(spans.good?.status.code).toBe(SpanStatusCode.UNSET);
    expect(spans.bad?.attributes).toMatchObject({ "error.type": "failed", "process.exit.code": 3 });
    expect(spans.bad?.status.code).toBe(SpanStatusCode.ERROR);
    stop();
    await engine.run(job("after"));
    expect(exporter.getFinishedSpans()).toHaveLength(2);
  });

  test("a run that is released before its end ends its span", async () => {
    const stop = observeEngines(new MeterProvider(), provider);
    await using engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: "agents", labels });
    const run = await engine.launch(job("left"));
    expect(exporter.getFinishedSpans()).toHaveLength(0);
    run.release();
    expect(exporter.getFinishedSpans()).toHaveLength(1);
    stop();
  });
});

test("the host's tracer gets a span a run that ends with the result, in the host's trace", async () => {
  const world = await startWorld();
  try {
    world.k8s.addProgram("claude", async function* () {
      yield "no result";
      return 7;
    });
    const tracer = provider.getTracer("paperclip");
    const root = tracer.startSpan("heartbeat");
    const told = await context.with(trace.setSpan(ROOT_CONTEXT, root), () =>
      createServerAdapter().execute({
        ...contextOf({ config: { kubeconfig: world.kubeconfig, namespace: "paperclip", image: "claude:1" } }),
        startupTraceContext: {
          tracer: tracer as never,
          contextWithSpan: (span) => trace.setSpan(context.active(), span as never),
        },
      }),
    );
    expect(told.exitCode).toBe(7);
    const [span, ...others] = exporter.getFinishedSpans();
    expect(others).toEqual([]);
    expect(span?.parentSpanContext?.spanId).toBe(root.spanContext().spanId);
    expect(span && namesOf(span)).toEqual(["ready", "ended"]);
    expect(span?.status).toMatchObject({ code: SpanStatusCode.ERROR, message: told.errorMessage });
  } finally {
    await world.stop();
  }
});

test("a tracer that throws is a warning, and the run goes on", async () => {
  const world = await startWorld();
  const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
  try {
    world.k8s.addProgram("claude", async function* () {
      yield "no result";
      return 7;
    });
    const startSpan = () => {
      throw new Error("no spans today");
    };
    const told = await createServerAdapter().execute({
      ...contextOf({ config: { kubeconfig: world.kubeconfig, namespace: "paperclip", image: "claude:1" } }),
      startupTraceContext: { tracer: { startSpan }, contextWithSpan: () => undefined },
    });
    expect(told.exitCode).toBe(7);
    expect((await warned).message).toBe("no spans today");
  } finally {
    await world.stop();
  }
});

test("a run that goes on in a second Job has a span for each, and both are ended", async () => {
  const cluster = await InterruptedWorld.start();
  const stop = observeEngines(new MeterProvider(), provider);
  try {
    const works = printsAndWorks(init(), said("I look."), toolUse("make"));
    const agent = cluster.agent(works, printsAndEnds(init(), said("I go on."), result("Done.")));
    const each = cluster.execute(agent, {}, { restartBackoffMs: 30 });
    await cluster.world.k8s.objects.until(() => agent.starts.length === 1 && cluster.isRunning(agent));
    await agent.printed(1);
    await evict(cluster.victim(agent));
    expect((await each.result).errorCode ?? null).toBeNull();
    const spans = exporter.getFinishedSpans();
    // The first Job may be deleted after the second has ended.
    expect(spans.map(({ attributes }) => attributes["k8s.job.name"]).sort()).toEqual(
      agent.starts.map(({ jobName }) => jobName).sort(),
    );
    expect(spans.map(({ status }) => status.code)).toEqual([SpanStatusCode.UNSET, SpanStatusCode.UNSET]);
  } finally {
    stop();
    await cluster.stop();
  }
});
