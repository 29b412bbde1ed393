/** One process of the adapter, and its host: `node --expose-gc worker.ts <seed> <kubeconfig>`. It may be killed at any moment. */
import { setTimeout as sleep } from "node:timers/promises";
import { createK8sAdapter } from "../../src/adapter/create-adapter.ts";
import { processState } from "../../src/adapter/start/process-state.ts";
import { claudeDefinition } from "../../src/claude/definition.ts";
import { FleetRun } from "../../src/cli/fleet/fleet-run.ts";
import { LineAudit } from "../../src/cli/fleet/line-audit.ts";
import { stopSharedEngines } from "../../src/engine/index.ts";
import type { FromWorker, RunOrder, ToWorker } from "./messages.ts";
import { BESIDE_IMAGE, IMAGE, MISSING_IMAGE, NAMESPACE, numberingOf, scriptOf } from "./script.ts";

const [seedText = "1", kubeconfig = ""] = process.argv.slice(2);
const seed = Number(seedText);
const say = (message: FromWorker) => process.send?.(message);
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) =>
    say({ kind: "wrong", what: `${event}: ${error instanceof Error ? error.stack : String(error)}` }),
  );
}
process.on("warning", (warning) => {
  // Leaks of listeners are leaks.
  if (warning.name === "MaxListenersExceededWarning") say({ kind: "wrong", what: String(warning.stack) });
});

// The adapter's ten seconds and its one second in the cluster's time: all passes faster there.
const adapter = createK8sAdapter(claudeDefinition(), { cacheMaxAgeMs: 500, soonestStartMs: 50 });
let running = 0;
/** What the open runs have said so far. */
const explanations = new Map<number, () => string>();

async function run({ index, attempt, runId, isUndisturbed }: RunOrder): Promise<void> {
  const script = scriptOf(seed, index);
  const audit = new LineAudit(numberingOf(script));
  const abort = new AbortController();
  const fleetRun = new FleetRun();
  let pieces = 0;
  const cancelAfterMs = isUndisturbed ? null : script.cancelAfterMs;
  const timer = cancelAfterMs === null ? undefined : setTimeout(() => abort.abort(), cancelAfterMs);
  const config = {
    kubeconfig,
    namespace: NAMESPACE,
    image: script.ending === "no_image" ? MISSING_IMAGE : IMAGE,
    timeoutSec: script.ending === "deadline" ? 60 : 0,
    // Real seconds, on the adapter's clock; the cluster's runs faster.
    imagePullGraceSec: 2,
    configErrorGraceSec: 10,
    // Of the cluster's time: three minutes of ours. A watch that is down for longer than that loses the log with the pod.
    ttlSecondsAfterFinished: 3_600,
    keepaliveSec: 5,
    ...(script.beside === "docker" ? { enableDocker: true, dockerImage: BESIDE_IMAGE } : {}),
    env: { ANTHROPIC_API_KEY: "sk-ant-soak-0001" },
  };
  const startedAt = performance.now();
  running += 1;
  explanations.set(index, () => {
    const { holes: _, ...lines } = audit.result;
    return JSON.stringify({
      seconds: (performance.now() - startedAt) / 1000,
      aborted: abort.signal.aborted,
      lines,
      notes: fleetRun.notes,
    });
  });
  const order = {
    runId,
    agentId: script.agentId,
    taskId: `task-${index}`,
    config,
    authToken: "soak-token-0001",
    signal: abort.signal,
  };
  const result = await fleetRun.execute(adapter, order, {
    output: async (chunk) => {
      audit.push(chunk);
      pieces += 1;
      if (script.host === "slow") await sleep(30);
      if (script.host === "rejecting" && pieces % 3 === 0) throw new Error("the host's disk is full");
    },
  });
  running -= 1;
  explanations.delete(index);
  clearTimeout(timer);
  say({
    kind: "ran",
    index,
    attempt,
    result,
    audit: audit.result,
    gaps: fleetRun.gaps,
    adopted: fleetRun.adopted,
    jobUid: fleetRun.jobUid,
    notes: fleetRun.notes,
    elapsedMs: performance.now() - startedAt,
    cancelled: abort.signal.aborted,
  });
}

function sample(): void {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  say({ kind: "sample", heap: heapUsed, rss, handles: process.getActiveResourcesInfo().length, running });
}
const sampling = setInterval(sample, 3_000);
sampling.unref();

/** Everything ends that is shared; what is still there then, was left by somebody. */
async function finish(): Promise<void> {
  clearInterval(sampling);
  await stopSharedEngines();
  await sleep(500);
  globalThis.gc?.();
  const resources: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1;
  const { active, locks } = processState();
  say({ kind: "left", resources, state: { active: active.size, locks: locks.size, running } });
}

process.on("message", (message: ToWorker) => {
  if (message.kind === "finish") void finish();
  else if (message.kind === "explain") {
    say({ kind: "explained", index: message.index, text: explanations.get(message.index)?.() ?? "not running here" });
  } else {
    run(message).catch((error: unknown) =>
      say({ kind: "wrong", what: `execute threw: ${error instanceof Error ? error.stack : String(error)}` }),
    );
  }
});
process.once("disconnect", () => process.exit(0));
say({ kind: "ready" });
