/** The cluster's process: the embedded Kubernetes, its weather, and the witness of what truly happened. */
import { join } from "node:path";
import { EmbeddedKubernetes, type ScriptedProgram, type StoredObject } from "../../src/embedded/index.ts";
import type { ContainerEnd, FromCluster, ToCluster, Truth } from "./messages.ts";
import { BESIDE_IMAGE, IMAGE, lineOf, MISSING_IMAGE, NAMESPACE, paceOf, type Script, scriptOf } from "./script.ts";
import { Weather } from "./weather.ts";

const [seedText = "1", runsText = "100", timeScale = "20", directory = "."] = process.argv.slice(2);
const seed = Number(seedText);
const say = (message: FromCluster) => process.send?.(message);
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) =>
    say({ kind: "wrong", what: `cluster ${event}: ${error instanceof Error ? error.stack : String(error)}` }),
  );
}

const scripts = new Map<string, Script>();
for (let index = 0; index < Number(runsText); index += 1) {
  const script = scriptOf(seed, index);
  scripts.set(script.agentId, script);
}

const k8s = await EmbeddedKubernetes.start({
  timeScale: Number(timeScale),
  namespaces: [NAMESPACE],
  seed,
  nodes: [{ name: "one" }, { name: "two", clockSkewMs: -90_000 }],
});
k8s.failImagePull(MISSING_IMAGE);
const weather = new Weather(k8s, seed);

/** Exit code of a container whose Job makes another. */
const RETRIED = 7;
/** Lines that a Job's first pod wrote before it failed, by uid: a Job that a killed process had ended comes again under its name. */
const reached = new Map<string, number>();
/** Lines by pod. */
const written = new Map<string, number>();
const live = new Map<string, number>();
const overlaps: Record<string, string> = {};
/** Pods whose container runs, by agent. */
const livePods = new Map<string, Set<string>>();
let started = 0;

const agent: ScriptedProgram = async function* (container) {
  const { namespace, name, labels } = container.pod;
  const agentId = labels["paperclip.io/agent-id"] ?? "";
  const script = scripts.get(agentId);
  if (script === undefined) throw new Error(`no script for agent ${agentId}`);
  started += 1;
  written.set(name, 0);
  const running = (live.get(agentId) ?? 0) + 1;
  live.set(agentId, running);
  const pods = livePods.get(agentId) ?? new Set<string>();
  livePods.set(agentId, pods.add(name));
  if (running > 1) {
    overlaps[agentId] =
      `at ${k8s.clock.date().toISOString()}: ${[...pods].map((pod) => storyOf(namespace, pod)).join(", ")}`;
  }
  if (script.minds) container.onTerminate(() => 143);
  const pace = paceOf(script);
  const jobUid = labels["controller-uid"] ?? "";
  const first = reached.get(jobUid) ?? 0;
  try {
    for (let seq = first; seq < script.lines; seq += 1) {
      if (first === 0 && seq === script.retryAfter) {
        reached.set(jobUid, seq);
        return RETRIED;
      }
      await container.sleep(pace());
      yield lineOf(script, seq);
      written.set(name, seq + 1);
      if (seq === script.rotateAfter) k8s.rotateLogs(namespace, name, container.name);
    }
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
    return script.exitCode;
  } finally {
    live.set(agentId, (live.get(agentId) ?? 1) - 1);
    pods.delete(name);
  }
};
k8s.addProgram(IMAGE, agent);
// Until it is told to end.
k8s.addProgram(BESIDE_IMAGE, async (container) => {
  await container.sleep(3_600_000, { interruptible: true }).catch(() => undefined);
  return 0;
});
// As admission webhooks do.
k8s.objects.onCreate((resource, draft) => {
  const script = scripts.get(draft.metadata.labels?.["paperclip.io/agent-id"] ?? "");
  if (resource !== "jobs" || script === undefined) return;
  const spec = draft.spec as { backoffLimit: number; template: { spec: { containers: unknown[] } } };
  if (script.retryAfter !== null) spec.backoffLimit = 1;
  if (script.beside !== "mesh") return;
  spec.template.spec.containers.push({
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
    adoptedAt: job?.annotations?.["paperclip.io/adopted-at"],
    secret: secret?.creationTimestamp,
  });
}

const ends = new Map<string, ContainerEnd[]>();
k8s.objects.onChange(({ resource, object, previous }) => {
  if (resource !== "pods") return;
  const now = terminatedOf(object);
  if (now === undefined || (previous !== undefined && terminatedOf(previous) !== undefined)) return;
  const labels = object.metadata.labels ?? {};
  const agentId = labels["paperclip.io/agent-id"] ?? "";
  const list = ends.get(agentId) ?? [];
  ends.set(agentId, list);
  list.push({
    jobUid: labels["controller-uid"] ?? "",
    runId: labels["paperclip.io/run-id"] ?? "",
    exitCode: now.exitCode,
    reason: now.reason ?? "",
    ran: written.has(object.metadata.name),
    written: written.get(object.metadata.name) ?? 0,
  });
});

function terminatedOf(pod: StoredObject): { exitCode: number; reason?: string } | undefined {
  const { containerStatuses } = (pod.status ?? {}) as {
    containerStatuses?: { state?: { terminated?: { exitCode: number; reason?: string } } }[];
  };
  return containerStatuses?.[0]?.state?.terminated;
}

/** Run ids of Jobs whose container cannot start: without their Secret (its process was killed too soon) or image. */
function waiting(): string[] {
  const pods = k8s.objects.list("pods", NAMESPACE).filter((pod) => {
    const { name, deletionTimestamp } = pod.metadata;
    return deletionTimestamp === undefined && !written.has(name) && terminatedOf(pod) === undefined;
  });
  return pods.map(({ metadata }) => metadata.labels?.["paperclip.io/run-id"] ?? "");
}

/** What the adapter's sweep ends, once the TTL has passed since the agent's end: the mesh beside it goes on. */
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
      leftToSweep += 1;
      k8s.objects.delete("jobs", NAMESPACE, metadata.name);
      continue;
    }
    k8s.objects.update("jobs", NAMESPACE, metadata.name, (draft) => {
      (draft.spec as { ttlSecondsAfterFinished: number }).ttlSecondsAfterFinished = 1;
    });
  }
}

function truth(): Truth {
  const left: Record<string, string[]> = {};
  for (const resource of ["jobs", "secrets", "pods"] as const) {
    const names = k8s.objects.list(resource, NAMESPACE).map(({ metadata }) => metadata.name);
    if (names.length > 0) left[resource] = names;
  }
  if (k8s.openWatches > 0) left.watches = [String(k8s.openWatches)];
  if (k8s.openLogs > 0) left.logs = [String(k8s.openLogs)];
  const running = [...live].filter(([, count]) => count > 0).map(([agentId]) => agentId);
  if (running.length > 0) left.containers = running;
  const { total, connectionsOpened } = k8s.requests.snapshot();
  return {
    kind: "truth",
    ends: Object.fromEntries(ends),
    overlaps,
    started,
    left,
    waiting: waiting(),
    leftToSweep,
    faults: weather.counts,
    requests: total,
    connectionsOpened,
  };
}

/** Everything that there is of an agent: for runs that do not settle. */
function explain(agentId: string): string {
  const objects = (["jobs", "pods"] as const).flatMap((resource) =>
    k8s.objects
      .list(resource, NAMESPACE)
      .filter(({ metadata }) => metadata.labels?.["paperclip.io/agent-id"] === agentId)
      .map(({ kind, metadata, status }) => {
        const { name, uid, deletionTimestamp, labels } = metadata;
        return { kind, name, uid, deletionTimestamp, runId: labels?.["paperclip.io/run-id"], status };
      }),
  );
  return JSON.stringify({ now: k8s.clock.date(), live: live.get(agentId) ?? 0, ends: ends.get(agentId), objects });
}

process.on("message", (message: ToCluster) => {
  if (message.kind === "clear") {
    hurryTtl();
    void weather.clear().then(() => say({ kind: "cleared" }));
  } else if (message.kind === "truth") say(truth());
  else say({ kind: "explained", text: explain(message.agentId) });
});
process.once("disconnect", () => process.exit(0));

const kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: NAMESPACE });
weather.begin();
say({ kind: "ready", kubeconfig });
