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
import type { AgentVerdict } from "../definition.ts";
import { type AgentState, BootstrapError, reasonOf } from "../errors.ts";
import { eventTo, type TellEvent } from "../host/callbacks.ts";
import type { Restart } from "../job/restart.ts";
import { processState } from "../start/process-state.ts";
import type { RunInput, Started } from "../start/run-input.ts";
import { hasStarted, podsLastWord } from "./agent.ts";
import { Deadline, ownLimitMs, timeLeftMs } from "./deadline.ts";
import { type Output, OutputReader } from "./follow.ts";
import { Hold } from "./hold.ts";
import { JobAgent } from "./job-agent.ts";
import { Lingering } from "./lingering.ts";
import { tellProgress } from "./progress.ts";
import { planFor } from "./restart-facts.ts";
import { Results, type RunSoFar } from "./results.ts";
import { SecretLook } from "./secret-look.ts";

export interface AttemptOptions<Verdict extends AgentVerdict> extends RunSoFar<Verdict> {
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
  readonly #agent: JobAgent<Verdict>;
  readonly #results: Results<Config, Verdict>;
  readonly #beganAt = performance.now();
  readonly #event: TellEvent;
  readonly #lingering: Lingering;
  readonly #keepalive: KeepaliveHandle;
  #tidying: Promise<boolean> | null = null;

  constructor(input: RunInput<Config, Verdict>, started: Started, options: AttemptOptions<Verdict>) {
    const { site, config, log } = input;
    this.run = started.run;
    this.started = started;
    this.#input = input;
    this.#options = options;
    this.#event = eventTo(input.ctx, input.redactor);
    this.#lingering = new Lingering(config.resultGraceSec * 1000, () => started.run.liveness() !== "unknown");
    this.hold = new Hold(started, site.ownership);
    this.#agent = new JobAgent(started, input.definition.containerName, this.hold, options.soonestStartMs);
    this.#results = new Results(input, started, this.hold, this.#agent, options, this.#event);
    this.#keepalive = tellProgress(this.run, site.engine, log, config.keepaliveSec);
    if (this.run.uid !== null) processState().active.add(this.run.uid);
  }

  /** What the run has printed up to the end of this Job. */
  get output(): Output {
    return this.#results.output;
  }

  /** What is certain of this Job's agent. */
  get agent(): AgentState {
    return this.#agent.state;
  }

  async ended(): Promise<AttemptEnd> {
    const { next } = this.started;
    if (next !== null && next.attempt <= this.#input.config.maxDisruptionRestarts) {
      const pod = this.run.pod();
      if (pod === null || podFacts(pod).hasEnded) this.#agent.state = "ended";
      return { restart: next, waitMs: 0, end: null };
    }
    const end = await this.#follow();
    if (!("kind" in end)) return { restart: null, result: end };
    const plan = planFor(this.#input, this.started, end, {
      parser: this.#options.parser,
      reader: this.#agent.reader,
      agent: this.#agent.state,
      leftMs: this.leftMs(),
      backoffMs: this.#options.restartBackoffMs,
    });
    if (plan.restart !== null) return { ...plan, end };
    if (plan.why !== null)
      this.#input.log.say("stderr", `Job ${this.run.jobName} was ended from outside, and the run ends: ${plan.why}`);
    return { restart: null, result: await this.#results.concluded(end) };
  }

  /** The run could not go on in another Job: its result is how this one ended, or what came between. */
  async leftAt(end: RunEnd | null, error: unknown): Promise<AdapterExecutionResult> {
    const { signal, log } = this.#input;
    if (signal.aborted) return await this.#results.cancelled();
    if (!(await this.hold.confirm())) return this.#results.takenOver();
    log.say("stderr", `The run could not go on in another Job: ${reasonOf(error)}`);
    if (error instanceof BootstrapError && error.agent === "may-run") this.#agent.state = "may-run";
    return await this.#results.concluded(end);
  }

  /** Another Job goes on with the run: this one is cleaned up. */
  replaced(): void {
    this.#quiet();
    this.#agent.endWithJob();
    const end = { kind: "evicted", exitCode: null } as const;
    this.#tidying = this.#results.cleanUp({ end, hasFailed: false, isLogLost: false });
    try {
      this.#options.parser.restarted?.();
    } catch (error) {
      this.#input.log.say("stderr", `The output could not be understood: ${reasonOf(error)}`);
    }
  }

  /** Ends its timers, its log and its clean-up, and releases the run. */
  async close(): Promise<void> {
    this.#quiet();
    await this.#agent.reader?.stop();
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
    const { container } = this.#agent;
    const results = this.#results;
    const deadline = new Deadline(this.started.adopted ? this.leftMs() : ownLimitMs(this.started), config.graceSec);
    const secret = new SecretLook(this.started, this.#input);
    const stop = new LinkedAbort([signal, deadline.signal, this.#lingering.signal, this.hold.lost, secret.missing]);
    let end: RunEnd;
    try {
      const pod = await this.run.podReady({ container, signal: stop.signal });
      secret.stop();
      this.#event("k8s.pod_running", `Pod ${pod.metadata.name} runs`, {
        podName: pod.metadata.name,
        nodeName: pod.spec.nodeName,
      });
      this.#agent.reader = this.#read();
      end = await this.run.terminated({ container, signal: stop.signal });
    } catch (error) {
      if (signal.aborted) return await results.cancelled();
      if (this.hold.lost.aborted) return results.takenOver();
      if (deadline.signal.aborted) return await results.timedOut();
      if (this.#lingering.signal.aborted) return await results.lingered();
      if (error instanceof StartFailedError) return await results.startFailed(error);
      if (!(error instanceof RunGoneError)) throw error;
      end = error.end;
    } finally {
      deadline.clear();
      secret.stop();
      this.#lingering.stop();
      stop.release();
    }
    if (end.kind === "start_failed" && end.startFailure !== null) {
      return await results.startFailed(new StartFailedError(this.run.namespace, this.run.jobName, end.startFailure));
    }
    return await this.#readToTheEnd(end);
  }

  async #readToTheEnd(end: RunEnd): Promise<RunEnd | AdapterExecutionResult> {
    const { signal } = this.#input;
    const agent = this.#agent;
    if (agent.reader === null) await podsLastWord(this.run);
    // Also of a pod that was created and deleted while its watch was lost: the reader reports the lines that cannot be read any more.
    if (hasStarted(this.run, agent.container, end)) agent.reader ??= this.#read();
    await agent.reader?.drained([signal, this.hold.lost]);
    // A result is handed out once: a server that has taken over the Job does it.
    const isOurs = signal.aborted || (await this.hold.mayHandOut(signal));
    if (signal.aborted) return await this.#results.cancelled();
    if (!isOurs) return this.#results.takenOver();
    const neverRan = agent.reader === null && agent.neverRan(end);
    agent.state = neverRan ? "never-ran" : end.exitCode === null ? "may-run" : "ended";
    return end;
  }

  #read(): OutputReader<Verdict> {
    const { definition, log } = this.#input;
    const { parser, lateLinesMs } = this.#options;
    return new OutputReader<Verdict>(this.run, {
      container: this.#agent.container,
      log,
      parser,
      isFirstLine: definition.isFirstLine?.bind(definition),
      isLastLine: definition.isLastLine?.bind(definition),
      lateLinesMs,
      onLines: () => {
        this.#keepalive.touch();
        this.#lingering.stop();
      },
      onTaken: (activity) => this.#lingering.after(activity),
      onEvent: ({ eventType, message, payload, level }) => this.#event(eventType, message, payload, level),
    });
  }
}
