import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { trimJob, trimPod } from "../../../src/engine/informer/trim.ts";
import { classify } from "../../../src/engine/runs/classify.ts";
import { DEFAULT_POLICY, type RunPolicy } from "../../../src/engine/runs/policy.ts";
import { INITIAL_STATE, reduceRun } from "../../../src/engine/runs/run-state.ts";
import type { RunEnd } from "../../../src/engine/runs/types.ts";

const TRACES = new URL("../../fixtures/traces/kubernetes-1.36/", import.meta.url);

interface Verdict {
  ready: number | null;
  end: (RunEnd & { at: number }) | null;
}

/** The frames of a recording, with time passing between them as it did then. */
function replay(name: string, policy: Partial<RunPolicy> = {}, container = "claude"): Verdict {
  const rules = { ...DEFAULT_POLICY, ...policy };
  const verdict: Verdict = { ready: null, end: null };
  let state = INITIAL_STATE;
  let wakeAt: number | null = null;
  const look = (now: number) => {
    const { ready, end, wakeAt: next } = classify(state, container, rules, now);
    wakeAt = next;
    if (ready !== null) verdict.ready ??= now;
    if (end !== null) verdict.end ??= { ...end, at: now };
  };
  for (const line of readFileSync(new URL(`${name}.jsonl`, TRACES), "utf8")
    .trim()
    .split("\n")) {
    const { ms, resource, type, object } = JSON.parse(line);
    if (wakeAt !== null && wakeAt <= ms) look(wakeAt);
    const frameType = type === "DELETED" ? "deleted" : "applied";
    const job = resource === "jobs" ? trimJob(object) : null;
    const pod = resource === "pods" ? trimPod(object) : null;
    if (job !== null) state = reduceRun(state, { resource: "jobs", type: frameType, object: job, at: ms });
    if (pod !== null) state = reduceRun(state, { resource: "pods", type: frameType, object: pod, at: ms });
    look(ms);
  }
  return verdict;
}

describe("recorded traces give the verdict at its moment", () => {
  const ended = (at: number, kind: string, exitCode: number | null, reason: string) => ({
    at,
    kind,
    exitCode,
    reason,
    startFailure: null,
  });
  it.each([
    // The container's end, 2 s before the Job's condition.
    ["succeeds", 3392, ended(6153, "succeeded", 0, "Completed")],
    ["fails", 3371, ended(4163, "failed", 3, "Error")],
    // Ran for 0.25 s: never a start failure.
    ["fails-at-once", 1782, ended(2032, "failed", 1, "Error")],
    // The sidecar runs on for two seconds and is then killed: neither matters.
    ["native-sidecar", 4174, ended(8003, "succeeded", 0, "Completed")],
    // Known to be over at 5 323 (FailureTarget); the exit code comes when the grace period is over.
    ["deadline", 1842, ended(7439, "deadline", 137, "DeadlineExceeded")],
    ["deleted", 1913, ended(6507, "job_deleted", 137, "JobDeleted")],
    ["pod-deleted", 2123, ended(6566, "pod_deleted", 137, "PodDeleted")],
    // Unschedulable for 90 s, less than the schedule timeout; then the Job is deleted, and no exit code can come.
    ["unschedulable", null, ended(90162, "job_deleted", null, "JobDeleted")],
    // Exits 42, 42, 0; its rule restarts it on 42 (KEP-5307), in a pod whose policy is Never.
    ["restart-rules", 11970, ended(33664, "succeeded", 0, "Completed")],
    // Exits 1, then 0; its own policy is OnFailure, its pod's Never.
    ["container-onfailure", 2567, ended(7695, "succeeded", 0, "Completed")],
    ["onfailure-restarts", 2876, ended(21759, "succeeded", 0, "Completed")],
    ["failjob-42", 2617, ended(5124, "failed", 42, "Error")],
    ["ignore-disruption", 2783, ended(21371, "succeeded", 0, "Completed")],
    ["replacement-failed", 2750, ended(25759, "succeeded", 0, "Completed")],
    ["pod-deadline", 2270, ended(8313, "deadline", 143, "DeadlineExceeded")],
    ["preempted", 2730, ended(4776, "evicted", 143, "PreemptionByScheduler")],
    ["gated", 7817, ended(9195, "succeeded", 0, "Completed")],
    ["ttl-0", 2337, ended(4496, "failed", 3, "Error")],
  ])("%s", (name, ready, end) => {
    const verdict = replay(name);
    expect(verdict.ready).toBe(ready);
    expect(verdict.end).toMatchObject(end);
  });

  it.each([
    ["init-fails", 2044, "init_failed", "Error", "write-prompt", 7],
    ["init-oom", 2942, "init_failed", "OOMKilled", "eat", 137],
    ["image-missing", 3207 + 30_000, "image_pull", "ErrImagePull", "claude", null],
    ["init-image-missing", 1975 + 30_000, "image_pull", "ErrImagePull", "write-prompt", null],
    ["bad-config", 1795 + 30_000, "container_config", "CreateContainerConfigError", "claude", null],
  ])("%s cannot start", (name, at, code, reason, container, exitCode) => {
    const { ready, end } = replay(name);
    expect(ready).toBeNull();
    expect(end).toMatchObject({
      at,
      kind: "start_failed",
      exitCode: null,
      startFailure: { code, reason, container, exitCode },
    });
    expect(end?.startFailure?.message).not.toBe("");
  });

  it.each([
    ["image-missing", { imagePullGraceMs: 0 }, 3207, "image_pull"],
    ["bad-config", { configErrorGraceMs: 0 }, 1795, "container_config"],
    ["unschedulable", { scheduleTimeoutMs: 0 }, 18, "unschedulable"],
    ["unschedulable", { scheduleTimeoutMs: 60_000 }, 60_018, "unschedulable"],
    ["image-missing", { startTimeoutMs: 10_000 }, 10_011, "start_timeout"],
  ])("%s with %o fails at %i", (name, policy, at, code) => {
    expect(replay(name, policy).end).toMatchObject({ at, kind: "start_failed", startFailure: { code } });
  });

  it("has an expectation for every recording", () => {
    const known = `succeeds fails fails-at-once native-sidecar deadline deleted pod-deleted unschedulable restart-rules
      container-onfailure onfailure-restarts failjob-42 ignore-disruption replacement-failed pod-deadline preempted gated ttl-0`;
    const failing = "init-fails init-oom image-missing init-image-missing bad-config";
    const files = readdirSync(TRACES).filter((file) => file.endsWith(".jsonl") && file !== "bookmarks.jsonl");
    expect(files.map((file) => file.replace(".jsonl", "")).sort()).toEqual(`${known} ${failing}`.split(/\s+/).sort());
  });
});
