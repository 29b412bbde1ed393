import type { ContainerEnd, RunReport } from "./messages.ts";
import type { Script } from "./script.ts";

/** What the host does with a result. */
export type Step =
  | { readonly kind: "settled"; readonly as: string }
  /** Nothing has run and the host may try again. */
  | { readonly kind: "again"; readonly why: string };

/** Only what may pass by itself; the host starts such a run anew, under another run id. */
export function stepAfter({ result, cancelled }: RunReport, script: Script): Step {
  const { errorCode, errorFamily, executionRecovery } = result;
  if (cancelled && errorCode === "cancelled") return { kind: "settled", as: "cancelled" };
  if (script.contends && errorCode === "k8s_concurrent_run_blocked") return { kind: "settled", as: "blocked" };
  const isTransient = errorFamily === "transient_upstream" && typeof errorCode === "string" && TRANSIENT.has(errorCode);
  // Without `executionRecovery` the host cannot know whether an agent has started: it looks at what is there (adoption).
  if (isTransient)
    return { kind: "again", why: executionRecovery === undefined ? `${errorCode} (in doubt)` : errorCode };
  return { kind: "settled", as: script.ending };
}

const TRANSIENT = new Set([
  "k8s_api_unreachable",
  "k8s_job_create_failed",
  "k8s_prompt_secret_create_failed",
  "k8s_concurrency_guard_unreachable",
  "k8s_concurrent_run_blocked",
  // Its process died between the Job's creation and the Secret's.
  "k8s_pod_reattach_failed",
]);

/**
 * Compares a settled run with its script and with what the cluster has seen. Returns what is wrong, empty when nothing.
 *
 * `ends` are all containers of the agent: there are several when the process was killed between a result and its report.
 */
export function judge(report: RunReport, script: Script, ends: readonly ContainerEnd[]): string[] {
  const { result, audit, gaps, cancelled } = report;
  const wrong: string[] = [];
  const expect = (holds: boolean, what: string) => {
    if (!holds) wrong.push(what);
  };
  const exitCode = result.exitCode ?? null;
  const code = result.errorCode ?? null;
  const isCancelled = cancelled && code === "cancelled";
  const isBlocked = script.contends && code === "k8s_concurrent_run_blocked";

  // Lines: each once, in order; a hole only where the log was rotated, and then announced.
  expect(audit.doubled === 0, `${audit.doubled} line(s) came twice`);
  expect(audit.outOfOrder === 0, `${audit.outOfOrder} line(s) came after a later one`);
  // A run that was stopped may stop amid a line.
  expect(audit.cut === 0 || gaps > 0 || isCancelled, `${audit.cut} line(s) came without their end and it was not said`);
  expect(audit.foreign.length === 0, `lines that the run has not written: ${JSON.stringify(audit.foreign)}`);
  for (const [first, last] of audit.holes) {
    const isRotated = script.rotateAfter !== null && last <= script.rotateAfter;
    // A Job that is stopped takes its first pod along, read or not, while the second still runs for its grace period.
    const isOfFirstPod = isCancelled && script.retryAfter !== null && last < script.retryAfter;
    const isReal = isRotated || isOfFirstPod;
    expect(isReal, `lines ${first}…${last} are missing`);
    // What was rotated away before the first read cannot be missed by anybody: a log does not say where it began.
    const isBeginning = first === 0 || first === script.retryAfter;
    expect(gaps > 0 || isBeginning, `lines ${first}…${last} are missing and it was not said`);
  }
  if (isBlocked) {
    expect(audit.delivered === 0, "lines of a run that was blocked");
    return wrong;
  }

  // A code that the host is told must be one that a container of this agent ended with.
  if (exitCode !== null) {
    const codes = ends.map((end) => end.exitCode);
    expect(codes.includes(exitCode), `exit code ${exitCode}, the cluster saw ${JSON.stringify(codes)}`);
  }
  const hasRun = ends.some(({ jobUid, ran }) => jobUid === report.jobUid && ran);
  expect(result.executionRecovery === undefined || !hasRun, "an agent that ran is said not to have started");
  if (isCancelled) return wrong;

  // What was written and has not come was taken along by the pod (or the rotation), and that has to be said.
  const end = ends.findLast(({ jobUid }) => jobUid === report.jobUid);
  if (end !== undefined && result.executionRecovery === undefined) {
    const holds = audit.next >= end.written || gaps > 0 || exitCode === null;
    expect(holds, `${audit.next} of ${end.written} lines that were written came, and it was not said`);
    // A container is killed between two lines: the last one may or may not have been counted.
    expect(audit.next <= end.written + 1, `${audit.next} lines came, ${end.written} were written`);
  }

  // An earlier attempt whose answer was lost may have ended the Job, and a later one can read only what is left of it.
  const isCutShort = report.attempt > 1 && gaps > 0;
  const all = () => expect(audit.next === script.lines || isCutShort, `${audit.next} of ${script.lines} lines came`);
  const fails = (codes: readonly (string | null)[]) =>
    expect(codes.includes(code), `errorCode ${code}, expected ${codes.join(" or ")}`);
  switch (script.ending) {
    case "ok":
      all();
      // Its last line may be among what is lost.
      expect(
        exitCode === 0 && (code === null || (isCutShort && code === "claude_truncated")) && !result.timedOut,
        `exit code ${exitCode}, errorCode ${code}: expected 0`,
      );
      break;
    case "fail":
    case "crash":
      all();
      expect(exitCode === script.exitCode, `exit code ${exitCode}, expected ${script.exitCode}`);
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
    case "evicted":
      // Its pod may have come and gone while the watch was down: then only the Job's failure is known, and that has no code.
      if (code === null && exitCode === null && result.errorMessage && result.executionRecovery === undefined) break;
      // The container's own end counts where it is known: it had begun its work.
      fails(["k8s_job_deleted_externally", "claude_truncated"]);
      expect(
        code !== "claude_truncated" || (exitCode !== null && exitCode !== 0),
        `truncated with exit code ${exitCode}`,
      );
      break;
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
