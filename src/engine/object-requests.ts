import { isDeleting } from "./facts.ts";
import { type Cluster, isConflict, isNotFound } from "./transport/index.ts";

/** Null: the server says that there is no such object. @throws ApiError; the signal's reason */
export async function findObject<T>(cluster: Cluster, path: string, signal?: AbortSignal): Promise<T | null> {
  try {
    return await cluster.json<T>({ path, signal });
  } catch (error) {
    if (isNotFound(error)) return null;
    throw error;
  }
}

interface Standing {
  readonly metadata?: { readonly uid: string; readonly deletionTimestamp?: string };
}

/**
 * Deletes an object if it is still the one that was looked at: the server compares its uid and, where given, its version.
 * @returns `missing`: there is none of this name; `changed`: another version or another object stands there, and was not deleted;
 * `deleted`: also what somebody deletes already
 * @throws ApiError; the signal's reason
 */
export async function deleteUnchanged(
  cluster: Cluster,
  path: string,
  { uid, resourceVersion }: { uid: string; resourceVersion?: string },
  options: { propagationPolicy?: "Foreground" | "Background"; signal?: AbortSignal | undefined } = {},
): Promise<"deleted" | "missing" | "changed"> {
  const { signal, ...how } = options;
  const body = { apiVersion: "v1", kind: "DeleteOptions", ...how, preconditions: { uid, resourceVersion } };
  try {
    await cluster.json({ method: "DELETE", path, body, signal });
    return "deleted";
  } catch (error) {
    if (isNotFound(error)) return "missing";
    if (!isConflict(error)) throw error;
    if (resourceVersion === undefined) return "changed";
    // Where the object stands until its finalizers are done, a deletion whose answer was lost has changed it.
    const found = await findObject<Standing>(cluster, path, signal);
    if (found === null) return "missing";
    return found.metadata?.uid === uid && isDeleting(found) ? "deleted" : "changed";
  }
}
