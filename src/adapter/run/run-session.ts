import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import {
  isForbidden,
  type KeepaliveHandle,
  LinkedAbort,
  podFacts,
  type Run,
  type RunEnd,
  RunGoneError,
  StartFailedError,
} from "../../engine/index.ts";
import type { ExecuteCode } from "../../error-codes.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict, OutcomeKind, ResultParser } from "../definition.ts";
import { type AgentState, reasonOf } from "../errors.ts";
import { eventTo, type TellEvent } from "../host/callbacks.ts";
import { isFailure, withEvidence } from "../host/evidence.ts";
import { cancelledResult, isLeaseLoss, isStopped } from "../host/stop.ts";
import { processState } from "../start/process-state.ts";
import type { RunInput, Started } from "../start/run-input.ts";
import { GONE_TIMEOUT_MS, stopJob } from "../start/stop-job.ts";
import { cleanUp } from "../upkeep/clean-up.ts";
import { sweep } from "../upkeep/sweep.ts";
import { settlesWithin } from "../wait.ts";
import { hasStarted, surelyNeverRan } from "./agent.ts";
import { Deadline } from "./deadline.ts";
import { noOutput, OutputReader } from "./follow.ts";
import { Hold } from "./hold.ts";
import { Lingering } from "./lingering.ts";
import { withPostMortem } from "./post-mortem.ts";
import { tellProgress } from "./progress.ts";
import { countsNoPod, explainStartFailure, hasStartEnded, startFailedResult } from "./start-failure.ts";

/** The host waits 60 s for a run that was told to stop: the pod's grace may take most of it. */
const MAX_GONE_TIMEOUT_MS = 50_000;
/** From a pod's last moment to its Job's deletion, as the watch tells it. */
const AFTER_GRACE_MS = 15_000;
const LAST_WORD_MS = 3_000;

/** One run from its Job's creation (or adoption) to its result. */
export class RunSession<Config extends BaseConfig, Verdict extends AgentVerdict> {
  readonly #input: RunInput<Config, Verdict>;
  readonly #started: Started;
  readonly #run: Run;
  readonly #container: string;
  readonly #soonestStartMs: number;
  readonly #parser: ResultParser<Verdict>;
  readonly #startedAt = performance.now();
  readonly #event: TellEvent;
  readonly #lingering: Lingering;
  readonly #hold: Hold;
  #reader: OutputReader<Verdict> | null = null;
  #agent: AgentState = "may-run";
  #keepalive: KeepaliveHandle | null = null;

  /** @param parser of this run alone @param soonestStartMs see `ExecuteOptions` */
  constructor(
    input: RunInput<Config, Verdict>,
    started: Started,
    parser: ResultParser<Verdict>,
    soonestStartMs: number,
  ) {
    this.#input = input;
    this.#started = started;
    this.#run = started.run;
    this.#container = input.definition.containerName;
    this.#soonestStartMs = soonestStartMs;
    this.#parser = parser;
    this.#event = eventTo(input.ctx, input.redactor);
    this.#lingering = new Lingering(input.config.resultGraceSec * 1000, () => started.run.liveness() !== "unknown");
    this.#hold = new Hold(started, input.site.ownership);
  }

  /** Never rejects. */
  async result(): Promise<AdapterExecutionResult> {
    const { site, definition, redactor, config, log, signal } = this.#input;
    const tidying = new AbortController();
    const sweeping = sweep({
      engine: site.engine,
      namespace: site.namespace,
      ownership: site.ownership,
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
      result = failed(reasonOf(error), "k8s_run_lost");
    } finally {
      this.#keepalive?.stop();
      await this.#reader?.stop();
      this.#hold.close();
      if (this.#run.uid !== null) processState().active.delete(this.#run.uid);
      this.#run.release();
      await settlesWithin(sweeping, 1_000);
      tidying.abort();
    }
    // Asked only now: a Stop may have come while the result was being put together.
    const mayContinue = config.conversationContinuation && (definition.mayContinue?.(result) ?? true);
    const evidence = { isStopped: isStopped(signal), mayContinue };
    return withEvidence(result, this.#agent, evidence, redactor);
  }

  async #follow(): Promise<AdapterExecutionResult> {
    const { signal, log, site, config } = this.#input;
    const now = site.engine.cluster.clock.now();
    const deadline = new Deadline(config, this.#started.adopted ? this.#run.job() : null, now);
    const stop = new LinkedAbort([signal, deadline.signal, this.#lingering.signal, this.#hold.lost]);
    let end: RunEnd;
    try {
      const pod = await this.#run.podReady({ container: this.#container, signal: stop.signal });
      this.#event("k8s.pod_running", `Pod ${pod.metadata.name} runs`, {
        podName: pod.metadata.name,
        nodeName: pod.spec.nodeName,
      });
      this.#reader = this.#read();
      end = await this.#run.terminated({ container: this.#container, signal: stop.signal });
    } catch (error) {
      if (signal.aborted) return await this.#cancelled();
      if (this.#hold.lost.aborted) return this.#takenOver();
      if (deadline.signal.aborted) return await this.#timedOut();
      if (this.#lingering.signal.aborted) return await this.#lingered();
      if (error instanceof StartFailedError) return await this.#startFailed(error);
      if (!(error instanceof RunGoneError)) throw error;
      end = error.end;
    } finally {
      deadline.clear();
      this.#lingering.stop();
      stop.release();
    }
    if (end.kind === "start_failed" && end.startFailure !== null) {
      return await this.#startFailed(new StartFailedError(this.#run.namespace, this.#run.jobName, end.startFailure));
    }
    if (this.#reader === null) await this.#podsLastWord();
    // Also of a pod that came and was deleted while its watch was down: what cannot be read any more is said.
    if (hasStarted(this.#run, this.#container, end)) this.#reader ??= this.#read();
    await this.#drained();
    if (signal.aborted) return await this.#cancelled();
    // One result is handed out once: who has taken over the Job hands it out.
    if (!(await this.#hold.confirm())) return this.#takenOver();
    this.#agent =
      this.#reader === null && this.#neverRan(end) ? "never-ran" : end.exitCode === null ? "may-run" : "ended";
    const { hasResult } = this.#parser.finish();
    let result = this.#classified(this.#kindOf(end), end);
    // An agent that said its result has said why it failed.
    if (result.errorMessage && !hasResult) {
      const lastLine = this.#reader?.output.lastLine ?? null;
      result = await withPostMortem(result, this.#run, { container: this.#container, signal, lastLine });
    }
    const isLogLost = !hasResult && this.#reader?.isIncomplete === true;
    const hasFailed = isFailure(result);
    await cleanUp({ run: this.#run, site, config, log, end, hasFailed, isLogLost, isAdopted: this.#started.adopted });
    return result;
  }

  async #drained(): Promise<void> {
    const stop = new LinkedAbort([this.#input.signal, this.#hold.lost]);
    await this.#reader?.drained(stop.signal);
    stop.release();
  }

  #takenOver(): AdapterExecutionResult {
    const { jobName } = this.#run;
    const message = `This server did not renew its Lease in time, or ends: Job ${jobName} goes on without it`;
    this.#input.log.say("stderr", `${message}, and another server hands out its result`);
    return failed(message, "k8s_run_lost");
  }

  #read(): OutputReader<Verdict> {
    const { definition, log } = this.#input;
    return new OutputReader<Verdict>(this.#run, {
      container: this.#container,
      log,
      parser: this.#parser,
      isFirstLine: definition.isFirstLine?.bind(definition),
      isLastLine: definition.isLastLine?.bind(definition),
      onLines: () => {
        this.#keepalive?.touch();
        this.#lingering.stop();
      },
      onTaken: (activity) => this.#lingering.after(activity),
      onEvent: ({ eventType, message, payload, level }) => this.#event(eventType, message, payload, level),
    });
  }

  /** Of a pod that is on its way out, which may be told after its Job's: whether its container ever ran stands there. */
  async #podsLastWord(): Promise<void> {
    const run = this.#run;
    const { promise, resolve } = Promise.withResolvers<void>();
    const check = () => {
      const pod = run.pod();
      if (pod === null || run.isPodFinal || podFacts(pod).hasEnded) resolve();
    };
    run.on("change", check);
    check();
    await settlesWithin(promise, LAST_WORD_MS);
    run.off("change", check);
  }

  #kindOf(end: RunEnd): OutcomeKind {
    switch (end.kind) {
      case "deadline":
        // It had said that it was done before the deadline struck.
        return this.#parser.finish().hasResult ? "ended" : "timed_out";
      case "job_deleted":
      case "pod_deleted":
      case "evicted":
        return "job_deleted";
      default:
        return "ended";
    }
  }

  #classified(kind: OutcomeKind, end: RunEnd | null): AdapterExecutionResult {
    const { definition, ctx, config, log } = this.#input;
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
    return kind === "timed_out" ? { ...result, timedOut: true, errorCode: "timeout" } : result;
  }

  #neverRan(end: RunEnd | null): boolean {
    const { launchedAt } = this.#started;
    const elapsedMs = launchedAt === null ? Number.POSITIVE_INFINITY : performance.now() - launchedAt;
    return surelyNeverRan(this.#run, this.#container, end, elapsedMs < this.#soonestStartMs);
  }

  /** Deletes Job and pod and waits until they are deleted. False when that cannot be told. */
  async #stopRun(): Promise<boolean> {
    const { log } = this.#input;
    // Jobs of the adapter that this one replaces have 30 s of grace, and a shell as process 1 that uses them up.
    const graceMs = (this.#run.pod()?.spec.terminationGracePeriodSeconds ?? 0) * 1000;
    const ms = Math.min(MAX_GONE_TIMEOUT_MS, Math.max(GONE_TIMEOUT_MS, graceMs + AFTER_GRACE_MS));
    try {
      await stopJob(this.#run, { ms });
      await this.#reader?.stop();
      return true;
    } catch (error) {
      log.say(
        "stderr",
        `Job ${this.#run.namespace}/${this.#run.jobName} could not be stopped within ${ms / 1000}s: ${reasonOf(error)}`,
      );
      return false;
    }
  }

  /** Stops the run, and says what is then certain of the agent. */
  async #stopped(): Promise<RunEnd | null> {
    const isDeleted = await this.#stopRun();
    const end = await this.#run.terminated({ container: this.#container, timeoutMs: 500 }).catch(() => null);
    const neverRan = this.#reader === null && this.#neverRan(end);
    this.#agent = !isDeleted ? "may-run" : neverRan ? "never-ran" : "ended";
    return end;
  }

  async #cancelled(): Promise<AdapterExecutionResult> {
    const { signal, log } = this.#input;
    const { namespace, jobName } = this.#run;
    if (isLeaseLoss(signal)) {
      const message = `The host lost its hold on this run; Job ${jobName} goes on`;
      log.say("stderr", `${message}, the next run of the task adopts it`);
      await this.#hold.giveUp();
      return { ...cancelledResult(signal.reason), errorMessage: message };
    }
    const cancelled = cancelledResult(signal.reason);
    if (!(await this.#hold.confirm())) return { ...this.#takenOver(), ...cancelled };
    log.say("stdout", `Run cancelled: deleting Job ${namespace}/${jobName}`);
    const end = await this.#stopped();
    if (this.#agent === "never-ran") return cancelled;
    const { errorFamily: _, executionRecovery: __, ...kept } = this.#classified("cancelled", end);
    if (this.#agent === "may-run") cancelled.errorMessage += `; Job ${jobName} could not be seen to stop`;
    return { ...kept, ...cancelled };
  }

  async #timedOut(): Promise<AdapterExecutionResult> {
    const { log } = this.#input;
    if (!(await this.#hold.confirm())) return this.#takenOver();
    log.say("stderr", `Job ${this.#run.namespace}/${this.#run.jobName} is over its time and did not end: deleting it`);
    const end = await this.#stopped();
    return this.#classified(this.#parser.finish().hasResult ? "ended" : "timed_out", end);
  }

  /** It said its result, and what it left running holds it: the run has ended as it said. */
  async #lingered(): Promise<AdapterExecutionResult> {
    if (!(await this.#hold.confirm())) return this.#takenOver();
    const why = "The agent has said its result and its process does not end";
    this.#input.log.say("stdout", `${why}: deleting Job ${this.#run.namespace}/${this.#run.jobName}`);
    return this.#classified("ended", await this.#stopped());
  }

  async #startFailed({ failure }: StartFailedError): Promise<AdapterExecutionResult> {
    const { site, log, signal, config } = this.#input;
    const { cluster } = site.engine;
    const why = await explainStartFailure(cluster, this.#run, failure, signal);
    log.say("stderr", why);
    this.#event("k8s.start_failed", why, { code: failure.code, reason: failure.reason }, "error");
    const hasEnded = hasStartEnded(this.#run, this.#container);
    if (!(await this.#hold.confirm())) return this.#takenOver();
    const hadNoPod = this.#run.pod() === null && (await countsNoPod(cluster, this.#run));
    const isKept = config.retainJobs !== false && hasEnded;
    if (isKept) {
      const end = { kind: "start_failed", exitCode: null } as const;
      const isAdopted = this.#started.adopted;
      await cleanUp({ run: this.#run, site, config, log, end, hasFailed: true, isLogLost: false, isAdopted });
    }
    const isDeleted = !isKept && (await this.#stopRun());
    // A container that was late may have started while it was being deleted, or while the watch was down.
    const neverRan = (hadNoPod && this.#run.pod() === null) || this.#neverRan(null);
    this.#agent = !isDeleted && !hasEnded ? "may-run" : neverRan ? "never-ran" : "ended";
    if (signal.aborted) return cancelledResult(signal.reason);
    return startFailedResult(why, failure, this.#started.adopted);
  }
}

function failed(errorMessage: string, errorCode: ExecuteCode): AdapterExecutionResult {
  return { exitCode: null, signal: null, timedOut: false, errorMessage, errorCode };
}
