import { conditionOf, containerFacts, containerNames, isEndUntold, isInit, isSidecar } from "../facts.ts";
import type { Pod } from "../kubernetes.ts";
import { type Context, endedByItself, finish, isSuspended, mayRetry, type Outcome } from "./context.ts";
import type { RunPolicy } from "./policy.ts";
import type { StartProblem } from "./run-state.ts";
import type { RunEnd, StartFailure } from "./types.ts";

type Failure = Omit<StartFailure, "podName">;

/**
 * A start that is known to have failed, as surely as a container's end and whatever is deleted later: an init container ended with
 * an error, or the runtime could not start the container itself. Where it is tried again, only the Job ends it.
 */
export function startFailureOf(run: Context): RunEnd | null {
  const { job, pod } = run;
  if (run.ran || job === null || pod === null || mayRetry(run)) return null;
  const { disruption = null, killedByKubelet = null, refusedByKubelet = null } = run.podFacts ?? {};
  if ((disruption ?? killedByKubelet ?? refusedByKubelet) !== null) return null;
  for (const name of containerNames(pod)) {
    if ((name !== run.container && !isInit(pod, name)) || isSidecar(pod, name)) continue;
    const failure = failureOf(run, pod, name);
    if (failure !== null) return startFailed(run, failure);
  }
  return null;
}

function failureOf(run: Context, pod: Pod, name: string): Failure | null {
  const facts = containerFacts(pod, name);
  const hasJobFailed = run.job?.state === "failed";
  const code = isInit(pod, name) ? "init_failed" : "container_config";
  if (facts.state === "never started") {
    if (facts.isRestarted && !hasJobFailed) return null;
    const { reason, message, exitCode } = facts;
    return { code, reason, message, container: name, exitCode };
  }
  if (code !== "init_failed") return null;
  // Waiting to be tried again when the Job gave up (`OnFailure`).
  const last = facts.state === "waiting" && hasJobFailed ? facts.last : null;
  const isEnd = facts.state === "ended" && (!facts.isRestarted || hasJobFailed) && endedByItself(run, name, facts);
  const end = isEnd ? facts : last;
  if (end === null || end.exitCode === 0) return null;
  const message = end.message || `init container ${name} exited with code ${end.exitCode}`;
  // Its node was restarted: that passes.
  const isLost = end.reason === "ContainerStatusUnknown";
  const why = { code: isLost ? "unschedulable" : code, reason: end.reason || "Error", message } as const;
  return { ...why, container: name, exitCode: end.exitCode };
}

/** A schedule timeout of 0 means "at the first Unschedulable", not that controllers may take no time at all. */
const CONTROLLERS_MS = 30_000;

/** What keeps the container from starting, once it has lasted longer than the policy allows. */
export function startTroubleOf(known: Context): Outcome {
  const { state, job, pod, podFacts, policy } = known;
  // Where a watch stays lost, the server's answer says that the trouble stands.
  const now = Math.max(known.now, state.answeredAt ?? known.now);
  const run = now === known.now ? known : { ...known, now };
  if (run.ran || job === null || isSuspended(run)) return null;
  const controllersMs = Math.max(policy.scheduleTimeoutMs, CONTROLLERS_MS);
  if (pod === null || podFacts === null || state.podDeletedAt !== null) {
    // Its pods may be where no watch of this cluster shows them (KEP-4368), or about to be told.
    if (job.isManagedElsewhere || job.podsAlive > 0) return null;
    const since = Math.max(state.podDeletedAt ?? state.jobSeenAt ?? now, state.resumedAt ?? 0);
    return after(run, since, controllersMs, NO_POD);
  }
  if (state.podDeletingAt !== null) return null;
  if (podFacts.hasEnded && !mayRetry(run)) {
    if (!isEndUntold(pod, run.container)) return startFailed(run, rejectedByKubelet(pod, run.container));
    return finish(run, "failed", { reason: "Failed", message: "the pod failed, and its node does not say how" });
  }

  const unschedulable = state.problems.get("");
  if (unschedulable !== undefined) return after(run, unschedulable.since, policy.scheduleTimeoutMs, unschedulable);
  if (state.scheduledAt === null) {
    // `SchedulingGated`, or what another scheduler says.
    const words = podFacts.unscheduled ?? { reason: "", message: "no scheduler has looked at the pod" };
    const failure = { code: "unschedulable", reason: words.reason || "NotScheduled", message: words.message } as const;
    return after(run, state.podSeenAt ?? now, controllersMs, failure);
  }
  let due =
    policy.startTimeoutMs === 0 ? null : after(run, state.scheduledAt, policy.startTimeoutMs, startTimeout(pod));
  for (const [name, problem] of state.problems) {
    if (name !== run.container && !isInit(pod, name)) continue;
    const outcome = after(run, problem.since, graceOf(problem, policy), { ...problem, container: name });
    if (typeof outcome === "object") return outcome;
    if (due === null || (typeof due === "number" && outcome < due)) due = outcome;
  }
  return due;
}

const NO_POD = {
  code: "unschedulable",
  reason: "NoPod",
  message:
    "the Job controller has made no pod: a quota, an admission webhook or the controller itself holds it back (see the Job's events)",
} as const;

/**
 * The kubelet asks again after two minutes (`runtimeRequestTimeout`), and the runtime refuses until it is done with the first request.
 * On a throttled disk that takes minutes (containerd #4604); there are runtimes that never get over it.
 */
const SLOW_RUNTIME_MS = 600_000;
const SLOW_RUNTIME = /reserv\w* (?:container|ctr) name|context deadline exceeded|error code: CANCEL/i;

/** A name that can never be pulled is not a passing trouble. */
function graceOf({ reason, code, message }: StartProblem, policy: RunPolicy): number {
  if (reason === "InvalidImageName" || reason === "ErrImageNeverPull") return 0;
  if (code === "image_pull") return policy.imagePullGraceMs;
  const isSlow = reason === "CreateContainerError" && SLOW_RUNTIME.test(message);
  return Math.max(policy.configErrorGraceMs, isSlow ? SLOW_RUNTIME_MS : 0);
}

/** `OutOfcpu`, `NodeAffinity`, `UnexpectedAdmissionError`, …: the kubelet refused the pod after it was scheduled, or lost it. */
function rejectedByKubelet(pod: Pod, name: string): Failure {
  const { status } = pod;
  const container = containerFacts(pod, name);
  const words = container.state === "ended" ? container : null;
  return {
    code: "unschedulable",
    reason: status.reason ?? (words?.reason || `Pod${status.phase ?? "Failed"}`),
    message: status.message ?? (words?.message || "the pod ended before its container ran"),
    container: null,
    exitCode: null,
  };
}

function startTimeout(pod: Pod): Pick<Failure, "code" | "reason" | "message"> {
  const waiting = containerNames(pod)
    .map((name) => containerFacts(pod, name))
    .find((facts) => facts.state === "waiting" && facts.reason !== "");
  const words = waiting?.state === "waiting" ? waiting : { reason: "ContainerCreating", message: "" };
  return conditionOf(pod, "PodReadyToStartContainers")?.status === "False"
    ? {
        code: "volume",
        reason: words.reason,
        message: "the pod's volumes or network are not ready (see the pod's events)",
      }
    : {
        code: "start_timeout",
        reason: words.reason,
        message: words.message || "the container did not start in time",
      };
}

function after(
  run: Context,
  since: number,
  graceMs: number,
  failure: Pick<Failure, "code" | "reason" | "message"> & { container?: string },
): RunEnd | number {
  // No grace needs no clock: a run's time may stand still.
  if (graceMs > 0 && run.now < since + graceMs) return since + graceMs;
  const { code, reason, message, container = null } = failure;
  return startFailed(run, { code, reason, message, container, exitCode: null });
}

function startFailed(run: Context, failure: Failure): RunEnd {
  // A pod that was to try again cannot start: the run failed, and it did begin.
  if (run.state.ranBefore.has(run.container)) return finish(run, "failed", failure);
  const end = finish(run, "start_failed", failure);
  return { ...end, startFailure: { ...failure, podName: run.pod?.metadata.name ?? null } };
}
