import { createHash } from "node:crypto";

/**
 * Names and labels, to the letter those of the adapter that this one replaces: the other's Jobs must be found by ours, and
 * ours by whoever looks for the other's.
 */

export const LabelKey = {
  managedBy: "app.kubernetes.io/managed-by",
  component: "app.kubernetes.io/component",
  agentId: "paperclip.io/agent-id",
  runId: "paperclip.io/run-id",
  companyId: "paperclip.io/company-id",
  adapterType: "paperclip.io/adapter-type",
  taskId: "paperclip.io/task-id",
  sessionId: "paperclip.io/session-id",
} as const;

export const AnnotationKey = {
  adapterType: "paperclip.io/adapter-type",
  agentName: "paperclip.io/agent-name",
  /** As the host has it; the label of that name is cut to what a label may hold. */
  runId: "paperclip.io/run-id",
  sessionId: "paperclip.io/session-id",
  workingDir: "paperclip.io/working-dir",
  /** JSON of the definition's `carry`. */
  carry: "paperclip.io/carry",
  /** Name of the Lease of the process that follows the run. */
  owner: "paperclip.io/owner-lease",
  /** When a later process took the run over, RFC 3339, by the server's clock. */
  adoptedAt: "paperclip.io/adopted-at",
  /** Of a Job that goes on with a disrupted run: how, and after which Job. JSON of a `Restart`. */
  restart: "paperclip.io/restart",
  /** On a Job that was disrupted: how the run goes on, for as long as the Job that does so does not stand. JSON of a `Restart`. */
  nextRestart: "paperclip.io/next-restart",
  /** Set on a Job that is kept after its result was taken: no later run shall take it again. */
  collectedAt: "paperclip.io/collected-at",
} as const;

/** Lowercase letters, digits and dashes of `text`, at most 16 characters. May be empty. */
export function slug(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, "")
    .slice(0, 16)
    .replace(/-+$/, "");
}

/**
 * Deterministic for one (agent, run): creating it twice is a conflict. The hash tells runs apart whose slugs were cut to the
 * same text.
 *
 * @returns at most 43 characters, with the prefix `ac`
 */
export function jobNameFor(prefix: string, agentId: string, runId: string): string {
  const hash = createHash("sha256").update(`${agentId}:${runId}`).digest("hex").slice(0, 6);
  return `${prefix}-${slug(agentId)}-${slug(runId)}-${hash}`;
}

/** The Job that goes on with a disrupted run. */
export function restartName(formerName: string, attempt: number): string {
  return `${formerName.replace(/-r\d+$/, "")}-r${attempt}`;
}

/** The run Secret of a Job. */
export function secretNameFor(jobName: string): string {
  return `${jobName}-prompt`;
}

/** Does a warning of the kubelet say that the run's Secret is not there yet? It comes after the Job, and a quick kubelet says so. */
export function saysSecretIsLate(message: string, jobName: string): boolean {
  return message.includes(`secret "${secretNameFor(jobName)}" not found`);
}

/**
 * What of `value` may be a label's value: everything outside `[A-Za-z0-9._-]` is deleted (not replaced), at most 63
 * characters, a letter or digit at both ends. Null when nothing is left: then leave the label out.
 */
export function sanitizeLabelValue(value: string): string | null {
  const text = value
    .replace(/[^A-Za-z0-9._-]/g, "")
    .slice(0, 63)
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, "");
  return text === "" ? null : text;
}
