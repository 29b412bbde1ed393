import type { AdapterExecutionContext, AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { storableValue } from "../../json/read-json.ts";
import { type BaseConfig, mayContinue } from "../config/config.ts";
import type { AdapterDefinition, AgentVerdict } from "../definition.ts";
import { publishResult } from "../diagnostics.ts";
import { type AgentState, BootstrapError, withCode } from "../errors.ts";
import { eventTo, type TellEvent, tell } from "../host/callbacks.ts";
import { bootstrapResult, withEvidence } from "../host/evidence.ts";
import { RunLog } from "../host/run-log.ts";
import { cancelledResult, isLeaseLoss, isStopped } from "../host/stop.ts";
import { Redactor, secretsOf } from "../job/credentials.ts";
import { sanitizeLabelValue } from "../job/names.ts";
import { CACHE_MAX_AGE_MS, LIST_TIMEOUT_MS } from "../start/guard.ts";
import type { Patience } from "../start/outage.ts";
import type { Started } from "../start/run-input.ts";
import { CONNECT_TIMEOUT_MS, openSite, type Site } from "../start/site.ts";
import { start } from "../start/start.ts";
import { earlierTries, stopEarlierTries } from "../upkeep/clean-up.ts";
import { SOONEST_START_MS } from "./agent.ts";
import { toBootstrapError } from "./bootstrap-failure.ts";
import { RESTART_BACKOFF_MS } from "./restart-plan.ts";
import { RunSession } from "./run-session.ts";

/** What the adapter needs of the process around it. */
export interface ExecuteOptions {
  /** Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** How long the API server may take to answer the first lists before it counts as away. Default 10 000 ms. */
  readonly connectTimeoutMs?: number;
  /** How long after its last event the guard trusts the watch of pods; after that it lists them as well. Default 10 000 ms. */
  readonly cacheMaxAgeMs?: number;
  /** From a Job's creation to a container that runs takes longer than this: controller, scheduler, kubelet, sandbox, init container. Default 1 000 ms. */
  readonly soonestStartMs?: number;
  /** The first wait before a run that was disrupted goes on, where its node or the reason is the same again. Default 5 000 ms, doubled. */
  readonly restartBackoffMs?: number;
  /** How long after its container's end lines of the agent may still come. Default 3 000 ms. */
  readonly lateLinesMs?: number;
}

/**
 * @internal One run, from the host's call to its result. Never throws: every failure is a result that tells the host what is certain of the
 * agent. Before the Job exists a failure is a `BootstrapError`; afterwards `RunSession` decides.
 */
export async function execute<Config extends BaseConfig, Verdict extends AgentVerdict>(
  definition: AdapterDefinition<Config, Verdict>,
  ctx: AdapterExecutionContext,
  {
    env = process.env,
    connectTimeoutMs = CONNECT_TIMEOUT_MS,
    cacheMaxAgeMs = CACHE_MAX_AGE_MS,
    soonestStartMs = SOONEST_START_MS,
    restartBackoffMs = RESTART_BACKOFF_MS,
    lateLinesMs,
  }: ExecuteOptions = {},
  onStarted?: (started: Started) => void,
): Promise<AdapterExecutionResult> {
  const redactor = new Redactor();
  const log = new RunLog(ctx.onLog, redactor);
  const signal = ctx.signal ?? new AbortController().signal;
  const runLabel = sanitizeLabelValue(ctx.runId);
  let site: Site | null = null;
  let session: RunSession<Config, Verdict> | null = null;
  const told = (result: AdapterExecutionResult) => {
    const { errorMessage, errorCode } = result;
    const full = errorMessage && errorCode ? { ...result, errorMessage: withCode(errorMessage, errorCode) } : result;
    publishResult(session?.runs ?? [], full);
    return storableValue(full);
  };
  try {
    // Before anything else: from here on the host waits for us when a person presses Stop.
    await tell(() => ctx.onCancellationReady?.(), signal);
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
    const patience = patienceOf(config, signal, log, eventTo(ctx, redactor));
    site = await openSite({ definition, config, env, patience, connectTimeoutMs });
    const input = { definition, ctx, config, site, env, signal, patience, log, redactor, agentLabel, runLabel };
    // Before the Job: a definition that cannot make one must not leave an agent behind.
    const parser = definition.createResultParser();
    const started = await start(input, { listTimeoutMs: Math.min(LIST_TIMEOUT_MS, connectTimeoutMs), cacheMaxAgeMs });
    onStarted?.(started);
    session = new RunSession(input, started, parser, { soonestStartMs, restartBackoffMs, lateLinesMs });
    return told(await session.result());
  } catch (error) {
    const failure = toBootstrapError(error);
    if (signal.aborted) {
      const agent = failure.agent === "may-run" ? failure.agent : await agentOfEarlierTries(site, runLabel, signal);
      const evidence = { isStopped: isStopped(signal), mayContinue: mayContinue(ctx.config) };
      return told(withEvidence(cancelledResult(signal.reason), agent, evidence, redactor));
    }
    log.say("stderr", failure.message);
    return told(bootstrapResult(failure, mayContinue(ctx.config), redactor));
  } finally {
    await site?.close(signal.aborted && isLeaseLoss(signal));
    await log.settled();
  }
}

function patienceOf({ apiOutageSec }: BaseConfig, signal: AbortSignal, log: RunLog, event: TellEvent): Patience {
  const tell = (text: string) => {
    log.say("stderr", text);
    event("k8s.api_away", text, undefined, "warn");
  };
  return { ms: apiOutageSec * 1000, signal, askedAt: performance.now(), tell };
}

/**
 * A run whose signal aborts before it has begun here may have begun in an earlier process. A person's Stop is for that agent, too;
 * a lost lease says nothing about it, and it goes on.
 */
async function agentOfEarlierTries(
  site: Site | null,
  runLabel: string | null,
  signal: AbortSignal,
): Promise<AgentState> {
  if (site === null || runLabel === null) return "never-ran";
  if (isLeaseLoss(signal)) return earlierTries(site, runLabel).length === 0 ? "never-ran" : "may-run";
  return await stopEarlierTries(site, runLabel);
}
