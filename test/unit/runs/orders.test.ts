/** Two watches are not ordered between each other: what a run came to must not depend on which of them is ahead. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { trimJob, trimPod } from "../../../src/engine/informer/trim.ts";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { classify } from "../../../src/engine/runs/classify.ts";
import { DEFAULT_POLICY } from "../../../src/engine/runs/policy.ts";
import { INITIAL_STATE, type RunFrame, type RunState, reduceRun } from "../../../src/engine/runs/run-state.ts";
import type { RunEnd } from "../../../src/engine/runs/types.ts";

const TRACES = new URL("../../fixtures/traces/kubernetes-1.36/", import.meta.url);
const names = readdirSync(TRACES).filter((file) => file !== "bookmarks.jsonl");

type ObjectFrame = Extract<RunFrame, { object: Job | Pod }>;

function framesOf(name: string): ObjectFrame[] {
  const lines = readFileSync(new URL(name, TRACES), "utf8").trim().split("\n");
  return lines.flatMap((line): ObjectFrame[] => {
    const { ms: at, resource, type: told, object } = JSON.parse(line);
    if (!["ADDED", "MODIFIED", "DELETED"].includes(told)) return [];
    const type = told === "DELETED" ? "deleted" : "applied";
    if (resource === "jobs") return [{ resource, type, at, object: trimJob(object) as Job }];
    return [{ resource, type, at, object: trimPod(object) as Pod }];
  });
}

/** The run as it would be, had one watch told everything later by so much. The server knows what is true when it is asked. */
function play(truth: readonly ObjectFrame[], late: ObjectFrame["resource"], byMs: number) {
  const told = truth.map((frame) => (frame.resource === late ? { ...frame, at: frame.at + byMs } : frame));
  let state: RunState = INITIAL_STATE;
  let isReady = false;
  let end: RunEnd | null = null;
  let wakeAt: number | null = null;
  const look = (now: number) => {
    const verdict = classify(state, "claude", DEFAULT_POLICY, now);
    isReady ||= verdict.ready !== null;
    wakeAt = verdict.wakeAt;
    if (verdict.ask === null) {
      end ??= verdict.end;
    } else {
      for (const frame of truth) if (frame.at <= now) state = reduceRun(state, { ...frame, at: now });
      state = reduceRun(state, { resource: "server", answer: { toldPods: true, askAgainAt: now }, at: now });
      look(now);
    }
  };
  const passTime = (until: number) => {
    while (wakeAt !== null && wakeAt <= until && end === null) look(wakeAt);
  };
  for (const frame of told.sort((a, b) => a.at - b.at)) {
    passTime(frame.at);
    state = reduceRun(state, frame);
    if (end === null) look(frame.at);
  }
  passTime(Number.POSITIVE_INFINITY);
  const { kind, exitCode, startFailure } = (end ?? {}) as Partial<RunEnd>;
  return { isReady, kind, exitCode, startFailure: startFailure?.code };
}

it.each(names)("%s comes to the same, whichever watch is ahead", (name) => {
  const frames = framesOf(name);
  const verdict = play(frames, "jobs", 0);
  expect(verdict.kind).toBeDefined();
  // Less than the bounded wait for the other watch's word (`settleMs`, 5 s).
  for (const late of ["jobs", "pods"] as const)
    for (const byMs of [1, 500, 2_000, 4_000])
      expect(play(frames, late, byMs), `${late} ${byMs} ms later`).toEqual(verdict);
});
