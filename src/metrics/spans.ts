import { AsyncLocalStorage } from "node:async_hooks";
import type { ResultMessage, StartMessage } from "../adapter/diagnostics.ts";
import type { RunMessage } from "../engine/index.ts";
import { listen } from "./channels.ts";

type Attributes = Record<string, string | number | boolean>;

/** What is needed of a tracer. Those of `@opentelemetry/api` and the one that Paperclip's host hands to `execute` have it. */
export interface RunTracer {
  startSpan(name: string, options?: { attributes?: Attributes; startTime?: number; kind?: number }): RunSpan;
}

interface RunSpan {
  addEvent?(name: string, attributes?: Attributes): unknown;
  setAttribute(key: string, value: string | number | boolean): unknown;
  setStatus(status: { code: number; message?: string }): unknown;
  end(): void;
}

const ERROR = 2;

/** The host's own tracer, for what runs within its call. */
const hostTracer = new AsyncLocalStorage<RunTracer>();
/** One subscription for all calls that are under way. */
const hostCalls = { count: 0, stop: () => {} };

/** Makes the spans of the runs that `work` launches on `tracer`, within the trace that is active. */
export async function withTracer<T>(tracer: RunTracer, work: () => Promise<T>): Promise<T> {
  if (hostCalls.count === 0) hostCalls.stop = traceRuns(null);
  hostCalls.count += 1;
  try {
    return await hostTracer.run(tracer, work);
  } finally {
    hostCalls.count -= 1;
    if (hostCalls.count === 0) hostCalls.stop();
  }
}

/**
 * A span for each run: from its launch, over the events `ready` and `ended`, to its end or to the result that the adapter makes of
 * it. It belongs to the trace that is active where the run is launched. Returns the function that ends it.
 */
export function traceRuns(tracer: RunTracer | null): () => void {
  const open = new Map<string, { span: RunSpan; awaitsResult: boolean }>();
  const end = (id: string) => {
    open.get(id)?.span.end();
    open.delete(id);
  };
  const onRun = ({ type, run, event, server }: RunMessage) => {
    if (type === "followed") {
      // Of the call that launches it: this is published within it.
      const of = tracer ?? hostTracer.getStore();
      if (of === undefined) return;
      const attributes = {
        "k8s.namespace.name": run.namespace,
        "k8s.job.name": run.jobName,
        "server.address": server,
        "k8s_run_informer.how": event.how,
      };
      const span = of.startSpan("k8s_run_informer.run", { attributes, startTime: event.since });
      open.set(run.id, { span, awaitsResult: false });
      return;
    }
    const known = open.get(run.id);
    if (known === undefined) return;
    const { span, awaitsResult } = known;
    switch (type) {
      case "ready":
        span.addEvent?.("ready", { "k8s.pod.name": event.metadata.name, "k8s.node.name": event.spec.nodeName ?? "" });
        return;
      case "terminated":
        span.addEvent?.("ended", { kind: event.kind, reason: event.reason });
        if (event.exitCode !== null) span.setAttribute("process.exit.code", event.exitCode);
        if (awaitsResult) return;
        if (event.kind !== "succeeded") fail(span, event.kind, event.message);
        return end(run.id);
      case "released":
        if (!awaitsResult) end(run.id);
    }
  };
  const onStart = (each: StartMessage) => {
    const known = each.type === "started" ? open.get(each.run.id) : undefined;
    if (known !== undefined) known.awaitsResult = true;
  };
  const onResult = ({ runs, result }: ResultMessage) => {
    const last = open.get(runs.at(-1)?.id ?? "")?.span;
    if (last !== undefined && (result.errorCode || result.errorMessage))
      fail(last, result.errorCode ?? "failed", (result.errorMessage ?? "").slice(0, 500));
    for (const { id } of runs) end(id);
  };
  // A tracer that throws is no reason for a run to fail, nor for the process.
  const guarded =
    <T>(listener: (message: T) => void) =>
    (message: T) => {
      try {
        listener(message);
      } catch (error) {
        process.emitWarning(error instanceof Error ? error : String(error), { type: "RunTracerError" });
      }
    };
  const stop = listen({ run: guarded(onRun), start: guarded(onStart), result: guarded(onResult) });
  return () => {
    stop();
    for (const id of [...open.keys()]) end(id);
  };
}

function fail(span: RunSpan, type: string, message: string): void {
  span.setAttribute("error.type", type);
  span.setStatus({ code: ERROR, message });
}
