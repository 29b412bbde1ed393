import type { LaunchOptions } from "../engine-types.ts";
import type { LogGap, LogLine } from "../logs/index.ts";
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
}

export interface RunResult {
  namespace: string;
  jobName: string;
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

/** @throws TypeError when the manifest has several containers, of which none is the main one by itself */
export function onlyContainer(job: JobInput): string {
  const names = (job.spec?.template.spec as { containers?: { name: string }[] } | undefined)?.containers ?? [];
  const [first, ...others] = names.map(({ name }) => name);
  if (first !== undefined && others.length === 0) return first;
  throw new TypeError(
    `container must be given: the manifest has ${names.length}: ${names.map(({ name }) => name).join(", ")}`,
  );
}

/** A launched run from its log to its deletion. @throws the signal's reason, or what `onLine` threw */
export async function runToEnd(run: Run, container: string, options: RunToEndOptions): Promise<RunResult> {
  const { signal, keep = "never" } = options;
  const { namespace, jobName } = run;
  const log: ReadLog = { lines: 0, gaps: [], logError: null };
  const giveUp = new AbortController();
  const abort = signal === undefined ? giveUp.signal : AbortSignal.any([signal, giveUp.signal]);
  try {
    const reading = readLog(run, container, options.onLine, log, abort, giveUp);
    const end = await run.terminated({ container, signal: abort });
    await reading;
    abort.throwIfAborted();
    const hasSucceeded = end.kind === "succeeded";
    const postMortem = await run.postMortem({ container, signal });
    const deleteError = keep === "always" || (keep === "failed" && !hasSucceeded) ? null : await deleted(run);
    return { namespace, jobName, hasSucceeded, end, ...log, postMortem, deleteError };
  } catch (error) {
    const isKept = keep === "always" || (keep === "failed" && signal?.aborted !== true);
    // What went wrong first is what the caller needs to know.
    if (!isKept) await deleted(run);
    throw error;
  } finally {
    run.release();
  }
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
  signal: AbortSignal,
  giveUp: AbortController,
): Promise<void> {
  try {
    for await (const batch of run.logs({ container, signal, onGap: (gap) => log.gaps.push(gap) }).batches()) {
      log.lines += batch.length;
      if (onLine === undefined) continue;
      for (const line of batch) {
        try {
          await onLine(line);
        } catch (error) {
          return giveUp.abort(error);
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
