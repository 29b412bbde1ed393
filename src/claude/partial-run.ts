import { exitMessage, type RunEnd } from "../engine/index.ts";
import { cutEnd } from "../json/read-json.ts";
import type { ClaudeVerdict } from "./stream-json.ts";

/** What to tell people about a run that ended without a `result` event. */
export function describePartialRun(
  verdict: ClaudeVerdict,
  end: RunEnd | null,
  lostLines: number,
  logError: string | undefined,
): string {
  const cause = podCause(end);
  const unread = logError === undefined ? "" : ` (its log could not be read to its end: ${cutEnd(logError, 500)})`;
  return `${withoutCause(verdict, end, logError)}${cause === null ? "" : ` [pod: ${cause}]`}${unread}${lostNote(lostLines)}`;
}

function withoutCause(verdict: ClaudeVerdict, end: RunEnd | null, logError: string | undefined): string {
  const exitCode = end?.exitCode ?? null;
  const code = exitCode ?? -1;
  if (exitCode === 0) {
    if (verdict.isInterrupted) return `Claude ${INTERRUPTED}`;
    const said = verdict.hasOutput ? null : verdict.firstPlainLine;
    return verdict.hasLines
      ? `Claude ended with exit code 0, but its output could not be read: there is no result event in it${said === null ? "" : `: ${cutEnd(said, 500)}`}`
      : `Claude ended with exit code 0${logError === undefined ? " and printed nothing" : ""}`;
  }
  const said = epitaph(verdict.lastWords) ?? verdict.firstPlainLine;
  if (said !== null) return `Claude exited with code ${code}: ${cutEnd(said, 500)}`;
  const model = verdict.model ?? "unknown model";
  // 128 + n: a signal ended it, and no wrong credential.
  const hint = code >= 128 ? "" : ": check credentials, model and configuration";
  if (verdict.hasInit && !verdict.hasOutput && exitCode !== null) {
    return `Claude exited immediately after init (model ${model}, code ${code})${hint}`;
  }
  if (verdict.hasLines && verdict.model !== null) {
    return `Claude started but produced no result (model ${model}, code ${code})${hint}`;
  }
  return `Claude exited with code ${code}`;
}

const INTERRUPTED = "was interrupted before its result";

/** `reason=OOMKilled, signal=9, killed by SIGKILL (out of memory, or its grace was over)`; null when the pod says nothing. */
export function podCause(end: RunEnd | null): string | null {
  if (end === null) return null;
  const parts: string[] = [];
  // "Error" is what the kubelet calls every exit code but 0.
  if (end.reason !== "" && end.reason !== "Error" && end.reason !== "Completed") parts.push(`reason=${end.reason}`);
  if (end.message !== "" && end.message !== exitMessage(end)) parts.push(`message=${cutEnd(end.message.trim(), 500)}`);
  if (end.signal !== null && end.signal !== 0) parts.push(`signal=${end.signal}`);
  if (end.exitCode === 137) parts.push("killed by SIGKILL: out of memory, or still running when its grace was over");
  if (end.exitCode === 143) parts.push("ended by SIGTERM");
  if (end.exitCode === 130) parts.push("ended by SIGINT");
  return parts.length === 0 ? null : parts.join(", ");
}

/** The line of a process's last words that says why it ended: of a stack trace its `Error: …`, else the first. */
export function epitaph(lastWords: readonly string[]): string | null {
  return lastWords.find((line) => ERROR_LINE.test(line)) ?? lastWords[0] ?? null;
}

const ERROR_LINE =
  /(?:error|exception|fatal|panic)\b[^()]{0,60}:|\b(?:fatal|panic|cannot|failed|killed|out of memory)\b/i;

/** What cut a run off that had begun to answer. */
export function describeTruncation(verdict: ClaudeVerdict, end: RunEnd | null, lostLines: number): string {
  const said = epitaph(verdict.lastWords);
  const code = end?.exitCode ?? null;
  const cause = podCause(end);
  const how =
    cause ??
    (verdict.isInterrupted
      ? `it ${INTERRUPTED}`
      : code === null
        ? "the pod's final state is not known"
        : `its container exited with code ${code}`);
  const codeNote = cause !== null && code !== null ? `, exit code ${code}` : "";
  return `Claude's output ended in the middle of its answer: ${how}${codeNote}${said === null ? "" : `: ${cutEnd(said, 500)}`}${lostNote(lostLines)}`;
}

function lostNote(lostLines: number): string {
  return lostLines === 0
    ? ""
    : ` (the log has ${lostLines === 1 ? "a gap" : `${lostLines} gaps`}, so a result may be lost)`;
}
