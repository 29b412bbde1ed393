import { Option } from "commander";
import { printable } from "../../adapter/host/printable.ts";
import {
  type Cluster,
  type Condition,
  conditionOf,
  corePath,
  deleteUnchanged,
  isDeleting,
  type Job,
  jobFacts,
  jobPath,
  jobsPath,
  listed,
} from "../../engine/index.ts";
import { type CommandIo, defineCommand } from "../command.ts";
import { addSelectorOption, addTargetOptions, connect, durationMs, labelsOf } from "../target.ts";
import { formatAge, formatTable } from "../text-width.ts";
import type { SelectionOptions } from "./list.ts";

interface GcOptions extends SelectionOptions {
  olderThan: number;
  yes: boolean;
}

/** Something that the cluster keeps and no run needs. */
interface Garbage {
  kind: "Job" | "Secret";
  name: string;
  uid: string;
  resourceVersion: string;
  why: string;
}

export const gcCommand = defineCommand<GcOptions>({
  name: "gc",
  summary: "show what no run needs any more, and why; with --yes delete it",
  configure: (command) =>
    addSelectorOption(addTargetOptions(command))
      .addOption(
        new Option("--older-than <duration>", "how long since it ended").argParser(durationMs).default(3_600_000, "1h"),
      )
      .option("--yes", "delete what is shown", false),
  async action({ olderThan, yes, selector, ...target }, io) {
    labelsOf(selector);
    const { cluster, namespace } = await connect(target, io);
    try {
      const found = await findGarbage(cluster, namespace, selector, olderThan, io.signal);
      if (found.length === 0) {
        io.stderr.write(`nothing to delete in namespace ${namespace}\n`);
        return 0;
      }
      const rows = found.map(({ kind, name, why }) => [kind, printable(name), printable(why)]);
      io.stdout.write(`${formatTable(["KIND", "NAME", "WHY"], rows, Number.POSITIVE_INFINITY).join("\n")}\n`);
      if (!yes) {
        io.stderr.write(`${found.length} to delete; nothing was deleted: add --yes\n`);
        return 0;
      }
      return await deleteAll(cluster, namespace, found, io);
    } finally {
      await cluster.close();
    }
  },
});

interface StoredSecret {
  metadata: {
    name: string;
    uid: string;
    resourceVersion: string;
    creationTimestamp: string;
    deletionTimestamp?: string;
    ownerReferences?: { kind: string; uid: string }[];
  };
}

/** As the server sends them: the engine's caches hold neither a Job without status nor the time of a condition. */
type StoredJob = Omit<Job, "status"> & { status?: Job["status"] };
interface StoredCondition extends Condition {
  lastTransitionTime?: string;
}

async function findGarbage(
  cluster: Cluster,
  namespace: string,
  labelSelector: string,
  olderThanMs: number,
  signal: AbortSignal,
): Promise<Garbage[]> {
  const alive = new Set<string>();
  const now = Date.now();
  const found: Garbage[] = [];
  const add = (kind: Garbage["kind"], { name, uid, resourceVersion }: StoredSecret["metadata"], why: string) =>
    found.push({ kind, name, uid, resourceVersion, why });
  const query = { labelSelector, signal };
  for await (const stored of listed<StoredJob>(cluster, jobsPath(namespace), query)) {
    const job: Job = { ...stored, status: stored.status ?? {} };
    alive.add(job.metadata.uid);
    const { state, end } = jobFacts(job);
    if (end === null || !end.havePodsEnded || isDeleting(job)) continue;
    const condition: StoredCondition | undefined = conditionOf(job, end.type);
    const endedMs = now - Date.parse(condition?.lastTransitionTime ?? "");
    if (!(endedMs >= olderThanMs)) continue;
    const how = state === "succeeded" ? state : `failed (${end.reason || "?"})`;
    add("Job", job.metadata, `${how} ${formatAge(endedMs)} ago`);
  }
  for await (const { metadata } of listed<StoredSecret>(cluster, corePath(namespace, "secrets"), query)) {
    const owner = metadata.ownerReferences?.find(({ kind }) => kind === "Job");
    const ageMs = now - Date.parse(metadata.creationTimestamp);
    if ((owner !== undefined && alive.has(owner.uid)) || isDeleting({ metadata }) || ageMs < olderThanMs) continue;
    add("Secret", metadata, `its Job is deleted; created ${formatAge(ageMs)} ago`);
  }
  return found;
}

/** Only what is as it was shown: each is deleted by uid and version. */
async function deleteAll(
  cluster: Cluster,
  namespace: string,
  found: readonly Garbage[],
  io: CommandIo,
): Promise<number> {
  let failed = 0;
  for (const { kind, name, uid, resourceVersion } of found) {
    const path = kind === "Job" ? jobPath(namespace, name) : corePath(namespace, "secrets", name);
    try {
      const options = { propagationPolicy: "Background", signal: io.signal } as const;
      const outcome = await deleteUnchanged(cluster, path, { uid, resourceVersion }, options);
      if (outcome === "changed") throw new Error("it has changed meanwhile; not deleted");
      if (outcome === "deleted") io.stdout.write(`${kind} ${name}: deleted\n`);
    } catch (error) {
      failed += 1;
      io.stderr.write(`${kind} ${name}: ${printable((error as Error).message)}\n`);
    }
  }
  return failed === 0 ? 0 : 1;
}
