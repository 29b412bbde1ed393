import type { Job } from "../../engine/index.ts";
import { isRecord } from "../../json/read-json.ts";
import { AnnotationKey } from "./names.ts";

/** How a disrupted run goes on in another Job. Written on the Job that was disrupted, then on the one that goes on. */
export interface Restart {
  /** 1: the Job after the run's first. */
  readonly attempt: number;
  /** `again`: as the Job before was to start, for its agent had not begun. `resume`: in the run's own session. */
  readonly how: "again" | "resume";
  /** Null: it starts a fresh one. */
  readonly sessionId: string | null;
  /** The agent has surely read the run's prompt. */
  readonly isPromptRead: boolean;
  /** What ended the Job before, in one word of Kubernetes: `EvictionByEvictionAPI`. */
  readonly reason: string;
  /** The nodes that its pods were on, as far as they are known; the latest one last. */
  readonly nodes: readonly string[];
  /** How often in a row the same node, or the same reason, has come again. */
  readonly repeats: number;
  readonly former: { readonly name: string; readonly uid: string };
}

/** How this Job came to be. Null: it is its run's first. */
export function restartOf(job: Pick<Job, "metadata">): Restart | null {
  return readRestart(job, AnnotationKey.restart);
}

/** How the run of this Job, which was disrupted, is to go on. */
export function nextRestartOf(job: Pick<Job, "metadata">): Restart | null {
  return readRestart(job, AnnotationKey.nextRestart);
}

function readRestart({ metadata }: Pick<Job, "metadata">, key: string): Restart | null {
  const text = metadata.annotations?.[key];
  if (text === undefined) return null;
  try {
    const value: unknown = JSON.parse(text);
    return isRestart(value) ? value : null;
  } catch {
    return null;
  }
}

/** Whoever may write annotations may write anything: what is not whole is not believed. */
function isRestart(value: unknown): value is Restart {
  if (!isRecord(value) || !isRecord(value.former) || !Array.isArray(value.nodes)) return false;
  const { attempt, how, sessionId, isPromptRead, reason, nodes, repeats, former } = value;
  return (
    isCount(attempt) &&
    attempt >= 1 &&
    isCount(repeats) &&
    (how === "again" || how === "resume") &&
    (typeof sessionId === "string" || (sessionId === null && how === "again")) &&
    typeof isPromptRead === "boolean" &&
    [reason, former.name, former.uid, ...nodes].every((each) => typeof each === "string")
  );
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
