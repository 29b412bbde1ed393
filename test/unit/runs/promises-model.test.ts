import { getEventListeners } from "node:events";
import { performance as perfHooks } from "node:perf_hooks";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Bus } from "../../../src/engine/bus.ts";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";
import { jobKeyOfPod, PODS_BY_JOB } from "../../../src/engine/runs/job-of-pod.ts";
import { resolvePolicy } from "../../../src/engine/runs/policy.ts";
import { RunRegistry } from "../../../src/engine/runs/registry.ts";
import type { Run } from "../../../src/engine/runs/run.ts";
import type { RunLogs } from "../../../src/engine/runs/run-logs.ts";
import type { RunTopics } from "../../../src/engine/runs/topics.ts";
import {
  AttachFailedError,
  EngineStoppedError,
  type RunEnd,
  RunGoneError,
  RunTimeoutError,
  StartFailedError,
} from "../../../src/engine/runs/types.ts";
import { ApiError, type ApiRequest, type Cluster } from "../../../src/engine/transport/index.ts";
import fc from "../property.ts";
import { CONTAINER, JOB, JobHistory, type JobTruth, NAMESPACE, OPERATIONS, type PodTruth } from "./job-history.ts";
import { ToldInformer } from "./told-informer.ts";

/** Longest lag between what happens and the watch's telling of it, less than the bounded waits of the runs. */
const MAX_LAG_MS = 1_500;
const PASS_STEPS = 60;
/** When a caller that gives up does so. */
const GIVE_UP_MS = 5_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"], now: Date.UTC(2026, 0, 1) });
  // The log follower takes its clock from there, which fake timers leave as it is.
  vi.spyOn(perfHooks, "now").mockImplementation(() => performance.now());
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const lag = fc.constantFrom(0, 0, 1, 300, MAX_LAG_MS);
const waitMs = fc.constantFrom(0, 0, 0, 20, 20, 700, 2_500, 6_000, 35_000, 130_000);
const command = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({ do: fc.constant("happen" as const), what: fc.constantFrom(...OPERATIONS), waitMs }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("lag" as const), jobs: lag, pods: lag }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("watch" as const),
      which: fc.constantFrom("jobs" as const, "pods" as const),
      how: fc.constantFrom("down" as const, "resume" as const, "relist" as const),
      waitMs,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("ask" as const),
      what: fc.constantFrom("podReady" as const, "terminated" as const, "gone" as const, "logs" as const),
      run: fc.nat(4),
      timeoutMs: fc.option(fc.constantFrom(1, 3_000, 60_000)),
      isAborted: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("attach" as const), byUid: fc.boolean() }) },
);
const history = fc.record({
  hasSidecar: fc.boolean(),
  backoffLimit: fc.constantFrom(0, 0, 2),
  bindMs: fc.constantFrom(0, 10, 1_000),
  // Most histories begin as most runs do, so that the rest has something to go wrong with.
  start: fc.constantFrom([], ["createPod"], ["createPod", "schedule"], ["createPod", "schedule", "start"]),
  commands: fc.array(command, { minLength: 3, maxLength: 40 }),
  end: fc.constantFrom("delete" as const, "delete" as const, "stop" as const),
});

it("settles every promise, once, as the history of Job and pods says it must", async () => {
  await fc.assert(
    fc.asyncProperty(history, async ({ hasSidecar, backoffLimit, bindMs, start, commands, end }) => {
      vi.clearAllTimers();
      const world = new World({ hasSidecar, backoffLimit });
      await world.launch(bindMs);
      for (const what of start) world.history.do(what as (typeof OPERATIONS)[number]);
      for (const each of commands) await world.carryOut(each);
      if (end === "stop") await world.stop();
      else await world.deleteEverything();
      world.check();
    }),
    // The same histories each time, so that what fails is the change; MODEL_RUNS tries others.
    process.env.MODEL_RUNS === undefined ? { numRuns: 500, seed: 1 } : { numRuns: Number(process.env.MODEL_RUNS) },
  );
}, 600_000);

type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

/** One question to a run, and how it was answered. */
interface Question {
  run: Run;
  what: "podReady" | "terminated" | "gone" | "logs";
  askedAt: number;
  timeoutMs: number | null;
  abort: AbortController | null;
  answers: number;
  answer: { value: unknown } | { error: unknown } | null;
  answeredAt: number;
}

class World {
  readonly history: JobHistory;
  readonly #jobs = new ToldInformer<Job>(() => (this.history.job === null ? [] : [this.history.job]));
  readonly #pods = new ToldInformer<Pod>(() => this.history.pods.values(), { [PODS_BY_JOB]: jobKeyOfPod });
  readonly #bus = new Bus<RunTopics>((error) => expect.unreachable(String(error)));
  readonly #registry: RunRegistry;
  readonly #runs: Run[] = [];
  readonly #questions: Question[] = [];
  /** Ends that were told before anybody began to delete the pod, by the Job's uid. */
  readonly #seenEnds = new Map<string, { podName: string; exitCode: number; at: number }[]>();
  /** When the engine began to tell each run what it knows. */
  readonly #knownSince = new Map<Run, number>();
  readonly #openLogs = new Set<{ uid: string; body: Readable }>();
  readonly #left: string[] = [];
  #isStopped = false;
  #hadGap = false;

  constructor(options: { hasSidecar: boolean; backoffLimit: number }) {
    this.history = new JobHistory(options, ({ resource, type, object }) => {
      if (resource === "jobs") this.#jobs.tell({ type, object });
      else this.#pods.tell({ type, object });
      for (const log of this.#openLogs) if (this.#hasEnded(log.uid)) log.body.push(null);
    });
    this.#registry = new RunRegistry({
      cluster: this.#server(),
      bus: this.#bus,
      server: { isDown: false, whenBack: () => Promise.resolve() },
      jobs: this.#jobs.asInformer(),
      pods: this.#pods.asInformer(),
      labels: {},
      policy: resolvePolicy(),
      report: (error) => expect.unreachable(String(error)),
    });
    this.#pods.subscribe(({ object: { metadata, status } }) => {
      const terminated = status.containerStatuses?.find(({ name }) => name === CONTAINER)?.state?.terminated;
      const owner = metadata.ownerReferences?.[0]?.uid ?? "";
      if (terminated === undefined || metadata.deletionTimestamp !== undefined) return;
      const seen = this.#seenEnds.get(owner) ?? [];
      this.#seenEnds.set(owner, seen);
      if (seen.every(({ podName }) => podName !== metadata.name))
        seen.push({ podName: metadata.name, exitCode: terminated.exitCode, at: performance.now() });
    });
    this.#jobs.down();
    this.#pods.down();
    this.#jobs.up("resume");
    this.#pods.up("resume");
  }

  /** The Job is created; the answer may be slower than both watches. */
  async launch(bindMs: number): Promise<void> {
    const { run, bind } = this.#registry.expect(NAMESPACE, JOB);
    this.#add(run);
    this.history.createJob();
    const job = this.history.job as Job;
    this.#knownSince.set(run, performance.now() + bindMs);
    setTimeout(() => bind(job), bindMs);
    await vi.advanceTimersByTimeAsync(0);
  }

  async carryOut(command: Command): Promise<void> {
    switch (command.do) {
      case "happen":
        this.history.do(command.what);
        return void (await vi.advanceTimersByTimeAsync(command.waitMs));
      case "lag":
        this.#jobs.lagMs = command.jobs;
        this.#pods.lagMs = command.pods;
        return;
      case "watch": {
        const informer = command.which === "jobs" ? this.#jobs : this.#pods;
        this.#hadGap ||= command.how === "relist";
        if (command.how === "down") informer.down();
        else informer.up(command.how);
        return void (await vi.advanceTimersByTimeAsync(command.waitMs));
      }
      case "ask": {
        const run = this.#runs[command.run % this.#runs.length] as Run;
        return this.#ask(run, command.what, command.timeoutMs, command.isAborted);
      }
      case "attach": {
        const uid = this.history.jobs.at(-1)?.uid;
        const run = this.#registry.attach(NAMESPACE, JOB, command.byUid && uid !== undefined ? uid : null);
        this.#knownSince.set(run, performance.now());
        this.#add(run);
        return void (await vi.advanceTimersByTimeAsync(0));
      }
    }
  }

  /** All is deleted and told: nothing can be pending afterwards, however long it takes. */
  async deleteEverything(): Promise<void> {
    this.#jobs.up("resume");
    this.#pods.up("resume");
    await vi.advanceTimersByTimeAsync(MAX_LAG_MS);
    this.history.syncJob();
    this.history.syncJob();
    await pass(600_000);
    this.#checkEnded();
    this.history.deleteEverything();
    await pass(600_000);
    for (const { answer, what, run } of this.#questions) {
      expect(answer, `${what} of ${run.uid} is never answered`).not.toBeNull();
    }
    expect(this.#registry.size, "runs whose Job and pods are gone are still registered").toBe(0);
    await this.stop();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await vi.advanceTimersByTimeAsync(0);
    await vi.advanceTimersByTimeAsync(0);
    const pending = this.#questions.filter(({ answer }) => answer === null);
    this.#registry.stop(new EngineStoppedError());
    this.#jobs.stop();
    this.#pods.stop();
    await vi.advanceTimersByTimeAsync(GIVE_UP_MS);
    for (const { answer } of pending) expect(answer).toEqual({ error: new EngineStoppedError() });
  }

  check(): void {
    for (const question of this.#questions) {
      const { abort, answers, run } = question;
      expect(answers).toBe(1);
      if (abort !== null) expect(getEventListeners(abort.signal, "abort")).toHaveLength(0);
      expect(this.#bus.hasSubscribers("run.change", run.id)).toBe(false);
      this.#checkAnswer(question);
    }
    for (const run of this.#runs) this.#checkTogether(run);
    expect(this.#left, "pods that still stood when their run was gone").toEqual([]);
    expect(vi.getTimerCount(), "timers left").toBe(0);
  }

  #checkAnswer(question: Question): void {
    const { what, answer, run, timeoutMs, askedAt, answeredAt, abort } = question;
    if (answer === null) return;
    if ("error" in answer) {
      const { error } = answer;
      if (error instanceof RunTimeoutError) {
        expect(answeredAt - askedAt).toBe(timeoutMs);
        return;
      }
      if (error === abort?.signal.reason) return;
      if (error instanceof EngineStoppedError) {
        expect(this.#isStopped).toBe(true);
        return;
      }
      if (error instanceof AttachFailedError) {
        expect(error.reason).toBe("not_found");
        expect(this.#truthOf(run)?.deletedAt ?? 0).toBeLessThanOrEqual(answeredAt);
        return;
      }
      expect(what).toMatch(/podReady|logs/);
      if (error instanceof RunGoneError) this.#checkEnd(run, error.end);
      else expect(error).toBeInstanceOf(StartFailedError);
      return;
    }
    if (what === "terminated") {
      this.#checkEnd(run, answer.value as RunEnd);
      return;
    }
    const job = this.#truthOf(run);
    if (what === "logs") return;
    if (what === "gone") {
      expect(job === undefined ? 0 : job.deletedAt).toBeLessThanOrEqual(answeredAt);
      return;
    }
    const uid = (answer.value as Pod).metadata.uid;
    const pod = job?.pods.find((each) => each.uid === uid);
    expect(pod?.ranAt, "ready though its container has not run").not.toBeNull();
    expect(pod?.ranAt).toBeLessThanOrEqual(answeredAt);
  }

  /** Each kind of end has to have happened, and the exit code is that of the pod. */
  #checkEnd(run: Run, end: RunEnd): void {
    const at = this.#endedAt(run);
    const job = this.#truthOf(run);
    const pods = job?.pods ?? [];
    const pod = pods.find(({ name }) => name === end.podName);
    const says = `${end.kind} (${end.reason}, exit code ${end.exitCode}) of ${end.podName}`;
    if (end.podName !== null) expect(pod, `${says}: no such pod of this Job`).toBeDefined();
    if (end.exitCode !== null && end.kind !== "succeeded") expect(end.exitCode, says).toBe(pod?.end?.exitCode);
    const since = {
      succeeded: () => [job?.completeAt, pod?.end?.exitCode === 0 ? pod.end.at : null],
      failed: () => [
        job?.failedAt,
        pod?.end != null && pod.end.exitCode !== 0 ? pod.end.at : null,
        // A pod that was to try again cannot start.
        pod?.ranAt == null ? pods.find(({ ranAt }) => ranAt !== null)?.ranAt : null,
      ],
      deadline: () => [job?.deadlineAt],
      job_deleted: () => [job === undefined ? 0 : job.deletedAt],
      pod_deleted: () => [
        pod?.deletedFor.get("user"),
        // Whose deletion it was may have been told in a gap, or before anyone followed the run.
        this.#hadGap ? pod?.deletedFor.get("eviction") : null,
        this.#knownSince.get(run) === 0 ? null : pod?.deletedFor.get("suspension"),
      ],
      evicted: () => [pod?.evictedAt],
      start_failed: () => [0],
    }[end.kind]();
    expect(Math.min(...since.map((time) => time ?? Number.POSITIVE_INFINITY)), says).toBeLessThanOrEqual(at);
    if (end.kind === "start_failed") {
      expect(pod?.ranAt ?? at, `${says}: it has run`).toBeGreaterThan(at - 2 * MAX_LAG_MS);
      if (end.reason !== "NoPod" && end.reason !== "NotScheduled")
        expect([...(pod?.troubles ?? [])], says).toContain(end.startFailure?.code);
    }
    // An end that was told before anyone began to delete the pod stands at once, however much is deleted later.
    const seen = this.#seenEnds.get(run.uid ?? "")?.find(({ podName }) => podName === job?.pods.at(-1)?.name);
    if (seen === undefined || job === undefined || (job.backoffLimit > 0 && seen.exitCode !== 0)) return;
    const knownAt = Math.max(seen.at, this.#knownSince.get(run) ?? 0);
    const isKnown = end.kind === "succeeded" || end.kind === "failed" || end.kind === "evicted";
    expect(at, `${says}, which was known before`).toBeLessThanOrEqual(knownAt);
    if (seen.at < (this.#knownSince.get(run) ?? 0)) expect(isKnown, `${says}, though it had ended`).toBe(true);
  }

  /** A later question gets the verdict that the first had. */
  #endedAt(run: Run): number {
    const first = this.#questions.find((each) => each.run === run && each.what === "terminated");
    return (first as Question).answeredAt;
  }

  /** All answers of one run fit each other. */
  #checkTogether(run: Run): void {
    const asked = this.#questions.filter((each) => each.run === run);
    const ends = asked.filter((each) => each.what === "terminated" && each.answer !== null && "value" in each.answer);
    const end = ends[0]?.answer as { value: RunEnd } | undefined;
    if (end === undefined) return;
    for (const each of ends) expect((each.answer as { value: RunEnd }).value).toBe(end.value);
    for (const { what, answer, timeoutMs, abort, answeredAt, askedAt } of asked) {
      if (what !== "podReady" || answer === null || timeoutMs !== null || abort !== null) continue;
      for (const each of ends)
        if (each.askedAt >= askedAt)
          expect(answeredAt, "ended before it was ready").toBeLessThanOrEqual(each.answeredAt);
      if ("value" in answer) expect(end.value.startFailure).toBeNull();
      else if (answer.error instanceof StartFailedError) expect(answer.error.failure).toEqual(end.value.startFailure);
      else if (answer.error instanceof RunGoneError) expect(answer.error.end).toBe(end.value);
      if (end.value.startedAt !== null) expect(answer, "it ran, yet was never ready").toHaveProperty("value");
    }
  }

  /** A Job that is over, or a container that ended where nothing tries again, is an end without any deletion. */
  #checkEnded(): void {
    const job = this.history.jobs.at(-1) as JobTruth;
    const isOver =
      job.completeAt !== null ||
      job.failedAt !== null ||
      job.deadlineAt !== null ||
      job.pods.some(({ end }) => end?.undisturbed === true && (end.exitCode === 0 || job.backoffLimit === 0));
    if (!isOver) return;
    for (const { run, what, answer } of this.#questions) {
      if (run.uid !== job.uid || what === "gone") continue;
      expect(answer, `${what} is not answered though the Job is over`).not.toBeNull();
    }
  }

  #truthOf(run: Run): JobTruth | undefined {
    return this.history.jobs.find(({ uid }) => uid === run.uid);
  }

  /** What everyone who follows a run asks at once. */
  #add(run: Run): void {
    this.#runs.push(run);
    for (const what of ["podReady", "terminated", "gone", "logs"] as const) this.#ask(run, what, null, false);
  }

  #ask(run: Run, what: Question["what"], timeoutMs: number | null, isAborted: boolean): void {
    const abort = isAborted ? new AbortController() : null;
    const question: Question = {
      run,
      what,
      askedAt: performance.now(),
      timeoutMs,
      abort,
      answers: 0,
      answer: null,
      answeredAt: 0,
    };
    this.#questions.push(question);
    const options = {
      container: CONTAINER,
      ...(timeoutMs === null ? {} : { timeoutMs }),
      ...(abort === null ? {} : { signal: abort.signal }),
    };
    const answered = (answer: NonNullable<Question["answer"]>) => {
      question.answers += 1;
      question.answer = answer;
      question.answeredAt = performance.now();
      if (what !== "gone" || !("value" in answer)) return;
      for (const pod of this.history.pods.values()) if (isOf(run.uid)(pod)) this.#left.push(pod.metadata.name);
    };
    const asked = what === "logs" ? readAll(run.logs(options)) : run[what](options);
    asked.then(
      (value) => answered({ value }),
      (error) => answered({ error }),
    );
    if (abort !== null) setTimeout(() => abort.abort(new Error("the caller has given up")), GIVE_UP_MS);
  }

  /** Answers the requests that a run may make: is there such a Job, and which pods does it have? */
  #server(): Cluster {
    const json = async ({ path }: ApiRequest) => {
      if (path.endsWith("/pods")) {
        // What happens between two answers is in a gap, too.
        this.#hadGap ||= !this.#pods.isUp;
        return { items: [...this.history.pods.values()] };
      }
      if (this.history.job !== null) return this.history.job;
      throw new ApiError({ status: 404, reason: "NotFound", message: "no such Job", method: "GET", path: "" });
    };
    const open = async ({ path, query = {}, signal }: ApiRequest) => {
      const pod = [...this.history.pods.values()].find(({ metadata }) => path.includes(`/pods/${metadata.name}/`));
      const refuse = (status: number, message: string) =>
        new ApiError({ status, reason: status === 404 ? "NotFound" : "BadRequest", message, method: "GET", path });
      if (pod === undefined) throw refuse(404, `pods ${path} not found`);
      const { uid } = pod.metadata;
      if (this.#podTruth(uid)?.ranAt === null) throw refuse(400, `container "${CONTAINER}" is waiting to start`);
      const body = new Readable({ read: () => undefined });
      body.push(`${new Date(0).toISOString().replace("Z", "000000Z")} hello\n`);
      const log = { uid, body };
      this.#openLogs.add(log);
      body.on("close", () => this.#openLogs.delete(log));
      signal?.addEventListener("abort", () => body.destroy(), { once: true });
      if (query.follow !== true || this.#hasEnded(uid)) body.push(null);
      return { status: 200, headers: {}, body };
    };
    return { json, open } as unknown as Cluster;
  }

  #podTruth(uid: string): PodTruth | undefined {
    return this.history.jobs.flatMap(({ pods }) => pods).find((pod) => pod.uid === uid);
  }

  /** The container has, or its pod is deleted. */
  #hasEnded(uid: string): boolean {
    return this.#podTruth(uid)?.end != null || !this.history.pods.has(uid);
  }
}

/** Streams take turns of the event loop, and only then set their timers. */
async function pass(ms: number): Promise<void> {
  for (let step = 0; step < PASS_STEPS; step += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    await vi.advanceTimersByTimeAsync(ms / PASS_STEPS);
  }
}

async function readAll(logs: RunLogs): Promise<number> {
  let lines = 0;
  for await (const batch of logs.batches()) lines += batch.length;
  return lines;
}

function isOf(uid: string | null): (pod: Pod) => boolean {
  return ({ metadata }) => metadata.ownerReferences?.[0]?.uid === uid;
}
