import { setTimeout as sleep } from "node:timers/promises";
import type { EngineView, Job, Pod, Run, RunEngine } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { BootstrapError, reasonOf } from "../errors.ts";
import { LabelKey } from "../job/names.ts";
import { bounded } from "../wait.ts";
import type { OwnerState } from "./lease-verdict.ts";
import { deleteHalfCreatedOrphans, isOld, mayLackSecret } from "./left-jobs.ts";
import { type Adoption, type Blocker, decide, type Newcomer, type Situation } from "./orphans.ts";
import { hasAnswered, type Patience } from "./outage.ts";
import { type Ownership, ownerNameOf } from "./ownership.ts";
import { processState } from "./process-state.ts";
import { readLeftBehind } from "./reattach.ts";
import { stopJob } from "./stop-job.ts";

export interface GuardInput {
  readonly engine: RunEngine;
  /** All that belongs to the agent, also what another process of a sharded fleet owns. */
  readonly view: EngineView;
  readonly namespace: string;
  readonly containerName: string;
  readonly newcomer: Newcomer;
  readonly ownership: Ownership;
  /** What is known of the processes that own the agent's Jobs, by their Leases' names. */
  readonly owners: Map<string, OwnerState>;
  /** When Jobs that have ended, and whose owner lives, were first seen to block, by uid, on the monotonic clock. */
  readonly endedAt: Map<string, number>;
  readonly config: BaseConfig;
  readonly signal: AbortSignal;
  /** Its `askedAt`: the place in the queue counts as waiting for another run, too. */
  readonly patience: Patience;
  /** How long the server may take for the one list. */
  readonly listTimeoutMs: number;
  /** The pods' cache is believed for so long after its watch's last word. */
  readonly cacheMaxAgeMs: number;
  /** Says in the run's log and to the host whom the run waits for. */
  waitsFor(text: string, payload: Record<string, unknown>): void;
  /** A line for the run's log. */
  say(stream: "stdout" | "stderr", text: string): void;
}

export type Passage = { readonly kind: "start" } | Adoption;

/** How long the server may take for the one list, unless told otherwise. */
export const LIST_TIMEOUT_MS = 15_000;
/** What is being deleted is waited for so long: a pod's grace period and some. */
const LEAVING_TIMEOUT_MS = 60_000;
/**
 * A watch that is open and has told nothing for so long may be stalled: pods are asked of the server, too. On a busy server
 * words come many times a second; on an idle one this is a second list for a run.
 */
export const CACHE_MAX_AGE_MS = 10_000;
/** When the cache says that the way is free and the server says no, the cache is behind: do not ask again before this. */
export const LOOK_AGAIN_MS = 1_000;
/** An owner that lives says of a disrupted Job what follows, in seconds as a rule; the longest wait is an API server's outage. */
const OWNER_ACTS_MS = 15 * 60_000;
const LOOK_AT_QUIET_MS = 30_000;
/** `concurrencyPolicy: wait` gives up after so long: twenty runs of an hour each, one after the other. */
export const WAIT_TIMEOUT_MS = 24 * 60 * 60_000;

/**
 * At most one agent process for one agent: looks at every Job and pod of the agent and says whether the newcomer may start,
 * shall adopt a run that is there, or must not. It fails closed: who cannot look does not start.
 *
 * Jobs are asked of the server (one list), pods of the cache as long as its watch has told something lately. What this adapter
 * stops it deletes in the foreground, so that the Job stays in that list until its pods are gone. Call it under the agent's lock;
 * two *processes* are told apart by `RivalWatch`.
 *
 * @throws BootstrapError; the signal's reason
 */
export async function passGuard(input: GuardInput): Promise<Passage> {
  let said = "";
  /** Since when every look has found what is leaving. A run that is waited for may go on for much longer before that. */
  let leavingSince: number | null = null;
  while (true) {
    const lookedAt = performance.now();
    const decision = decide(await look(input));
    if (decision.kind === "start") return decision;
    if (decision.kind === "adopt") {
      if (!decision.isEnded && (await deleteHalfCreatedOrphans([decision.job], input))) continue;
      return decision;
    }
    const queuedMs = performance.now() - input.patience.askedAt;
    if (decision.kind === "leaving") {
      leavingSince ??= performance.now();
      const waitedMs = performance.now() - leavingSince;
      // Not left to `settle`: a cache that is behind lets it return at once, time after time.
      if (waitedMs > LEAVING_TIMEOUT_MS) throw stillLeaving(decision.names.join(", "));
      await settle(input, decision.names.join(", "), LEAVING_TIMEOUT_MS - waitedMs);
      await pause(lookedAt + LOOK_AGAIN_MS - performance.now(), input.signal);
      continue;
    }
    leavingSince = null;
    const { deleteMismatchedOrphans, concurrencyPolicy } = input.config;
    // By the server's clock its owner is dead, and that is certain in a moment.
    const unsureMs = ownerMs(input, decision.blockers, "unsure");
    if (unsureMs !== null) {
      await pause(unsureMs, input.signal);
      continue;
    }
    const orphans = decision.blockers.filter((each) => !each.isActiveHere && !each.isLiveElsewhere);
    if (await deleteHalfCreatedOrphans(abandoned(input, orphans), input)) continue;
    // Where a live run blocks as well, the start is refused all the same, unless it waits: then nothing is deleted.
    const mayHelp = concurrencyPolicy === "wait" || orphans.length === decision.blockers.length;
    if (deleteMismatchedOrphans && mayHelp && orphans.length > 0) {
      await deleteOrphans(input, orphans);
      continue;
    }
    if (concurrencyPolicy !== "wait" || queuedMs > WAIT_TIMEOUT_MS) throw blockedBy(decision.blockers);
    const names = decision.blockers.map(({ job }) => job.metadata.name).join(", ");
    if (names !== said) {
      const jobs = decision.blockers.map(({ job }) => whoIs(job));
      const text = jobs.map(({ jobName, runId }) => `${jobName}${runId === null ? "" : ` (run ${runId})`}`).join(", ");
      input.waitsFor(`Waiting for the agent's other run to end: ${text}`, { jobs });
    }
    said = names;
    await settle(input, names, WAIT_TIMEOUT_MS - queuedMs, decision.blockers);
    await pause(lookedAt + LOOK_AGAIN_MS - performance.now(), input.signal);
  }
}

/** Jobs of dead processes. Of one without an owner that cannot be known: while it is young another process may be about to give it its Secret. */
function abandoned({ engine }: GuardInput, orphans: readonly Blocker[]): Job[] {
  const now = engine.cluster.clock.now();
  return orphans
    .map(({ job }) => job)
    .filter((job) => ownerNameOf(job) !== null || isOld(job.metadata.creationTimestamp, now));
}

function whoIs(job: Job): { jobName: string; runId: string | null; taskId: string | null } {
  const { name, labels = {} } = job.metadata;
  return { jobName: name, runId: readLeftBehind(job).runId, taskId: labels[LabelKey.taskId] ?? null };
}

/** @throws BootstrapError `k8s_concurrency_guard_unreachable`; the signal's reason */
export async function openGuardView(
  engine: RunEngine,
  {
    namespace,
    agentId,
    signal,
    timeoutMs,
  }: { namespace: string; agentId: string; signal: AbortSignal; timeoutMs: number },
): Promise<EngineView> {
  try {
    return await bounded({ signal, ms: timeoutMs }, (limited) =>
      engine.openView(namespace, { [LabelKey.agentId]: agentId }, limited),
    );
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(namespace, error);
  }
}

/** @throws BootstrapError `k8s_concurrency_guard_unreachable` */
async function look(input: GuardInput): Promise<Situation> {
  const { engine, view, namespace, newcomer, signal } = input;
  const labels = { [LabelKey.agentId]: newcomer.agentId };
  try {
    return await bounded({ signal, ms: input.listTimeoutMs }, async (limited) => {
      const jobs = await engine.listJobs(namespace, labels, limited);
      await askOwners(input, jobs, limited);
      const { synced, connected, ageMs } = view.pods.freshness();
      const isCurrent = synced && connected && ageMs < input.cacheMaxAgeMs;
      const pods = isCurrent ? cachedPods(input) : await engine.listPods(namespace, labels, limited);
      hasAnswered(engine);
      return situationOf(input, jobs, pods);
    });
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(namespace, error);
  }
}

function unreachable(namespace: string, error: unknown): BootstrapError {
  return new BootstrapError({
    code: "k8s_concurrency_guard_unreachable",
    message: `Cannot see whether the agent already runs in namespace ${namespace}, so nothing was started: ${reasonOf(error)}`,
    family: "transient_upstream",
    cause: error,
  });
}

/** Once for each process that owns a Job which is not followed here. @throws ApiError; the signal's reason */
async function askOwners({ ownership, owners }: GuardInput, jobs: readonly Job[], signal: AbortSignal): Promise<void> {
  const { active } = processState();
  const foreign = jobs.filter(({ metadata }) => !active.has(metadata.uid)).map(ownerNameOf);
  const names = new Set(foreign.filter((name) => name !== null && !ownership.isHere(name)) as string[]);
  await Promise.all([...names].map(async (name) => owners.set(name, await ownership.stateOf(name, signal))));
}

/** When an owner in this state is to be asked again, in milliseconds. Null: no blocker has one. */
function ownerMs({ owners }: GuardInput, blockers: readonly Blocker[], state: "live" | "unsure"): number | null {
  let least: number | null = null;
  for (const { job } of blockers) {
    const owner = owners.get(ownerNameOf(job) ?? "");
    if (owner?.state === state) least = Math.min(least ?? owner.ms, owner.ms);
  }
  return least;
}

export function situationOf(
  { newcomer, containerName, config, ownership, owners, endedAt }: GuardInput,
  jobs: readonly Job[],
  pods: readonly Pod[],
): Situation {
  const { active, collected } = processState();
  return {
    jobs,
    pods,
    newcomer,
    containerName,
    config,
    isActiveHere: (uid) => active.has(uid),
    isLiveElsewhere: (job) => {
      const name = ownerNameOf(job);
      return name !== null && !ownership.isHere(name) && owners.get(name)?.state !== "over";
    },
    isCollected: (uid) => collected.has(uid),
    hasJustEnded: (uid) => {
      const at = endedAt.get(uid) ?? performance.now();
      endedAt.set(uid, at);
      return performance.now() - at < OWNER_ACTS_MS;
    },
  };
}

export function isOfAgent({ namespace, newcomer }: GuardInput): (object: Job | Pod) => boolean {
  return ({ metadata }) => metadata.namespace === namespace && metadata.labels?.[LabelKey.agentId] === newcomer.agentId;
}

export function cachedPods(input: GuardInput): Pod[] {
  return input.view.pods.list(isOfAgent(input));
}

/**
 * Resolves when the cache has news that let the newcomer pass, as far as the cache knows; the server is asked again then.
 * @throws BootstrapError when the time is over
 */
async function settle(input: GuardInput, names: string, ms: number, blockers: readonly Blocker[] = []): Promise<void> {
  const { view, signal } = input;
  const filter = isOfAgent(input);
  const late = () => (blockers.length > 0 ? blockedBy(blockers) : stillLeaving(names));
  const { promise, resolve } = Promise.withResolvers<void>();
  const check = () => {
    const { kind } = decide(situationOf(input, view.jobs.list(filter), cachedPods(input)));
    if (kind === "start" || kind === "adopt") resolve();
  };
  const subscriptions = [
    view.jobs.subscribe(check, { filter, replay: false }),
    view.pods.subscribe(check, { filter, replay: false }),
  ];
  try {
    // What was true of the list may have passed since: the cache may know it already.
    check();
    await bounded({ signal, ms: Math.max(0, ms), late }, async (limited) => {
      await Promise.race([promise, ownersEnd(input, blockers, limited), lookAgain(input, blockers, limited)]);
    });
  } finally {
    for (const unsubscribe of subscriptions) unsubscribe();
  }
}

/** A Lease that runs out makes no event: asked again when it may have. Resolves when one of the owners may be dead. */
async function ownersEnd(input: GuardInput, blockers: readonly Blocker[], signal: AbortSignal): Promise<void> {
  const names = blockers.filter((each) => each.isLiveElsewhere).map(({ job }) => ownerNameOf(job) ?? "");
  if (names.length === 0) await new Promise(() => undefined);
  while (true) {
    await sleep(ownerMs(input, blockers, "live") ?? LOOK_AGAIN_MS, undefined, { signal, ref: false });
    for (const name of new Set(names)) {
      const state = await input.ownership.stateOf(name, signal);
      input.owners.set(name, state);
      if (state.state !== "live") return;
    }
  }
}

/**
 * Makes no event either: an owner that could not deal with a Job that has ended, and a Job that waits for its Secret until it is
 * known that no process will create that. Resolves when there was a while for it.
 */
async function lookAgain(input: GuardInput, blockers: readonly Blocker[], signal: AbortSignal): Promise<void> {
  const isQuiet = (each: Blocker) =>
    each.mayGoOn || (!each.isActiveHere && !each.isLiveElsewhere && mayLackSecret(each.job, input));
  if (!blockers.some(isQuiet)) await new Promise(() => undefined);
  await sleep(LOOK_AT_QUIET_MS, undefined, { signal, ref: false });
}

async function deleteOrphans(input: GuardInput, orphans: readonly Blocker[]): Promise<void> {
  const { engine, namespace, signal } = input;
  const names = orphans.map(({ job }) => job.metadata.name).join(", ");
  input.say("stdout", `Deleting ${orphans.length} run(s) of an earlier process that cannot be adopted: ${names}`);
  const refs = orphans.map(({ job }) => ({ namespace, jobName: job.metadata.name, uid: job.metadata.uid }));
  const runs: Run[] = [];
  try {
    // The watches of this process do not show the end of another shard's Job.
    for (const ref of refs) await engine.claim(ref, signal);
    runs.push(...refs.map((ref) => engine.attach(ref)));
    await Promise.all(runs.map((run) => stopJob(run, { signal, ms: LEAVING_TIMEOUT_MS })));
  } catch (error) {
    signal.throwIfAborted();
    throw new BootstrapError({
      code: "k8s_concurrent_run_blocked",
      message: `Runs of an earlier process could not be deleted (${names}): ${reasonOf(error)}`,
      family: "transient_upstream",
      cause: error,
    });
  } finally {
    for (const run of runs) run.release();
  }
}

export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await sleep(ms, undefined, { signal, ref: false }).catch(() => signal.throwIfAborted());
}

function blockedBy(blockers: readonly Blocker[]): BootstrapError {
  const [first] = blockers;
  const code = first?.code ?? "k8s_concurrent_run_blocked";
  const names = blockers.map(({ job }) => job.metadata.name).join(", ");
  const elsewhere = first?.isLiveElsewhere === true ? " in another server" : "";
  const why = {
    k8s_concurrent_run_blocked: "Another run of this agent is live",
    k8s_orphan_task_unknown: "A run of this agent is live, and it cannot be told whether it is about the same task",
    k8s_orphan_session_mismatch: "A run of this agent is live for the same task, with another session",
  }[code];
  return new BootstrapError({
    code,
    message: `${why}${elsewhere}: Job ${names}. Wait for it, delete the Job, or set concurrencyPolicy to wait or parallel.`,
    family: "transient_upstream",
  });
}

function stillLeaving(names: string): BootstrapError {
  return new BootstrapError({
    code: "k8s_concurrent_run_blocked",
    message: `An earlier run of this agent was deleted and its pod has not ended yet: ${names}. If its node is lost, delete the pod by force.`,
    family: "transient_upstream",
  });
}
