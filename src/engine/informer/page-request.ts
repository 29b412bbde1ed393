import type { Cluster } from "../transport/index.ts";
import { WatchProtocolError } from "./watch-errors.ts";

interface PageRequest {
  labelSelector: string;
  /** 0: the whole list in one answer. */
  pageSize: number;
  continueToken: string | null;
  signal: AbortSignal;
}

interface Page {
  items: readonly unknown[];
  resourceVersion: string;
  /** The continue token of the page after it; null: it is the last. */
  next: string | null;
}

interface ListBody {
  metadata?: { resourceVersion?: unknown; continue?: unknown };
  items?: unknown;
}

/** One page of a list. Sent once: what is sent again, and when, is the policy's. @throws ApiError, WatchProtocolError */
export async function requestPage(
  cluster: Cluster,
  path: string,
  { labelSelector, pageSize, continueToken, signal }: PageRequest,
): Promise<Page> {
  const list = await cluster.json<ListBody | null>({
    path,
    query: { labelSelector, limit: pageSize === 0 ? undefined : pageSize, continue: continueToken ?? undefined },
    signal,
    maxAttempts: 1,
  });
  const { resourceVersion, continue: next } = list?.metadata ?? {};
  // `"items": null` is how Go writes an empty list; without `items` it is no list, and nothing must be taken for deleted.
  const items = list?.items === null ? [] : list?.items;
  if (!Array.isArray(items) || typeof resourceVersion !== "string")
    throw new WatchProtocolError(`the answer to GET ${path} is not a list`);
  return { items, resourceVersion, next: typeof next === "string" && next !== "" ? next : null };
}
