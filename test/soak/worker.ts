/** One server, with the adapter in it and its host: `node --expose-gc worker.ts <seed> <place>`. It may be killed at any moment. */
import { setTimeout as sleep } from "node:timers/promises";
import { createK8sAdapter } from "../../src/adapter/create-adapter.ts";
import { processState } from "../../src/adapter/start/process-state.ts";
import { claudeDefinition } from "../../src/claude/definition.ts";
import { FleetRun } from "../../src/cli/fleet/fleet-run.ts";
import { LineAudit } from "../../src/cli/fleet/line-audit.ts";
import { stopSharedEngines } from "../../src/engine/index.ts";
import type { FromWorker, Place, RunOrder, RunReport, ToWorker } from "./messages.ts";
import { BESIDE_IMAGE, directivesOf, MISSING_IMAGE, numberingOf, type Script, SESSIONS, scriptOf } from "./script.ts";

const [seedText = "1", placeText = "{}"] = process.argv.slice(2);
const seed = Number(seedText);
const place = JSON.parse(placeText) as Place;
const say = (message: FromWorker) => process.send?.(message);
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) =>
    say({ kind: "wrong", what: `${event}: ${error instanceof Error ? error.stack : String(error)}` }),
  );
}
process.on("warning", (warning) => {
  // A leak of listeners, a timer below nothing: the host would have it in its own output.
  if (warning.name !== "ExperimentalWarning") say({ kind: "wrong", what: String(warning.stack) });
});

/** As a machine's clock that is set wrong, and is set again. */
let aheadMs = 0;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given: unknown[]) {
    super(...((given.length === 0 ? [RealDate.now() + aheadMs] : given) as [number]));
  }
  static override now = () => RealDate.now() + aheadMs;
} as DateConstructor;

// The embedded kubelet starts a container sooner than a real one.
const soonestStartMs = place.form === "embedded" ? 50 : 1_000;
const adapter = createK8sAdapter(claudeDefinition(), { cacheMaxAgeMs: 500, soonestStartMs });
let running = 0;
/** By index and attempt: one that others have taken over may go on beside its next one. */
const open = new Map<string, { explain(): string; handBack(): void; reported: Promise<void> }>();

function configOf(script: Script): Record<string, unknown> {
  const { kubeconfig, namespace, image, cpu, memory, form } = place;
  return {
    kubeconfig,
    namespace,
    image: script.ending === "no_image" ? MISSING_IMAGE : image,
    resources: { requests: { cpu, memory }, limits: { cpu: "500m", memory: "128Mi" } },
    timeoutSec: script.ending === "deadline" ? (form === "embedded" ? 4 : 15) : 0,
    imagePullGraceSec: form === "embedded" ? 2 : 120,
    configErrorGraceSec: 10,
    // Longer than a watch is stalled.
    resultGraceSec: 8,
    // Longer than any watch is down: a Job that goes with its pod takes the log along.
    ttlSecondsAfterFinished: form === "embedded" ? 600 : 100,
    keepaliveSec: 5,
    concurrencyPolicy: script.policy,
    // Only agents that go on with their numbers there: others print their lines again, which could not be told from lines that came twice.
    maxDisruptionRestarts: script.movesAfter === null ? 0 : 3,
    ...(script.movesAfter === null ? {} : { workspaceVolumeClaim: SESSIONS, workspaceMountPath: "/paperclip" }),
    promptTemplate: "run {{runId}}",
    ...(script.beside === "docker" ? { enableDocker: true, dockerImage: BESIDE_IMAGE } : {}),
    env: {
      ANTHROPIC_API_KEY: "sk-ant-soak-0001",
      // Where its count of lines stands when the container has ended, printed or lost.
      ...(form === "any" ? { FAKE_CLAUDE: directivesOf(script), FAKE_CLAUDE_COUNT: "/dev/termination-log" } : {}),
    },
  };
}

async function run({ index, attempt, runId, isUndisturbed }: RunOrder): Promise<void> {
  const script = scriptOf(seed, index, place.form, place.moves);
  const audit = new LineAudit(numberingOf(script, place.form));
  const abort = new AbortController();
  const fleetRun = new FleetRun();
  let pieces = 0;
  let aborted: RunReport["aborted"] = null;
  const stop = (how: NonNullable<RunReport["aborted"]>, reason?: Error) => {
    aborted ??= how;
    abort.abort(reason);
  };
  const cancelAfterMs = isUndisturbed ? null : script.cancelAfterMs;
  const timer = cancelAfterMs === null ? undefined : setTimeout(stop, cancelAfterMs, "stop");
  const startedAt = performance.now();
  running += 1;
  const reported = Promise.withResolvers<void>();
  const key = `${index}/${attempt}`;
  open.set(key, {
    explain: () => {
      const { holes: _, ...lines } = audit.result;
      const seconds = (performance.now() - startedAt) / 1000;
      return JSON.stringify({ seconds, aborted, lines, notes: fleetRun.notes });
    },
    // The host's own words.
    handBack: () => stop("handed back", new Error("Legacy controller lease lost")),
    reported: reported.promise,
  });
  const { agentId } = script;
  const order = { runId, agentId, taskId: `task-${agentId}`, config: configOf(script), authToken: "soak-token-0001" };
  const result = await fleetRun.execute(
    adapter,
    { ...order, signal: abort.signal },
    {
      output: async (chunk) => {
        audit.push(chunk);
        pieces += 1;
        if (script.host === "slow") await sleep(30);
        if (script.host === "rejecting" && pieces % 3 === 0) throw new Error("the host's disk is full");
      },
    },
  );
  running -= 1;
  open.delete(key);
  clearTimeout(timer);
  const { gaps, adopted, jobUid, notes } = fleetRun;
  const elapsedMs = performance.now() - startedAt;
  const told = {
    kind: "ran",
    index,
    attempt,
    runId,
    result,
    audit: audit.result,
    gaps,
    adopted,
    jobUid,
    notes,
  } as const;
  say({ ...told, elapsedMs, aborted });
  reported.resolve();
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
  const { active, locks, leases } = processState();
  say({ kind: "left", resources, state: { active: active.size, locks: locks.size, leases: leases.size, running } });
}

/** Longest time that the host gives its runs when the server shuts down. */
const DRAIN_MS = 5_000;

/** An orderly end, as the host makes it: it takes its runs from this server, and waits for them for a moment. */
process.once("SIGTERM", async () => {
  const drained = [...open.values()].map(({ handBack, reported }) => {
    handBack();
    return reported;
  });
  await Promise.race([Promise.all(drained), sleep(DRAIN_MS)]);
  await Promise.race([stopSharedEngines(), sleep(DRAIN_MS)]);
  process.disconnect();
  process.exit(0);
});

process.on("message", (message: ToWorker) => {
  if (message.kind === "finish") void finish();
  else if (message.kind === "clock") aheadMs = message.aheadMs;
  else if (message.kind === "explain") {
    const { index } = message;
    const texts = [...open]
      .filter(([key]) => key.startsWith(`${index}/`))
      .map(([key, run]) => `${key}: ${run.explain()}`);
    say({ kind: "explained", index, text: texts.join("\n      ") || "not running here" });
  } else {
    run(message).catch((error: unknown) =>
      say({ kind: "wrong", what: `execute threw: ${error instanceof Error ? error.stack : String(error)}` }),
    );
  }
});
process.once("disconnect", () => process.exit(0));
say({ kind: "ready" });
