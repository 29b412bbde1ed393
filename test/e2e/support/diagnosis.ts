import type { Cluster } from "../../../src/engine/index.ts";
import type { Recorder } from "./recorder.ts";

interface Listed {
  items?: {
    metadata?: { name?: string; namespace?: string; managedFields?: unknown };
    type?: string;
    reason?: string;
    message?: string;
    count?: number;
    involvedObject?: { kind?: string; name?: string };
  }[];
}

/** What a person wants to see of a case that failed: Job, pods, events, and where the trace is. */
export async function diagnose(
  cluster: Cluster,
  recorder: Recorder,
  namespace: string,
  jobs: Iterable<string>,
): Promise<string> {
  const parts: string[] = [];
  for (const job of jobs) {
    parts.push(`── Job ${namespace}/${job}`);
    const jobPath = `/apis/batch/v1/namespaces/${namespace}/jobs/${job}`;
    const base = `/api/v1/namespaces/${namespace}`;
    parts.push(await shown(async () => [await cluster.json<object>({ path: jobPath })]));
    const query = { labelSelector: `batch.kubernetes.io/job-name=${job}` };
    parts.push(
      "── its pods",
      await shown(async () => (await cluster.json<Listed>({ path: `${base}/pods`, query })).items ?? []),
    );
    parts.push("── their events", await events(cluster, base, job));
    const trace = await recorder.write(job);
    parts.push(
      trace === null
        ? "── no frame of it was recorded"
        : `── trace: ${trace} (k8s-run-informer replay FILE --container claude)`,
    );
  }
  return parts.join("\n");
}

async function shown(get: () => Promise<object[]>): Promise<string> {
  try {
    const objects = await get();
    return objects.length === 0
      ? "(none)"
      : objects.map((each) => JSON.stringify(withoutManagedFields(each), null, 1)).join("\n");
  } catch (error) {
    return `(${error instanceof Error ? error.message : String(error)})`;
  }
}

function withoutManagedFields(object: object): object {
  const { metadata, ...rest } = object as { metadata?: { managedFields?: unknown } };
  const { managedFields: _, ...kept } = metadata ?? {};
  return { metadata: kept, ...rest };
}

async function events(cluster: Cluster, base: string, job: string): Promise<string> {
  try {
    const { items = [] } = await cluster.json<Listed>({ path: `${base}/events` });
    const lines = items
      .filter(({ involvedObject }) => involvedObject?.name === job || involvedObject?.name?.startsWith(`${job}-`))
      .map(
        ({ type, reason, message, count = 1, involvedObject }) =>
          `${type} ${involvedObject?.kind} ${reason} ×${count}: ${message}`,
      );
    return lines.join("\n") || "(none)";
  } catch (error) {
    return `(${error instanceof Error ? error.message : String(error)})`;
  }
}
