import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EmbeddedKubernetes } from "../embedded/index.ts";
import { type EngineStats, leaseEngine, loadKubeConfig, stopSharedEngines } from "../engine/index.ts";
import { type as adapterType, createServerAdapter } from "../index.ts";
import { type CommandIo, defineCommand, UsageError } from "./command.ts";
import { createDemoRun, type DemoRun, executeDemoRun } from "./demo/host.ts";
import { DemoSessions, scriptClaude } from "./demo/scripted-claude.ts";
import { countRuns, formatCounts, formatLatencies } from "./demo/summary.ts";
import { openView, type View } from "./demo/view.ts";
import { type TargetOptions, targetOf, wholeNumber } from "./target.ts";

const AGENT_LABEL = "paperclip.io/agent-id";
const IMAGE = "demo/claude:1";
const NAMESPACE = "demo";
/** Every tenth agent fails. */
const FAILS_EACH = 10;
/** Keeps the agents' sessions, so that one whose pod is evicted goes on in another. */
const HOME_CLAIM = "agents-home";
const HOME = { workspaceVolumeClaim: HOME_CLAIM, workspaceMountPath: "/paperclip" };

export const demoCommand = defineCommand<DemoArguments>({
  name: "demo",
  summary: "run agents through the claude_k8s adapter and show them live",
  configure: (command) =>
    command
      .option("--runs <number>", "how many agents", wholeNumber(1), 20)
      .option(
        "--faults",
        "break connections, watches and logs and evict agents meanwhile (embedded Kubernetes only)",
        false,
      )
      .option("--kubeconfig <file>", "a real cluster in place of the embedded Kubernetes; needs --image")
      .option("--context <name>", "with --kubeconfig: its context (default: its current one)")
      .option("-n, --namespace <name>", "with --kubeconfig: namespace (default: the context's, else `default`)")
      .option("--image <image>", "with --kubeconfig: an image with a `claude` executable on its PATH")
      .option("--cpu <quantity>", "what each agent requests", "5m")
      .option("--memory <quantity>", "what each agent requests", "8Mi"),
  async action(given, io) {
    const options = readOptions(given);
    const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-demo-"));
    const embedded = options.kubeconfig === null ? await startEmbedded(options) : null;
    try {
      const kubeconfig =
        options.kubeconfig ??
        (await embedded?.writeKubeconfig(join(directory, "kubeconfig"), { namespace: NAMESPACE })) ??
        "";
      return await runAgents({ ...options, kubeconfig }, embedded, io);
    } finally {
      await stopSharedEngines();
      await embedded?.stop();
      await rm(directory, { recursive: true, force: true });
    }
  },
});

interface DemoOptions {
  runs: number;
  faults: boolean;
  kubeconfig: string | null;
  context?: string | undefined;
  image: string;
  namespace: string;
  cpu: string;
  memory: string;
}

interface DemoArguments extends TargetOptions {
  cpu: string;
  memory: string;
  runs: number;
  faults: boolean;
  image?: string;
}

function readOptions(values: DemoArguments): DemoOptions {
  const { runs, cpu, memory } = values;
  if (values.kubeconfig === undefined) {
    for (const option of ["image", "namespace", "context"] as const)
      if (values[option] !== undefined)
        throw new UsageError(`--${option} goes with --kubeconfig: without one the demo brings its own cluster`);
    return { runs, faults: values.faults, kubeconfig: null, image: IMAGE, namespace: NAMESPACE, cpu, memory };
  }
  if (values.image === undefined)
    throw new UsageError("--kubeconfig needs --image: an image with a `claude` executable on its PATH");
  if (values.faults) throw new UsageError("--faults works on the embedded Kubernetes only: leave --kubeconfig out");
  const { namespace } = targetOf(values);
  const { kubeconfig, context, image } = values;
  return { runs, faults: false, kubeconfig, context, image, namespace, cpu, memory };
}

async function startEmbedded({ faults }: DemoOptions): Promise<EmbeddedKubernetes> {
  const { EmbeddedKubernetes } = await import("../embedded/index.ts");
  const k8s = await EmbeddedKubernetes.start({ namespaces: [NAMESPACE], nodes: 3 });
  k8s.objects.create("persistentvolumeclaims", { metadata: { name: HOME_CLAIM, namespace: NAMESPACE } });
  const sessions = new DemoSessions();
  k8s.addProgram("claude", async function* (container) {
    const agent = container.pod.labels[AGENT_LABEL] ?? "";
    const index = indexOf(agent);
    // So that the summary has something to tell apart. With faults, all that fails is for them to explain.
    const script = scriptClaude(index, 12 + ((index * 7) % 25), !faults && index % FAILS_EACH === FAILS_EACH - 1);
    for (const { text, afterMs } of sessions.rest(agent, script.lines)) {
      await container.sleep(afterMs);
      yield text;
    }
    return script.exitCode;
  });
  return k8s;
}

/** As `createDemoRun` names them. */
function indexOf(agentId: string): number {
  return Number(/-agent-(\d+)$/.exec(agentId)?.[1] ?? 0);
}

async function runAgents(
  options: DemoOptions & { kubeconfig: string },
  embedded: EmbeddedKubernetes | null,
  io: CommandIo,
): Promise<number> {
  const { runs: count, kubeconfig, context, namespace, image } = options;
  // The same shared engine that the adapter uses: its counts are what the runs have cost.
  const lease = await leaseEngine({
    kubeConfig: loadKubeConfig(kubeconfig, { context }),
    namespace,
    labels: { "paperclip.io/adapter-type": adapterType },
    signal: io.signal,
  });
  const latencies = embedded === null ? null : measureLatencies(embedded);
  const runs = Array.from({ length: count }, (_, index) => createDemoRun(index));
  const where =
    embedded === null ? `${lease.engine.cluster.server}, namespace ${namespace}` : "the embedded Kubernetes";
  io.stdout.write(`${count} agents on ${where}${options.faults ? ", with faults" : ""}\n`);
  const startedAt = performance.now();
  const view = openView(
    io.stdout,
    runs.map(({ row }) => row),
  );
  const faults = options.faults && embedded !== null ? causeFaults(embedded, view) : null;
  try {
    const adapter = createServerAdapter();
    const requests = { cpu: options.cpu, memory: options.memory };
    const config = {
      kubeconfig,
      kubeContext: context,
      namespace,
      image,
      ttlSecondsAfterFinished: 600,
      resources: { requests },
      ...(embedded === null ? {} : HOME),
    };
    const update = (run: DemoRun) => {
      latencies?.told(run);
      faults?.told();
      view.update(run.row);
    };
    await Promise.all(runs.map((run) => executeDemoRun(run, { adapter, config, update, signal: io.signal })));
  } finally {
    faults?.end();
    view.close();
  }
  const stats = lease.engine.stats();
  lease.release();
  const left = embedded === null ? [] : leftBehind(embedded);
  return summarize(
    runs,
    { stats, latencies, seconds: (performance.now() - startedAt) / 1000, faults: faults?.count ?? null, left },
    io,
  );
}

/** What was not cleaned up. What has an owner (pods, Secrets) is the garbage collector's, once its Job is deleted. */
function leftBehind(k8s: EmbeddedKubernetes): string[] {
  return (["jobs", "secrets"] as const).flatMap((resource) =>
    k8s.objects
      .list(resource, NAMESPACE)
      .filter(({ metadata }) => metadata.ownerReferences === undefined)
      .map(({ metadata }) => `${resource}/${metadata.name}`),
  );
}

interface Latencies {
  ready: number[];
  end: number[];
  /** The host was told something of this run. */
  told(run: DemoRun): void;
}

/** From the change of the pod in the server's store to what the adapter's host is told. */
function measureLatencies(k8s: EmbeddedKubernetes): Latencies {
  const running = new Map<string, number>();
  const ended = new Map<string, number>();
  const seenEnded = new Set<string>();
  k8s.objects.onChange(({ resource, object }) => {
    if (resource !== "pods") return;
    const { containerStatuses } = (object.status ?? {}) as {
      containerStatuses?: { name: string; state?: Record<string, unknown> }[];
    };
    const state = containerStatuses?.find(({ name }) => name === "claude")?.state;
    const agent = agentOf(object.metadata);
    if (state?.running !== undefined && !running.has(agent)) running.set(agent, performance.now());
    if (state?.terminated === undefined || seenEnded.has(object.metadata.uid)) return;
    // Of an agent that went on in another pod, the last end counts.
    seenEnded.add(object.metadata.uid);
    ended.set(agent, performance.now());
  });
  const ready: number[] = [];
  const end: number[] = [];
  const phases = new Map<DemoRun, string>();
  const told = (run: DemoRun) => {
    const { phase, endedAt } = run.row;
    if (phases.get(run) === phase) return;
    phases.set(run, phase);
    const since =
      phase === "running" ? running.get(run.agentId) : endedAt !== null ? ended.get(run.agentId) : undefined;
    if (since !== undefined) (endedAt === null ? ready : end).push((endedAt ?? performance.now()) - since);
  };
  return { ready, end, told };
}

interface DemoFaults {
  count: Record<string, number>;
  /** A run has got on: what was broken works again. */
  told(): void;
  end(): void;
}

/** Updates of runs between two faults of a kind. So a slow machine has fewer faults. */
const TOLD_BETWEEN = 5;

/** Breaks everything that can break, several times a second, as long as the agents get on. */
function causeFaults(k8s: EmbeddedKubernetes, view: View): DemoFaults {
  const count: Record<string, number> = {};
  const { faults } = k8s;
  const evicted = new Set<string>();
  let toldInAll = 0;
  faults.cutLogs({ everyBytes: 300, how: "random", followOnly: true });
  faults.errorRate({ rate: 0.05, status: 500, match: { verb: ["get", "list", "watch", "create", "delete"] } });
  faults.errorRate({ rate: 0.05, status: 429, retryAfterSeconds: 1, match: { verb: ["create", "get"] } });
  const every = (ms: number, what: string, cause: () => number) => {
    let due = 0;
    return setInterval(() => {
      const times = toldInAll < due ? 0 : cause();
      if (times === 0) return;
      due = toldInAll + TOLD_BETWEEN;
      count[what] = (count[what] ?? 0) + times;
      view.note(`${what} ×${times}`);
    }, ms);
  };
  const timers = [
    every(700, "watches cut", () => faults.cutWatches({ how: "reset" })),
    every(500, "logs cut", () => faults.cutOpenLogs({ how: "end" })),
    every(1_900, "versions expired", () => {
      faults.expireVersions();
      return 1;
    }),
    every(1_300, "connections reset", () => faults.resetConnections(2)),
    every(500, "agents evicted", () => evictOne(k8s, evicted)),
  ];
  return {
    count,
    told() {
      toldInAll += 1;
    },
    end() {
      for (const timer of timers) clearInterval(timer);
      faults.clear();
    },
  };
}

/** The kubelet evicts an agent that runs: each once, since a second eviction would be followed by a wait. */
function evictOne(k8s: EmbeddedKubernetes, evicted: Set<string>): number {
  const pod = k8s.objects.list("pods", NAMESPACE).find(({ status, metadata }) => {
    const isRunning = (status as { phase?: string }).phase === "Running" && metadata.deletionTimestamp === undefined;
    return isRunning && !evicted.has(agentOf(metadata));
  });
  if (pod === undefined) return 0;
  evicted.add(agentOf(pod.metadata));
  k8s.evictPod(NAMESPACE, pod.metadata.name);
  return 1;
}

function agentOf({ labels }: { labels?: Record<string, string> }): string {
  return labels?.[AGENT_LABEL] ?? "";
}

interface Outcome {
  stats: EngineStats;
  latencies: Latencies | null;
  seconds: number;
  faults: Record<string, number> | null;
  left: string[];
}

function summarize(
  runs: readonly DemoRun[],
  { stats, latencies, seconds, faults, left }: Outcome,
  io: CommandIo,
): number {
  const isScripted = latencies !== null;
  const figures = countRuns(runs, isScripted);
  const say = (label: string, text: string) => io.stdout.write(`${label.padEnd(16)} ${text}\n`);
  io.stdout.write("\n");
  const planned =
    isScripted && faults === null && runs.length >= FAILS_EACH ? "; every tenth agent fails on purpose" : "";
  say("outcomes", `${formatCounts(figures.outcomes)} in ${seconds.toFixed(1)} s${planned}`);
  say(
    "lines",
    isScripted
      ? `${figures.delivered} delivered, ${figures.lost} lost, ${figures.doubled} doubled, ${figures.outOfOrder} out of order`
      : `${figures.delivered} of the agents' own delivered; only scripted agents number theirs, for loss to be seen`,
  );
  say(
    "requests a run",
    `${formatCounts(stats.requests.byVerb, runs.length)}; ${stats.requests.connectionsOpened} connections opened in all`,
  );
  if (latencies !== null) {
    say("pod ready after", `${formatLatencies(latencies.ready)} (change in the server → told to the host)`);
    say(
      "run ended after",
      `${formatLatencies(latencies.end)} (container's end in the server → execute returned: log drained, Job deleted)`,
    );
  }
  if (faults !== null)
    say("faults", `${formatCounts(faults)}, logs cut every 300 bytes, 5 % of requests answered 500, 5 % 429`);
  if (left.length > 0) say("left behind", left.join(", "));
  for (const text of figures.broken) say("BROKEN", text);
  const isBad = figures.lost + figures.doubled + figures.outOfOrder + figures.broken.length + left.length > 0;
  if (isScripted) io.stdout.write(isBad ? "\nSomething was lost.\n" : "\nNothing lost, nothing doubled.\n");
  // Scripted agents fail on purpose without faults, others should not.
  if (isScripted && faults === null) return isBad ? 1 : 0;
  const succeeded = figures.outcomes.succeeded ?? 0;
  io.stdout.write(`\n${succeeded} of ${runs.length} runs succeeded.\n`);
  return isBad || succeeded < runs.length ? 1 : 0;
}
