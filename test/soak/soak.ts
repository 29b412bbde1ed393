import { setTimeout as sleep } from "node:timers/promises";
import { seededRandom } from "../../src/embedded/random.ts";
import { judge, judgeAgent, stepAfter } from "./judge.ts";
import type { Figures, RunOrder, RunReport, Sample } from "./messages.ts";
import { ServerProcess } from "./processes.ts";
import { type Script, scriptOf } from "./script.ts";
import type { Stage } from "./stage.ts";
import { Storm } from "./storm.ts";

export interface SoakOptions {
  readonly seed: number;
  /** In total. */
  readonly runs: number;
  readonly atATime: number;
  /** No run is started afterwards. */
  readonly minutes: number;
  readonly servers: number;
  readonly onWrong: (what: string, trace: string | null) => void;
}

interface Run {
  readonly script: Script;
  runId: string;
  attempt: number;
  /** Attempts that ended with something that may pass; those that a killed server took along do not count. */
  refusals: number;
  server: ServerProcess;
  /** The servers from which a report may come, by attempt. */
  readonly awaited: Map<number, { readonly server: ServerProcess; readonly runId: string }>;
  readonly reports: RunReport[];
  readonly unheard: string[];
  /** What the host took for the run's result. */
  settled: RunReport | null;
}

/** A host gives up on nothing that may pass, but it must pass. */
const MAX_REFUSALS = 60;
/** Longest pause before the next attempt, as hosts have: the first comes within a second, each further one a second later. */
const MAX_PAUSE_MS = 10_000;
/**
 * After the last start, until everything has settled: a Lease runs out in a minute, one that was paused comes back, and what a watch
 * that is lost again and again may still tell of an end is waited for, for three minutes.
 */
const SETTLE_TIMEOUT_MS = 400_000;
/** After the weather, until servers have said what became of the runs that others have taken over. */
const HEARD_TIMEOUT_MS = 120_000;
/** Jobs that could not be deleted amid faults go by their TTL. */
const LEFT_TIMEOUT_MS = 200_000;

/** The host's part of the soak: gives runs to servers, and compares what comes back with the truth. */
export class Soak {
  readonly outcomes: Record<string, number> = {};
  readonly retries: Record<string, number> = {};
  readonly figures = {
    started: 0,
    settled: 0,
    adoptions: 0,
    lines: 0,
    gaps: 0,
    mostAtOnce: 0,
    endedByNext: 0,
    wrong: 0,
    stale: 0,
  };
  readonly storm: Storm;
  readonly #options: SoakOptions;
  readonly #stage: Stage;
  readonly #random: () => number;
  /** By index, until all of its agent's are judged. */
  readonly #runs = new Map<number, Run>();
  readonly #open = new Set<Run>();
  readonly #beganAt = performance.now();
  readonly #allSettled = Promise.withResolvers<void>();
  /** The first lives to the end: its memory is looked at. The others are killed and replaced. */
  readonly #servers: ServerProcess[] = [];
  /** Numbers of the runs that a server took over from the one before it. */
  readonly #inherited = new Map<ServerProcess, number[]>();
  readonly #judging = new Set<Promise<void>>();
  /** Of runs that come after all others, by index. */
  readonly #afterwards = new Map<number, () => void>();
  #isOver = false;
  /** Some run has not settled. */
  #isStuck = false;

  constructor(stage: Stage, options: SoakOptions) {
    this.#options = options;
    this.#stage = stage;
    this.#random = seededRandom(options.seed ^ 0xc0ffee);
    const fleet = {
      servers: this.#servers,
      isBusyWithOld: (server: ServerProcess) => {
        const inherited = this.#inherited.get(server) ?? [];
        return inherited.filter((index) => this.#runs.get(index)?.settled === null).length > inherited.length / 2;
      },
      giveUp: (server: ServerProcess) => this.#giveUp(server),
    };
    this.storm = new Storm(fleet, options.seed);
  }

  /** Ends with what is left; the last figures of the cluster. */
  async run(onProgress: (text: string) => void): Promise<Figures> {
    const { servers, minutes } = this.#options;
    for (let i = 0; i < servers; i += 1) this.#servers.push(this.#newServer());
    const starting = setInterval(() => this.#fill(), 100);
    const telling = setInterval(() => void this.#progress().then(onProgress), minutes > 5 ? 60_000 : 5_000);
    this.storm.begin();
    // Once no run is started any more, those that are left are left in peace.
    const calm = setTimeout(() => this.storm.calm(), minutes * 60_000);
    const timeout = setTimeout(
      () => void this.#explainOpen().then(() => this.#allSettled.resolve()),
      minutes * 60_000 + SETTLE_TIMEOUT_MS,
    );
    await this.#allSettled.promise;
    this.storm.end();
    for (const timer of [starting, telling, calm, timeout]) clearTimeout(timer);
    return await this.#close();
  }

  /** Ends all servers, whatever they do. */
  end(): void {
    this.#isOver = true;
    this.storm.end();
    for (const server of this.#servers) server.kill();
  }

  get samples(): readonly Sample[] {
    return this.#servers[0]?.samples ?? [];
  }

  #say(wrong: string): void {
    this.figures.wrong += 1;
    this.#options.onWrong(wrong, null);
  }

  /** The same, with what the watches told of the agent. */
  async #sayOf(agentId: string, wrong: string): Promise<void> {
    this.figures.wrong += 1;
    this.#options.onWrong(wrong, await this.#stage.trace(agentId));
  }

  /** Nothing goes wrong any more from here on: what is left must go, and nothing may be missing. */
  async #close(): Promise<Figures> {
    await this.#stage.clear();
    await this.#untilAllIsHeard();
    await this.#runWhatIsLeft();
    await this.#untilNothingIsLeft(["watches"]);
    this.#isOver = true;
    for (const server of this.#servers) {
      const left = await server.finish();
      if (left === null) continue;
      // The pipes to this process are its own.
      const { PipeWrap: _, TTYWrap: __, ...rest } = left.resources;
      if (Object.keys(rest).length > 0) this.#say(`left in a server: ${JSON.stringify(rest)}`);
      if (Object.values(left.state).some((count) => count > 0)) {
        this.#say(`left in a server: ${JSON.stringify(left.state)}`);
      }
    }
    await this.#untilNothingIsLeft([]);
    for (const run of this.#runs.values()) run.awaited.clear();
    for (const run of [...this.#runs.values()]) this.#retire(run, true);
    await Promise.all(this.#judging);
    this.#checkMemory();
    return await this.#stage.figures();
  }

  /** A server that was paused goes on with runs that others have taken over: it has to say what became of them. */
  async #untilAllIsHeard(): Promise<void> {
    const until = performance.now() + HEARD_TIMEOUT_MS;
    const open = () => [...this.#runs.values()].filter((run) => run.awaited.size > 0);
    while (open().length > 0 && performance.now() < until) await sleep(200);
    for (const run of open().slice(0, 5)) {
      await this.#sayOf(run.script.agentId, `${nameOf(run)}: a server never said what became of it`);
    }
  }

  /**
   * A server was killed between a Job and its Secret, or a Job could not be deleted, and the agent did not run again: nothing but
   * the agent's next run (or the adapter's sweep, after fifteen minutes: sweep.test.ts) ends a Job that cannot start.
   */
  async #runWhatIsLeft(): Promise<void> {
    const { waiting } = await this.#stage.remains();
    const indexes = new Set(waiting.map((runId) => Number(runId.split("-")[1])));
    this.figures.endedByNext = indexes.size;
    const { seed } = this.#options;
    const runs = [...indexes].map((index) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#afterwards.set(index, resolve);
      this.#servers[0]?.send({ kind: "run", index, attempt: 0, runId: `r${seed}-${index}-after`, isUndisturbed: true });
      return promise;
    });
    await Promise.all(runs);
  }

  async #explainOpen(): Promise<void> {
    this.#isStuck = true;
    for (const run of [...this.#open].slice(0, 20)) {
      const here = await run.server.explain(run.script.index);
      const text = await this.#stage.explain(run.script.agentId);
      const facts = `${JSON.stringify(run.script)}\n    server ${here}\n    cluster ${text}`;
      await this.#sayOf(run.script.agentId, `${nameOf(run)} has not settled\n    ${facts}`);
    }
  }

  #fill(): void {
    if (this.#isOver) return;
    const { runs, atATime, minutes, seed } = this.#options;
    const elapsedMs = performance.now() - this.#beganAt;
    // Bursts to the limit, and the rest evenly over three quarters of the time, so that faults meet runs of every age.
    const burst = Math.min(atATime, Math.ceil(runs / 2));
    const bursts = Math.max(1, Math.floor((0.7 * runs) / burst));
    const progress = Math.min(1, elapsedMs / (minutes * 45_000));
    const due = burst * Math.min(bursts, Math.floor(progress * bursts) + 1) + (runs - burst * bursts) * progress;
    const mayStart = elapsedMs < minutes * 60_000;
    while (mayStart && this.#open.size < atATime && this.figures.started < due && this.figures.started < runs) {
      const script = scriptOf(seed, this.figures.started, this.#stage.place.form, this.#stage.place.moves);
      const run: Run = {
        script,
        runId: `r${seed}-${script.index}`,
        attempt: 0,
        refusals: 0,
        server: this.#choose(),
        awaited: new Map(),
        reports: [],
        unheard: [],
        settled: null,
      };
      this.#runs.set(script.index, run);
      this.#open.add(run);
      this.figures.started += 1;
      this.figures.mostAtOnce = Math.max(this.figures.mostAtOnce, this.#open.size);
      // Competitors start on different servers.
      const at = script.contends ? script.index % this.#servers.length : -1;
      this.#assign(run, at < 0 ? this.#choose() : (this.#servers[at] ?? this.#choose()), run.runId);
    }
    if (this.#open.size === 0 && (this.figures.started >= runs || !mayStart)) this.#allSettled.resolve();
  }

  /** Any server that answers. */
  #choose(): ServerProcess {
    const able = this.#servers.filter((server) => !server.isPaused && !server.isEnding);
    const chosen = able[Math.floor(this.#random() * able.length)];
    if (chosen === undefined) throw new Error("no server is left");
    return chosen;
  }

  #assign(run: Run, server: ServerProcess, runId: string): void {
    run.server = server;
    run.runId = runId;
    run.attempt += 1;
    const { attempt, script } = run;
    run.awaited.set(attempt, { server, runId });
    const order: RunOrder = { kind: "run", index: script.index, attempt, runId, isUndisturbed: false };
    void server.ready.then(() => server.send(order));
  }

  #newServer(): ServerProcess {
    return new ServerProcess(this.#options.seed, this.#stage.place, {
      onRan: (_server, report) => this.#onRan(report),
      onWrong: (what) => this.#say(what),
      onDead: (server) => this.#onDead(server),
    });
  }

  /** A server ended: its runs go to others, half of them under the run id that they had. */
  #onDead(server: ServerProcess): void {
    if (this.#isOver) return;
    const slot = this.#servers.indexOf(server);
    if (slot < 0) return;
    const next = this.#newServer();
    this.#servers[slot] = next;
    this.#inherited.delete(server);
    const inherited: number[] = [];
    for (const run of this.#runs.values()) {
      for (const [attempt, { server: at, runId }] of run.awaited) {
        if (at !== server) continue;
        run.awaited.delete(attempt);
        run.unheard.push(runId);
      }
      if (run.settled === null && run.server === server) {
        inherited.push(run.script.index);
        this.#assign(run, next, this.#random() < 0.5 ? run.runId : this.#nextRunId(run));
      } else this.#retire(run);
    }
    this.#inherited.set(next, inherited);
  }

  /** A server does not answer: its runs go to others, and it does not know. */
  #giveUp(server: ServerProcess): void {
    for (const run of this.#open) if (run.server === server) this.#assign(run, this.#choose(), this.#nextRunId(run));
  }

  #onRan(report: RunReport): void {
    this.#afterwards.get(report.index)?.();
    const run = this.#runs.get(report.index);
    if (run === undefined) return;
    run.awaited.delete(report.attempt);
    run.reports.push(report);
    if (report.adopted) this.figures.adoptions += 1;
    if (run.settled !== null || run.attempt !== report.attempt) {
      this.figures.stale += 1;
      this.#retire(run);
      return;
    }
    const step = stepAfter(report, run.script);
    const as = step.kind === "again" ? step.why : step.as;
    if (step.kind === "again" && run.refusals < MAX_REFUSALS) {
      this.retries[as] = (this.retries[as] ?? 0) + 1;
      run.refusals += 1;
      const pauseMs = Math.min(MAX_PAUSE_MS, 1_000 * run.refusals) * this.#random();
      const { attempt } = run;
      setTimeout(() => {
        // Its server may have been given up meanwhile, and another one taken the run over.
        if (run.attempt === attempt && !this.#isOver) this.#assign(run, this.#choose(), this.#nextRunId(run));
      }, pauseMs);
      return;
    }
    if (step.kind === "again") {
      void this.#sayOf(run.script.agentId, `${nameOf(run)} is still not let through: ${wordsOf(report)}`);
    }
    run.settled = report;
    this.figures.settled += 1;
    this.figures.lines += report.audit.delivered;
    this.figures.gaps += report.gaps;
    this.outcomes[as] = (this.outcomes[as] ?? 0) + 1;
    this.#open.delete(run);
    this.#retire(run);
  }

  #nextRunId({ script, attempt }: Run): string {
    return `r${this.#options.seed}-${script.index}-${attempt + 1}`;
  }

  /** Judges an agent once all of its runs have settled and no server can say anything more of them; then it is forgotten. */
  #retire({ script }: Run, isLast = false): void {
    const { index, contends, agentId } = script;
    const first = contends ? index - (index % 2) : index;
    const indexes = contends ? [first, first + 1] : [first];
    const runs = indexes.map((each) => this.#runs.get(each)).filter((run) => run !== undefined);
    const isComplete = runs.length === indexes.length || isLast;
    const isOpen = runs.some((run) => (run.settled === null && !isLast) || run.awaited.size > 0);
    if (runs.length === 0 || !isComplete || isOpen) return;
    for (const each of indexes) this.#runs.delete(each);
    const judging = this.#judge(runs, agentId).finally(() => this.#judging.delete(judging));
    this.#judging.add(judging);
  }

  async #judge(runs: readonly Run[], agentId: string): Promise<void> {
    const truth = await this.#stage.truthOf(agentId);
    const found = runs.flatMap((run) => {
      const { settled, script } = run;
      return settled === null ? [] : judge(settled, script, truth).map((what) => `${nameOf(run)}: ${what}`);
    });
    found.push(...judgeAgent(runs, truth));
    if (found.length > 0) {
      const stories = runs.map((run) =>
        [
          nameOf(run),
          JSON.stringify(run.script),
          ...run.reports.map(wordsOf),
          `unheard: ${run.unheard.join(", ")}`,
        ].join("\n      "),
      );
      await this.#sayOf(agentId, [found.join("; "), `truth ${JSON.stringify(truth)}`, ...stories].join("\n    "));
    }
    this.#stage.forget(agentId);
  }

  async #untilNothingIsLeft(except: readonly string[]): Promise<void> {
    // What never settled is never cleaned up either.
    const until = performance.now() + (this.#isStuck ? 0 : LEFT_TIMEOUT_MS);
    while (true) {
      const { left } = await this.#stage.remains();
      if (Object.keys(left).every((what) => except.includes(what))) return;
      if (performance.now() > until) {
        this.#say(`left in the cluster: ${JSON.stringify(left).slice(0, 2_000)}`);
        for (const name of (left.jobs ?? []).slice(0, 5)) {
          const agentId = /^ac-(s\d+-[ag]\d+)-/.exec(name)?.[1] ?? "";
          await this.#sayOf(agentId, `Job ${name} is left\n    cluster ${await this.#stage.explain(agentId)}`);
        }
        return;
      }
      // There is no event for "nothing left"; asking twice a second is cheap.
      await sleep(500);
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

  async #progress(): Promise<string> {
    const { started, settled, wrong, lines } = this.figures;
    const { rss } = await this.#stage.figures();
    const seconds = Math.round((performance.now() - this.#beganAt) / 1000);
    const retries = Object.values(this.retries).reduce((sum, each) => sum + each, 0);
    const blows = Object.values(this.storm.counts).reduce((sum, each) => sum + each, 0);
    const memory = `memory: host ${megabytes(process.memoryUsage().rss)}, server ${megabytes(this.samples.at(-1)?.rss ?? 0)}, cluster ${megabytes(rss)} MB`;
    return `${seconds} s: ${started} started, ${this.#open.size} open, ${settled} settled, ${this.#runs.size} not judged, ${retries} tried again, ${lines} lines, ${blows} blows to servers, ${wrong} wrong; ${memory}`;
  }
}

export function megabytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}

function nameOf({ script, runId, attempt }: Run): string {
  return `run ${script.index} (agent ${script.agentId}, run id ${runId}, attempt ${attempt})`;
}

function wordsOf({
  attempt,
  runId,
  result,
  audit,
  gaps,
  adopted,
  jobUid,
  aborted,
  elapsedMs,
  notes,
}: RunReport): string {
  const facts = { attempt, runId, result, audit, gaps, adopted, jobUid, aborted, elapsedMs: Math.round(elapsedMs) };
  return [JSON.stringify(facts), ...notes].join("\n        ");
}
