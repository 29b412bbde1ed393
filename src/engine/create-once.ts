import { randomUUID } from "node:crypto";
import {
  ApiError,
  type ApiRequest,
  type Cluster,
  isAlreadyExists,
  isAmbiguous,
  isNotFound,
} from "./transport/index.ts";
import { retried } from "./transport/retry.ts";

/**
 * Marks a create request on the object, so that one whose answer was lost is told from another process's object of the same name.
 * A manifest that has it already keeps its own: creates with the same one make one object.
 */
export const LAUNCH_ID_ANNOTATION = "k8s-run-informer/launch-id";

/** About ten seconds in all: an API server that was killed is back after two or three. */
const ATTEMPTS = 9;
const MAX_DELAY_MS = 3_000;

interface Manifest {
  readonly metadata: {
    readonly name: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/**
 * Creates an object exactly once, though answers may get lost: after an ambiguous failure the server is asked whether the object
 * stands there before it is sent again. `signal` is honoured until the request has left and between attempts.
 * @param collection path of its kind in its namespace
 * @param refused see `ApiRequest`
 * @returns the server's object
 * @throws ApiError; `AlreadyExists` when another process created an object of that name
 */
export async function createOnce<T>(
  cluster: Cluster,
  collection: string,
  manifest: Manifest,
  signal?: AbortSignal,
  refused?: ApiRequest["refused"],
): Promise<T> {
  const { name, annotations } = manifest.metadata;
  const launchId = annotations?.[LAUNCH_ID_ANNOTATION] ?? randomUUID();
  const body = {
    ...manifest,
    metadata: { ...manifest.metadata, annotations: { ...annotations, [LAUNCH_ID_ANNOTATION]: launchId } },
  };
  const path = `${collection}/${encodeURIComponent(name)}`;
  signal?.throwIfAborted();
  /** The create that was lost, where it is certain that no object stands there. */
  let lost: unknown = null;
  return await retried(create, {
    maxAttempts: ATTEMPTS,
    maxMs: MAX_DELAY_MS,
    signal,
    mayRetry: (error) => error === lost,
  });

  async function create(): Promise<T> {
    try {
      const answer = await cluster.json<Partial<Manifest> | null>({ method: "POST", path: collection, body, refused });
      if (answer?.metadata?.name === name) return answer as T;
      throw notTheObject(collection);
    } catch (error) {
      if (!isAmbiguous(error) && !isAlreadyExists(error)) throw error;
      const found = await find();
      if (found?.metadata?.annotations?.[LAUNCH_ID_ANNOTATION] === launchId) return found as T;
      const before = lost;
      lost = found === null ? error : null;
      // Whose object stands there could not be learned: it may be what the lost create made.
      throw found === undefined ? (before ?? error) : error;
    }
  }

  /** Null: there is none. Undefined: that could not be learned. */
  async function find(): Promise<Partial<Manifest> | null | undefined> {
    try {
      return await cluster.json<Partial<Manifest>>({ path });
    } catch (error) {
      return isNotFound(error) ? null : undefined;
    }
  }
}

/** A success whose body says nothing of the object: whether it was created is as unknown as after a lost answer. */
function notTheObject(path: string): ApiError {
  const reason = "UnexpectedAnswer";
  const message = `POST ${path}: 200 ${reason}: the answer is not the object that was created: is there a proxy before the API server?`;
  return new ApiError({ method: "POST", path, status: 200, reason, message });
}
