import { type Cluster, type Kinds, PROTOBUF, readObject } from "../transport/index.ts";
import type { Trim } from "./trim.ts";
import { WatchProtocolError } from "./watch-errors.ts";

export interface Selectors {
  labelSelector: string | undefined;
  fieldSelector?: string | undefined;
}

interface PageRequest extends Selectors {
  /** 0: the whole list in one answer. */
  pageSize: number;
  continueToken: string | null;
  signal: AbortSignal | undefined;
  /** Asks for protobuf, too, and reads these kinds of it. Default: JSON alone. */
  kinds?: Kinds | null;
  /** How often it is sent at most; default as the cluster does it. */
  maxAttempts?: number;
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

/** One page of a list. @throws ApiError, FrameError, WatchProtocolError */
export async function requestPage(
  cluster: Cluster,
  path: string,
  { labelSelector, fieldSelector, pageSize, continueToken, kinds = null, signal, maxAttempts }: PageRequest,
): Promise<Page> {
  const list = await cluster.json<ListBody | null>({
    path,
    query: {
      labelSelector,
      fieldSelector,
      limit: pageSize === 0 ? undefined : pageSize,
      continue: continueToken ?? undefined,
    },
    ...(kinds === null ? {} : { preferred: { type: PROTOBUF, read: (body) => readList(body, kinds) } }),
    signal,
    ...(maxAttempts === undefined ? {} : { maxAttempts }),
  });
  const { resourceVersion, continue: next } = list?.metadata ?? {};
  // `"items": null` is how Go writes an empty list; without `items` it is no list, and nothing must be taken for deleted.
  const items = list?.items === null ? [] : list?.items;
  if (!Array.isArray(items) || typeof resourceVersion !== "string")
    throw new WatchProtocolError(`the answer to GET ${path} is not a list`);
  if (typeof next !== "string" || next === "") return { items, resourceVersion, next: null };
  // A proxy that passes over the query would have its first page asked for without end.
  if (next === continueToken)
    throw new WatchProtocolError(`the answer to GET ${path} has the continue token that was asked for`);
  return { items, resourceVersion, next };
}

/** In JSON an empty list has its `items` all the same. */
function readList(body: Buffer, kinds: Kinds): ListBody {
  const { kind, metadata = {}, items = [] } = readObject(body, kinds) as ListBody & { kind?: unknown };
  return String(kind).endsWith("List") ? { metadata, items } : {};
}

/** What `trim` keeps of a whole list; what it knows nothing of is left out. @throws ApiError, WatchProtocolError, the signal's reason */
export async function listAll<T>(
  cluster: Cluster,
  path: string,
  trim: Trim<T>,
  options: Selectors & { signal: AbortSignal | undefined },
): Promise<T[]> {
  const objects: T[] = [];
  for await (const item of listed(cluster, path, options)) {
    const object = trim(item);
    if (object !== null) objects.push(object);
  }
  return objects;
}

/** All items of a list, page by page. @throws ApiError, WatchProtocolError, the signal's reason */
export async function* listed<T = unknown>(
  cluster: Cluster,
  path: string,
  { pageSize = 500, signal, ...selectors }: Selectors & { pageSize?: number; signal: AbortSignal | undefined },
): AsyncGenerator<T, void> {
  let continueToken: string | null = null;
  do {
    const page: Page = await requestPage(cluster, path, { ...selectors, pageSize, continueToken, signal });
    yield* page.items as readonly T[];
    continueToken = page.next;
  } while (continueToken !== null);
}
