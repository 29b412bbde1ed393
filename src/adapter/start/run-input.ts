import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import type { Run } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AdapterDefinition, AgentVerdict } from "../definition.ts";
import type { RunLog } from "../host/run-log.ts";
import type { Redactor } from "../job/credentials.ts";
import { taskIdOf } from "../job/environment.ts";
import { sanitizeLabelValue } from "../job/names.ts";
import type { Restart } from "../job/restart.ts";
import type { Newcomer } from "./orphans.ts";
import type { Patience } from "./outage.ts";
import type { Site } from "./site.ts";

/** One run, once its configuration was read and its cluster was reached. */
export interface RunInput<Config extends BaseConfig, Verdict extends AgentVerdict> {
  readonly definition: AdapterDefinition<Config, Verdict>;
  readonly ctx: AdapterExecutionContext;
  readonly config: Config;
  readonly site: Site;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  readonly patience: Patience;
  readonly log: RunLog;
  readonly redactor: Redactor;
  /** Agent id and run id as labels hold them. */
  readonly agentLabel: string;
  readonly runLabel: string;
}

/** A run whose Job exists. */
export interface Started {
  readonly run: Run;
  /** Begun by an earlier process. */
  readonly adopted: boolean;
  /** Whose agent was taken over while it worked. Null: this run's own, or its agent had ended. */
  readonly formerRunId: string | null;
  /** Name of this process's Lease, as it stands on the Job. Null: without the right to Leases. */
  readonly owner: string | null;
  /**
   * On the monotonic clock: until then the former owner may hand out the result, since it may not have heard that someone deleted its
   * Lease. Null: it cannot.
   */
  readonly contestedUntil: number | null;
  /** On the monotonic clock, before the Job was created. Null: by an earlier process. */
  readonly launchedAt: number | null;
  readonly sessionId: string | null;
  readonly workingDir: string;
  readonly carry: Readonly<Record<string, string>>;
  /** The Job's deadline. 0: none. */
  readonly timeoutSec: number;
  /** How the Job came to be. Null: it is the run's first. */
  readonly restart: Restart | null;
  /** Its Job was disrupted, and its process died before it launched the one that goes on so. */
  readonly next: Restart | null;
}

export function newcomerOf<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { ctx, agentLabel, runLabel }: RunInput<Config, Verdict>,
  sessionId: string | null,
): Newcomer {
  const taskId = taskIdOf(ctx.context);
  return {
    agentId: agentLabel,
    runId: runLabel,
    taskId: taskId === null ? null : sanitizeLabelValue(taskId),
    sessionId: sessionId === null ? null : sanitizeLabelValue(sessionId),
  };
}

export function timeoutNote({ timeoutSec }: BaseConfig): string {
  return `Timeout: ${timeoutSec > 0 ? `${timeoutSec}s` : "none"}`;
}
