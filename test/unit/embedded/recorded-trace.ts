/** Recorded watch frames, and their reduction to the states that a person would call different. */
import { readFileSync } from "node:fs";
import type { StoredObject } from "../../../src/embedded/objects/objects.ts";

export interface Frame {
  ms: number;
  resource: "jobs" | "pods";
  type: "ADDED" | "MODIFIED" | "DELETED";
  object: StoredObject;
}

export function readTrace(name: string): Frame[] {
  const file = new URL(`../../fixtures/traces/${name}.jsonl`, import.meta.url);
  return readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Frame);
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
export function statesOf(frames: readonly Frame[], resource: "jobs" | "pods"): State[] {
  const states: State[] = [];
  let last = "";
  for (const [index, frame] of frames.entries()) {
    if (frame.resource !== resource) continue;
    const state = stateOf(frame);
    const text = JSON.stringify(state);
    if (text === last) continue;
    last = text;
    states.push({ ms: frame.ms, index, resource, state });
  }
  return states;
}

function stateOf({ type, resource, object }: Frame): Record<string, unknown> {
  const { metadata, spec } = object;
  return {
    // Whether a state came by ADDED or MODIFIED depends on when the watch began.
    deleted: type === "DELETED",
    generation: metadata.generation,
    terminating: metadata.deletionTimestamp !== undefined,
    grace: metadata.deletionGracePeriodSeconds,
    finalizers: metadata.finalizers ?? [],
    ...(resource === "pods" ? { bound: Boolean((spec as { nodeName?: string }).nodeName) } : {}),
    status: reduce("status", object.status ?? {}),
  };
}

const uid = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;
const time = /^\d{4}-\d\d-\d\dT/;

function reduce(key: string, value: unknown): unknown {
  if (typeof value === "string") {
    if (uid.test(value)) return "<uid>";
    if (time.test(value)) return "<time>";
    if (/^(?:hostIP|podIP|ip)$/.test(key)) return "<ip>";
    if (/^(?:image|imageID|containerID)$/.test(key)) return value === "" ? "" : "<id>";
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
