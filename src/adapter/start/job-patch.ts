import { ApiError, type Cluster, type Job, jobPath, type ObjectMeta } from "../../engine/index.ts";

/** RFC 6902. `add` and not `replace`: the latter fails where there was no such label or annotation. */
export type PatchOperation =
  | { readonly op: "add" | "test"; readonly path: string; readonly value: unknown }
  | { readonly op: "remove"; readonly path: string };

export function labelPath(key: string): string {
  return `/metadata/labels/${escapePointer(key)}`;
}

export function annotationPath(key: string): string {
  return `/metadata/annotations/${escapePointer(key)}`;
}

/** Operations for a Job with this uid and no other of its name. */
export function annotate(
  { uid, annotations }: Pick<ObjectMeta, "uid" | "annotations">,
  added: Readonly<Record<string, string>>,
): PatchOperation[] {
  const operations: PatchOperation[] = [{ op: "test", path: "/metadata/uid", value: uid }];
  if (annotations === undefined) operations.push({ op: "add", path: "/metadata/annotations", value: {} });
  for (const [key, value] of Object.entries(added)) {
    operations.push({ op: "add", path: annotationPath(key), value });
  }
  return operations;
}

/** @returns the Job as it is then @throws ApiError: 422 when a `test` fails */
export async function patchJob(
  cluster: Cluster,
  { namespace, name }: Pick<ObjectMeta, "namespace" | "name">,
  body: readonly PatchOperation[],
  signal?: AbortSignal,
): Promise<Job> {
  return await cluster.json<Job>({
    method: "PATCH",
    path: jobPath(namespace, name),
    contentType: "application/json-patch+json",
    body,
    signal,
  });
}

/** Was a patch refused since a `test` in it failed? The server says no more than 422, as of a change that it does not take. */
export function isFailedTest(error: unknown): boolean {
  return error instanceof ApiError && error.status === 422;
}

/** RFC 6901 */
function escapePointer(key: string): string {
  return key.replaceAll("~", "~0").replaceAll("/", "~1");
}
