export type StartFailureCode =
  | "init_failed"
  | "image_pull"
  | "container_config"
  | "unschedulable"
  | "volume"
  | "start_timeout"
  | "deadline";

/** Why the named container never ran. */
export interface StartFailure {
  code: StartFailureCode;
  /** The kubelet's, scheduler's or Job controller's own word, e.g. `ImagePullBackOff`. */
  reason: string;
  /** Their own sentence; empty when there was none. */
  message: string;
  /** The container that failed, when it was one. */
  container: string | null;
  /** Of a failed init container. */
  exitCode: number | null;
  podName: string | null;
}

export type RunEndKind =
  | "succeeded"
  | "failed"
  | "deadline"
  | "job_deleted"
  | "pod_deleted"
  | "evicted"
  | "start_failed";

/** How a run ended. Settled once; later events do not change it. */
export interface RunEnd {
  kind: RunEndKind;
  /** Of the named container. Null when it never ran, or nobody can say any more. */
  exitCode: number | null;
  /** Number of the signal that ended the container, when the runtime reported one. */
  signal: number | null;
  /** The most telling reason known: Job condition, disruption, or the container's own (`OOMKilled`, `Error`, …). */
  reason: string;
  /** A sentence for people. Empty only where it succeeded. */
  message: string;
  container: string;
  podName: string | null;
  startedAt: string | null;
  finishedAt: string | null;
  startFailure: StartFailure | null;
  /** The Job's terminal condition (`FailureTarget` and `SuccessCriteriaMet` included), when it had one by then. */
  jobCondition: { type: string; reason: string; message: string } | null;
}

/** The message of an end of which Kubernetes says no more than this. */
export function exitMessage({ container, exitCode, signal, reason }: Omit<RunEnd, "message">): string {
  if (exitCode === null) return `container ${container} did not end by itself`;
  const how = reason === "OOMKilled" ? "was killed for its memory" : "ended";
  return `container ${container} ${how}${signal === null ? "" : ` by signal ${signal}`} with exit code ${exitCode}`;
}

export type RunPhase =
  | "unknown"
  | "created"
  | "suspended"
  | "pending"
  | "initializing"
  | "starting"
  | "running"
  | "ended"
  | "deleting"
  | "gone";

/** Readable progress. `text` is one line for people, without the run's name. */
export interface PhaseChange {
  phase: RunPhase;
  text: string;
}

abstract class RunError extends Error {
  readonly namespace: string;
  readonly jobName: string;
  constructor(namespace: string, jobName: string, message: string) {
    super(message);
    this.namespace = namespace;
    this.jobName = jobName;
  }
}

/** The named container cannot start. */
export class StartFailedError extends RunError {
  override readonly name = "StartFailedError";
  readonly code = "start_failed";
  readonly failure: StartFailure;
  constructor(namespace: string, jobName: string, failure: StartFailure) {
    const where = failure.container === null ? "" : ` (container ${failure.container})`;
    super(
      namespace,
      jobName,
      `Job ${namespace}/${jobName} cannot start${where}: ${failure.reason}: ${failure.message}`,
    );
    this.failure = failure;
  }
}

/** The run ended before its container was ever seen running: Job or pod deleted, evicted. */
export class RunGoneError extends RunError {
  override readonly name = "RunGoneError";
  readonly code = "run_gone";
  readonly end: RunEnd;
  constructor(namespace: string, jobName: string, end: RunEnd) {
    super(
      namespace,
      jobName,
      `Job ${namespace}/${jobName} ended before its container was seen to run: ${end.kind}: ${end.message || end.reason}`,
    );
    this.end = end;
  }
}

/** The caller's own `timeoutMs` is over. The run goes on. */
export class RunTimeoutError extends RunError {
  override readonly name = "RunTimeoutError";
  readonly code = "run_timeout";
  readonly timeoutMs: number;
  constructor(namespace: string, jobName: string, what: string, timeoutMs: number) {
    super(namespace, jobName, `Job ${namespace}/${jobName}: ${what} did not happen within ${timeoutMs} ms`);
    this.timeoutMs = timeoutMs;
  }
}

/**
 * `attach` was given a Job that cannot be followed; the Job is left alone. Or an admission webhook has made such a Job of what
 * `launch` sent; it is deleted then.
 */
export class AttachFailedError extends RunError {
  override readonly name = "AttachFailedError";
  readonly code = "attach_failed";
  /**
   * - `not_found`: the server has no Job of this name, and this engine has not seen one be deleted.
   * - `not_selected`: it lacks labels that the engine selects by, so the watches will never tell of it.
   * - `forbidden`: the watches do not tell of it, and the server refuses `get jobs`.
   * - `several_pods`: `completions` or `parallelism` is more than 1, so it does not end with one pod.
   */
  readonly reason: "not_found" | "not_selected" | "forbidden" | "several_pods";
  constructor(
    namespace: string,
    jobName: string,
    reason: AttachFailedError["reason"],
    message: string,
    cause?: unknown,
  ) {
    super(namespace, jobName, `Job ${namespace}/${jobName} cannot be followed: ${message}`);
    this.reason = reason;
    if (cause !== undefined) this.cause = cause;
  }
}

/** `engine.stop()` or `run.release()` was called while the promise was pending. */
export class EngineStoppedError extends Error {
  override readonly name = "EngineStoppedError";
  readonly code = "engine_stopped";
  constructor(message = "The run engine was stopped") {
    super(message);
  }
}
