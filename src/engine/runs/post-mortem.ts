import { type ClusterEvent, listEvents } from "../events.ts";
import { containerFacts, podFacts } from "../facts.ts";
import type { Pod } from "../kubernetes.ts";
import { followLogs } from "../logs/index.ts";
import { findObject } from "../object-requests.ts";
import { corePath, jobPath } from "../paths.ts";
import { type Cluster, isNotFound, LinkedAbort } from "../transport/index.ts";
import type { RunRecord } from "./run-record.ts";
import type { RunEnd } from "./types.ts";

/** What an operator asks of a run that failed. What is not known any more is null or empty; `unanswered` says what was refused. */
export interface PostMortem {
  end: RunEnd;
  /** The last that the container wrote: at most 20 lines, each at most 500 characters. */
  lastLines: readonly string[];
  podName: string | null;
  nodeName: string | null;
  image: string | null;
  imageId: string | null;
  restarts: number;
  /** Of a container that was killed for its memory: its limit, as in the manifest. */
  memoryLimit: string | null;
  /** Who ended it from outside: eviction, preemption, a deletion, a deadline. Null: it ended by itself. */
  endedBy: string | null;
  /** Events of type Warning about the Job and its pods, oldest first. */
  warnings: readonly WarningEvent[];
  unanswered: readonly string[];
}

export interface WarningEvent {
  /** E.g. `Pod run-1-x7k2p`. */
  about: string;
  reason: string;
  message: string;
  count: number;
  /** When it was last seen (RFC 3339). */
  at: string | null;
}

const LAST_LINES = 20;
/** What there is now, in one read. */
const TAIL = { tailLines: LAST_LINES, follow: false, lateLinesMs: 0 };
const MAX_LINE = 500;
/** Of all requests together. */
const TIMEOUT_MS = 10_000;

/** @internal At most four requests, once each: pod, Job (where the pod is deleted), log, events. Never rejects but with the signal's reason. */
export async function postMortem(
  cluster: Cluster,
  record: RunRecord,
  end: RunEnd,
  signal: AbortSignal | undefined,
): Promise<PostMortem> {
  const reason = () => new Error(`the server did not answer within ${TIMEOUT_MS} ms`);
  const abort = new LinkedAbort([signal, record.closed], { ms: TIMEOUT_MS, reason });
  const unanswered: string[] = [];
  const ask = async <T>(what: string, asking: Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await asking;
    } catch (error) {
      if (!isNotFound(error)) unanswered.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      return otherwise;
    }
  };
  const pod = record.pod();
  try {
    const [lastLines, described, warnings] = await Promise.all([
      ask("log", lastLinesOf(cluster, record, end.container, abort.signal), []),
      ask("pod", describe(cluster, record, end.container, abort.signal), null),
      ask("events", warningsOf(cluster, record, abort.signal), []),
    ]);
    signal?.throwIfAborted();
    const { spec, status } = described ?? {};
    return {
      end,
      lastLines,
      podName: pod?.metadata.name ?? end.podName,
      nodeName: pod?.spec.nodeName ?? null,
      image: spec?.image ?? null,
      imageId: status?.imageID || null,
      restarts: pod === null ? 0 : containerFacts(pod, end.container).restartCount,
      memoryLimit: end.reason === "OOMKilled" ? (spec?.resources?.limits?.memory ?? null) : null,
      endedBy: endedBy(end, pod),
      warnings,
      unanswered,
    };
  } finally {
    abort.release();
  }
}

function endedBy({ kind, reason, message }: RunEnd, pod: Pod | null): string | null {
  if (kind === "failed" || kind === "start_failed" || kind === "succeeded") return null;
  const disruption = pod === null ? null : podFacts(pod).disruption;
  const words = kind === "evicted" && disruption !== null ? disruption : { reason, message };
  return [words.reason, words.message].filter((word) => word !== "").join(": ");
}

interface ContainerSpec {
  name: string;
  image?: string;
  resources?: { limits?: { memory?: string } };
}

interface PodTemplate {
  spec?: { containers?: ContainerSpec[]; initContainers?: ContainerSpec[] };
  status?: { containerStatuses?: ImageStatus[]; initContainerStatuses?: ImageStatus[] };
}

interface ImageStatus {
  name: string;
  imageID?: string;
}

/** Image and limits, which the cache does not keep. */
async function describe(
  cluster: Cluster,
  record: RunRecord,
  container: string,
  signal: AbortSignal,
): Promise<{ spec: ContainerSpec | undefined; status: ImageStatus | undefined }> {
  const { namespace, jobName } = record.ref;
  const name = record.pod()?.metadata.name;
  const ofJob = async () =>
    (await cluster.json<{ spec?: { template?: PodTemplate } }>({ path: jobPath(namespace, jobName), signal })).spec
      ?.template ?? {};
  const pod =
    name === undefined ? null : await findObject<PodTemplate>(cluster, corePath(namespace, "pods", name), signal);
  const { spec, status } = pod ?? (await ofJob());
  const isMeant = (each: { name: string }) => each.name === container;
  return {
    spec: [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].find(isMeant),
    status: [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])].find(isMeant),
  };
}

async function lastLinesOf(
  cluster: Cluster,
  record: RunRecord,
  container: string,
  signal: AbortSignal,
): Promise<string[]> {
  const pod = record.pod();
  if (pod === null || record.state.podDeletedAt !== null) return [];
  const source = record.logSource(pod, container);
  if (source.view().startedAt === null) return [];
  const lines: string[] = [];
  for await (const { text } of followLogs(cluster, source, { ...TAIL, signal })) {
    lines.push(text.slice(0, MAX_LINE));
    if (lines.length > LAST_LINES) lines.shift();
  }
  return lines;
}

async function warningsOf(cluster: Cluster, record: RunRecord, signal: AbortSignal): Promise<WarningEvent[]> {
  const { namespace, jobName, uid } = record.ref;
  // The Job controller names pods after their Job, with a dash and five characters, of 63 in all.
  const base = `${jobName}-`.slice(0, 58);
  const isOurPod = (name: string) => name.startsWith(base) && name.length === base.length + 5;
  const isOurs = ({ about }: ClusterEvent) =>
    (about.kind === "Job" && about.uid === uid) ||
    (about.kind === "Pod" && (about.uid === record.pod()?.metadata.uid || isOurPod(about.name)));
  const events = await listEvents(cluster, namespace, "type=Warning", { signal });
  return events
    .filter((event) => event.type === "Warning" && isOurs(event))
    .map(({ about: { kind, name }, reason, message, count, at }) => ({
      about: `${kind} ${name}`,
      reason,
      message,
      count,
      at,
    }));
}
