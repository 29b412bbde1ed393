import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { RunEnd, StartFailedError } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict, OutcomeKind, ResultParser } from "../definition.ts";
import { reasonOf } from "../errors.ts";
import type { TellEvent } from "../host/callbacks.ts";
import { failed, isFailure } from "../host/evidence.ts";
import { cancelledResult, isLeaseLoss } from "../host/stop.ts";
import type { RunInput, Started } from "../start/run-input.ts";
import { cleanUp } from "../upkeep/clean-up.ts";
import { isLostAtStart } from "./agent.ts";
import { joined, noOutput, type Output } from "./follow.ts";
import type { Hold } from "./hold.ts";
import type { JobAgent } from "./job-agent.ts";
import { classified, kindOf, withoutFailure } from "./outcome.ts";
import { withPostMortem } from "./post-mortem.ts";
import { countsNoPod, explainStartFailure, hasStartEnded, startFailedResult } from "./start-failure.ts";

/** What a run has come to before this Job. */
export interface RunSoFar<Verdict extends AgentVerdict> {
  /** Of the whole run. */
  readonly parser: ResultParser<Verdict>;
  /** What the run's former Jobs printed. */
  readonly before: Output;
  /** When the run began here, on the monotonic clock. */
  readonly beganAt: number;
}

type Cleaned = Pick<Parameters<typeof cleanUp>[0], "end" | "hasFailed" | "isLogLost">;

/** The result of a run that ends with this Job, by what ended it; and what is to be done with the Job then. */
export class Results<Config extends BaseConfig, Verdict extends AgentVerdict> {
  readonly #input: RunInput<Config, Verdict>;
  readonly #started: Started;
  readonly #hold: Hold;
  readonly #agent: JobAgent<Verdict>;
  readonly #soFar: RunSoFar<Verdict>;
  readonly #event: TellEvent;

  constructor(
    input: RunInput<Config, Verdict>,
    started: Started,
    hold: Hold,
    agent: JobAgent<Verdict>,
    soFar: RunSoFar<Verdict>,
    event: TellEvent,
  ) {
    this.#input = input;
    this.#started = started;
    this.#hold = hold;
    this.#agent = agent;
    this.#soFar = soFar;
    this.#event = event;
  }

  /** What the run has printed up to the end of this Job. */
  get output(): Output {
    return joined(this.#soFar.before, this.#agent.reader?.output ?? noOutput());
  }

  /** Of a Job that ended so. Null: it was deleted while the run was to go on. */
  async concluded(end: RunEnd | null): Promise<AdapterExecutionResult> {
    const { signal } = this.#input;
    const { container, reader } = this.#agent;
    const { hasResult } = this.#soFar.parser.finish();
    let result = this.#classified(end === null ? "job_deleted" : kindOf(end, hasResult), end);
    // An agent that said its result has said why it failed.
    if (result.errorMessage && !hasResult) {
      const lastLine = reader?.output.lastLine ?? null;
      result = await withPostMortem(result, this.#started.run, { container, signal, lastLine });
    }
    if (!(await this.#hold.confirm())) return this.takenOver();
    const isLogLost = !hasResult && reader?.isIncomplete === true;
    const ended = end ?? ({ kind: "evicted", exitCode: null } as const);
    const isTidy = await this.cleanUp({ end: ended, hasFailed: isFailure(result), isLogLost });
    return isTidy || (await this.#hold.confirm()) ? result : this.takenOver();
  }

  takenOver(): AdapterExecutionResult {
    const message = `Job ${this.#started.run.jobName} goes on without this run: ${reasonOf(this.#hold.lost.reason)}`;
    this.#input.log.say("stderr", `${message}. Its result is handed out once, by another server`);
    return failed(message, "k8s_run_lost");
  }

  async cancelled(): Promise<AdapterExecutionResult> {
    const { signal, log } = this.#input;
    const { namespace, jobName } = this.#started.run;
    if (isLeaseLoss(signal)) {
      const message = `The host lost its hold on this run; Job ${jobName} goes on`;
      log.say("stderr", `${message}, the next run of the task adopts it`);
      await this.#hold.giveUp();
      return { ...cancelledResult(signal.reason), errorMessage: message };
    }
    const cancelled = cancelledResult(signal.reason);
    if (!(await this.#hold.confirm())) return { ...this.takenOver(), ...cancelled };
    log.say("stdout", `Run cancelled: deleting Job ${namespace}/${jobName}`);
    const end = await this.#agent.stop(log);
    const { state } = this.#agent;
    if (state === "never-ran" && this.#soFar.before.lines === 0) return cancelled;
    const kept = withoutFailure(this.#classified("cancelled", end));
    if (state === "may-run") cancelled.errorMessage += `; Job ${jobName} could not be seen to stop`;
    return { ...kept, ...cancelled };
  }

  async timedOut(): Promise<AdapterExecutionResult> {
    const { log } = this.#input;
    const { namespace, jobName } = this.#started.run;
    if (!(await this.#hold.confirm())) return this.takenOver();
    log.say("stderr", `Job ${namespace}/${jobName} is over its time and did not end: deleting it`);
    const end = await this.#agent.stop(log);
    return this.#classified(this.#soFar.parser.finish().hasResult ? "ended" : "timed_out", end);
  }

  /** The agent said its result, and a process that it left running keeps its container: the result counts. */
  async lingered(): Promise<AdapterExecutionResult> {
    const { log } = this.#input;
    const { namespace, jobName } = this.#started.run;
    if (!(await this.#hold.confirm())) return this.takenOver();
    const why = "The agent has said its result and its process does not end";
    log.say("stdout", `${why}: deleting Job ${namespace}/${jobName}`);
    return this.#classified("ended", await this.#agent.stop(log));
  }

  async startFailed({ failure }: StartFailedError): Promise<AdapterExecutionResult> {
    const { site, log, signal, config } = this.#input;
    const { cluster } = site.engine;
    const { run, adopted } = this.#started;
    const agent = this.#agent;
    const why = await explainStartFailure(cluster, run, failure, signal);
    log.say("stderr", why);
    this.#event("k8s.start_failed", why, { code: failure.code, reason: failure.reason }, "error");
    const hasEnded = hasStartEnded(run, agent.container);
    const isLost = isLostAtStart(run, agent.container);
    if (!(await this.#hold.confirm())) return this.takenOver();
    const hadNoPod = run.pod() === null && (await countsNoPod(cluster, run));
    const isKept = config.retainJobs !== false && hasEnded;
    if (isKept)
      await this.cleanUp({ end: { kind: "start_failed", exitCode: null }, hasFailed: true, isLogLost: false });
    const isDeleted = !isKept && (await agent.delete(log));
    // The container may have started while the Job was being deleted, or while the watch was lost.
    const neverRan = !isLost && ((hadNoPod && run.pod() === null) || agent.neverRan(null));
    agent.state = !isDeleted && !hasEnded ? "may-run" : neverRan ? "never-ran" : "ended";
    if (signal.aborted) return cancelledResult(signal.reason);
    const result = startFailedResult(why, failure, adopted);
    // What the run's former Jobs did and cost stays in the result.
    return this.#soFar.before.lines === 0
      ? result
      : { ...withoutFailure(this.#classified("cancelled", null)), ...result };
  }

  /** @returns see `cleanUp` */
  cleanUp(ended: Cleaned): Promise<boolean> {
    const { site, config, log } = this.#input;
    const { run, adopted } = this.#started;
    const confirm = () => this.#hold.confirm();
    return cleanUp({ run, site, config, log, isAdopted: adopted, confirm, ...ended });
  }

  #classified(kind: OutcomeKind, end: RunEnd | null): AdapterExecutionResult {
    const { parser, beganAt } = this.#soFar;
    const seen = { kind, verdict: parser.finish(), end, output: this.output };
    return classified(this.#input, this.#started, { ...seen, elapsedMs: performance.now() - beganAt });
  }
}
