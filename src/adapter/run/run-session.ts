import type { AdapterExecutionContext, AdapterExecutionResult } from "@paperclipai/adapter-utils";
import {
  isForbidden,
  type Job,
  jobPath,
  type KeepaliveHandle,
  type Pod,
  type Run,
  type RunEnd,
  RunGoneError,
  StartFailedError,
  type StartFailure,
} from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AdapterDefinition, AgentVerdict, OutcomeKind, ResultParser } from "../definition.ts";
import { reasonOf } from "../errors.ts";
import type { Redactor } from "../job/credentials.ts";
import { secretNameFor } from "../job/names.ts";
import { jobEnd } from "../start/orphans.ts";
import { processState, settlesWithin } from "../start/process-state.ts";
import type { Site } from "../start/site.ts";
import { cleanUp, GONE_TIMEOUT_MS, stopJob } from "../upkeep/clean-up.ts";
import { sweep } from "../upkeep/sweep.ts";
import { hasStarted, noOutput, OutputReader, surelyNeverRan } from "./follow.ts";
import { cancelledResult, eventTo, isLeaseLoss, withEvidence } from "./outcome.ts";
import { tellProgress } from "./progress.ts";
import type { RunLog } from "./run-log.ts";
import { explainStartFailure, isTransientStart } from "./start-failure.ts";

/** A run whose Job exists. */
export interface Started {
  readonly run: Run;
  /** Begun by an earlier process. */
  readonly adopted: boolean;
  /** On the monotonic clock, before the Job was created. Null: by an earlier process. */
  readonly launchedAt: number | null;
  readonly sessionId: string | null;
  readonly workingDir: string;
  readonly carry: Readonly<Record<string, string>>;
}

export interface SessionInput<Config extends BaseConfig, Verdict extends AgentVerdict> {
  readonly definition: AdapterDefinition<Config, Verdict>;
  readonly ctx: AdapterExecutionContext;
  readonly config: Config;
  readonly site: Site;
  readonly signal: AbortSignal;
  readonly log: RunLog;
  readonly redactor: Redactor;
  /** See `ExecuteOptions`. */
  readonly soonestStartMs: number;
}

/** The host waits 60 s for a run that was told to stop: the pod's grace may take most of it. */
const MAX_GONE_TIMEOUT_MS = 50_000;
/** From a pod's last moment to its Job's deletion, as the watch tells it. */
const AFTER_GRACE_MS = 15_000;
const LAST_WORD_MS = 3_000;
const MAX_TIMER_MS = 2 ** 31 - 1;

/** One run from its Job's creation (or adoption) to its result. */
export class RunSession<Config extends BaseConfig, Verdict extends AgentVerdict> {
  readonly #input: SessionInput<Config, Verdict>;
  readonly #started: Started;
  readonly #run: Run;
  readonly #container: string;
  readonly #parser: ResultParser<Verdict>;
  readonly #startedAt = performance.now();
  readonly #event: ReturnType<typeof eventTo>;
  #reader: OutputReader<Verdict> | null = null;
  /** The agent was seen to have ended, or what might run it to be gone. */
  #isOver = false;
  #keepalive: KeepaliveHandle | null = null;

  constructor(input: SessionInput<Config, Verdict>, started: Started) {
    this.#input = input;
    this.#started = started;
    this.#run = started.run;
    this.#container = input.definition.containerName;
    this.#parser = input.definition.createResultParser();
    this.#event = eventTo(input.ctx, input.redactor);
  }

  /** Never rejects. */
  async result(): Promise<AdapterExecutionResult> {
    const { site, definition, redactor, config, log } = this.#input;
    const tidying = new AbortController();
    const sweeping = sweep({
      engine: site.engine,
      namespace: site.namespace,
      adapterType: definition.type,
      containerName: this.#container,
      signal: tidying.signal,
      say: (text) => log.say("stdout", text),
    }).catch(() => undefined);
    this.#keepalive = tellProgress(this.#run, site.engine, log, config.keepaliveSec);
    let result: AdapterExecutionResult;
    try {
      result = await this.#follow();
    } catch (error) {
      // Nothing above lets an error through that it can name: what comes here is a fault of ours or of the definition's.
      log.say("stderr", `The run could not be followed: ${reasonOf(error)}`);
      const failed = {
        exitCode: null,
        signal: null,
        timedOut: false,
        errorMessage: reasonOf(error),
        errorCode: "k8s_run_lost",
      };
      result = withEvidence(failed, this.#evidence(true, false, config.conversationContinuation), redactor);
    } finally {
      this.#keepalive?.stop();
      await this.#reader?.stop();
      if (this.#run.uid !== null) processState().active.delete(this.#run.uid);
      this.#run.release();
      await settlesWithin(sweeping, 1_000);
      tidying.abort();
    }
    return this.#acknowledged(result);
  }

  /** Stopped while the result was being put together: the host asks whether the agent is over, whatever came of it. */
  #acknowledged(result: AdapterExecutionResult): AdapterExecutionResult {
    const { signal, config, redactor } = this.#input;
    if (!signal.aborted || isLeaseLoss(signal) || !this.#isOver) return result;
    return withEvidence(result, this.#evidence(true, true, config.conversationContinuation), redactor);
  }

  async #follow(): Promise<AdapterExecutionResult> {
    const { signal, log, site, config } = this.#input;
    const deadline = new AbortController();
    const timer = this.#startDeadline(deadline);
    const stop = AbortSignal.any([signal, deadline.signal]);
    let end: RunEnd;
    try {
      const pod = await this.#run.podReady({ container: this.#container, signal: stop });
      this.#event("k8s.pod_running", `Pod ${pod.metadata.name} runs`, {
        podName: pod.metadata.name,
        nodeName: pod.spec.nodeName,
      });
      this.#reader = this.#read();
      end = await this.#run.terminated({ container: this.#container, signal: stop });
    } catch (error) {
      if (signal.aborted) return await this.#cancelled();
      if (deadline.signal.aborted) return await this.#timedOut();
      if (error instanceof StartFailedError) return await this.#startFailed(error);
      if (!(error instanceof RunGoneError)) throw error;
      end = error.end;
    } finally {
      clearTimeout(timer);
    }
    if (end.kind === "start_failed" && end.startFailure !== null) {
      return await this.#startFailed(new StartFailedError(this.#run.namespace, this.#run.jobName, end.startFailure));
    }
    if (this.#reader === null) await this.#podsLastWord();
    // Also of a pod that came and went while its watch was down: what cannot be read any more is said.
    if (hasStarted(this.#run, this.#container, end)) this.#reader ??= this.#read();
    await this.#reader?.drained(signal);
    if (signal.aborted) return await this.#cancelled();
    this.#isOver = end.exitCode !== null;
    const result = this.#classified(this.#kindOf(end), end);
    const { output } = this.#reader ?? {};
    const isLogLost = output?.error != null && !this.#parser.finish().hasResult;
    await cleanUp({ run: this.#run, site, config, log, end, isLogLost, isAdopted: this.#started.adopted });
    return result;
  }

  #read(): OutputReader<Verdict> {
    const { definition, log } = this.#input;
    return new OutputReader<Verdict>(this.#run, {
      container: this.#container,
      log,
      parser: this.#parser,
      isLastLine: definition.isLastLine?.bind(definition),
      onLines: () => this.#keepalive?.touch(),
      onEvent: ({ eventType, message, payload, level }) => this.#event(eventType, message, payload, level),
    });
  }

  /** Of a pod that is on its way out, which may be told after its Job's: whether its container ever ran stands there. */
  async #podsLastWord(): Promise<void> {
    const run = this.#run;
    const { promise, resolve } = Promise.withResolvers<void>();
    const check = () => {
      if (run.pod() === null || run.isPodFinal || isPodTerminal(run.pod())) resolve();
    };
    run.on("change", check);
    check();
    await settlesWithin(promise, LAST_WORD_MS);
    run.off("change", check);
  }

  /** Ours lies behind the Job's own `activeDeadlineSeconds`, should that not end it. */
  #startDeadline(deadline: AbortController): NodeJS.Timeout | undefined {
    const { timeoutSec, graceSec } = this.#input.config;
    const job = this.#started.adopted ? this.#run.job() : null;
    const limitSec = job?.spec.activeDeadlineSeconds ?? timeoutSec;
    if (limitSec <= 0) return undefined;
    const begun =
      job?.spec.activeDeadlineSeconds === undefined
        ? Number.NaN
        : Date.parse(job.status.startTime ?? job.metadata.creationTimestamp);
    const spentMs = Number.isNaN(begun) ? 0 : Math.max(0, Date.now() - begun);
    const ms = Math.max(1_000, (limitSec + graceSec) * 1000 - spentMs);
    const timer = setTimeout(() => deadline.abort(new Error("deadline")), Math.min(ms, MAX_TIMER_MS));
    timer.unref();
    return timer;
  }

  #kindOf(end: RunEnd): OutcomeKind {
    switch (end.kind) {
      case "deadline":
        // It had said that it was done before the deadline struck.
        return this.#parser.finish().hasResult && end.exitCode === 0 ? "ended" : "timed_out";
      case "job_deleted":
      case "pod_deleted":
      case "evicted":
        return "job_deleted";
      default:
        return "ended";
    }
  }

  #classified(kind: OutcomeKind, end: RunEnd | null): AdapterExecutionResult {
    const { definition, ctx, config, redactor, log } = this.#input;
    const { adopted, sessionId, workingDir, carry } = this.#started;
    const output = this.#reader?.output ?? noOutput();
    if (output.error !== null) {
      const hint = isForbidden(output.error) ? " Grant `get` on `pods/log`." : "";
      log.say("stderr", `The log could not be read to its end: ${reasonOf(output.error)}${hint}`);
    }
    if (output.parserError !== null)
      log.say("stderr", `The output could not be understood: ${reasonOf(output.parserError)}`);
    if (log.failures > 0)
      log.say("stderr", `The host did not take ${log.failures} piece(s) of the log: ${reasonOf(log.firstError)}`);
    const result = definition.classify({
      kind,
      ctx,
      config,
      verdict: this.#parser.finish(),
      end,
      sessionId,
      workingDir,
      carry,
      adopted,
      namespace: this.#run.namespace,
      jobName: this.#run.jobName,
      elapsedMs: performance.now() - this.#startedAt,
      lines: output.lines,
      characters: output.characters,
      gaps: output.gaps,
      firstLine: output.firstLine,
      lastLine: output.lastLine,
    });
    const started = this.#reader !== null || !this.#surelyNeverRan(end);
    const timedOut: AdapterExecutionResult =
      kind === "timed_out" ? { ...result, timedOut: true, errorCode: "timeout" } : result;
    return withEvidence(timedOut, this.#evidence(started, false, config.conversationContinuation), redactor);
  }

  #surelyNeverRan(end: RunEnd | null): boolean {
    const { launchedAt } = this.#started;
    const elapsedMs = launchedAt === null ? Number.POSITIVE_INFINITY : performance.now() - launchedAt;
    return surelyNeverRan(this.#run, this.#container, end, elapsedMs < this.#input.soonestStartMs);
  }

  #evidence(agentStarted: boolean, cancellationAcknowledged: boolean, conversationContinuation: boolean) {
    return { agentStarted, cancellationAcknowledged, conversationContinuation };
  }

  /** Deletes Job and pod and waits until they are gone. False when that cannot be told. */
  async #stopRun(): Promise<boolean> {
    const { log } = this.#input;
    // Jobs of the adapter of old have 30 s of grace, and a shell as process 1 that uses them up.
    const graceMs = (this.#run.pod()?.spec.terminationGracePeriodSeconds ?? 0) * 1000;
    const limitMs = Math.min(MAX_GONE_TIMEOUT_MS, Math.max(GONE_TIMEOUT_MS, graceMs + AFTER_GRACE_MS));
    const giveUp = AbortSignal.timeout(limitMs);
    try {
      await stopJob(this.#run, { signal: giveUp });
      await this.#reader?.stop();
      return true;
    } catch (error) {
      log.say(
        "stderr",
        `Job ${this.#run.namespace}/${this.#run.jobName} could not be stopped within ${limitMs / 1000}s: ${reasonOf(error)}`,
      );
      return false;
    }
  }

  async #cancelled(): Promise<AdapterExecutionResult> {
    const { signal, log, config, redactor } = this.#input;
    const { namespace, jobName } = this.#run;
    if (isLeaseLoss(signal)) {
      log.say(
        "stderr",
        `The host lost its hold on this run; Job ${namespace}/${jobName} goes on, the next run of the task adopts it`,
      );
      const lost = {
        ...cancelledResult(signal.reason),
        errorMessage: `The host lost its hold on this run; Job ${jobName} goes on`,
      };
      return withEvidence(lost, this.#evidence(true, false, config.conversationContinuation), redactor);
    }
    log.say("stdout", `Run cancelled: deleting Job ${namespace}/${jobName}`);
    const isGone = await this.#stopRun();
    const end = await this.#lastEnd();
    const agentStarted = this.#reader !== null || !(isGone && this.#surelyNeverRan(end));
    const classified = agentStarted ? this.#classified("cancelled", end) : cancelledResult(signal.reason);
    const { errorFamily: _, executionRecovery: __, ...kept } = classified;
    const result = { ...kept, ...cancelledResult(signal.reason) };
    if (!isGone) result.errorMessage += `; Job ${jobName} could not be seen to stop`;
    // Without the pod's end nobody can say that the agent did not start.
    return withEvidence(result, this.#evidence(agentStarted, isGone, config.conversationContinuation), redactor);
  }

  async #timedOut(): Promise<AdapterExecutionResult> {
    const { log } = this.#input;
    log.say("stderr", `Job ${this.#run.namespace}/${this.#run.jobName} is over its time and did not end: deleting it`);
    this.#isOver = await this.#stopRun();
    const end = await this.#lastEnd();
    const isDone = this.#parser.finish().hasResult && end?.exitCode === 0;
    return this.#classified(isDone ? "ended" : "timed_out", end);
  }

  async #lastEnd(): Promise<RunEnd | null> {
    return await this.#run.terminated({ container: this.#container, timeoutMs: 500 }).catch(() => null);
  }

  /** Its first process died after the Job's creation and before its Secret's: a fresh run goes well. */
  #isLeftHalf({ code, message }: StartFailure): boolean {
    const { adopted, run } = this.#started;
    return adopted && code === "container_config" && message.includes(secretNameFor(run.jobName));
  }

  /** Of a run whose pod was never seen: the server says that the Job stands and has had none. */
  async #countsNoPod(): Promise<boolean> {
    const { cluster } = this.#input.site.engine;
    const { namespace, jobName, uid } = this.#run;
    try {
      const { metadata, status = {} } = await cluster.json<Job>({
        path: jobPath(namespace, jobName),
        timeoutMs: 5_000,
      });
      const { active = 0, terminating = 0, succeeded = 0, failed = 0 } = status;
      return metadata.uid === uid && active + terminating + succeeded + failed === 0;
    } catch {
      return false;
    }
  }

  async #startFailed({ failure }: StartFailedError): Promise<AdapterExecutionResult> {
    const { site, log, redactor, signal, config } = this.#input;
    const why = await explainStartFailure(site.engine.cluster, this.#run, failure, signal);
    log.say("stderr", why);
    this.#event("k8s.start_failed", why, { code: failure.code, reason: failure.reason }, "error");
    const job = this.#run.job();
    // Kept only when it is over: one that still tries might start an agent that nobody waits for.
    const isOver =
      failure.code === "init_failed" || (job !== null && jobEnd(job) !== null) || isPodTerminal(this.#run.pod());
    const countsNoPod = this.#run.pod() === null && (await this.#countsNoPod());
    const isKept = config.retainJobs && isOver;
    if (isKept) {
      const end = { kind: "start_failed", exitCode: null } as const;
      await cleanUp({ run: this.#run, site, config, log, end, isLogLost: false, isAdopted: this.#started.adopted });
    }
    const isStopped = isKept || (await this.#stopRun());
    // A container that was late may have started while it was being deleted, or while the watch was down.
    const neverRan = (countsNoPod && this.#run.pod() === null) || this.#surelyNeverRan(null);
    const agentStarted = !neverRan || (!isStopped && !isOver);
    if (signal.aborted) {
      const evidence = this.#evidence(agentStarted, isStopped, config.conversationContinuation);
      return withEvidence(cancelledResult(signal.reason), evidence, redactor);
    }
    const isTimeout = failure.code === "deadline";
    const result: AdapterExecutionResult = {
      exitCode: null,
      signal: null,
      timedOut: isTimeout,
      errorMessage: why,
      errorCode: isTimeout ? "timeout" : this.#started.adopted ? "k8s_pod_reattach_failed" : "k8s_pod_schedule_failed",
      ...(isTransientStart(failure) || this.#isLeftHalf(failure) ? { errorFamily: "transient_upstream" as const } : {}),
    };
    return withEvidence(result, this.#evidence(agentStarted, false, config.conversationContinuation), redactor);
  }
}

function isPodTerminal(pod: Pod | null): boolean {
  return pod?.status.phase === "Failed" || pod?.status.phase === "Succeeded";
}
