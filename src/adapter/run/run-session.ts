import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { Run } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict, ResultParser } from "../definition.ts";
import { publishStart } from "../diagnostics.ts";
import { type AgentState, reasonOf } from "../errors.ts";
import { failed, withEvidence } from "../host/evidence.ts";
import { isStopped } from "../host/stop.ts";
import type { RunInput, Started } from "../start/run-input.ts";
import { sweep } from "../upkeep/sweep.ts";
import { settlesWithin } from "../wait.ts";
import { Attempt, type AttemptOptions } from "./attempt.ts";
import { noOutput } from "./follow.ts";
import { goOn } from "./go-on.ts";

/** One run from its first Job's creation (or adoption) to its result. */
export class RunSession<Config extends BaseConfig, Verdict extends AgentVerdict> {
  readonly #input: RunInput<Config, Verdict>;
  readonly #options: AttemptOptions<Verdict>;
  /** The latest one last. */
  readonly #attempts: Attempt<Config, Verdict>[] = [];

  /** @param parser of this run alone */
  constructor(
    input: RunInput<Config, Verdict>,
    started: Started,
    parser: ResultParser<Verdict>,
    times: Pick<AttemptOptions<Verdict>, "soonestStartMs" | "restartBackoffMs" | "lateLinesMs">,
  ) {
    this.#input = input;
    this.#options = { ...times, parser, before: noOutput(), beganAt: performance.now() };
    this.#follow(started, this.#options);
  }

  /** One for each Job, the latest last. */
  get runs(): Run[] {
    return this.#attempts.map(({ run }) => run);
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
      containerName: definition.containerName,
      signal: tidying.signal,
      say: (text) => log.say("stdout", text),
    });
    let result: AdapterExecutionResult;
    try {
      result = await this.#run();
    } catch (error) {
      // Nothing above lets an error through that it can name: what comes here is a fault of ours or of the definition's.
      log.say("stderr", `The run could not be followed: ${reasonOf(error)}`);
      result = failed(reasonOf(error), "k8s_run_lost");
    } finally {
      for (const attempt of this.#attempts) await attempt.close();
      await settlesWithin(sweeping, 1_000);
      tidying.abort();
    }
    // Asked only now: a Stop may have come while the result was being put together.
    const mayContinue = config.conversationContinuation && this.#mayContinue(result);
    const evidence = { isStopped: isStopped(signal), mayContinue };
    return withEvidence(result, this.#agent(), evidence, redactor);
  }

  /** A fault of the definition must not cost the result. */
  #mayContinue(result: AdapterExecutionResult): boolean {
    const { definition, log } = this.#input;
    try {
      return definition.mayContinue?.(result) ?? true;
    } catch (error) {
      log.say("stderr", `Whether the run may be continued could not be told: ${reasonOf(error)}`);
      return true;
    }
  }

  /** One Job after the other, for as long as what ends them is a disruption that the run may go on after. */
  async #run(): Promise<AdapterExecutionResult> {
    let attempt = this.#attempts[0] as Attempt<Config, Verdict>;
    while (true) {
      const ended = await attempt.ended();
      if (ended.restart === null) return ended.result;
      let started: Started;
      try {
        started = await goOn(this.#input, attempt, ended.restart, ended.waitMs);
      } catch (error) {
        return await attempt.leftAt(ended.end, error);
      }
      attempt.replaced();
      attempt = this.#follow(started, { ...this.#options, before: attempt.output });
    }
  }

  #follow(started: Started, options: AttemptOptions<Verdict>): Attempt<Config, Verdict> {
    const attempt = new Attempt(this.#input, started, options);
    this.#attempts.push(attempt);
    publishStart({ type: "started", run: started.run, isAdopted: started.adopted });
    return attempt;
  }

  /** What is certain of the agent, over all its processes. */
  #agent(): AgentState {
    const states = this.#attempts.map((attempt) => attempt.agent);
    if (states.includes("may-run")) return "may-run";
    return states.includes("ended") ? "ended" : "never-ran";
  }
}
