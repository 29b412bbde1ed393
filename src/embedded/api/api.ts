import { SleepAbortedError } from "../clock.ts";
import type { ErrorAnswer } from "../faults/fault-answers.ts";
import { type RequestInfo, requestInfo } from "../objects/request-info.ts";
import { isCustom, type ResourceName, typeOf } from "../objects/resources.ts";
import { internalError, methodNotAllowed, StatusError } from "../objects/status-error.ts";
import { warn } from "../warn.ts";
import { review } from "./access-review.ts";
import type { ApiContext, ObjectRequest } from "./api-context.ts";
import type { User } from "./authorization.ts";
import type { Exchange } from "./exchange.ts";
import { discover } from "./kubectl/discovery.ts";
import { isProtobuf, readReview } from "./kubectl/protobuf-review.ts";
import { readPodLog } from "./pod-log.ts";
import { getObject, listObjects, watchObjects } from "./read-handlers.ts";
import { parseBody } from "./request-body.ts";
import type { RequestCounts } from "./request-counts.ts";
import { sendError, sendJson, sendText } from "./responses.ts";
import { createObject, deleteCollection, deleteObject, evictPod, patchObject, updateObject } from "./write-handlers.ts";

/** One request, from authentication to the answer. Never rejects. */
export async function handleRequest(
  context: ApiContext,
  counts: RequestCounts,
  exchange: Exchange,
  certificateUser: User | null | undefined,
): Promise<void> {
  const request = requestInfo(exchange.method, exchange.url);
  counts.add(request);
  const limit = context.faults.seatLimitFor(request);
  let hasSeat = false;
  try {
    hasSeat = (await limit?.take()) ?? false;
    if (limit !== undefined && !hasSeat) {
      sendFault(exchange, limit.refuse(request, await exchange.readBody()));
      return;
    }
    const late = context.faults.delayFor(request);
    if (late.outlivesClient === true) await exchange.readBody();
    const delay = late.ms + (limit?.options.workMs ?? 0);
    if (delay > 0) {
      const over = context.clock.sleep(delay);
      await (late.released === undefined ? over : Promise.race([over, late.released]));
    }
    // A real server cancels what its client has given up.
    if (exchange.closed && late.outlivesClient !== true) return;
    context.faults.prepareAnswer(request, exchange);
    const fault = context.faults.answerFor(request);
    if (fault?.kind === "reset") {
      exchange.reset();
      return;
    }
    if (fault !== undefined) {
      sendFault(exchange, fault);
      return;
    }
    if (context.faults.lostAnswers.hits(request)) exchange.loseAnswer();
    const user = context.authorization.authenticate(exchange.headers.authorization, certificateUser);
    context.authorization.authorize(user, request);
    await route(context, exchange, request, user);
  } catch (error) {
    if (exchange.opened || exchange.closed || error instanceof SleepAbortedError) {
      exchange.reset();
      return;
    }
    const status = error instanceof StatusError ? error : internalError(String((error as Error)?.message ?? error));
    if (!(error instanceof StatusError)) warn(error);
    sendError(exchange, status);
  } finally {
    if (hasSeat) limit?.leave();
  }
}

function sendFault(exchange: Exchange, fault: ErrorAnswer): void {
  const headers = { "cache-control": "no-cache, private", ...fault.headers, "content-type": fault.contentType };
  exchange.respond(fault.status, headers, [Buffer.from(fault.body)]);
}

async function route(context: ApiContext, exchange: Exchange, request: RequestInfo, user: User): Promise<void> {
  const { resource, stored, subresource, name } = request;
  if (resource === undefined) {
    answerPath(context, exchange, request);
    return;
  }
  const manager = request.query.get("fieldManager") || managerOf(exchange.headers["user-agent"]);
  if (stored === undefined) {
    if (request.verb !== "create") throw methodNotAllowed();
    const contentType = exchange.headers["content-type"];
    const bytes = await exchange.readBody();
    const body =
      (isProtobuf(contentType) ? readReview(bytes) : undefined) ??
      parseBody("SelfSubjectAccessReview", contentType, bytes);
    const reviewed = review(resource, body, user, context.authorization, { manager, now: context.clock.now() });
    sendJson(exchange, 201, reviewed);
    return;
  }
  const definition = isCustom(stored) ? context.store.get("customresourcedefinitions", "", stored) : undefined;
  const hasStatus = typeOf(stored).hasStatus ?? true;
  if ((isCustom(stored) && definition === undefined) || (subresource === "status" && !hasStatus)) {
    sendText(exchange, 404, "404 page not found\n");
    return;
  }
  const call: ObjectRequest = { request, exchange, user, resource: stored, manager };
  const needsNamespace = typeOf(stored).namespaced && request.namespace === undefined;
  if (subresource !== undefined && subresource !== "status") return routeSubresource(context, call);
  switch (request.verb) {
    case "get":
      return getObject(context, call);
    case "list":
      return listObjects(context, call);
    case "watch":
      return watchObjects(context, call);
    case "create":
      if (name !== undefined || needsNamespace) throw methodNotAllowed();
      return createObject(context, call);
    case "update":
      if (name === undefined) throw methodNotAllowed();
      return updateObject(context, call);
    case "patch":
      if (name === undefined) throw methodNotAllowed();
      return patchObject(context, call);
    case "delete":
      return deleteObject(context, call);
    case "deletecollection":
      if (needsNamespace) throw methodNotAllowed();
      return deleteCollection(context, call);
    default:
      throw methodNotAllowed();
  }
}

function routeSubresource(context: ApiContext, call: ObjectRequest): Promise<void> {
  const { stored, subresource, verb } = call.request;
  if (stored === "pods" && subresource === "log") {
    if (verb !== "get") throw methodNotAllowed();
    return readPodLog(context, call);
  }
  if (stored === "pods" && subresource === "eviction") {
    if (verb !== "create") throw methodNotAllowed();
    return evictPod(context, call);
  }
  throw new StatusError(404, "NotFound", "the server could not find the requested resource", {});
}

function answerPath({ store }: ApiContext, exchange: Exchange, { method, path }: RequestInfo): void {
  if (path === "/readyz" || path === "/livez" || path === "/healthz") {
    sendText(exchange, 200, "ok");
    return;
  }
  const host = String(exchange.headers[":authority"] ?? exchange.headers.host ?? "");
  const custom = store.list("customresourcedefinitions").map(({ metadata }) => metadata.name as ResourceName);
  const body = discover(path, host, custom);
  if (body === undefined || method !== "GET") sendText(exchange, 404, "404 page not found\n");
  else sendJson(exchange, 200, body);
}

/** `kubectl/v1.32.4 (linux/amd64)` → `kubectl`. */
function managerOf(userAgent: string | undefined): string {
  return /^[^/\s]+/.exec(userAgent ?? "")?.[0].slice(0, 128) ?? "unknown";
}
