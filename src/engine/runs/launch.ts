import type { V1Job } from "@kubernetes/client-node";
import { createOnce } from "../create-once.ts";
import { trimJob } from "../informer/trim.ts";
import type { Job } from "../kubernetes.ts";
import { jobsPath } from "../paths.ts";
import type { ApiRequest, Cluster } from "../transport/index.ts";

/** A Job to create, as in a `batch/v1` manifest. `metadata.name` is required: a run is registered under it beforehand. */
export interface JobManifest {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    [field: string]: unknown;
  };
  spec: { template: { metadata?: { labels?: Record<string, string> }; spec: object }; [field: string]: unknown };
}

/** What `launch` takes: a manifest, or a Job as client-node describes it. */
export type JobInput = JobManifest | V1Job;

/** Why a Job is no run, where it may have several pods at once or one after the other succeeded. Null: it is one. */
export function severalPods(spec: Readonly<Record<string, unknown>> | undefined): string | null {
  for (const field of ["completions", "parallelism"] as const) {
    const value = spec?.[field];
    if (typeof value === "number" && value > 1)
      return `spec.${field} must be 1 or left out, got ${value}: a run ends with its one pod; launch ${value} Jobs instead`;
  }
  return null;
}

/** Creates the Job exactly once, see `createOnce`. @throws ApiError */
export async function createJob(
  cluster: Cluster,
  namespace: string,
  manifest: JobManifest,
  signal: AbortSignal,
  refused: ApiRequest["refused"],
): Promise<Job> {
  const collection = jobsPath(namespace);
  const job = { ...manifest, apiVersion: "batch/v1", kind: "Job", metadata: { ...manifest.metadata, namespace } };
  return accept(await createOnce(cluster, collection, job, signal, refused), collection);
}

function accept(answer: unknown, path: string): Job {
  const job = trimJob(answer);
  if (job === null) throw new TypeError(`the answer to POST ${path} is not a Job`);
  return job;
}
