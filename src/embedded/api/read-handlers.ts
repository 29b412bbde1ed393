import type { StoredObject } from "../objects/objects.ts";
import type { ResourceName } from "../objects/resources.ts";
import { matches } from "../objects/selectors.ts";
import { notFound } from "../objects/status-error.ts";
import type { ApiContext, ObjectRequest } from "./api-context.ts";
import type { Exchange } from "./exchange.ts";
import { type TableOptions, table } from "./kubectl/table.ts";
import { listBody, tooLargeResourceVersion, typeOfList } from "./list.ts";
import { listOptions } from "./list-options.ts";
import { listProtobuf, PROTOBUF_HEADERS, wantsProtobuf } from "./protobuf.ts";
import { JSON_HEADERS, sendJson, sendObject } from "./responses.ts";
import { WatchStream } from "./watch-stream.ts";

/** GET of one object. */
export function getObject(context: ApiContext, { request, exchange, resource }: ObjectRequest): void {
  const wanted = Number(request.query.get("resourceVersion") || 0);
  if (wanted > context.store.resourceVersion) throw tooLargeResourceVersion(wanted, context.store.resourceVersion);
  const name = request.name ?? "";
  const object = context.store.get(resource, request.namespace, name);
  if (object === undefined) throw notFound(resource, name);
  const print = tableOptions(context, exchange.headers.accept, request.query);
  if (print === undefined) sendObject(exchange, 200, object);
  else {
    const { resourceVersion } = object.metadata;
    sendJson(exchange, 200, table(resource, [object], { resourceVersion }, print));
  }
}

/** GET of a collection. */
export function listObjects(context: ApiContext, { request, exchange, resource }: ObjectRequest): void {
  const page = context.lister.page(resource, listOptions(resource, request, context.settings.streamingList));
  const print = tableOptions(context, exchange.headers.accept, request.query);
  const isNull = page.items.length === 0 && context.faults.nullItems.hits(request);
  if (print === undefined && isProtobuf(resource, exchange))
    exchange.respond(200, PROTOBUF_HEADERS, [listProtobuf(typeOfList(resource), page.metadata, page.items)]);
  else if (print === undefined) exchange.respond(200, JSON_HEADERS, listBody(page, isNull));
  else sendJson(exchange, 200, table(resource, page.items, page.metadata, print));
}

/** GET with `watch=1`. */
export function watchObjects(context: ApiContext, { request, exchange, resource }: ObjectRequest): void {
  const { store, clock, watchCache } = context;
  const options = listOptions(resource, request, context.settings.streamingList);
  const { resourceVersion = 0, sendInitialEvents, selector } = options;
  const current = store.resourceVersion;
  if (sendInitialEvents && resourceVersion > current) throw tooLargeResourceVersion(resourceVersion, current);
  // Without a version, a watch starts with the state of now: each object as ADDED.
  const fromNow = sendInitialEvents || resourceVersion === 0;
  const initial = fromNow ? store.list(resource, selector.namespace).filter((object) => matches(selector, object)) : [];
  const print = tableOptions(context, exchange.headers.accept, request.query);
  const stream = new WatchStream({
    resource,
    request,
    exchange,
    clock,
    listOptions: options,
    protobuf: print === undefined && isProtobuf(resource, exchange),
    transform: print === undefined ? undefined : (object) => tableOf(context, resource, object, print),
    frameFault: context.faults.watchFrame(request),
    listEndFault: sendInitialEvents ? context.faults.listEnd(request) : undefined,
    withholdsBookmark: () => context.faults.withheldBookmarks.hits(request),
    after: fromNow ? current : resourceVersion,
    currentVersion: () => store.resourceVersion,
    maxPending: context.settings.maxPendingEvents,
  });
  context.watches.add(stream);
  exchange.onClose(() => context.watches.delete(stream));
  stream.start(initial.sort(byVersion), () => watchCache.watch(resource, stream));
}

/** Others are answered in JSON, which every client of protobuf takes, too. */
function isProtobuf(resource: ResourceName, { headers }: Exchange): boolean {
  return (resource === "jobs" || resource === "pods") && wantsProtobuf(headers.accept);
}

function byVersion(a: StoredObject, b: StoredObject): number {
  return Number(a.metadata.resourceVersion) - Number(b.metadata.resourceVersion);
}

function tableOf(
  context: ApiContext,
  resource: ObjectRequest["resource"],
  object: StoredObject,
  print: TableOptions,
): object {
  const { resourceVersion } = object.metadata;
  return table(resource, [object], { resourceVersion }, { ...print, now: context.clock.now() });
}

/** What kubectl asks for: `Accept: application/json;as=Table;v=v1;g=meta.k8s.io`. */
function tableOptions(
  { clock }: ApiContext,
  accept: string | undefined,
  query: URLSearchParams,
): TableOptions | undefined {
  if (accept === undefined || !/;\s*as=Table/.test(accept)) return undefined;
  const include = query.get("includeObject");
  return { includeObject: include === "None" || include === "Object" ? include : "Metadata", now: clock.now() };
}
