import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Backoff } from "../informer/backoff.ts";
import { trimJob } from "../informer/trim.ts";
import { jobPath, jobsPath } from "../job-path.ts";
import type { Job } from "../kubernetes.ts";
import { type Cluster, isAlreadyExists, isAmbiguous, isNotFound, retryAfterMs } from "../transport/index.ts";

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

/**
 * Marks the create request on the Job, so that a request whose answer was lost is told from another one's Job of the same
 * name.
 */
const LAUNCH_ID_ANNOTATION = "k8s-run-informer/launch-id";

/** About ten seconds in all: an API server that was killed is back after two or three. */
const ATTEMPTS = 9;
const MAX_DELAY_MS = 3_000;

/**
 * Creates the Job exactly once, though answers may get lost: after an ambiguous failure the server is asked whether the Job
 * stands there before it is sent again. `signal` is honoured until the request has left and between attempts.
 * @throws ApiError; `AlreadyExists` when a Job of that name was created by someone else.
 */
export async function createJob(
  cluster: Cluster,
  namespace: string,
  manifest: JobManifest,
  signal?: AbortSignal,
): Promise<Job> {
  const launchId = randomUUID();
  const body = {
    ...manifest,
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      ...manifest.metadata,
      namespace,
      annotations: { ...manifest.metadata.annotations, [LAUNCH_ID_ANNOTATION]: launchId },
    },
  };
  const collection = jobsPath(namespace);
  const path = jobPath(namespace, manifest.metadata.name);
  const backoff = new Backoff({ maxMs: MAX_DELAY_MS });
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return accept(await cluster.json({ method: "POST", path: collection, body }), collection);
    } catch (error) {
      const isLost = isAmbiguous(error) || (attempt > 1 && isAlreadyExists(error));
      if (!isLost) throw error;
      const found = await find(error);
      if (found !== null) return found;
      if (attempt >= ATTEMPTS) throw error;
      await delay(backoff.next(retryAfterMs(error) ?? 0), undefined, signal === undefined ? {} : { signal }).catch(
        () => undefined,
      );
    }
  }

  async function find(cause: unknown): Promise<Job | null> {
    try {
      const job = await cluster.json<{ metadata?: { annotations?: Record<string, string> } }>({ path });
      if (job.metadata?.annotations?.[LAUNCH_ID_ANNOTATION] === launchId) return accept(job, collection);
      throw cause;
    } catch (error) {
      if (isNotFound(error)) return null;
      // Whatever was wrong with the question, what is not known is whether the Job stands there.
      throw cause;
    }
  }
}

function accept(answer: unknown, path: string): Job {
  const job = trimJob(answer);
  if (job === null) throw new TypeError(`the answer to POST ${path} is not a Job`);
  return job;
}
