import { cloneJson } from "../../json/json-object.ts";
import { isRecord } from "../../json/read-json.ts";
import { applyDefaults } from "../objects/defaults.ts";
import { forbidden, isAbsent, push, unsupported } from "../objects/field-errors.ts";
import type { Metadata, NewObject, StoredObject } from "../objects/objects.ts";
import { applyPatch } from "../objects/patch.ts";
import { apiVersionOf, qualifiedResource, type ResourceName, typeOf } from "../objects/resources.ts";
import {
  badRequest,
  invalid,
  invalidOptions,
  modified,
  notFound,
  resourceDetails,
  type StatusCause,
  StatusError,
} from "../objects/status-error.ts";
import { validateUpdate } from "../objects/validation.ts";
import { podOf } from "../objects/workloads.ts";
import { disruptionTarget, disruptPod } from "../store/disruption.ts";
import type { DeleteOptions } from "../store/store.ts";
import type { WriteOptions } from "../store/writers.ts";
import type { ApiContext, ObjectRequest } from "./api-context.ts";
import { validateTypes } from "./body-types.ts";
import { listBody } from "./list.ts";
import { listOptions } from "./list-options.ts";
import { parseBody } from "./request-body.ts";
import { JSON_HEADERS, sendJson, sendObject } from "./responses.ts";

const ORPHAN_WARNING =
  '299 - "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"';

/** POST to a collection. */
export async function createObject(context: ApiContext, call: ObjectRequest): Promise<void> {
  const { request, exchange, resource, manager } = call;
  const body = parseBody(typeOf(resource).kind, exchange.headers["content-type"], await exchange.readBody());
  validateTypes(resource, body);
  const object = inNamespace(resource, body, request.namespace);
  if (object.metadata?.resourceVersion) throw badRequest("resourceVersion should not be set on objects to be created");
  const options = { manager };
  const created = isDryRun(request.query)
    ? context.store.prepare(resource, object, options)
    : context.store.create(resource, object, options);
  sendObject(exchange, 201, created);
}

/** PUT of an object, or of its status. */
export async function updateObject(context: ApiContext, call: ObjectRequest): Promise<void> {
  const { request, exchange, resource, manager } = call;
  const name = request.name ?? "";
  const body = parseBody(typeOf(resource).kind, exchange.headers["content-type"], await exchange.readBody());
  validateTypes(resource, body);
  const wanted = inNamespace(resource, body, request.namespace);
  if (wanted.metadata?.name !== name) {
    throw badRequest(
      `the name of the object (${wanted.metadata?.name ?? ""}) does not match the name on the URL (${name})`,
    );
  }
  const current = context.store.get(resource, request.namespace, name);
  if (current === undefined) {
    if (!typeOf(resource).createdByUpdate || request.subresource !== undefined) throw notFound(resource, name);
    // What names a uid was there and is gone: etcd3 `GuaranteedUpdate` checks it against an empty object.
    if (wanted.metadata.uid) throw uidConflict(resource, name, wanted.metadata.uid, "");
    sendObject(exchange, 201, context.store.create(resource, wanted, { manager }));
    return;
  }
  if (typeOf(resource).updateNeedsVersion && !wanted.metadata.resourceVersion) {
    const message = "Invalid value: 0: must be specified for an update";
    throw invalid(resource, name, [{ reason: "FieldValueInvalid", message, field: "metadata.resourceVersion" }]);
  }
  sendObject(exchange, 200, write(context, call, current, wanted, {}));
}

/** PATCH, and server-side apply, which may create. */
export async function patchObject(context: ApiContext, call: ObjectRequest): Promise<void> {
  const { request, exchange, resource, manager } = call;
  const name = request.name ?? "";
  const contentType = (exchange.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
  const bytes = await exchange.readBody();
  const apply = contentType.startsWith("application/apply-patch");
  const patch = parseBody(typeOf(resource).kind, "application/json", bytes);
  const current = context.store.get(resource, request.namespace, name);
  const operation = apply ? "Apply" : "Update";
  if (current === undefined) {
    if (!apply) throw notFound(resource, name);
    validateTypes(resource, patch);
    const object = inNamespace(resource, { ...patch, metadata: { ...patch.metadata, name } }, request.namespace);
    sendObject(exchange, 201, context.store.create(resource, object, { manager, operation }));
    return;
  }
  const patched = applyPatch(resource, name, contentType, current, patch);
  validateTypes(resource, patched);
  sendObject(exchange, 200, write(context, call, current, patched, { operation }));
}

/** The checks and the merge that PUT and PATCH share. */
function write(
  context: ApiContext,
  { request, resource, manager }: ObjectRequest,
  current: StoredObject,
  wanted: NewObject,
  options: WriteOptions,
): StoredObject {
  const { name, resourceVersion } = current.metadata;
  const given = wanted.metadata ?? {};
  if (given.resourceVersion && given.resourceVersion !== resourceVersion) throw modified(resource, name);
  if (given.uid && given.uid !== current.metadata.uid) {
    throw uidConflict(resource, name, given.uid, current.metadata.uid);
  }
  const isStatus = request.subresource === "status";
  const draft = merge(resource, current, cloneJson(wanted), isStatus);
  if (!isStatus) validateUpdate(resource, current, draft);
  if (isDryRun(request.query)) return draft;
  return context.store.replace(resource, draft, {
    ...options,
    manager,
    ...(isStatus ? { subresource: "status" } : {}),
  });
}

function uidConflict(resource: ResourceName, name: string, wanted: string, found: string): StatusError {
  return new StatusError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualifiedResource(resource)} "${name}": Precondition failed: UID in precondition: ${wanted}, UID in object meta: ${found}`,
    resourceDetails(resource, name),
  );
}

/** The new state: what the server owns stays, and status and spec are written through their own paths. */
function merge(resource: ResourceName, current: StoredObject, wanted: NewObject, isStatus: boolean): StoredObject {
  const { labels, annotations, finalizers, ownerReferences } = wanted.metadata ?? {};
  const metadata = { ...current.metadata };
  for (const [key, value] of Object.entries({ labels, annotations, finalizers, ownerReferences })) {
    if (isStatus && key !== "annotations" && key !== "labels") continue;
    if (value === undefined || value === null || Object.keys(value).length === 0)
      delete metadata[key as keyof Metadata];
    else Object.assign(metadata, { [key]: value });
  }
  if (metadata.deletionTimestamp !== undefined && metadata.finalizers !== undefined) {
    const added = metadata.finalizers.filter((finalizer) => !current.metadata.finalizers?.includes(finalizer));
    if (added.length > 0) {
      const rule = `no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`;
      const causes: StatusCause[] = [];
      forbidden(causes, "metadata.finalizers", rule);
      throw invalid(resource, metadata.name, causes);
    }
  }
  if (isStatus) return { ...current, metadata, status: wanted.status };
  applyDefaults(resource, wanted);
  const { kind: _kind, apiVersion: _apiVersion, metadata: _metadata, ...rest } = wanted;
  const type = typeOf(resource);
  const hasStatus = type.hasStatus ?? (type.hasGeneration || current.status !== undefined);
  return {
    kind: typeOf(resource).kind,
    apiVersion: apiVersionOf(resource),
    metadata,
    ...rest,
    ...(hasStatus ? { status: current.status } : {}),
  };
}

/** DELETE of an object. */
export async function deleteObject(context: ApiContext, call: ObjectRequest): Promise<void> {
  const { request, exchange, resource } = call;
  const name = request.name ?? "";
  const options = deleteOptions(call, await exchange.readBody());
  const current = context.store.get(resource, request.namespace, name);
  if (current === undefined) throw notFound(resource, name);
  if (isDryRun(request.query)) {
    sendObject(exchange, 200, current);
    return;
  }
  const { object, removed } = context.store.delete(resource, request.namespace, name, options);
  // Pods and namespaces are answered with their last state, as anything that is not gone yet.
  if (!removed || resource === "pods" || resource === "namespaces") sendObject(exchange, 200, object);
  else {
    sendJson(exchange, 200, {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Success",
      details: { ...resourceDetails(resource, name), uid: object.metadata.uid },
    });
  }
}

/** DELETE of a collection. */
export async function deleteCollection(context: ApiContext, call: ObjectRequest): Promise<void> {
  const { request, exchange, resource } = call;
  const options = deleteOptions(call, await exchange.readBody());
  const page = context.lister.page(resource, listOptions(resource, request, context.settings.streamingList));
  if (!isDryRun(request.query)) {
    for (const { metadata } of page.items) {
      // Deleting one may have removed another that it owned.
      if (context.store.get(resource, metadata.namespace, metadata.name) === undefined) continue;
      context.store.delete(resource, metadata.namespace, metadata.name, options);
    }
  }
  exchange.respond(200, JSON_HEADERS, listBody(page));
}

/** POST to `pods/{name}/eviction`. */
export async function evictPod(context: ApiContext, call: ObjectRequest): Promise<void> {
  const { request, exchange } = call;
  const { namespace, name = "" } = request;
  const body = parseBody("Eviction", exchange.headers["content-type"], await exchange.readBody());
  const pod = context.store.get("pods", namespace, name);
  if (pod === undefined) throw notFound("pods", name);
  const given = isRecord(body) && isRecord(body.deleteOptions) ? body.deleteOptions : {};
  const target = disruptionTarget("EvictionByEvictionAPI", "Eviction API: evicting", context.clock.now());
  disruptPod(context.store, podOf(pod), target, call.manager, storeDeleteOptions("pods", given));
  sendJson(exchange, 201, { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 });
}

/** Options from the body, else from the query. */
function deleteOptions({ resource, request, exchange }: ObjectRequest, bytes: Buffer): DeleteOptions {
  const given: Record<string, unknown> = {};
  for (const [key, value] of request.query) {
    if (key === "gracePeriodSeconds") given[key] = Number(value);
    else given[key] = value;
  }
  if (bytes.length > 0) {
    const body = parseBody("DeleteOptions", exchange.headers["content-type"], bytes);
    if (isRecord(body)) Object.assign(given, body);
  }
  const policyGiven = given.propagationPolicy !== undefined || given.orphanDependents !== undefined;
  // The real server warns each client that leaves the policy open, also when the request fails.
  if (resource === "jobs" && !policyGiven) exchange.setHeader("warning", ORPHAN_WARNING);
  return storeDeleteOptions(resource, given);
}

function storeDeleteOptions(resource: ResourceName, given: Record<string, unknown>): DeleteOptions {
  const { gracePeriodSeconds, propagationPolicy, preconditions, orphanDependents } = given;
  const causes: StatusCause[] = [];
  if (!isAbsent(gracePeriodSeconds) && !Number.isInteger(gracePeriodSeconds)) {
    push(causes, "gracePeriodSeconds", gracePeriodSeconds, "must be an integer");
    throw invalidOptions("DeleteOptions", causes);
  }
  const policy = propagationPolicy ?? (orphanDependents === true ? "Orphan" : undefined);
  if (policy !== undefined && policy !== "Background" && policy !== "Foreground" && policy !== "Orphan") {
    unsupported(causes, "propagationPolicy", policy, ["Foreground", "Background", "Orphan", "nil"]);
    throw invalidOptions("DeleteOptions", causes);
  }
  const { uid, resourceVersion } = isRecord(preconditions) ? preconditions : {};
  return {
    ...(typeof gracePeriodSeconds === "number" ? { gracePeriodSeconds } : {}),
    // The default of Jobs is from a time before owner references: their pods are left alone.
    propagationPolicy: policy ?? (resource === "jobs" ? "Orphan" : "Background"),
    preconditions: {
      ...(typeof uid === "string" ? { uid } : {}),
      ...(typeof resourceVersion === "string" ? { resourceVersion } : {}),
    },
  };
}

function isDryRun(query: URLSearchParams): boolean {
  return query.getAll("dryRun").includes("All");
}

function inNamespace(resource: ResourceName, object: NewObject, namespace: string | undefined): NewObject {
  if (!typeOf(resource).namespaced) return object;
  const given = object.metadata?.namespace;
  if (given && given !== namespace) {
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  }
  return { ...object, metadata: { ...object.metadata, ...(namespace === undefined ? {} : { namespace }) } };
}
