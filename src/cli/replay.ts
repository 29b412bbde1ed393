import { readFile } from "node:fs/promises";
import { printable } from "../adapter/host/printable.ts";
import { compareVersions } from "../engine/informer/store.ts";
import { trimJob, trimPod } from "../engine/informer/trim.ts";
import { classify } from "../engine/runs/classify.ts";
import { DEFAULT_POLICY } from "../engine/runs/policy.ts";
import { INITIAL_STATE, type RunFrame, type RunState, reduceRun } from "../engine/runs/run-state.ts";
import type { RunEnd, StartFailureCode } from "../engine/runs/types.ts";
import { defineCommand, UsageError } from "./command.ts";

/** What the classification made of one recorded Job. `ms` is the recording's time at which each was known. */
export interface ReplayedRun {
  job: string;
  ready: { ms: number } | null;
  startFailure: { code: StartFailureCode; reason: string; message: string; ms: number } | null;
  terminated: { kind: RunEnd["kind"]; exitCode: number | null; reason: string; ms: number } | null;
  podChanges: number;
}

export const replayCommand = defineCommand<{ container: string; json: boolean }>({
  name: "replay",
  summary: "run a recording through the classification",
  configure: (command) =>
    command
      .requiredOption("-c, --container <name>", "the container whose end is the run's end, e.g. claude")
      .option("--json", "one JSON object a line", false)
      .argument("<trace>", "a file that record has written"),
  async action({ container, json }, io, [file = ""]) {
    const runs = replay(await readFile(file, "utf8"), container);
    for (const run of runs) io.stdout.write(`${json ? JSON.stringify(run) : printable(forPeople(run))}\n`);
    return 0;
  },
});

/** Replays frames as `record` writes them. @throws UsageError naming the line that is not one. */
export function replay(trace: string, container: string): ReplayedRun[] {
  const runs = new Map<string, Replay>();
  let last = 0;
  for (const [index, line] of trace.split("\n").entries()) {
    if (line.trim() === "") continue;
    const frame = parseFrame(line, index + 1);
    last = frame.ms;
    for (const run of runs.values()) run.passTime(frame.ms);
    if (frame.type !== "ADDED" && frame.type !== "MODIFIED" && frame.type !== "DELETED") continue;
    const type = frame.type === "DELETED" ? "deleted" : "applied";
    if (frame.resource === "jobs") {
      const object = trimJob(frame.object);
      if (object === null)
        throw new UsageError(`line ${index + 1} is a Job without metadata.name, uid or resourceVersion`);
      const run = runs.get(object.metadata.uid) ?? new Replay(object.metadata.name, container);
      runs.set(object.metadata.uid, run);
      run.frame({ resource: "jobs", type, object, at: frame.ms });
    } else {
      const object = trimPod(frame.object);
      if (object === null)
        throw new UsageError(`line ${index + 1} is a pod without metadata.name, uid or resourceVersion`);
      const owner = object.metadata.ownerReferences?.[0];
      if (owner?.kind !== "Job") continue;
      // The two watches are not ordered: the pod may be told of before its Job.
      const run = runs.get(owner.uid) ?? new Replay(owner.name, container);
      runs.set(owner.uid, run);
      run.frame({ resource: "pods", type, object, at: frame.ms });
    }
  }
  for (const run of runs.values()) run.passTime(last);
  return [...runs.values()].map((run) => run.result);
}

class Replay {
  readonly result: ReplayedRun;
  readonly #container: string;
  #state: RunState = INITIAL_STATE;
  #wakeAt: number | null = null;

  constructor(job: string, container: string) {
    this.result = { job, ready: null, startFailure: null, terminated: null, podChanges: 0 };
    this.#container = container;
  }

  frame(frame: RunFrame): void {
    // A watch that resumes, or lists anew after a 410, tells some of it again.
    const known = frame.resource === "jobs" ? this.#state.job : this.#state.pod;
    const isSame = known !== null && known.metadata.uid === frame.object.metadata.uid;
    if (
      isSame &&
      frame.type !== "deleted" &&
      compareVersions(frame.object.metadata.resourceVersion, known.metadata.resourceVersion) <= 0
    )
      return;
    this.#state = reduceRun(this.#state, frame);
    this.result.podChanges = this.#state.podChanges;
    this.#look(frame.at);
  }

  passTime(ms: number): void {
    while (this.#wakeAt !== null && this.#wakeAt <= ms) this.#look(this.#wakeAt);
  }

  #look(ms: number): void {
    this.#wakeAt = null;
    if (this.result.terminated !== null) return;
    const { ready, end, wakeAt } = classify(this.#state, this.#container, DEFAULT_POLICY, ms);
    this.#wakeAt = wakeAt;
    if (ready !== null) this.result.ready ??= { ms };
    if (end === null) return;
    this.result.terminated = { kind: end.kind, exitCode: end.exitCode, reason: end.reason, ms };
    if (end.startFailure === null) return;
    const { code, reason, message } = end.startFailure;
    this.result.startFailure = { code, reason, message, ms };
  }
}

interface Frame {
  ms: number;
  resource: "jobs" | "pods";
  type: string;
  object: unknown;
}

function parseFrame(line: string, number: number): Frame {
  let frame: Partial<Frame> | null;
  try {
    frame = JSON.parse(line);
  } catch (error) {
    throw new UsageError(`line ${number} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (
    typeof frame?.ms !== "number" ||
    typeof frame.type !== "string" ||
    (frame.resource !== "jobs" && frame.resource !== "pods")
  ) {
    throw new UsageError(
      `line ${number} is not a frame {ms, resource: "jobs"|"pods", type, object}: ${line.slice(0, 80)}`,
    );
  }
  return frame as Frame;
}

function forPeople({ job, ready, startFailure, terminated, podChanges }: ReplayedRun): string {
  const parts = [job];
  if (ready !== null) parts.push(`ready at ${ready.ms} ms`);
  if (startFailure !== null)
    parts.push(
      `cannot start (${startFailure.code}) since ${startFailure.ms} ms: ${startFailure.reason}: ${startFailure.message}`,
    );
  else if (terminated !== null)
    parts.push(
      `${terminated.kind} at ${terminated.ms} ms: ${terminated.reason}, exit code ${terminated.exitCode ?? "unknown"}`,
    );
  else parts.push("had not ended when the recording did");
  if (podChanges > 0) parts.push(`pod replaced ${podChanges}×`);
  return parts.join("; ");
}
