import { isRecord } from "../../json/read-json.ts";
import { objectJson } from "../objects/object-json.ts";
import { apiVersionOf, type ResourceName, typeOf } from "../objects/resources.ts";
import { framePieces } from "./protobuf.ts";

const TYPES: Readonly<Record<string, Buffer>> = Object.fromEntries(
  ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"].map((type) => [
    type,
    Buffer.from(`{"type":"${type}","object":`),
  ]),
);
const END = Buffer.from("}\n");

/** One event as it goes over the wire, in pieces. */
export function frameBytes(resource: ResourceName, type: string, object: object, isProtobuf: boolean): Buffer[] {
  if (!isProtobuf) return [TYPES[type] as Buffer, objectJson(object), END];
  return framePieces(type, { kind: typeOf(resource).kind, apiVersion: apiVersionOf(resource) }, object);
}

/** Nearly empty objects: only their required fields stand in them. */
const BOOKMARK_FIELDS: Readonly<Partial<Record<ResourceName, Record<string, unknown>>>> = {
  jobs: { spec: { template: { metadata: {}, spec: { containers: null } } }, status: {} },
  pods: { spec: { containers: null }, status: {} },
  events: { involvedObject: {}, source: {}, firstTimestamp: null, lastTimestamp: null, eventTime: null },
  leases: { spec: {} },
  namespaces: { spec: {}, status: {} },
  nodes: { spec: {}, status: {} },
  persistentvolumeclaims: { spec: { resources: {} }, status: {} },
  priorityclasses: { value: 0 },
};

export function bookmark(resource: ResourceName, resourceVersion: number, initialEventsEnd: boolean): object {
  return {
    kind: typeOf(resource).kind,
    apiVersion: apiVersionOf(resource),
    metadata: {
      resourceVersion: String(resourceVersion),
      ...(initialEventsEnd ? { annotations: { "k8s.io/initial-events-end": "true" } } : {}),
    },
    ...BOOKMARK_FIELDS[resource],
  };
}

/** A text that is an event is one in any format. */
export function eventIn(text: string): { type: string; object: object } | null {
  try {
    const event = JSON.parse(text) as { type: string; object: unknown };
    return isRecord(event.object) ? { type: event.type, object: event.object } : null;
  } catch {
    return null;
  }
}

/** The object made larger, by an annotation. */
export function inflated(object: { metadata?: { annotations?: object } }, bytes: number): object {
  const padding = "x".repeat(Math.max(0, bytes - objectJson(object).length));
  return { ...object, metadata: { ...object.metadata, annotations: { ...object.metadata?.annotations, padding } } };
}
