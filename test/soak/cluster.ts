/** The cluster's process: the embedded Kubernetes, its weather, and the witness of what truly happened. */
import { join } from "node:path";
import { LRUCache } from "lru-cache";
import { restartOf } from "../../src/adapter/job/restart.ts";
import { EmbeddedKubernetes, type ScriptedProgram, type StoredObject } from "../../src/embedded/index.ts";
import type { Job } from "../../src/engine/index.ts";
import type { AgentTruth, ContainerEnd, Figures, FromCluster, Remains, ToCluster } from "./messages.ts";
import {
  AGAIN,
  againAfter,
  BESIDE_IMAGE,
  IMAGE,
  lineOf,
  MISSING_IMAGE,
  NAMESPACE,
  paceOf,
  SESSIONS,
  scriptOfAgent,
} from "./script.ts";
import { NODES, Weather } from "./weather.ts";

const [seedText = "1", directory = ".", movesText = "false"] = process.argv.slice(2);
const moves = movesText === "true";
const seed = Number(seedText);
const say = (message: FromCluster) => process.send?.(message);
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) =>
    say({ kind: "wrong", what: `cluster ${event}: ${error instanceof Error ? error.stack : String(error)}` }),
  );
}

// The clock is real: Leases run out by the server's clock, and a server's own must not be slower. What a kubelet takes is shorter.
const k8s = await EmbeddedKubernetes.start({
  namespaces: [NAMESPACE],
  seed,
  nodes: NODES,
  delays: {
    jobSync: 100,
    jobBackoff: 1_000,
    sandbox: 100,
    containerStart: 100,
    exitNoticed: [20, 200],
    startErrorNoticed: 100,
    podCleanup: 100,
    sidecarCleanup: 100,
    podRemoval: 50,
    podResync: 1_000,
    imageBackoff: 1_000,
    crashBackoff: 1_000,
  },
});
k8s.failImagePull(MISSING_IMAGE);
k8s.objects.create("persistentvolumeclaims", { metadata: { name: SESSIONS, namespace: NAMESPACE }, spec: {} });

interface Agent {
  readonly ends: ContainerEnd[];
  readonly begun: { runId: string; jobUid: string }[];
  readonly struck: string[];
  overlap: string | null;
  rotatedTo: number;
  readonly rotations: number[];
  readonly endedBlind: string[];
  /** Lines that a Job's container has written that comes again, by uid: a Job that a killed process had ended comes under its name. */
  readonly reached: Map<string, number>;
  /** Lines by pod. */
  readonly written: Map<string, number>;
}
/** What comes late of an agent that was forgotten goes in the end. */
const agents = new LRUCache<string, Agent>({ max: 20_000 });
/** Pods whose container runs, and by agent. */
const livePods = new Map<string, { agentId: string; container: string }>();
const live = new Map<string, Set<string>>();

function agentOf(agentId: string): Agent {
  let known = agents.get(agentId);
  if (known === undefined) {
    known = {
      ...{ ends: [], begun: [], struck: [], overlap: null, rotatedTo: 0, rotations: [], endedBlind: [] },
      ...{ reached: new Map(), written: new Map() },
    };
    agents.set(agentId, known);
  }
  return known;
}

function rotate(pod: string): void {
  const { agentId = "", container = "" } = livePods.get(pod) ?? {};
  k8s.rotateLogs(NAMESPACE, pod, container);
  const known = agentOf(agentId);
  const written = known.written.get(pod) ?? 0;
  known.rotations.push(written);
  // A line is counted a moment after it is in the log.
  known.rotatedTo = Math.max(known.rotatedTo, written + 1);
}

/** When the kubelet of a node restarted last. */
const blindAt = new Map<string, number>();
/** A clean end of the log is taken for the container's where that follows within a second; and its word takes its way. */
const BLIND_MS = 3_000;

const weather = new Weather(k8s, seed, {
  strikeNode: (nodeName) => {
    for (const pod of k8s.objects.list("pods", NAMESPACE)) {
      if (nodeOf(pod) !== nodeName) continue;
      agentOf(pod.metadata.labels?.["paperclip.io/agent-id"] ?? "").struck.push(`node ${nodeName} restarted`);
    }
  },
  blindNode: (nodeName) => blindAt.set(nodeName, performance.now()),
  rotateSome: (share) => {
    const chosen = [...livePods.keys()].filter(() => share());
    for (const pod of chosen) rotate(pod);
    return chosen.length;
  },
});

const program: ScriptedProgram = async function* (container) {
  const { namespace, name, labels } = container.pod;
  const agentId = labels["paperclip.io/agent-id"] ?? "";
  const script = scriptOfAgent(seed, agentId, "embedded", moves);
  if (script === null) throw new Error(`no script for agent ${agentId}`);
  const known = agentOf(agentId);
  known.written.set(name, 0);
  const pods = live.get(agentId) ?? new Set<string>();
  live.set(agentId, pods.add(name));
  livePods.set(name, { agentId, container: container.name });
  if (pods.size > 1) {
    const stories = [...pods].map((pod) => storyOf(namespace, pod)).join(", ");
    known.overlap = `at ${k8s.clock.date().toISOString()}: ${stories}`;
  }
  if (script.minds) container.onTerminate(() => 143);
  const pace = paceOf(script);
  const jobUid = labels["controller-uid"] ?? "";
  const job = k8s.objects.get("jobs", namespace, labels["job-name"] ?? "");
  const former = job === undefined ? null : restartOf(job as unknown as Job);
  const first = known.reached.get(jobUid) ?? known.reached.get(former?.former.uid ?? "");
  if (former !== null) {
    weather.count("runs that went on in another Job");
    if (first !== undefined) known.reached.set(jobUid, first);
  } else if (first === undefined) {
    const runId = container.files.readText(PROMPT).trim().replace(/^run /, "");
    known.begun.push({ runId, jobUid });
  }
  const again = againAfter(script);
  try {
    for (let seq = first ?? 0; seq < script.lines; seq += 1) {
      if (first === undefined && seq === again) {
        known.reached.set(jobUid, seq);
        if (script.movesAfter !== null) {
          k8s.evictPod(namespace, name);
          await container.sleep(3_600_000);
        }
        if (script.restartAfter !== null) weather.count("containers started again in their pod");
        return AGAIN;
      }
      await container.sleep(pace());
      yield lineOf(script, seq);
      known.written.set(name, seq + 1);
      if (seq === script.rotateAfter) {
        rotate(name);
        weather.count(seq < 3 ? "logs rotated at their beginning" : "logs rotated");
      }
    }
    if (script.output !== "plain") weather.count(`agents whose output is ${script.output}`);
    switch (script.ending) {
      case "job_deleted":
        k8s.objects.delete("jobs", namespace, labels["job-name"] ?? "");
        await container.sleep(3_600_000);
        break;
      case "pod_deleted":
        k8s.objects.delete("pods", namespace, name);
        await container.sleep(3_600_000);
        break;
      case "evicted":
        k8s.evictPod(namespace, name);
        await container.sleep(3_600_000);
        break;
      case "oom":
        k8s.oomKill(namespace, name, container.name);
        await container.sleep(3_600_000);
        break;
      case "deadline":
        await container.sleep(36_000_000);
        break;
    }
    // As an agent that ends its own background work in the end: whoever adopts it after a rotation never sees that it said its result.
    if (script.output === "lingering") await container.sleep(45_000);
    return script.exitCode;
  } finally {
    pods.delete(name);
    livePods.delete(name);
    if (pods.size === 0) live.delete(agentId);
  }
};
const PROMPT = "/tmp/prompt/prompt.txt";
k8s.addProgram(IMAGE, program);
// Until it is told to end.
k8s.addProgram(BESIDE_IMAGE, async (container) => {
  await container.sleep(3_600_000, { interruptible: true }).catch(() => undefined);
  return 0;
});
// As admission webhooks do.
k8s.objects.onCreate((resource, draft) => {
  const script = scriptOfAgent(seed, draft.metadata.labels?.["paperclip.io/agent-id"] ?? "", "embedded", moves);
  if (resource !== "jobs" || script === null) return;
  const spec = draft.spec as {
    backoffLimit: number;
    template: {
      spec: { restartPolicy: string; terminationGracePeriodSeconds: number; containers: unknown[] };
    };
  };
  const pod = spec.template.spec;
  pod.terminationGracePeriodSeconds = 2;
  if (script.retryAfter !== null) spec.backoffLimit = 1;
  if (script.restartAfter !== null) {
    pod.restartPolicy = "OnFailure";
    // Of restarts, of which there is one; as many as the limit fail the Job.
    spec.backoffLimit = 6;
  }
  if (script.beside !== "mesh") return;
  pod.containers.push({
    name: "mesh",
    image: BESIDE_IMAGE,
    imagePullPolicy: "IfNotPresent",
    resources: {},
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
  });
});

/** What can be known of a pod that overlaps with another: who made its Job, and when each part of it came. */
function storyOf(namespace: string, pod: string): string {
  const made = k8s.objects.get("pods", namespace, pod)?.metadata;
  const jobName = made?.labels?.["job-name"] ?? "";
  const job = k8s.objects.get("jobs", namespace, jobName)?.metadata;
  const secret = k8s.objects.get("secrets", namespace, `${jobName}-prompt`)?.metadata;
  return JSON.stringify({
    pod,
    created: made?.creationTimestamp,
    deleted: made?.deletionTimestamp,
    job: job && { uid: job.uid, created: job.creationTimestamp, deleted: job.deletionTimestamp },
    runId: job?.labels?.["paperclip.io/run-id"],
    owner: job?.annotations?.["paperclip.io/owner-lease"],
    adoptedAt: job?.annotations?.["paperclip.io/adopted-at"],
    secret: secret?.creationTimestamp,
  });
}

k8s.objects.onChange(({ resource, object, previous }) => {
  if (resource !== "pods") return;
  const now = terminatedOf(object);
  if (now === undefined || (previous !== undefined && terminatedOf(previous) !== undefined)) return;
  const { labels = {}, name } = object.metadata;
  const known = agentOf(labels["paperclip.io/agent-id"] ?? "");
  const jobUid = labels["controller-uid"] ?? "";
  if (performance.now() - (blindAt.get(nodeOf(object)) ?? -BLIND_MS) < BLIND_MS) known.endedBlind.push(jobUid);
  known.ends.push({
    jobUid,
    runId: labels["paperclip.io/run-id"] ?? "",
    exitCode: now.exitCode,
    reason: now.reason ?? "",
    ran: known.written.has(name),
    written: known.written.get(name) ?? 0,
  });
});

function nodeOf({ spec }: StoredObject): string {
  return (spec as { nodeName?: string }).nodeName ?? "";
}

function terminatedOf(pod: StoredObject): { exitCode: number; reason?: string } | undefined {
  const { containerStatuses } = (pod.status ?? {}) as {
    containerStatuses?: { state?: { terminated?: { exitCode: number; reason?: string } } }[];
  };
  return containerStatuses?.[0]?.state?.terminated;
}

/** Run ids of Jobs whose container cannot start. */
function waiting(): string[] {
  const pods = k8s.objects.list("pods", NAMESPACE).filter((pod) => {
    const { name, deletionTimestamp, labels } = pod.metadata;
    const hasBegun = agents.get(labels?.["paperclip.io/agent-id"] ?? "")?.written.has(name) === true;
    return deletionTimestamp === undefined && !hasBegun && terminatedOf(pod) === undefined;
  });
  return pods.map(({ metadata }) => metadata.labels?.["paperclip.io/run-id"] ?? "");
}

/** As `--event-ttl` of a real API server does, in which nothing else is kept without end. */
const EVENT_TTL_MS = 5 * 60_000;
setInterval(() => {
  const before = k8s.clock.now() - EVENT_TTL_MS;
  for (const { metadata } of k8s.objects.list("events", NAMESPACE)) {
    if (Date.parse(metadata.creationTimestamp) < before) k8s.objects.delete("events", NAMESPACE, metadata.name);
  }
}, 30_000).unref();

let leftToSweep = 0;

/** What only its TTL ends (its process was killed before it could, or its deletion failed) goes at once when all else is over. */
function hurryTtl(): void {
  const ended = new Set(
    k8s.objects
      .list("pods", NAMESPACE)
      .filter(terminatedOf)
      .map(({ metadata }) => metadata.labels?.["job-name"]),
  );
  for (const { metadata, spec, status } of k8s.objects.list("jobs", NAMESPACE)) {
    const { ttlSecondsAfterFinished } = spec as { ttlSecondsAfterFinished?: number };
    if (ttlSecondsAfterFinished === undefined) continue;
    const { conditions = [] } = (status ?? {}) as { conditions?: unknown[] };
    if (metadata.deletionTimestamp === undefined && conditions.length === 0 && ended.has(metadata.name)) {
      // The adapter's sweep ends it, once the TTL has passed since the agent's end: the mesh beside it goes on.
      leftToSweep += 1;
      k8s.objects.delete("jobs", NAMESPACE, metadata.name);
      continue;
    }
    k8s.objects.update("jobs", NAMESPACE, metadata.name, (draft) => {
      (draft.spec as { ttlSecondsAfterFinished: number }).ttlSecondsAfterFinished = 1;
    });
  }
}

function remains(): Remains {
  const left: Record<string, string[]> = {};
  for (const resource of ["jobs", "secrets", "pods"] as const) {
    const names = k8s.objects.list(resource, NAMESPACE).map(({ metadata }) => metadata.name);
    if (names.length > 0) left[resource] = names;
  }
  if (k8s.openWatches > 0) left.watches = [String(k8s.openWatches)];
  if (k8s.openLogs > 0) left.logs = [String(k8s.openLogs)];
  if (live.size > 0) left.containers = [...live.keys()];
  return { left, waiting: waiting() };
}

function figures(): Figures {
  const { total, connectionsOpened } = k8s.requests.snapshot();
  const { rss } = process.memoryUsage();
  const notes = [
    // Fifteen minutes are too long to wait for.
    `${leftToSweep} Jobs left to the sweep`,
    `${total} requests, ${connectionsOpened} connections`,
  ];
  return { faults: weather.counts(), rss, notes };
}

function truthOf(agentId: string): AgentTruth {
  const { ends, begun, overlap, rotatedTo, rotations, endedBlind, struck } = agentOf(agentId);
  return { ends, begun, overlap, rotatedTo, rotations, endedBlind, struck, isComplete: true };
}

/** Everything that there is of an agent: for runs that do not settle. */
function explain(agentId: string): string {
  const objects = (["jobs", "pods"] as const).flatMap((resource) =>
    k8s.objects
      .list(resource, NAMESPACE)
      .filter(({ metadata }) => metadata.labels?.["paperclip.io/agent-id"] === agentId)
      .map(({ kind, metadata, status }) => {
        const { name, uid, deletionTimestamp, labels, annotations } = metadata;
        const owner = annotations?.["paperclip.io/owner-lease"];
        return { kind, name, uid, deletionTimestamp, runId: labels?.["paperclip.io/run-id"], owner, status };
      }),
  );
  const leases = k8s.objects.list("leases", NAMESPACE).map(({ metadata }) => metadata.name);
  return JSON.stringify({
    now: k8s.clock.date(),
    live: live.get(agentId)?.size ?? 0,
    ...truthOf(agentId),
    objects,
    leases,
  });
}

process.on("message", (message: ToCluster) => {
  switch (message.kind) {
    case "clear":
      hurryTtl();
      void weather.clear().then(() => say({ kind: "cleared" }));
      break;
    case "remains":
      say({ kind: "remains", remains: remains() });
      break;
    case "figures":
      say({ kind: "figures", figures: figures() });
      break;
    case "agent":
      say({ kind: "agent", agentId: message.agentId, truth: truthOf(message.agentId) });
      break;
    case "forget":
      agents.delete(message.agentId);
      break;
    case "explain":
      say({ kind: "explain", agentId: message.agentId, text: explain(message.agentId) });
  }
});
process.once("disconnect", () => process.exit(0));

const kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: NAMESPACE });
weather.begin();
say({ kind: "ready", kubeconfig });
