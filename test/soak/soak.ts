import { setTimeout as sleep } from "node:timers/promises";
import { seededRandom } from "../../src/embedded/random.ts";
import { judge, stepAfter } from "./judge.ts";
import type { RunReport, Sample, Truth } from "./messages.ts";
import { AdapterProcess, ClusterProcess } from "./processes.ts";
import { type Script, scriptOf } from "./script.ts";

export interface SoakOptions {
  readonly seed: number;
  /** In total. */
  readonly runs: number;
  readonly atATime: number;
  /** No run is started afterwards. */
  readonly minutes: number;
  readonly timeScale: number;
  /** For the kubeconfig. */
  readonly directory: string;
  readonly onWrong: (what: string) => void;
}

interface Run {
  readonly script: Script;
  runId: string;
  attempt: number;
  /** Attempts that ended with something that may pass; those that a killed process took along do not count. */
  refusals: number;
  worker: AdapterProcess;
  report: RunReport | null;
}

/** A host gives up on nothing that may pass, but it must pass. */
const MAX_REFUSALS = 40;
/** Longest pause before the next attempt, as hosts have: the first comes within a second, each further one a second later. */
const MAX_PAUSE_MS = 10_000;
/** After the last start, until everything has settled. */
const SETTLE_TIMEOUT_MS = 150_000;
/** Jobs that could not be deleted amid faults go by their TTL. */
const LEFT_TIMEOUT_MS = 120_000;
const KILL_EVERY_MS = [20_000, 45_000] as const;
const KILL_LATER_MS = 2_000;

/** The host's part of the soak: gives runs to adapter processes, kills those, and compares what comes back with the truth. */
export class Soak {
  /** What is wrong; each says how to reproduce it. */
  readonly wrong: string[] = [];
  readonly outcomes: Record<string, number> = {};
  readonly retries: Record<string, number> = {};
  readonly figures = { started: 0, kills: 0, adoptions: 0, lines: 0, gaps: 0, mostAtOnce: 0, endedByNext: 0 };
  truth: Truth | null = null;
  readonly #options: SoakOptions;
  readonly #random: () => number;
  readonly #open = new Map<number, Run>();
  readonly #settled: Run[] = [];
  readonly #beganAt = performance.now();
  readonly #allSettled = Promise.withResolvers<void>();
  readonly #cluster: ClusterProcess;
  #kubeconfig = "";
  /** Lives to the end: its memory is looked at. */
  #steady!: AdapterProcess;
  /** Is killed and replaced. */
  #doomed!: AdapterProcess;
  /** Numbers of the runs that the process to be killed took over from the one before it. */
  readonly #inherited = new Set<number>();
  /** Of runs that come after all others, by index. */
  readonly #afterwards = new Map<number, () => void>();
  #isOver = false;
  /** Some run has not settled. */
  #isStuck = false;

  constructor(options: SoakOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed ^ 0xc0ffee);
    const { seed, runs, timeScale, directory } = options;
    this.#cluster = new ClusterProcess([String(seed), String(runs), String(timeScale), directory], (what) =>
      this.#say(what),
    );
  }

  async run(onProgress: (text: string) => void): Promise<void> {
    this.#kubeconfig = (await this.#cluster.next("ready")).kubeconfig;
    this.#steady = this.#newWorker();
    this.#doomed = this.#newWorker();
    const starting = setInterval(() => this.#fill(), 100);
    const telling = setInterval(() => onProgress(this.#progress()), 5_000);
    let killing = this.#scheduleKill((timer) => {
      killing = timer;
    });
    const timeout = setTimeout(
      () => {
        void this.#explainOpen().then(() => this.#allSettled.resolve());
      },
      this.#options.minutes * 60_000 + SETTLE_TIMEOUT_MS,
    );
    await this.#allSettled.promise;
    for (const timer of [starting, telling, killing, timeout]) clearTimeout(timer);
    await this.#close();
  }

  /** Ends all processes, whatever they do. */
  end(): void {
    this.#isOver = true;
    this.#steady?.kill();
    this.#doomed?.kill();
    this.#cluster.kill();
  }

  #say(wrong: string): void {
    this.wrong.push(wrong);
    this.#options.onWrong(wrong);
  }

  get samples(): readonly Sample[] {
    return this.#steady.samples;
  }

  /** Nothing goes wrong any more from here on: what is left must go, and nothing may be missing. */
  async #close(): Promise<void> {
    await this.#cluster.ask({ kind: "clear" }, "cleared");
    await this.#runWhatIsLeft();
    await this.#untilNothingIsLeft(["watches"]);
    this.#isOver = true;
    for (const worker of [this.#steady, this.#doomed]) {
      const { resources, state } = await worker.finish();
      // The pipes to this process are its own.
      const { PipeWrap: _, TTYWrap: __, ...rest } = resources;
      if (Object.keys(rest).length > 0) this.#say(`left in an adapter process: ${JSON.stringify(rest)}`);
      if (Object.values(state).some((count) => count > 0)) {
        this.#say(`left in an adapter process: ${JSON.stringify(state)}`);
      }
    }
    this.truth = await this.#untilNothingIsLeft([]);
    this.#judge(this.truth);
    this.#checkMemory();
  }

  /**
   * A process was killed between a Job and its Secret, or a Job could not be deleted, and the agent did not run again: nothing but
   * the agent's next run (or the adapter's sweep, after fifteen minutes: sweep.test.ts) ends a Job that cannot start.
   */
  async #runWhatIsLeft(): Promise<void> {
    const { waiting } = await this.#cluster.ask({ kind: "truth" }, "truth");
    const indexes = new Set(waiting.map((runId) => Number(runId.split("-")[1])));
    this.figures.endedByNext = indexes.size;
    const { seed } = this.#options;
    const runs = [...indexes].map((index) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#afterwards.set(index, resolve);
      this.#steady.send({ kind: "run", index, attempt: 0, runId: `r${seed}-${index}-after`, isUndisturbed: true });
      return promise;
    });
    await Promise.all(runs);
  }

  async #explainOpen(): Promise<void> {
    this.#isStuck = true;
    for (const run of [...this.#open.values()].slice(0, 20)) {
      const here = await run.worker.explain(run.script.index);
      const { text } = await this.#cluster.ask({ kind: "explain", agentId: run.script.agentId }, "explained");
      this.#say(
        `${nameOf(run)} has not settled\n    ${JSON.stringify(run.script)}\n    adapter ${here}\n    cluster ${text}`,
      );
    }
  }

  async #explainStuck(run: Run, { result, notes }: RunReport): Promise<void> {
    const { text } = await this.#cluster.ask({ kind: "explain", agentId: run.script.agentId }, "explained");
    this.#say(
      `${nameOf(run)} is still not let through: ${JSON.stringify(result)}\n    ${notes.join("\n    ")}\n    cluster ${text}`,
    );
  }

  async #explainLeft(jobName: string): Promise<void> {
    const agentId = /^ac-(s\d+-[ag]\d+)-/.exec(jobName)?.[1] ?? "";
    const { text } = await this.#cluster.ask({ kind: "explain", agentId }, "explained");
    const reports = this.#settled
      .filter(({ script }) => script.agentId === agentId)
      .map(({ report, runId, attempt }) =>
        JSON.stringify({ runId, attempt, result: report?.result, notes: report?.notes }),
      );
    this.#say(`Job ${jobName} is left\n    ${reports.join("\n    ")}\n    cluster ${text}`);
  }

  #fill(): void {
    const { runs, atATime, minutes, seed } = this.#options;
    const elapsedMs = performance.now() - this.#beganAt;
    // Bursts to the limit, and the rest evenly over three quarters of the time, so that faults meet runs of every age.
    const burst = Math.min(atATime, Math.ceil(runs / 2));
    const bursts = Math.max(1, Math.floor((0.7 * runs) / burst));
    const progress = Math.min(1, elapsedMs / (minutes * 45_000));
    const due = burst * Math.min(bursts, Math.floor(progress * bursts) + 1) + (runs - burst * bursts) * progress;
    const mayStart = elapsedMs < minutes * 60_000;
    while (mayStart && this.#open.size < atATime && this.figures.started < due) {
      const script = scriptOf(seed, this.figures.started);
      // Competitors start in different processes.
      const inSteady = script.contends ? script.index % 2 === 0 : this.#random() < 0.5;
      const worker = inSteady ? this.#steady : this.#doomed;
      const run: Run = { script, runId: `r${seed}-${script.index}`, attempt: 1, refusals: 0, worker, report: null };
      this.#open.set(script.index, run);
      this.figures.started += 1;
      this.figures.mostAtOnce = Math.max(this.figures.mostAtOnce, this.#open.size);
      this.#assign(run, worker);
    }
    if (this.#open.size === 0 && (this.figures.started >= runs || !mayStart)) this.#allSettled.resolve();
  }

  #assign(run: Run, worker: AdapterProcess): void {
    run.worker = worker;
    const { runId, attempt } = run;
    void worker.ready.then(() => {
      // It may have been killed before it was ready, and the run given to another.
      if (run.worker === worker)
        worker.send({ kind: "run", index: run.script.index, attempt, runId, isUndisturbed: false });
    });
  }

  #newWorker(): AdapterProcess {
    return new AdapterProcess(this.#options.seed, this.#kubeconfig, {
      onRan: (report) => this.#onRan(report),
      onWrong: (what) => this.#say(what),
      onDead: (worker) => this.#onDead(worker),
    });
  }

  #scheduleKill(onTimer: (timer: NodeJS.Timeout) => void): NodeJS.Timeout {
    const [least, most] = KILL_EVERY_MS;
    const strike = () => {
      // Once no run is started any more, those that are left are left in peace.
      if (performance.now() - this.#beganAt > this.#options.minutes * 60_000) return;
      // Killed before it got anywhere with what the one before it left, no process ever would.
      if ([...this.#inherited].filter((run) => this.#open.has(run)).length > this.#inherited.size / 2) {
        onTimer(setTimeout(strike, KILL_LATER_MS));
        return;
      }
      this.#doomed.kill();
      onTimer(this.#scheduleKill(onTimer));
    };
    return setTimeout(strike, least + (most - least) * this.#random());
  }

  /** A process died: its runs go to the next one, half of them under the run id that they had. */
  #onDead(worker: AdapterProcess): void {
    if (this.#isOver || worker !== this.#doomed) return;
    this.figures.kills += 1;
    this.#doomed = this.#newWorker();
    this.#inherited.clear();
    for (const run of this.#open.values()) {
      if (run.worker !== worker) continue;
      this.#inherited.add(run.script.index);
      run.attempt += 1;
      if (this.#random() < 0.5) run.runId = this.#nextRunId(run);
      this.#assign(run, this.#doomed);
    }
  }

  #onRan(report: RunReport): void {
    this.#afterwards.get(report.index)?.();
    const run = this.#open.get(report.index);
    if (run === undefined || run.attempt !== report.attempt) return;
    if (report.adopted) this.figures.adoptions += 1;
    const step = stepAfter(report, run.script);
    const as = step.kind === "again" ? step.why : step.as;
    if (step.kind === "again" && run.refusals < MAX_REFUSALS) {
      this.retries[as] = (this.retries[as] ?? 0) + 1;
      run.attempt += 1;
      run.refusals += 1;
      run.runId = this.#nextRunId(run);
      const worker = this.#random() < 0.5 ? this.#steady : this.#doomed;
      run.worker = worker;
      const pauseMs = Math.min(MAX_PAUSE_MS, 1_000 * run.refusals) * this.#random();
      const { attempt } = run;
      setTimeout(() => {
        // The chosen process may have died meanwhile, and the next one taken the run over.
        if (run.attempt === attempt) this.#assign(run, worker);
      }, pauseMs);
      return;
    }
    if (step.kind === "again") void this.#explainStuck(run, report);
    run.report = report;
    this.figures.lines += report.audit.delivered;
    this.figures.gaps += report.gaps;
    this.outcomes[as] = (this.outcomes[as] ?? 0) + 1;
    this.#open.delete(report.index);
    this.#settled.push(run);
  }

  #nextRunId({ script, attempt }: Run): string {
    return `r${this.#options.seed}-${script.index}-${attempt}`;
  }

  async #untilNothingIsLeft(except: readonly string[]): Promise<Truth> {
    // What never settled is never cleaned up either.
    const until = performance.now() + (this.#isStuck ? 0 : LEFT_TIMEOUT_MS);
    while (true) {
      const truth = await this.#cluster.ask({ kind: "truth" }, "truth");
      if (Object.keys(truth.left).every((what) => except.includes(what))) return truth;
      if (performance.now() > until) {
        this.#say(`left in the cluster: ${JSON.stringify(truth.left).slice(0, 2_000)}`);
        for (const name of (truth.left.jobs ?? []).slice(0, 5)) await this.#explainLeft(name);
        return truth;
      }
      // There is no event for "nothing left"; asking twice a second is cheap.
      await sleep(500);
    }
  }

  #judge({ ends, overlaps }: Truth): void {
    for (const run of this.#settled) {
      if (run.report === null) continue;
      const seen = ends[run.script.agentId] ?? [];
      const found = judge(run.report, run.script, seen);
      if (found.length === 0) continue;
      const { result, notes, audit, elapsedMs, cancelled } = run.report;
      const facts = { script: run.script, result, audit, elapsedMs, cancelled, containers: seen };
      this.#say(`${nameOf(run)}: ${found.join("; ")}\n    ${JSON.stringify(facts)}\n    ${notes.join("\n    ")}`);
    }
    for (const [agentId, pods] of Object.entries(overlaps)) {
      const runs = this.#settled.filter(({ script }) => script.agentId === agentId);
      const notes = runs.map((run) => [nameOf(run), ...(run.report?.notes ?? [])].join("\n      "));
      this.#say([`agent ${agentId}: containers ran at the same time: ${pods}`, ...notes].join("\n    "));
    }
  }

  /** Of the process that lives to the end: after the first third everything has its size. */
  #checkMemory(): void {
    const { samples } = this;
    if (samples.length < 12) return;
    const third = Math.floor(samples.length / 3);
    // The open runs differ, so the least of each third is compared, and what some of them take is allowed for.
    const floors = (what: "heap" | "handles") => {
      const floor = (part: readonly Sample[]) => Math.min(...part.map((sample) => sample[what]));
      return [floor(samples.slice(third, 2 * third)), floor(samples.slice(2 * third))] as const;
    };
    const [heap, lastHeap] = floors("heap");
    if (lastHeap > heap * 1.25 + 8 * 2 ** 20) {
      this.#say(`the heap grows: ${megabytes(heap)} MB in the middle third, ${megabytes(lastHeap)} MB in the last`);
    }
    const [handles, lastHandles] = floors("handles");
    if (lastHandles > handles * 1.25 + 40) {
      this.#say(`timers and sockets grow: ${handles} in the middle third, ${lastHandles} in the last`);
    }
  }

  #progress(): string {
    const { started, kills } = this.figures;
    const seconds = Math.round((performance.now() - this.#beganAt) / 1000);
    const retries = Object.values(this.retries).reduce((sum, each) => sum + each, 0);
    return `${seconds} s: ${started} started, ${this.#open.size} open, ${this.#settled.length} settled, ${retries} tried again, ${kills} processes killed, ${this.wrong.length} wrong`;
  }
}

export function megabytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}

function nameOf({ script, runId, attempt }: Run): string {
  return `run ${script.index} (agent ${script.agentId}, run id ${runId}, attempt ${attempt})`;
}
