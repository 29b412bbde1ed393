import type { LaunchOptions } from "../engine-types.ts";
import type { LogGap, LogLine } from "../logs/index.ts";
import { LinkedAbort } from "../transport/index.ts";
import { isDisruption } from "./disruption.ts";
import type { JobInput } from "./launch.ts";
import type { PostMortem } from "./post-mortem.ts";
import type { Run } from "./run.ts";
import { type RunEnd, StartFailedError } from "./types.ts";

export interface RunToEndOptions extends Omit<LaunchOptions, "signal"> {
  /** The container whose log and exit code are the run's. Default: the only one of the manifest. */
  container?: string | undefined;
  /** Called with each line, once and in order; a promise that it returns is awaited, which slows the log and not the container. */
  onLine?: ((line: LogLine) => unknown) | undefined;
  /** Gives the run up: it rejects with the signal's reason, and the Job is deleted unless `keep` is `always`. */
  signal?: AbortSignal | undefined;
  /** Which Jobs stay in the cluster when their run has ended. Default `never`. */
  keep?: "never" | "failed" | "always" | undefined;
  /**
   * Called when the run was ended from outside (`isDisruption`): the Job that goes on with it, or null to leave it at that end. The
   * next Job's lines follow on those before, to the same `onLine`; the former Job is deleted unless `keep` is `always`. `attempt`: 1
   * for the first Job made so. A promise is awaited, which is how to back off. Default: the end stands.
   */
  onDisruption?: ((end: RunEnd, attempt: number) => JobInput | null | Promise<JobInput | null>) | undefined;
}

export interface RunResult {
  namespace: string;
  /** Of its last Job. */
  jobName: string;
  /** How many Jobs `onDisruption` gave. */
  restarts: number;
  hasSucceeded: boolean;
  end: RunEnd;
  /** How many lines its container wrote, as far as its log could be read. */
  lines: number;
  /** Lines that are, or may be, missing. */
  gaps: readonly LogGap[];
  /** Why the log could not be read to its end. Null: it was. */
  logError: unknown;
  /** Of a run that did not succeed. */
  postMortem: PostMortem | null;
  /** Why the Job could not be deleted. Null: it was, or was to stay. */
  deleteError: unknown;
}

/** @throws TypeError when the manifest has no container, or several, of which none is the main one by itself */
function onlyContainer(job: JobInput): string {
  const spec = (job as Partial<JobInput> | null)?.spec?.template?.spec as
    | { containers?: { name: string }[] }
    | undefined;
  const names = spec?.containers ?? [];
  if (names.length === 0)
    throw new TypeError(`spec.template.spec.containers must have a container, got ${JSON.stringify(spec?.containers)}`);
  const [first, ...others] = names.map(({ name }) => name);
  if (first !== undefined && others.length === 0) return first;
  throw new TypeError(
    `container must be given: the manifest has ${names.length}: ${names.map(({ name }) => name).join(", ")}`,
  );
}

/** A run from its Job's creation to its deletion. @throws what `launch` throws; the signal's reason; what a callback threw */
export async function runToEnd(
  first: JobInput,
  launch: (job: JobInput) => Promise<Run>,
  options: RunToEndOptions,
): Promise<RunResult> {
  const log: ReadLog = { lines: 0, gaps: [], logError: null };
  let job = first;
  for (let restarts = 0; ; restarts += 1) {
    const container = options.container ?? onlyContainer(job);
    const ended = await oneJob(await launch(job), container, options, log, restarts);
    if (ended.next === null) return { ...ended.result, ...log, restarts };
    job = ended.next;
  }
}

type Ended =
  | { readonly next: JobInput }
  | { readonly next: null; readonly result: Omit<RunResult, "restarts" | keyof ReadLog> };

async function oneJob(
  run: Run,
  container: string,
  options: RunToEndOptions,
  log: ReadLog,
  restarts: number,
): Promise<Ended> {
  const { signal, keep = "never", onDisruption } = options;
  const { namespace, jobName } = run;
  const abort = new LinkedAbort([signal]);
  try {
    const reading = readLog(run, container, options.onLine, log, abort);
    const end = await run.terminated({ container, signal: abort.signal });
    await reading;
    abort.signal.throwIfAborted();
    const next = onDisruption !== undefined && isDisruption(end) ? await onDisruption(end, restarts + 1) : null;
    abort.signal.throwIfAborted();
    if (next !== null) {
      if (keep !== "always") await makeRoom(run, next, signal);
      return { next };
    }
    const hasSucceeded = end.kind === "succeeded";
    const postMortem = await run.postMortem({ container, signal });
    const deleteError = keep === "always" || (keep === "failed" && !hasSucceeded) ? null : await deleted(run);
    return { next, result: { namespace, jobName, hasSucceeded, end, postMortem, deleteError } };
  } catch (error) {
    const isKept = keep === "always" || (keep === "failed" && signal?.aborted !== true);
    // What went wrong first is what the caller needs to know.
    if (!isKept) await deleted(run);
    throw error;
  } finally {
    abort.release();
    run.release();
  }
}

/** Deletes a Job that another goes on for. Waited for only where the other has its name: the pod of a lost node may stay for hours. */
async function makeRoom(run: Run, next: JobInput, signal: AbortSignal | undefined): Promise<void> {
  await run.delete({ signal });
  if (next.metadata?.name === run.jobName) await run.gone({ signal });
}

interface ReadLog {
  lines: number;
  gaps: LogGap[];
  logError: unknown;
}

async function readLog(
  run: Run,
  container: string,
  onLine: RunToEndOptions["onLine"],
  log: ReadLog,
  abort: LinkedAbort,
): Promise<void> {
  const { signal } = abort;
  try {
    for await (const batch of run.logs({ container, signal, onGap: (gap) => log.gaps.push(gap) }).batches()) {
      log.lines += batch.length;
      if (onLine === undefined) continue;
      for (const line of batch) {
        try {
          await onLine(line);
        } catch (error) {
          return abort.abort(error);
        }
      }
    }
  } catch (error) {
    // How it could not start stands in its end.
    if (!(error instanceof StartFailedError) && !signal.aborted) log.logError = error;
  }
}

/** Null, or why it could not be. */
async function deleted(run: Run): Promise<unknown> {
  try {
    await run.delete();
    return null;
  } catch (error) {
    return error;
  }
}
