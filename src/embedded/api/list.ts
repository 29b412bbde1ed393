import { LRUCache } from "lru-cache";
import { itemJson } from "../objects/object-json.ts";
import type { StoredObject } from "../objects/objects.ts";
import { apiVersionOf, type ResourceName, typeOf } from "../objects/resources.ts";
import { matches } from "../objects/selectors.ts";
import { badRequest, expired, StatusError } from "../objects/status-error.ts";
import type { ObjectStore } from "../store/store.ts";
import type { ListOptions } from "./list-options.ts";

/** A page of a list: the matching objects in the order of their keys, and what the list's metadata says. */
export interface Page {
  readonly resource: ResourceName;
  readonly items: readonly StoredObject[];
  readonly metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number };
}

interface Snapshot {
  readonly resource: ResourceName;
  readonly resourceVersion: number;
  readonly objects: readonly StoredObject[];
  /** When it is forgotten, in the cluster's time: etcd is compacted every five minutes. */
  readonly until: number;
}

const SNAPSHOT_MS = 5 * 60_000;
const MAX_SNAPSHOTS = 64;

/** Lists with paging: the pages of one list show one moment, as long as the server remembers it. */
export class Lister {
  readonly #store: ObjectStore;
  readonly #snapshots = new LRUCache<string, Snapshot>({ max: MAX_SNAPSHOTS });

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** Throws `StatusError`: 400 (bad token), 410 (token or version expired), 504 (version of the future). */
  page(resource: ResourceName, options: ListOptions): Page {
    const { resourceVersion = 0, limit, selector } = options;
    const current = this.#store.resourceVersion;
    if (options.continueToken !== undefined) return this.#nextPage(resource, options, options.continueToken);
    if (resourceVersion > current) throw tooLargeResourceVersion(resourceVersion, current);
    if (options.resourceVersionMatch === "Exact" && resourceVersion !== current) {
      const old = this.#snapshot(resource, resourceVersion);
      if (old === undefined) throw expired(`The resourceVersion for the provided list is too old.`);
      return this.#cut(old, options, "");
    }
    // `limit` with `resourceVersion=0` is ignored: the watch cache answers with everything.
    const paged = limit > 0 && options.resourceVersion !== 0;
    const objects = this.#store.list(resource, selector.namespace);
    const matching = objects.filter((object) => matches(selector, object));
    // Mostly everything fits into one page; to sort thousands of objects for the one that is asked for would be most of the work.
    if (!paged || matching.length <= limit) {
      return { resource, items: matching.sort(byKey), metadata: { resourceVersion: String(current) } };
    }
    const snapshot = {
      resource,
      resourceVersion: current,
      objects: objects.sort(byKey),
      until: this.#store.now() + SNAPSHOT_MS,
    };
    return this.#cut(snapshot, options, "");
  }

  /** Forgets every moment but the present one: continue tokens that are out are answered with 410. */
  expire(): void {
    this.#snapshots.clear();
  }

  #nextPage(resource: ResourceName, options: ListOptions, token: string): Page {
    const { rv, start } = decodeToken(token);
    if (rv === -1) {
      const objects = this.#store.list(resource, options.selector.namespace).sort(byKey);
      const now = { resource, resourceVersion: this.#store.resourceVersion, objects, until: 0 };
      return this.#cut(now, options, start);
    }
    const snapshot = this.#snapshot(resource, rv);
    if (snapshot === undefined) throw expiredToken(start);
    return this.#cut(snapshot, options, start);
  }

  #cut(snapshot: Snapshot, { limit, selector }: ListOptions, start: string): Page {
    const { resource, resourceVersion } = snapshot;
    const rest = snapshot.objects.filter(
      (object) => matches(selector, object) && (start === "" || keyOf(object) >= start),
    );
    const items = limit > 0 ? rest.slice(0, limit) : rest;
    const last = items.at(-1);
    if (last === undefined || items.length === rest.length) {
      return { resource, items, metadata: { resourceVersion: String(resourceVersion) } };
    }
    this.#remember(snapshot);
    const filtered = selector.labels !== undefined || selector.fields !== undefined;
    return {
      resource,
      items,
      metadata: {
        resourceVersion: String(resourceVersion),
        continue: encodeToken(resourceVersion, `${keyOf(last)}\0`),
        // Unknown to the real server when a selector filters.
        ...(filtered ? {} : { remainingItemCount: rest.length - items.length }),
      },
    };
  }

  #snapshot(resource: ResourceName, resourceVersion: number): Snapshot | undefined {
    const snapshot = this.#snapshots.get(`${resource}/${resourceVersion}`);
    if (snapshot === undefined || snapshot.until < this.#store.now()) return undefined;
    return snapshot;
  }

  #remember(snapshot: Snapshot): void {
    const key = `${snapshot.resource}/${snapshot.resourceVersion}`;
    const known = this.#snapshots.get(key);
    // One of all namespaces serves a token of one namespace as well, not the other way round.
    if (known !== undefined && known.objects.length >= snapshot.objects.length) return;
    this.#snapshots.set(key, snapshot);
  }
}

export function typeOfList(resource: ResourceName): { kind: string; apiVersion: string } {
  return { kind: `${typeOf(resource).kind}List`, apiVersion: apiVersionOf(resource) };
}

/** The pieces of the body of a list, with `"items":null` if `isNull`; each item is a slice of its object's one serialisation. */
export function listBody({ resource, items, metadata }: Page, isNull = false): Buffer[] {
  const { kind, apiVersion } = typeOfList(resource);
  const head = `{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":${JSON.stringify(metadata)},"items":`;
  if (isNull) return [Buffer.from(`${head}null}\n`)];
  const pieces: Buffer[] = [Buffer.from(`${head}[`)];
  items.forEach((item, i) => {
    if (i > 0) pieces.push(COMMA);
    pieces.push(...itemJson(item));
  });
  pieces.push(END);
  return pieces;
}

const COMMA = Buffer.from(",");
const END = Buffer.from("]}\n");

function keyOf({ metadata: { namespace, name } }: StoredObject): string {
  return namespace === undefined ? `/${name}` : `/${namespace}/${name}`;
}

function byKey(a: StoredObject, b: StoredObject): number {
  const isNextTo = a.metadata.namespace === b.metadata.namespace;
  const left = isNextTo ? a.metadata.name : keyOf(a);
  const right = isNextTo ? b.metadata.name : keyOf(b);
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The token is opaque to clients, and the server's own form. */
function encodeToken(rv: number, start: string): string {
  return Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv, start })).toString("base64url");
}

function decodeToken(token: string): { rv: number; start: string } {
  let decoded: { v?: unknown; rv?: unknown; start?: unknown };
  try {
    decoded = JSON.parse(Buffer.from(token, "base64url").toString()) as typeof decoded;
  } catch (error) {
    throw badRequest(`invalid continue token: continue key is not valid: ${(error as Error).message}`);
  }
  if (decoded?.v !== "meta.k8s.io/v1" || typeof decoded.rv !== "number" || typeof decoded.start !== "string") {
    throw badRequest("invalid continue token: continue key is not valid: incorrect encoded value");
  }
  return { rv: decoded.rv, start: decoded.start };
}

/** 410 with the token of a list that goes on from the same key, of the present. */
function expiredToken(start: string): StatusError {
  return new StatusError(
    410,
    "Expired",
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    undefined,
    { continue: encodeToken(-1, start) },
  );
}

export function tooLargeResourceVersion(wanted: number, current: number): StatusError {
  return new StatusError(504, "Timeout", `Timeout: Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });
}
