import { isDisruption, podFacts, type RunEnd } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict, ResultParser } from "../definition.ts";
import type { AgentState } from "../errors.ts";
import { isOnVolume } from "../job/reach.ts";
import type { RunInput, Started } from "../start/run-input.ts";
import type { OutputReader } from "./follow.ts";
import { planRestart, type RestartPlan } from "./restart-plan.ts";

interface Seen<Verdict extends AgentVerdict> {
  readonly parser: ResultParser<Verdict>;
  /** Null: the container was never seen to run. */
  readonly reader: OutputReader<Verdict> | null;
  readonly agent: AgentState;
  readonly leftMs: number | null;
  readonly backoffMs: number;
}

/** Whether and how the run of a Job that has ended so goes on: what is known of it, for `planRestart`. */
export function planFor<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { definition, config, site }: RunInput<Config, Verdict>,
  { run, restart, sessionId: resumedSessionId }: Started,
  end: RunEnd,
  { parser, reader, agent, leftMs, backoffMs }: Seen<Verdict>,
): RestartPlan {
  const { uid, jobName: name } = run;
  const pod = run.pod();
  // Told to end, some processes end with 0: to Kubernetes such a pod has succeeded. What the agent was at decides.
  const wasToldToEnd = end.exitCode === 0 && pod !== null ? podFacts(pod).disruption : null;
  const disruption = isDisruption(end) ? end : wasToldToEnd;
  if (disruption === null || uid === null) return { restart: null, why: null };
  const verdict = parser.finish();
  const hasBegun = verdict.hasBegun ?? (reader !== null && reader.output.lines > 0);
  const isLogWhole = reader !== null && !reader.isIncomplete && reader.output.gaps.length === 0;
  const directory = definition.sessionDirectory?.(config) ?? null;
  return planRestart({
    job: { name, uid },
    restart,
    reason: disruption.reason,
    nodeName: pod?.spec.nodeName ?? null,
    maxRestarts: config.maxDisruptionRestarts,
    activity: parser.activity?.() ?? (verdict.hasResult ? "done" : "working"),
    surelyIdle: agent === "never-ran" || (isLogWhole && !hasBegun),
    hasBegun,
    resumedSessionId,
    sessionId: verdict.sessionId,
    keepsSessions: directory !== null && isOnVolume(directory, config, site.selfPod),
    leftMs,
    backoffMs,
  });
}
