/** Recorded watch frames, and their reduction to the states that a person would call different. */
import { readFileSync } from "node:fs";
import type { StoredObject } from "../../../src/embedded/objects/objects.ts";

export interface Frame {
  ms: number;
  resource: "jobs" | "pods";
  type: "ADDED" | "MODIFIED" | "DELETED";
  object: StoredObject;
}

/** The Job and pod frames of a recording, from the Job's creation on. */
export function readTrace(name: string): Frame[] {
  const file = new URL(`../../fixtures/traces/kubernetes-1.36/${name}.jsonl`, import.meta.url);
  const frames = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Frame | { type: "BOOKMARK" })
    .filter((frame): frame is Frame => frame.type !== "BOOKMARK");
  const start = frames[0]?.ms ?? 0;
  return frames.map((frame) => ({ ...frame, ms: frame.ms - start }));
}

export interface State {
  ms: number;
  /** Position among all frames. */
  index: number;
  resource: "jobs" | "pods";
  state: Record<string, unknown>;
}

/**
 * The distinct states of one resource in order. Out are: names, ids and addresses (whether they are there stays in), times
 * (whether they are there stays in), versions, managed fields, and the images' names, which the recording had retagged.
 */
export function statesOf(frames: readonly Frame[], resource: "jobs" | "pods", ignoresChance = false): State[] {
  const states: State[] = [];
  let last = "";
  for (const [index, frame] of frames.entries()) {
    if (frame.resource !== resource) continue;
    const state = stateOf(frame, ignoresChance);
    const text = JSON.stringify(state);
    if (text === last) continue;
    last = text;
    states.push({ ms: frame.ms, index, resource, state });
  }
  return states;
}

function stateOf({ type, resource, object }: Frame, ignoresChance: boolean): Record<string, unknown> {
  const { metadata, spec } = object;
  return {
    // Whether a state came by ADDED or MODIFIED depends on when the watch began.
    deleted: type === "DELETED",
    generation: metadata.generation,
    terminating: metadata.deletionTimestamp !== undefined,
    grace: metadata.deletionGracePeriodSeconds,
    finalizers: metadata.finalizers ?? [],
    ...(resource === "pods" ? { bound: Boolean((spec as { nodeName?: string }).nodeName) } : {}),
    status: reduce("status", ignoresChance ? withoutChance(resource, object.status ?? {}) : (object.status ?? {})),
  };
}

/**
 * The pod's resources as a whole: the kubelet reads the cgroup's limit once the pod runs, in one status earlier or later, and
 * forgets it after the last one. The user that an image names, which the embedded cluster does not know.
 */
function withoutChance(resource: "jobs" | "pods", status: object): object {
  if (resource === "jobs") return status;
  const { resources: _resources, ...rest } = status as Record<string, unknown>;
  for (const field of ["containerStatuses", "initContainerStatuses"]) {
    const statuses = rest[field];
    if (Array.isArray(statuses)) rest[field] = statuses.map(({ user: _user, ...container }) => container);
  }
  return rest;
}

const uid = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;
const time = /^\d{4}-\d\d-\d\dT/;

function reduce(key: string, value: unknown): unknown {
  if (typeof value === "string") {
    if (uid.test(value)) return "<uid>";
    if (time.test(value)) return "<time>";
    if (/^(?:hostIP|podIP|ip)$/.test(key)) return "<ip>";
    if (/^(?:image|imageID|containerID)$/.test(key)) return value === "" ? "" : "<id>";
    // Messages name the pod, and its uid.
    if (key === "message") return value.replace(/-\w{5}(_traces\([0-9a-f-]{36}\)|(?<= traces\/\S+)(?= ))/, "-<pod>");
    // The only name that differs from run to run: the token volume's.
    if (key === "name" && value.startsWith("kube-api-access-")) return "<token>";
    return value;
  }
  if (Array.isArray(value)) return value.map((item) => reduce(key, item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((name) => [name, reduce(name, (value as Record<string, unknown>)[name])]),
  );
}
