import type { AdapterExecutionContext, AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { type EngineView, LinkedAbort } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { type AdapterDefinition, type AgentVerdict, PROMPT_FILE } from "../definition.ts";
import { BootstrapError, reasonOf } from "../errors.ts";
import { Redactor, secretsOf } from "../job/credentials.ts";
import { apiUrlFor, reachableUrl, taskIdOf } from "../job/environment.ts";
import { buildManifest, workingDirOf } from "../job/manifest.ts";
import { sanitizeLabelValue } from "../job/names.ts";
import {
  CACHE_MAX_AGE_MS,
  type GuardInput,
  LIST_TIMEOUT_MS,
  openGuardView,
  passGuard,
  WAIT_TIMEOUT_MS,
} from "../start/guard.ts";
import { launchRun } from "../start/launch.ts";
import { acquireLock, agentKeyOf, processState } from "../start/process-state.ts";
import { AdoptedElsewhereError, isJustAdopted, readLeftBehind, relabel } from "../start/reattach.ts";
import { openSite, policyOf, type Site } from "../start/site.ts";
import { earlierTries, stopEarlierTries } from "../upkeep/clean-up.ts";
import { deleteUndeleted } from "../upkeep/sweep.ts";
import { SOONEST_START_MS } from "./follow.ts";
import {
  bootstrapResult,
  cancelledResult,
  eventTo,
  isLeaseLoss,
  tell,
  toBootstrapError,
  withEvidence,
} from "./outcome.ts";
import { RunLog } from "./run-log.ts";
import { RunSession, type Started } from "./run-session.ts";

/** What the adapter needs of the process around it. */
export interface ExecuteOptions {
  /** Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** How long the API server may take to be there and give the first lists. Default 30 000 ms. */
  readonly connectTimeoutMs?: number;
  /** How long the guard waits for its list of the agent's Jobs before it refuses the run. Default 15 000 ms. */
  readonly guardTimeoutMs?: number;
  /** How long after its last word a watch of pods is believed by the guard before it lists them as well. Default 10 000 ms. */
  readonly cacheMaxAgeMs?: number;
  /** From a Job's creation to a container that runs takes longer than this: controller, scheduler, kubelet, sandbox, init container. Default 1 000 ms. */
  readonly soonestStartMs?: number;
}

/**
 * One run, from the host's call to its result. Never throws: whatever goes wrong is a result that tells the host whether
 * the agent had begun.
 *
 * Before the Job exists a failure is a `BootstrapError`; afterwards `RunSession` decides.
 */
export async function execute<Config extends BaseConfig, Verdict extends AgentVerdict>(
  definition: AdapterDefinition<Config, Verdict>,
  ctx: AdapterExecutionContext,
  {
    env = process.env,
    connectTimeoutMs,
    guardTimeoutMs = LIST_TIMEOUT_MS,
    cacheMaxAgeMs = CACHE_MAX_AGE_MS,
    soonestStartMs = SOONEST_START_MS,
  }: ExecuteOptions = {},
): Promise<AdapterExecutionResult> {
  const redactor = new Redactor();
  const log = new RunLog(ctx.onLog, redactor);
  const signal = ctx.signal ?? new AbortController().signal;
  const runLabel = sanitizeLabelValue(ctx.runId);
  let site: Site | null = null;
  try {
    // Before anything else: from here on the host waits for us when a person presses Stop.
    await ctx.onCancellationReady?.();
    signal.throwIfAborted();
    redactor.add(...secretsOf(ctx, {}));
    const config = definition.parseConfig(ctx.config);
    redactor.add(...secretsOf(ctx, config.env));
    const agentLabel = sanitizeLabelValue(ctx.agent.id);
    if (agentLabel === null || runLabel === null) {
      const [what, got] = agentLabel === null ? ["agent id", ctx.agent.id] : ["run id", ctx.runId];
      throw new BootstrapError({
        code: "k8s_agent_id_invalid",
        message: `The ${what} ${JSON.stringify(got)} has no letter or digit that a Kubernetes label could hold.`,
        family: null,
      });
    }
    site = await openSite({ definition, config, env, signal, connectTimeoutMs });
    const input = { definition, ctx, config, site, env, signal, log, redactor, agentLabel, runLabel };
    const started = await start({ ...input, listTimeoutMs: guardTimeoutMs, cacheMaxAgeMs });
    const session = new RunSession({ definition, ctx, config, site, signal, log, redactor, soonestStartMs }, started);
    return await session.result();
  } catch (error) {
    if (signal.aborted) {
      const mayRun = error instanceof BootstrapError && error.agentMayRun;
      const isStopped =
        site === null || runLabel === null || (!mayRun && (await isStoppedEarlier(site, runLabel, signal)));
      const evidence = {
        agentStarted: !isStopped,
        cancellationAcknowledged: isStopped,
        conversationContinuation: false,
      };
      return withEvidence(cancelledResult(signal.reason), evidence, redactor);
    }
    const failure = toBootstrapError(error);
    log.say("stderr", failure.message);
    return bootstrapResult(failure, redactor);
  } finally {
    site?.close();
    await log.settled();
  }
}

/**
 * A run that is stopped before it has begun here may have begun in an earlier process. A lost lease says nothing about that agent:
 * it goes on.
 */
async function isStoppedEarlier(site: Site, runLabel: string, signal: AbortSignal): Promise<boolean> {
  if (isLeaseLoss(signal)) return earlierTries(site, runLabel).length === 0;
  return await stopEarlierTries(site, runLabel);
}

interface StartInput<Config extends BaseConfig, Verdict extends AgentVerdict> {
  readonly definition: AdapterDefinition<Config, Verdict>;
  readonly ctx: AdapterExecutionContext;
  readonly config: Config;
  readonly site: Site;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  readonly log: RunLog;
  readonly redactor: Redactor;
  readonly agentLabel: string;
  readonly runLabel: string;
  readonly listTimeoutMs: number;
  readonly cacheMaxAgeMs: number;
}

/**
 * Guard and creation, one at a time for one agent: between looking and creating nobody of this process comes between.
 * @throws BootstrapError and everything `toBootstrapError` knows; the signal's reason
 */
async function start<Config extends BaseConfig, Verdict extends AgentVerdict>(
  input: StartInput<Config, Verdict>,
): Promise<Started> {
  const { definition, ctx, config, site, signal, log, agentLabel, runLabel } = input;
  const sessionId = definition.resumeSessionId(ctx, config);
  const taskId = taskIdOf(ctx.context);
  const { engine, namespace } = site;
  const askedAt = performance.now();
  const agentKey = agentKeyOf(engine.cluster.server, namespace, agentLabel);
  const release = await queue(input, agentKey);
  let view: EngineView | null = null;
  try {
    view = await openGuardView(engine, {
      namespace,
      agentId: agentLabel,
      signal,
      timeoutMs: input.listTimeoutMs,
    });
    const guard: GuardInput = {
      engine,
      view,
      namespace,
      containerName: definition.containerName,
      newcomer: {
        agentId: agentLabel,
        runId: runLabel,
        taskId: taskId === null ? null : sanitizeLabelValue(taskId),
        sessionId: sessionId === null ? null : sanitizeLabelValue(sessionId),
      },
      config,
      signal,
      askedAt,
      listTimeoutMs: input.listTimeoutMs,
      cacheMaxAgeMs: input.cacheMaxAgeMs,
      say: (stream, text) => log.say(stream, text),
    };
    while (true) {
      await deleteUndeleted({ engine, namespace, signal, say: (text) => log.say("stdout", text) }, agentKey);
      const passage = await passGuard(guard);
      const started =
        passage.kind === "adopt" ? await adopt(input, guard, passage) : await launch(input, guard, sessionId);
      if (started === null) continue;
      if (started.run.uid !== null) processState().active.add(started.run.uid);
      return started;
    }
  } finally {
    view?.close();
    release();
  }
}

/** The agent's lock, within the limit of `concurrencyPolicy: wait`: runs that are before may wait so long themselves. */
async function queue<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { signal, log }: StartInput<Config, Verdict>,
  key: string,
): Promise<() => void> {
  const limited = new LinkedAbort([signal], {
    ms: WAIT_TIMEOUT_MS,
    reason: () =>
      new BootstrapError({
        code: "k8s_concurrent_run_blocked",
        message: `Other runs of this agent have been waiting to start for ${WAIT_TIMEOUT_MS / 60_000} minutes.`,
        family: "transient_upstream",
      }),
  });
  try {
    return await acquireLock(key, limited.signal, () =>
      log.say("stdout", "Waiting for another run of this agent that is about to start"),
    );
  } finally {
    limited.release();
  }
}

async function adopt<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { definition, ctx, config, site, signal, log, redactor, runLabel }: StartInput<Config, Verdict>,
  { newcomer }: GuardInput,
  { job, isOwnRun, isEnded }: Extract<Awaited<ReturnType<typeof passGuard>>, { kind: "adopt" }>,
): Promise<Started> {
  const { namespace, engine } = site;
  const { name: jobName, uid } = job.metadata;
  const left = readLeftBehind(job);
  const prior = left.runId ?? "unknown";
  if (!isOwnRun) {
    // An ended one as well: its adopter hands out its result, and that is to happen once.
    if (isJustAdopted(job)) throw new AdoptedElsewhereError(jobName);
    try {
      await relabel(
        engine.cluster,
        job,
        { runId: ctx.runId, runIdLabel: runLabel, sessionId: newcomer.sessionId },
        signal,
      );
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof AdoptedElsewhereError) throw error;
      log.say("stderr", `Job ${jobName} keeps the labels of run ${prior}: ${reasonOf(error)}`);
    }
  }
  try {
    await engine.claim({ namespace, jobName, uid }, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw new BootstrapError({
      code: "k8s_pod_reattach_failed",
      message: `Job ${jobName} could not be moved to this process's shard, so nobody would see it end: ${reasonOf(error)}`,
      family: "transient_upstream",
      cause: error,
    });
  }
  await tell(() =>
    ctx.onMeta?.({
      adapterType: definition.type,
      command: `kubectl job/${jobName}`,
      cwd: namespace,
      commandArgs: [],
      commandNotes: [`Namespace: ${namespace}`, `Reattached to the Job of run ${prior}`, timeoutNote(config)],
      prompt: "",
      context: redactor.value(ctx.context) as Record<string, unknown>,
    }),
  );
  const state = isEnded ? "has ended and whose result nobody took" : "is still running";
  log.say("stdout", `Reattaching to Job ${namespace}/${jobName} of run ${prior}, which ${state}`);
  eventTo(ctx, redactor)("k8s.job_adopted", `Reattached to Job ${jobName}`, {
    namespace,
    jobName,
    uid,
    priorRunId: prior,
  });
  return {
    run: engine.attach({ namespace, jobName, uid, policy: policyOf(config) }),
    adopted: true,
    launchedAt: null,
    sessionId: left.sessionId,
    workingDir: left.workingDir ?? workingDirOf(ctx, config),
    carry: left.carry,
  };
}

async function launch<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { definition, ctx, config, site, env, signal, log, redactor }: StartInput<Config, Verdict>,
  guard: GuardInput,
  sessionId: string | null,
): Promise<Started | null> {
  const { namespace, selfPod, image } = site;
  const workingDir = workingDirOf(ctx, config);
  const apiUrl = config.env.PAPERCLIP_API_URL ?? apiUrlFor(selfPod?.env ?? {}, env);
  const prepared = await definition.prepare({
    ctx,
    config,
    sessionId,
    workingDir,
    hasDataVolume: selfPod?.dataVolume != null,
    reachableUrl: (url) => reachableUrl(url, apiUrl, env),
    signal,
  });
  for (const name of prepared.secretEnv ?? []) redactor.add(prepared.env?.[name]);
  const manifest = buildManifest({
    type: definition.type,
    containerName: definition.containerName,
    jobNamePrefix: definition.jobNamePrefix,
    ctx,
    config,
    selfPod,
    namespace,
    image,
    sessionId,
    workingDir,
    prepared,
    serverEnv: env,
  });
  for (const [key, value] of Object.entries(manifest.secret?.data ?? {})) if (key !== PROMPT_FILE) redactor.add(value);
  const { jobName } = manifest;
  await tell(() =>
    ctx.onMeta?.({
      adapterType: definition.type,
      command: `kubectl job/${jobName}`,
      cwd: namespace,
      commandArgs: prepared.commandArgs.map((each) => redactor.text(each)),
      commandNotes: [
        `Image: ${image}`,
        `Namespace: ${namespace}`,
        timeoutNote(config),
        ...(prepared.commandNotes ?? []),
      ].map((each) => redactor.text(each)),
      prompt: redactor.text(prepared.prompt),
      promptMetrics: prepared.promptMetrics,
      context: redactor.value(ctx.context) as Record<string, unknown>,
    }),
  );
  for (const { stream, text } of [...(prepared.notices ?? []), ...manifest.notices]) log.say(stream, text);
  signal.throwIfAborted();
  await tell(() => ctx.onDispatch?.());
  const launchedAt = performance.now();
  const run = await launchRun(guard, manifest, definition.type);
  if (run === null) return null;
  log.say(
    "stdout",
    `Created Job ${namespace}/${jobName} (image ${image}, deadline ${config.timeoutSec > 0 ? `${config.timeoutSec}s` : "none"})`,
  );
  eventTo(ctx, redactor)("k8s.job_created", `Created Job ${jobName}`, { namespace, jobName, uid: run.uid });
  return {
    run,
    adopted: false,
    launchedAt,
    sessionId,
    workingDir,
    carry: prepared.carry ?? {},
  };
}

function timeoutNote({ timeoutSec }: BaseConfig): string {
  return `Timeout: ${timeoutSec > 0 ? `${timeoutSec}s` : "none"}`;
}
