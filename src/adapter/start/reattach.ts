import { type Cluster, isDeleting, type Job, jobPath } from "../../engine/index.ts";
import { isRecord } from "../../json/read-json.ts";
import { BootstrapError } from "../errors.ts";
import { AnnotationKey, LabelKey } from "../job/names.ts";
import { annotate, annotationPath, isFailedTest, labelPath, type PatchOperation, patchJob } from "./job-patch.ts";
import { ownerNameOf } from "./ownership.ts";

/** What a Job says about the run that an earlier process began. Jobs of the former adapter say less. */
export interface LeftBehind {
  readonly runId: string | null;
  readonly sessionId: string | null;
  readonly workingDir: string | null;
  readonly carry: Readonly<Record<string, string>>;
}

export function readLeftBehind({ metadata }: Job): LeftBehind {
  const { labels = {}, annotations = {} } = metadata;
  return {
    runId: annotations[AnnotationKey.runId] ?? labels[LabelKey.runId] ?? null,
    // A session id survives as a label too: it is a UUID.
    sessionId: annotations[AnnotationKey.sessionId] ?? labels[LabelKey.sessionId] ?? null,
    workingDir: annotations[AnnotationKey.workingDir] ?? null,
    carry: readCarry(annotations[AnnotationKey.carry]),
  };
}

function readCarry(text: string | undefined): Record<string, string> {
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    if (!isRecord(value)) return {};
    return Object.fromEntries(
      Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
    );
  } catch {
    return {};
  }
}

/** So long a run that was adopted is left to whoever adopted it; if that died too, the next try takes it. */
const ADOPTION_MS = 10_000;

/**
 * Has another process taken the run over just now? Only asked where the Job names no owner.
 * @param now by the clock of the server, as is what stands on the Job
 */
export function isJustAdopted({ metadata }: Job, now: number): boolean {
  const at = Date.parse(metadata.annotations?.[AnnotationKey.adoptedAt] ?? "");
  return Math.abs(now - at) < ADOPTION_MS;
}

/** Another process has taken the run over at the same moment. */
export class AdoptedElsewhereError extends BootstrapError {
  constructor(jobName: string) {
    const message = `Another process has taken over Job ${jobName} at this moment.`;
    super({ code: "k8s_concurrent_run_blocked", message, family: "transient_upstream" });
  }
}

export interface NewRun {
  readonly runId: string;
  readonly runIdLabel: string;
  readonly sessionId: string | null;
  /** Name of this process's Lease. */
  readonly owner: string | null;
}

/**
 * Writes the new run and its owner on the Job. The pod keeps its old labels; it is found by its owner.
 *
 * Of several processes that want to adopt the run at once, the first one's patch holds: those of the others fail, since run and
 * owner no longer are what they have seen.
 * @returns false when the deletion of the Job has begun meanwhile: its run is not to be followed
 * @throws AdoptedElsewhereError, ApiError
 */
export async function relabel(cluster: Cluster, { metadata }: Job, run: NewRun, signal: AbortSignal): Promise<boolean> {
  const { uid, labels = {}, namespace, name } = metadata;
  const before = { run: labels[LabelKey.runId], owner: ownerNameOf({ metadata }) };
  const operations: PatchOperation[] = [];
  if (before.run !== undefined) operations.push({ op: "test", path: labelPath(LabelKey.runId), value: before.run });
  if (before.owner !== null) {
    operations.push({ op: "test", path: annotationPath(AnnotationKey.owner), value: before.owner });
  }
  operations.push({ op: "add", path: labelPath(LabelKey.runId), value: run.runIdLabel });
  if (run.sessionId !== null) {
    operations.push({ op: "add", path: labelPath(LabelKey.sessionId), value: run.sessionId });
  }
  operations.push(
    ...annotate(metadata, {
      [AnnotationKey.runId]: run.runId,
      [AnnotationKey.adoptedAt]: new Date(cluster.clock.now()).toISOString(),
      ...(run.owner === null ? {} : { [AnnotationKey.owner]: run.owner }),
    }),
  );
  try {
    return !isDeleting(await patchJob(cluster, metadata, operations, signal));
  } catch (error) {
    if (!isFailedTest(error)) throw error;
    const current = await cluster.json<Job>({ path: jobPath(namespace, name), signal });
    const label = current.metadata?.labels?.[LabelKey.runId];
    const owner = ownerNameOf(current);
    // Ours, whose answer was lost.
    if (label === run.runIdLabel && owner === run.owner) return !isDeleting(current);
    // No process came between: the server refuses the change itself.
    if (label === before.run && owner === before.owner && current.metadata?.uid === uid) throw error;
    throw new AdoptedElsewhereError(name);
  }
}
