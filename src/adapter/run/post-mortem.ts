import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { PostMortem, Run } from "../../engine/index.ts";
import { saysSecretIsLate } from "../job/names.ts";

const MAX_WARNINGS = 3;
const MAX_LINES = 3;
const MAX_NOTE = 1_500;

/**
 * Adds to the message of a run that failed what an operator asks first: how its container ended and after which words, what ended it
 * from outside, on which node, and the cluster's warnings. Where the server is away the message stays as it is. Never rejects.
 * @param lastLine as it was read while the run went on: the log may be deleted by now
 */
export async function withPostMortem(
  result: AdapterExecutionResult,
  run: Run,
  { lastLine, ...options }: { container: string; signal: AbortSignal; lastLine: string | null },
): Promise<AdapterExecutionResult> {
  const found = await run.postMortem(options).catch(() => null);
  const note = found === null ? "" : noteOf(found, run.jobName, lastLine);
  return note === "" ? result : { ...result, errorMessage: `${result.errorMessage} (${note})` };
}

function noteOf(
  { end, lastLines, nodeName, memoryLimit, endedBy, warnings }: PostMortem,
  jobName: string,
  lastLine: string | null,
): string {
  const read = lastLines.length > 0 || lastLine === null ? lastLines : [lastLine];
  // Lines of JSON are the agent's own events, of which its parser has made what there is to say.
  const words = read.filter((line) => line.trim() !== "" && !line.startsWith("{"));
  const exit = end.exitCode === null ? "" : `exit ${end.exitCode}${end.reason === "Error" ? "" : `, ${end.reason}`}`;
  const after = words.length === 0 ? "" : ` after: ${words.slice(-MAX_LINES).join(" | ")}`;
  const limit = memoryLimit === null ? "" : `memory limit ${memoryLimit}`;
  const node = nodeName === null ? "" : `node ${nodeName}`;
  const events = warnings
    // BackoffLimitExceeded follows from the exit; a Secret that was late was there before the container ran.
    .filter(({ reason, message }) => reason !== "BackoffLimitExceeded" && !saysSecretIsLate(message, jobName))
    .slice(-MAX_WARNINGS)
    .map(({ about, reason, message }) => `${about}: ${reason}: ${message}`);
  const parts = [`${exit}${after}`.trim(), endedBy ?? "", limit, node, ...events];
  return parts
    .filter((part) => part !== "")
    .join("; ")
    .slice(0, MAX_NOTE);
}
