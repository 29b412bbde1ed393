/** A run's log ends with its verdict, whatever the pod says. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ContainerView } from "../../../src/engine/logs/index.ts";
import type { RunEnd } from "../../../src/engine/runs/types.ts";
import {
  SILENT_AFTER_LOSS_MS,
  SILENT_AFTER_VERDICT_MS,
  VerdictSource,
} from "../../../src/engine/runs/verdict-source.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function scene(phase: ContainerView["phase"]) {
  const listeners = new Set<() => void>();
  let view: ContainerView = { phase, restartCount: 0, startedAt: null, finishedAt: null };
  let verdict: RunEnd | null = null;
  const source = new VerdictSource(
    {
      namespace: "ns",
      podName: "pod",
      container: "main",
      view: () => view,
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    () => verdict,
  );
  let changes = 0;
  source.onChange(() => void changes++);
  const changed = () => {
    for (const listener of [...listeners]) listener();
  };
  return {
    source,
    listeners,
    phase: () => source.view().phase,
    changes: () => changes,
    tell: (change: ContainerView["phase"]) => {
      view = { ...view, phase: change };
      changed();
    },
    end: (failure: RunEnd["startFailure"] = null, end: Partial<RunEnd> = {}) => {
      verdict = { startFailure: failure, ...end } as RunEnd;
      changed();
    },
  };
}

test("without a verdict it is what the pod says", () => {
  const s = scene("waiting");
  for (const phase of ["running", "waiting", "ended", "gone"] as const) {
    s.tell(phase);
    expect(s.phase()).toBe(phase);
  }
  expect(s.changes()).toBe(4);
  vi.advanceTimersByTime(10 * SILENT_AFTER_VERDICT_MS);
  expect(s.changes()).toBe(4);
});

test("a container that is waited for will not be started any more, and one that can never start has no log", () => {
  const s = scene("waiting");
  s.end();
  expect([s.phase(), s.changes()]).toEqual(["ended", 1]);
  const never = scene("waiting");
  never.end({ code: "image_pull", reason: "ErrImagePull", message: "", container: "main" } as RunEnd["startFailure"]);
  expect(never.phase()).toBe("gone");
});

test("a container whose end nobody tells has ended a while after the verdict and its last line", () => {
  const s = scene("running");
  s.end();
  vi.advanceTimersByTime(SILENT_AFTER_VERDICT_MS - 1);
  s.source.active();
  vi.advanceTimersByTime(SILENT_AFTER_VERDICT_MS - 1);
  expect([s.phase(), s.changes()]).toEqual(["running", 1]);
  vi.advanceTimersByTime(1);
  expect([s.phase(), s.changes()]).toEqual(["ended", 2]);
});

test("a pod whose node is lost: its log cannot be had any more", () => {
  const s = scene("running");
  s.end(null, { kind: "evicted", exitCode: null });
  vi.advanceTimersByTime(SILENT_AFTER_LOSS_MS - 1);
  expect(s.phase()).toBe("running");
  vi.advanceTimersByTime(1);
  expect(s.phase()).toBe("gone");
});

test("closed, it listens to nothing and has no timer", () => {
  const s = scene("running");
  s.end();
  s.source.close();
  expect(s.listeners.size).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});
