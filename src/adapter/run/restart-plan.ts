import type { AgentActivity } from "../definition.ts";
import type { Restart } from "../job/restart.ts";

/** What is known of a run whose Job was ended by a disruption. */
export interface Disrupted {
  readonly job: { readonly name: string; readonly uid: string };
  /** How that Job came to be; null: it was the run's first. */
  readonly restart: Restart | null;
  readonly reason: string;
  readonly nodeName: string | null;
  /** `maxDisruptionRestarts`. */
  readonly maxRestarts: number;
  /** What the agent was at. */
  readonly activity: AgentActivity;
  /** Its process has surely not begun with the prompt: it never ran, or its log was read whole and has its announcement only. */
  readonly surelyIdle: boolean;
  /** Its process has said more than its announcement. */
  readonly hasBegun: boolean;
  /** The session that it was to resume. */
  readonly resumedSessionId: string | null;
  /** The session that it said it is in. */
  readonly sessionId: string | null;
  /** A volume keeps its sessions. */
  readonly keepsSessions: boolean;
  /** Until the run as a whole is over its time, in milliseconds. Null: it has no limit. */
  readonly leftMs: number | null;
  /** The first wait, see `waitMs`. */
  readonly backoffMs: number;
}

export type RestartPlan =
  | { readonly restart: Restart; readonly waitMs: number }
  /** @param why for people; null: that the run ends here is what is wanted. */
  | { readonly restart: null; readonly why: string | null };

export const RESTART_BACKOFF_MS = 5_000;
const LONGEST_BACKOFF_MS = 60_000;
/** Less than that is no time for an agent. */
const LEAST_MS = 1_000;

/** Does the run go on, how, and after what wait? Pure. */
export function planRestart(run: Disrupted): RestartPlan {
  const attempt = (run.restart?.attempt ?? 0) + 1;
  const isRepeat =
    run.restart !== null &&
    (run.restart.reason === run.reason || (run.nodeName !== null && run.restart.nodes.includes(run.nodeName)));
  const repeats = isRepeat ? (run.restart?.repeats ?? 0) + 1 : 0;
  const waitMs = repeats === 0 ? 0 : Math.min(LONGEST_BACKOFF_MS, run.backoffMs * 2 ** (repeats - 1));
  const isPromptRead = run.hasBegun || run.restart?.isPromptRead === true;
  const going = (how: Restart["how"], sessionId: string | null): RestartPlan => ({
    restart: {
      attempt,
      how,
      sessionId,
      isPromptRead,
      reason: run.reason,
      nodes: [...(run.restart?.nodes ?? []), ...(run.nodeName === null ? [] : [run.nodeName])],
      repeats,
      former: run.job,
    },
    waitMs,
  });
  const none = (why: string | null): RestartPlan => ({ restart: null, why });

  if (run.maxRestarts === 0 || run.activity === "done") return none(null);
  if (attempt > run.maxRestarts) return none(`it was restarted ${run.maxRestarts} times (maxDisruptionRestarts)`);
  if (run.leftMs !== null && run.leftMs - waitMs < LEAST_MS) return none("its time is over (timeoutSec)");
  if (run.surelyIdle) return going(run.restart?.how ?? "again", run.resumedSessionId);
  const sessionId = run.sessionId ?? run.resumedSessionId;
  if (sessionId === null) return none("it may have done work, and its session is not known");
  if (!run.keepsSessions) return none("no volume keeps its session, so that another pod does not find it");
  return going("resume", sessionId);
}
