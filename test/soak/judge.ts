import type { AgentTruth, RunReport } from "./messages.ts";
import { AGAIN, againAfter, lineOf, type Script } from "./script.ts";

/** What the host does with a result. */
export type Step =
  | { readonly kind: "settled"; readonly as: string }
  /** Nothing has run and the host may try again. */
  | { readonly kind: "again"; readonly why: string };

/** Only what may pass by itself; the host starts such a run as another one. */
export function stepAfter({ result, aborted, attempt }: RunReport, script: Script): Step {
  const { errorCode, errorFamily, executionRecovery } = result;
  if (aborted === "stop" && errorCode === "cancelled") return { kind: "settled", as: "cancelled" };
  if (aborted === "handed back" && errorCode === "cancelled") return { kind: "again", why: "handed back" };
  if (script.policy === "block" && errorCode === "k8s_concurrent_run_blocked")
    return { kind: "settled", as: "blocked" };
  if (typeof errorCode === "string") {
    // Another server has its Job, and hands its result out.
    if (errorCode === "k8s_run_lost") return { kind: "again", why: errorCode };
    // Said not to have begun: its node went down before, a server died while it deleted the Job, or the server shuts down.
    const isItsScript = script.ending === "no_image" && errorCode === "k8s_pod_schedule_failed";
    const isUnstarted = executionRecovery !== undefined && !isItsScript;
    // A server that died had sent the deletion of its Job.
    const wasDeletedAlready = attempt > 1 && errorCode === "k8s_job_deleted_externally" && !DELETED.has(script.ending);
    const mayPass =
      isUnstarted || wasDeletedAlready || (errorFamily === "transient_upstream" && TRANSIENT.has(errorCode));
    // Without `executionRecovery` the host cannot know whether an agent has started: it looks at what is there (adoption).
    const isInDoubt = executionRecovery === undefined;
    if (mayPass) return { kind: "again", why: isInDoubt ? `${errorCode} (in doubt)` : errorCode };
  }
  return { kind: "settled", as: script.ending };
}

const DELETED: ReadonlySet<string> = new Set(["job_deleted", "pod_deleted", "evicted"]);
const TRANSIENT = new Set([
  "k8s_api_unreachable",
  "k8s_job_create_failed",
  "k8s_prompt_secret_create_failed",
  "k8s_concurrency_guard_unreachable",
  "k8s_concurrent_run_blocked",
  // Its process died between the Job's creation and the Secret's.
  "k8s_pod_reattach_failed",
]);

/** What is wrong with what one run came to, by its script and by what is true of its agent. Empty: nothing. */
export function judge(
  report: RunReport,
  script: Script,
  { ends, rotatedTo, rotations, endedBlind, struck, isComplete }: AgentTruth,
): string[] {
  const { result, audit, aborted, notes } = report;
  // A right that was missing when the log was first asked for.
  const isUnreadable = notes.some((note) => note.includes("The log could not be read to its end"));
  const gaps = report.gaps + (isUnreadable ? 1 : 0);
  const wrong: string[] = [];
  const expect = (holds: boolean, what: string) => {
    if (!holds) wrong.push(what);
  };
  const exitCode = result.exitCode ?? null;
  const code = result.errorCode ?? null;
  // Whatever it returns, the host calls a run interrupted whose server shuts down.
  const isCancelled = (aborted === "stop" && code === "cancelled") || aborted === "handed back";
  const isBlocked = script.policy === "block" && code === "k8s_concurrent_run_blocked";

  // Lines: each once, in order; a hole only where the log was rotated, and then announced.
  // A Job that makes another pod, or whose node starts its container again, prints lines anew.
  const again = againAfter(script);
  const isPrintedAgain = struck.length > 0 && again !== null;
  expect(audit.doubled === 0 || isPrintedAgain, `${audit.doubled} line(s) came twice`);
  expect(audit.outOfOrder === 0 || isPrintedAgain, `${audit.outOfOrder} line(s) came after a later one`);
  // A run that was stopped may stop amid a line.
  expect(audit.cut === 0 || gaps > 0 || isCancelled, `${audit.cut} line(s) came without their end and it was not said`);
  // Behind a hole it cannot be told which line it is that was cut.
  const foreign = audit.foreign.filter((text) => gaps === 0 || !isBeginningOfLine(script, text));
  expect(foreign.length === 0, `lines that the run has not written: ${JSON.stringify(foreign)}`);
  for (const [first, last] of audit.holes) {
    const isRotated = last < rotatedTo;
    // A Job that is stopped takes its first pod along, read or not, while the second still runs for its grace period. And a container
    // that is started again has a log of its own.
    const isOfOther = script.restartAfter !== null || script.movesAfter !== null;
    const isOfFirst = again !== null && last < again && (isCancelled || isOfOther);
    expect(isRotated || isOfFirst || struck.length > 0, `lines ${first}…${last} are missing`);
    // What was rotated away before the first read cannot be missed by anybody: a log does not say where it began.
    const isBeginning = first === 0 || first === again;
    // Nor does a kubelet whose reader is held back say that it passed over a file which was rotated away meanwhile.
    const isAt = (line: number) => rotations.some((written) => written === line || written === line - 1);
    const isPassedOver = isAt(first) && isAt(last + 1);
    expect(gaps > 0 || isBeginning || isPassedOver, `lines ${first}…${last} are missing and it was not said`);
  }
  if (isBlocked) {
    expect(audit.delivered === 0, "lines of a run that was blocked");
    return wrong;
  }

  // A code that the host is told must be one that a container of this agent ended with.
  // A watch that is silent for so long looks the same: then the container's own end is not known.
  const isLingering = script.output === "lingering" || notes.some((note) => note.includes("its process does not end"));
  if (exitCode !== null && !isLingering && (isComplete || ends.some(({ jobUid }) => jobUid === report.jobUid))) {
    const codes = ends.map((end) => end.exitCode);
    // What the agent said of itself before it was killed counts.
    const isItsOwnWord = exitCode === 0 && result.usage !== undefined;
    expect(codes.includes(exitCode) || isItsOwnWord, `exit code ${exitCode}, the cluster saw ${JSON.stringify(codes)}`);
  }
  const hasRun = ends.some(({ jobUid, ran }) => jobUid === report.jobUid && ran);
  expect(result.executionRecovery === undefined || !hasRun, "an agent that ran is said not to have started");
  if (isCancelled) return wrong;

  // What was written and has not come was taken along by the pod (or the rotation), and that has to be said.
  const end = ends.findLast(({ jobUid }) => jobUid === report.jobUid);
  // All of it was rotated away before the first read: a log does not say where it began.
  const isUnread =
    rotatedTo > 0 &&
    (audit.next === 0 || audit.next === again) &&
    (end?.written ?? Number.POSITIVE_INFINITY) <= rotatedTo;
  if (end !== undefined && result.executionRecovery === undefined) {
    // The longest of its containers counts: the last one may have ended before its first line. Of a run that went on in another
    // Job, lines of both came; what its next attempt has written besides is not its own.
    const most = Math.max(
      ...ends.map((each) => writtenOf(each, script.movesAfter === null ? report.jobUid : each.jobUid)),
    );
    const written = end.written === null || script.movesAfter !== null ? end.written : most;
    // What a runtime had not written into the log when it was restarted, nobody can read.
    const isRuntimeLost = struck.includes("container runtime restarted");
    // Its kubelet ended the log cleanly, and with the pod it was gone before it could be asked again.
    const isBlind = endedBlind.includes(report.jobUid ?? "");
    // A follow sees the end of its container before a new file, and the pod was deleted before the log could be asked for again.
    const isDeleted = script.ending === "job_deleted" || script.ending === "pod_deleted";
    const isUnnoticed = isDeleted && rotations.includes(audit.next);
    const isSaid = gaps > 0 || exitCode === null || isUnread || isRuntimeLost || isBlind || isUnnoticed;
    const holds = written === null || audit.next >= written || isSaid;
    expect(holds, `${audit.next} of ${written} lines that were written came, and it was not said`);
    // A container is killed between two lines: the last one may or may not have been counted.
    expect(written === null || audit.next <= most + 1, `${audit.next} lines came, ${most} were written`);
  }

  // Its container died with its node, or was taken from it: its script did not come to its end.
  const isLost = end?.reason === "ContainerStatusUnknown" && exitCode !== 0;
  if (struck.length > 0 && (isLost || exitCode !== script.exitCode || code !== null)) {
    expect(code !== null || exitCode !== 0, "a container that was taken away is said to have succeeded");
    return wrong;
  }

  // An earlier attempt whose answer was lost may have ended the Job, and a later one can read only what is left of it.
  const isTailRotated = gaps > 0 && (end?.written ?? Number.POSITIVE_INFINITY) <= rotatedTo;
  const isCutShort = (report.attempt > 1 && gaps > 0) || isUnreadable || isUnread || isTailRotated;
  // Killed behind a first result, which counts: it had not come to its script's end.
  const wasKilled = struck.length > 0 && end?.reason === "ContainerStatusUnknown";
  const lines = Math.min(audit.total ?? script.lines, (wasKilled ? end.written : null) ?? Number.POSITIVE_INFINITY);
  const all = () => expect(audit.next === lines || isCutShort, `${audit.next} of ${lines} lines came`);
  // It was evicted, and what was lost of its log left nothing to go on with.
  const isLeft = script.movesAfter !== null && notes.some((note) => note.includes("and the run ends: "));
  const fails = (codes: readonly (string | null)[]) =>
    expect(codes.includes(code), `errorCode ${code}, expected ${codes.join(" or ")}`);
  switch (isLeft ? "evicted" : script.ending) {
    case "ok":
      all();
      // Its last line may be among what is lost.
      expect(
        (exitCode === 0 || isLingering) &&
          (code === null || (isCutShort && code === "claude_truncated")) &&
          !result.timedOut,
        `exit code ${exitCode}, errorCode ${code}: expected 0`,
      );
      break;
    case "fail":
    case "crash":
      all();
      // One that has said its result and was taken for one that lingers has no code.
      expect(
        exitCode === script.exitCode || (isLingering && exitCode === null),
        `exit code ${exitCode}, expected ${script.exitCode}`,
      );
      expect(Boolean(result.errorMessage), "no errorMessage");
      expect(!result.timedOut, "timedOut");
      break;
    case "oom":
      all();
      expect(exitCode === 137, `exit code ${exitCode}, expected 137`);
      expect(
        /OOMKilled/.test(result.errorMessage ?? ""),
        `errorMessage does not name OOMKilled: ${result.errorMessage}`,
      );
      break;
    case "deadline":
      expect(result.timedOut === true, "timedOut is not set");
      fails(["timeout"]);
      break;
    case "job_deleted":
    case "pod_deleted":
    case "evicted": {
      // Its pod may have come and gone while the watch was down: then only the Job's failure is known, and that has no code.
      if (code === null && exitCode === null && result.errorMessage && result.executionRecovery === undefined) break;
      // The container's own end counts where it is known, else the Job's: it had begun its work.
      const isOfJobOnly = result.errorMessage?.includes("reason=BackoffLimitExceeded") === true;
      fails(["k8s_job_deleted_externally", "claude_truncated"]);
      expect(
        code !== "claude_truncated" || (exitCode === null ? isOfJobOnly : exitCode !== 0),
        `truncated with exit code ${exitCode}`,
      );
      break;
    }
    case "no_image":
      fails(["k8s_pod_schedule_failed", "k8s_pod_reattach_failed"]);
      // Where the watch was down when the pod went, nobody knows whether the image came at the last moment: then it is not said.
      expect(
        (result.executionRecovery?.kind ?? "bootstrap") === "bootstrap",
        "a run that never started is marked as one that did",
      );
      break;
  }
  return wrong;
}

function writtenOf({ jobUid, written }: AgentTruth["ends"][number], ofJob: string | null): number {
  return jobUid === ofJob ? (written ?? 0) : 0;
}

function isBeginningOfLine(script: Script, text: string): boolean {
  const begin = text.replace(/^\(cut\) /, "").replace(/\ufffd+$/, "");
  for (let seq = 0; seq < script.lines; seq += 1) if (lineOf(script, seq).startsWith(begin)) return true;
  return false;
}

/** Of one run, what concerns the others of its agent. */
export interface Told {
  readonly script: Script;
  /** Everything that any server said of it, also those that the host had given up. */
  readonly reports: readonly Pick<RunReport, "runId" | "jobUid" | "adopted" | "result" | "aborted">[];
  /** Run ids of the attempts that came to nothing, since their server was killed. */
  readonly unheard: readonly string[];
}

/** What must hold among all servers for one agent. */
export function judgeAgent(runs: readonly Told[], { ends, begun, overlap, struck }: AgentTruth): string[] {
  const wrong: string[] = [];
  if (overlap !== null) wrong.push(`containers ran at the same time: ${overlap}`);
  const unheard = runs.flatMap((run) => run.unheard);
  const reports = runs.flatMap((run) => run.reports);

  // The host repeats a run of whose end it never heard, and one of a server that shut down, whose Job was then deleted by somebody.
  const isDeletedByOthers = (runs[0] as Told).script.ending.endsWith("_deleted") || struck.length > 0;
  // Of two runs of a task one adopts the Job of the other, whose host gave it up and starts it once more.
  const isAdopted = (of: Told["reports"][number]) =>
    reports.some(({ runId, jobUid, adopted }) => adopted && jobUid === of.jobUid && runId !== of.runId);
  const mayRepeat = reports.filter(
    (report) => report.aborted === "handed back" && (isDeletedByOthers || isAdopted(report)),
  );
  for (const [runId, jobs] of grouped(begun, ({ runId }) => runId)) {
    const repeated = [...unheard, ...mayRepeat.map((report) => report.runId)];
    const allowed = 1 + repeated.filter((each) => each === runId).length;
    const uids = new Set(jobs.map(({ jobUid }) => jobUid));
    if (uids.size > allowed)
      wrong.push(`the prompt of run ${runId} ran ${uids.size} times, at most ${allowed} expected`);
  }
  // What a host counts as work that was done.
  const isResult = ({ exitCode, usage }: RunReport["result"]) => (exitCode ?? null) !== null || usage !== undefined;
  const results = reports.filter(({ result, jobUid }) => jobUid !== null && isResult(result));
  for (const [jobUid, all] of grouped(results, ({ jobUid }) => jobUid ?? "")) {
    const to = all.map(({ runId }) => runId).join(", ");
    if (all.length > 1) wrong.push(`the result of Job ${jobUid} was handed out ${all.length} times: to ${to}`);
    // Where a container ran, its prompt is the run's own, or it was said whose it was.
    const own = begun.find((each) => each.jobUid === jobUid);
    for (const { adopted, runId } of all) {
      if (own === undefined || adopted || own.runId === runId) continue;
      wrong.push(`run ${runId} got the result of the prompt of ${own.runId}, and it was not said`);
    }
  }
  // Nothing that a live server owns is deleted or killed by another.
  const { script } = runs[0] as Told;
  const endsByItself = script.ending === "ok" || script.ending === "fail" || script.ending === "crash";
  const mayBeStopped = runs.some((run) => run.script.cancelAfterMs !== null) || script.output === "lingering";
  if (endsByItself && !mayBeStopped && struck.length === 0) {
    for (const { ran, exitCode, jobUid, runId, written } of ends) {
      const isOwn =
        exitCode === script.exitCode ||
        (exitCode === AGAIN && againAfter(script) !== null) ||
        (script.movesAfter !== null && written === script.movesAfter);
      if (ran && !isOwn) wrong.push(`the agent of Job ${jobUid} (run ${runId}) was interrupted: exit code ${exitCode}`);
    }
  }
  return wrong;
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  return Map.groupBy(items, keyOf);
}
