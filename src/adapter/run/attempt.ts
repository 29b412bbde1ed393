import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import {
  type KeepaliveHandle,
  LinkedAbort,
  podFacts,
  type Run,
  type RunEnd,
  RunGoneError,
  StartFailedError,
} from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict, OutcomeKind, ResultParser } from "../definition.ts";
import { type AgentState, BootstrapError, reasonOf } from "../errors.ts";
import { eventTo, type TellEvent } from "../host/callbacks.ts";
import { failed, isFailure } from "../host/evidence.ts";
import { cancelledResult, isLeaseLoss } from "../host/stop.ts";
import type { Restart } from "../job/restart.ts";
import { processState } from "../start/process-state.ts";
import type { RunInput, Started } from "../start/run-input.ts";
import { cleanUp } from "../upkeep/clean-up.ts";
import { hasStarted, isLostAtStart, podsLastWord, surelyNeverRan } from "./agent.ts";
import { Deadline, ownLimitMs, timeLeftMs } from "./deadline.ts";
import { joined, noOutput, type Output, OutputReader } from "./follow.ts";
import { Hold } from "./hold.ts";
import { Lingering } from "./lingering.ts";
import { classified, kindOf, withoutFailure } from "./outcome.ts";
import { withPostMortem } from "./post-mortem.ts";
import { tellProgress } from "./progress.ts";
import { planFor } from "./restart-facts.ts";
import { SecretLook } from "./secret-look.ts";
import { countsNoPod, explainStartFailure, hasStartEnded, startFailedResult } from "./start-failure.ts";
import { stopRun } from "./stop-run.ts";

export interface AttemptOptions<Verdict extends AgentVerdict> {
  /** Of the whole run. */
  readonly parser: ResultParser<Verdict>;
  /** What the run's former Jobs printed. */
  readonly before: Output;
  /** When the run began here, on the monotonic clock. */
  readonly beganAt: number;
  /** See `ExecuteOptions`, as for the next two. */
  readonly soonestStartMs: number;
  readonly restartBackoffMs: number;
  readonly lateLinesMs: number | undefined;
}

/** How one Job of a run ended: with the run's result, or so that the run goes on in another Job. */
export type AttemptEnd =
  | { readonly restart: null; readonly result: AdapterExecutionResult }
  | { readonly restart: Restart; readonly waitMs: number; readonly end: RunEnd | null };

/** One Job of a run, from its creation (or adoption) to its end: each run has one, and one more for each disruption. */
export class Attempt<Config extends BaseConfig, Verdict extends AgentVerdict> {
  readonly run: Run;
  readonly started: Started;
  readonly hold: Hold;
  readonly #input: RunInput<Config, Verdict>;
  readonly #options: AttemptOptions<Verdict>;
  readonly #container: string;
  readonly #parser: ResultParser<Verdict>;
  readonly #beganAt = performance.now();
  readonly #event: TellEvent;
  readonly #lingering: Lingering;
  readonly #keepalive: KeepaliveHandle;
  #reader: OutputReader<Verdict> | null = null;
  #agent: AgentState = "may-run";
  #isDeleted = false;
  #tidying: Promise<boolean> | null = null;

  constructor(input: RunInput<Config, Verdict>, started: Started, options: AttemptOptions<Verdict>) {
    const { site, config, log } = input;
    this.run = started.run;
    this.started = started;
    this.#input = input;
    this.#options = options;
    this.#container = input.definition.containerName;
    this.#parser = options.parser;
    this.#event = eventTo(input.ctx, input.redactor);
    this.#lingering = new Lingering(config.resultGraceSec * 1000, () => started.run.liveness() !== "unknown");
    this.hold = new Hold(started, site.ownership);
    this.#keepalive = tellProgress(this.run, site.engine, log, config.keepaliveSec);
    if (this.run.uid !== null) processState().active.add(this.run.uid);
  }

  /** What the run has printed up to the end of this Job. */
  get output(): Output {
    return joined(this.#options.before, this.#reader?.output ?? noOutput());
  }

  /** What is certain of this Job's agent. */
  get agent(): AgentState {
    return this.#agent === "may-run" && this.#isDeleted ? "ended" : this.#agent;
  }

  async ended(): Promise<AttemptEnd> {
    const { next } = this.started;
    if (next !== null && next.attempt <= this.#input.config.maxDisruptionRestarts) {
      const pod = this.run.pod();
      if (pod === null || podFacts(pod).hasEnded) this.#agent = "ended";
      return { restart: next, waitMs: 0, end: null };
    }
    const end = await this.#follow();
    if (!("kind" in end)) return { restart: null, result: end };
    const plan = planFor(this.#input, this.started, end, {
      parser: this.#parser,
      reader: this.#reader,
      agent: this.#agent,
      leftMs: this.leftMs(),
      backoffMs: this.#options.restartBackoffMs,
    });
    if (plan.restart !== null) return { ...plan, end };
    if (plan.why !== null)
      this.#input.log.say("stderr", `Job ${this.run.jobName} was ended from outside, and the run ends: ${plan.why}`);
    return { restart: null, result: await this.#concluded(end) };
  }

  /** The run could not go on in another Job: its result is how this one ended, or what came between. */
  async leftAt(end: RunEnd | null, error: unknown): Promise<AdapterExecutionResult> {
    const { signal, log } = this.#input;
    if (signal.aborted) return await this.#cancelled();
    if (!(await this.hold.confirm())) return this.#takenOver();
    log.say("stderr", `The run could not go on in another Job: ${reasonOf(error)}`);
    if (error instanceof BootstrapError && error.agent === "may-run") this.#agent = "may-run";
    return await this.#concluded(end);
  }

  /** Another Job goes on with the run: this one is cleaned up. */
  replaced(): void {
    this.#quiet();
    void this.run.gone().then(
      () => {
        this.#isDeleted = true;
      },
      () => undefined,
    );
    this.#tidying = this.#cleanUp({ end: { kind: "evicted", exitCode: null }, hasFailed: false, isLogLost: false });
    try {
      this.#parser.restarted?.();
    } catch (error) {
      this.#input.log.say("stderr", `The output could not be understood: ${reasonOf(error)}`);
    }
  }

  /** Ends its timers, its log and its clean-up, and releases the run. */
  async close(): Promise<void> {
    this.#quiet();
    await this.#reader?.stop();
    await this.#tidying;
    if (this.run.uid !== null) processState().active.delete(this.run.uid);
    this.run.release();
  }

  #quiet(): void {
    this.#keepalive.stop();
    this.#lingering.stop();
    this.hold.close();
  }

  /** Until the Job's deadline. Null: it has none. */
  leftMs(): number | null {
    return timeLeftMs(this.started, this.#input.site.engine.cluster.clock.now(), performance.now() - this.#beganAt);
  }

  /** How the Job ended, with its log read to the end; or the run's result, where something else decides it (Stop, limits). */
  async #follow(): Promise<RunEnd | AdapterExecutionResult> {
    const { signal, config } = this.#input;
    const deadline = new Deadline(this.started.adopted ? this.leftMs() : ownLimitMs(this.started), config.graceSec);
    const secret = new SecretLook(this.started, this.#input);
    const stop = new LinkedAbort([signal, deadline.signal, this.#lingering.signal, this.hold.lost, secret.missing]);
    let end: RunEnd;
    try {
      const pod = await this.run.podReady({ container: this.#container, signal: stop.signal });
      secret.stop();
      this.#event("k8s.pod_running", `Pod ${pod.metadata.name} runs`, {
        podName: pod.metadata.name,
        nodeName: pod.spec.nodeName,
      });
      this.#reader = this.#read();
      end = await this.run.terminated({ container: this.#container, signal: stop.signal });
    } catch (error) {
      if (signal.aborted) return await this.#cancelled();
      if (this.hold.lost.aborted) return this.#takenOver();
      if (deadline.signal.aborted) return await this.#timedOut();
      if (this.#lingering.signal.aborted) return await this.#lingered();
      if (error instanceof StartFailedError) return await this.#startFailed(error);
      if (!(error instanceof RunGoneError)) throw error;
      end = error.end;
    } finally {
      deadline.clear();
      secret.stop();
      this.#lingering.stop();
      stop.release();
    }
    if (end.kind === "start_failed" && end.startFailure !== null) {
      return await this.#startFailed(new StartFailedError(this.run.namespace, this.run.jobName, end.startFailure));
    }
    if (this.#reader === null) await podsLastWord(this.run);
    // Also of a pod that was created and deleted while its watch was lost: the reader reports the lines that cannot be read any more.
    if (hasStarted(this.run, this.#container, end)) this.#reader ??= this.#read();
    await this.#reader?.drained([signal, this.hold.lost]);
    // A result is handed out once: a server that has taken over the Job does it.
    const isOurs = signal.aborted || (await this.hold.mayHandOut(signal));
    if (signal.aborted) return await this.#cancelled();
    if (!isOurs) return this.#takenOver();
    this.#agent =
      this.#reader === null && this.#neverRan(end) ? "never-ran" : end.exitCode === null ? "may-run" : "ended";
    return end;
  }

  /** The result of a run that ends so. */
  async #concluded(end: RunEnd | null): Promise<AdapterExecutionResult> {
    const { signal } = this.#input;
    const { hasResult } = this.#parser.finish();
    let result = this.#classified(end === null ? "job_deleted" : kindOf(end, hasResult), end);
    // An agent that said its result has said why it failed.
    if (result.errorMessage && !hasResult) {
      const lastLine = this.#reader?.output.lastLine ?? null;
      result = await withPostMortem(result, this.run, { container: this.#container, signal, lastLine });
    }
    if (!(await this.hold.confirm())) return this.#takenOver();
    const isLogLost = !hasResult && this.#reader?.isIncomplete === true;
    const ended = end ?? ({ kind: "evicted", exitCode: null } as const);
    const isTidy = await this.#cleanUp({ end: ended, hasFailed: isFailure(result), isLogLost });
    return isTidy || (await this.hold.confirm()) ? result : this.#takenOver();
  }

  #cleanUp(ended: Pick<Parameters<typeof cleanUp>[0], "end" | "hasFailed" | "isLogLost">): Promise<boolean> {
    const { site, config, log } = this.#input;
    const confirm = () => this.hold.confirm();
    return cleanUp({ run: this.run, site, config, log, isAdopted: this.started.adopted, confirm, ...ended });
  }

  #takenOver(): AdapterExecutionResult {
    const message = `Job ${this.run.jobName} goes on without this run: ${reasonOf(this.hold.lost.reason)}`;
    this.#input.log.say("stderr", `${message}. Its result is handed out once, by another server`);
    return failed(message, "k8s_run_lost");
  }

  #read(): OutputReader<Verdict> {
    const { definition, log } = this.#input;
    return new OutputReader<Verdict>(this.run, {
      container: this.#container,
      log,
      parser: this.#parser,
      isFirstLine: definition.isFirstLine?.bind(definition),
      isLastLine: definition.isLastLine?.bind(definition),
      lateLinesMs: this.#options.lateLinesMs,
      onLines: () => {
        this.#keepalive.touch();
        this.#lingering.stop();
      },
      onTaken: (activity) => this.#lingering.after(activity),
      onEvent: ({ eventType, message, payload, level }) => this.#event(eventType, message, payload, level),
    });
  }

  #classified(kind: OutcomeKind, end: RunEnd | null): AdapterExecutionResult {
    const verdict = this.#parser.finish();
    const elapsedMs = performance.now() - this.#options.beganAt;
    return classified(this.#input, this.started, { kind, verdict, end, output: this.output, elapsedMs });
  }

  #neverRan(end: RunEnd | null, wasBlind = false): boolean {
    const { launchedAt } = this.started;
    const elapsedMs = launchedAt === null ? Number.POSITIVE_INFINITY : performance.now() - launchedAt;
    const isTooSoon = elapsedMs < this.#options.soonestStartMs;
    return surelyNeverRan(this.run, this.#container, end, { isTooSoon, wasBlind });
  }

  async #stopRun(): Promise<boolean> {
    const isDeleted = await stopRun(this.run, this.#input.log, this.hold);
    if (isDeleted) await this.#reader?.stop();
    return isDeleted;
  }

  /** Stops the run, and says what is then certain of the agent. */
  async #stopped(): Promise<RunEnd | null> {
    const wasBlind = this.run.unknownSince() !== null;
    const isDeleted = await this.#stopRun();
    const end = await this.run.terminated({ container: this.#container, timeoutMs: 500 }).catch(() => null);
    const neverRan = this.#reader === null && this.#neverRan(end, wasBlind);
    this.#agent = !isDeleted ? "may-run" : neverRan ? "never-ran" : "ended";
    return end;
  }

  async #cancelled(): Promise<AdapterExecutionResult> {
    const { signal, log } = this.#input;
    const { namespace, jobName } = this.run;
    if (isLeaseLoss(signal)) {
      const message = `The host lost its hold on this run; Job ${jobName} goes on`;
      log.say("stderr", `${message}, the next run of the task adopts it`);
      await this.hold.giveUp();
      return { ...cancelledResult(signal.reason), errorMessage: message };
    }
    const cancelled = cancelledResult(signal.reason);
    if (!(await this.hold.confirm())) return { ...this.#takenOver(), ...cancelled };
    log.say("stdout", `Run cancelled: deleting Job ${namespace}/${jobName}`);
    const end = await this.#stopped();
    if (this.#agent === "never-ran" && this.#options.before.lines === 0) return cancelled;
    const kept = withoutFailure(this.#classified("cancelled", end));
    if (this.#agent === "may-run") cancelled.errorMessage += `; Job ${jobName} could not be seen to stop`;
    return { ...kept, ...cancelled };
  }

  async #timedOut(): Promise<AdapterExecutionResult> {
    const { log } = this.#input;
    if (!(await this.hold.confirm())) return this.#takenOver();
    log.say("stderr", `Job ${this.run.namespace}/${this.run.jobName} is over its time and did not end: deleting it`);
    const end = await this.#stopped();
    return this.#classified(this.#parser.finish().hasResult ? "ended" : "timed_out", end);
  }

  /** The agent said its result, and a process that it left running keeps its container: the result counts. */
  async #lingered(): Promise<AdapterExecutionResult> {
    if (!(await this.hold.confirm())) return this.#takenOver();
    const why = "The agent has said its result and its process does not end";
    this.#input.log.say("stdout", `${why}: deleting Job ${this.run.namespace}/${this.run.jobName}`);
    return this.#classified("ended", await this.#stopped());
  }

  async #startFailed({ failure }: StartFailedError): Promise<AdapterExecutionResult> {
    const { site, log, signal, config } = this.#input;
    const { cluster } = site.engine;
    const why = await explainStartFailure(cluster, this.run, failure, signal);
    log.say("stderr", why);
    this.#event("k8s.start_failed", why, { code: failure.code, reason: failure.reason }, "error");
    const hasEnded = hasStartEnded(this.run, this.#container);
    const isLost = isLostAtStart(this.run, this.#container);
    if (!(await this.hold.confirm())) return this.#takenOver();
    const hadNoPod = this.run.pod() === null && (await countsNoPod(cluster, this.run));
    const isKept = config.retainJobs !== false && hasEnded;
    if (isKept)
      await this.#cleanUp({ end: { kind: "start_failed", exitCode: null }, hasFailed: true, isLogLost: false });
    const isDeleted = !isKept && (await this.#stopRun());
    // The container may have started while the Job was being deleted, or while the watch was lost.
    const neverRan = !isLost && ((hadNoPod && this.run.pod() === null) || this.#neverRan(null));
    this.#agent = !isDeleted && !hasEnded ? "may-run" : neverRan ? "never-ran" : "ended";
    if (signal.aborted) return cancelledResult(signal.reason);
    const result = startFailedResult(why, failure, this.started.adopted);
    // What the run's former Jobs did and cost stays in the result.
    return this.#options.before.lines === 0
      ? result
      : { ...withoutFailure(this.#classified("cancelled", null)), ...result };
  }
}
