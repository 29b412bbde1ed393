import { readFile } from "node:fs/promises";
import { printable } from "../adapter/host/printable.ts";
import { compareVersions } from "../engine/informer/store.ts";
import { trimJob, trimPod } from "../engine/informer/trim.ts";
import { classify } from "../engine/runs/classify.ts";
import { DEFAULT_POLICY } from "../engine/runs/policy.ts";
import { INITIAL_STATE, type RunFrame, type RunState, reduceRun } from "../engine/runs/run-state.ts";
import { FULL_TRUST, noTrust, reduceTrust, type Trust } from "../engine/runs/trust.ts";
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

/**
 * Replays frames as `record` writes them. A recording without `watch` frames is one whose watches were always open.
 * @throws UsageError naming the line that is no frame, or the containers there are where none has that name.
 */
export function replay(trace: string, container: string): ReplayedRun[] {
  const frames = trace.split("\n").flatMap((line, index) => (line.trim() === "" ? [] : [parseFrame(line, index + 1)]));
  const watches = new Watches(frames.some(({ resource }) => resource === "watch"));
  const runs = new Map<string, Replay>();
  const runOf = (uid: string, job: string) => {
    const run = runs.get(uid) ?? new Replay(job, container, watches);
    runs.set(uid, run);
    return run;
  };
  const containers = new Set<string>();
  for (const frame of frames) {
    for (const run of runs.values()) run.passTime(frame.ms);
    if (watches.see(frame)) for (const run of runs.values()) run.look(frame.ms);
    if (frame.type !== "ADDED" && frame.type !== "MODIFIED" && frame.type !== "DELETED") continue;
    const type = frame.type === "DELETED" ? "deleted" : "applied";
    if (frame.resource === "jobs") {
      const object = trimJob(frame.object);
      if (object === null) throw notAnObject(frame, "Job");
      runOf(object.metadata.uid, object.metadata.name).frame({ resource: "jobs", type, object, at: frame.ms });
    } else if (frame.resource === "pods") {
      const object = trimPod(frame.object);
      if (object === null) throw notAnObject(frame, "pod");
      const owner = object.metadata.ownerReferences?.[0];
      if (owner?.kind !== "Job") continue;
      for (const { name } of [...object.spec.containers, ...(object.spec.initContainers ?? [])]) containers.add(name);
      // The two watches are not ordered: the pod may be told of before its Job.
      runOf(owner.uid, owner.name).frame({ resource: "pods", type, object, at: frame.ms });
    }
  }
  if (containers.size > 0 && !containers.has(container))
    throw new UsageError(
      `no pod of the recording has a container ${container}; there are: ${[...containers].join(", ")}`,
    );
  for (const run of runs.values()) run.passTime(frames.at(-1)?.ms ?? 0);
  return [...runs.values()].map((run) => run.result);
}

/** What the recording says of its two watches. */
class Watches {
  trust: Trust;
  readonly #isRecorded: boolean;

  constructor(isRecorded: boolean) {
    this.#isRecorded = isRecorded;
    this.trust = isRecorded ? noTrust(0) : FULL_TRUST;
  }

  /** Is it an event of a watch itself? */
  see({ ms, resource, type, watch, isRefused = false, object }: Frame): boolean {
    if (!this.#isRecorded) return false;
    if (resource === "watch" && watch !== undefined) {
      if (type === "open" || type === "lost") this.trust = reduceTrust(this.trust, { watch, type, isRefused, at: ms });
      return true;
    }
    const version = (object as { metadata?: { resourceVersion?: unknown } } | null)?.metadata?.resourceVersion;
    if (resource === "pods" && typeof version === "string")
      this.trust = { ...this.trust, podsTold: { version, at: ms } };
    return false;
  }
}

class Replay {
  readonly result: ReplayedRun;
  readonly #container: string;
  readonly #watches: Watches;
  #state: RunState = INITIAL_STATE;
  #wakeAt: number | null = null;

  constructor(job: string, container: string, watches: Watches) {
    this.result = { job, ready: null, startFailure: null, terminated: null, podChanges: 0 };
    this.#container = container;
    this.#watches = watches;
  }

  frame(frame: Extract<RunFrame, { object: unknown }>): void {
    // A watch that resumes, or lists again after a 410, tells some of it again.
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
    this.look(frame.at);
  }

  passTime(ms: number): void {
    while (this.#wakeAt !== null && this.#wakeAt <= ms) this.look(this.#wakeAt);
  }

  look(ms: number): void {
    this.#wakeAt = null;
    if (this.result.terminated !== null) return;
    this.#state = reduceRun(this.#state, { resource: "watch", trust: this.#watches.trust, at: ms });
    // There is no server to ask: the recording is all there is.
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
  line: number;
  ms: number;
  resource: "jobs" | "pods" | "watch";
  /** Of `jobs` and `pods`: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, …; of `watch`: `open`, `lost`. */
  type: string;
  object: unknown;
  /** Of `watch`: which one. */
  watch?: "jobs" | "pods";
  isRefused?: boolean;
}

function parseFrame(text: string, line: number): Frame {
  let frame: Partial<Frame> | null;
  try {
    frame = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`line ${line} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  const { ms, resource, type, watch } = frame ?? {};
  const isOfObject = resource === "jobs" || resource === "pods";
  const isOfWatch = resource === "watch" && (watch === "jobs" || watch === "pods");
  if (typeof ms !== "number" || typeof type !== "string" || !(isOfObject || isOfWatch)) {
    const expected = `{ms, resource: "jobs"|"pods", type, object} or {ms, resource: "watch", watch: "jobs"|"pods", type}`;
    throw new UsageError(`line ${line} is not a frame ${expected}: ${text.slice(0, 80)}`);
  }
  return { ...(frame as Frame), line };
}

function notAnObject({ line }: Frame, kind: string): UsageError {
  return new UsageError(`line ${line} is a ${kind} without metadata.name, uid or resourceVersion`);
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
