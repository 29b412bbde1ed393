import { EventEmitter } from "eventemitter3";
import { jobFacts, podFacts } from "../facts.ts";
import { Backoff } from "../informer/backoff.ts";
import { compareVersions } from "../informer/store.ts";
import type { Job, Pod } from "../kubernetes.ts";
import { containerView, type LogGap, type LogOptions, type LogRestart, type LogSource } from "../logs/index.ts";
import type { Cluster } from "../transport/index.ts";
import { classify, isLastPod } from "./classify.ts";
import { type DeleteOptions, deleteJob } from "./delete-job.ts";
import { describe } from "./describe.ts";
import type { RunPolicy } from "./policy.ts";
import { RunLogs } from "./run-logs.ts";
import { INITIAL_STATE, type RunFrame, type RunState, reduceRun, restartConfigGrace } from "./run-state.ts";
import {
  EngineStoppedError,
  type PhaseChange,
  type PodChange,
  type RunEnd,
  RunGoneError,
  RunTimeoutError,
  StartFailedError,
} from "./types.ts";
import { Waiters, type WaitLimits } from "./waiters.ts";

export interface RunEvents {
  /** Readable progress, each state once. */
  phase: (change: PhaseChange) => void;
  /** A newer pod took the place of the one known (retry, eviction). */
  pod: (change: PodChange) => void;
  terminated: (end: RunEnd) => void;
  /** Job and pods are deleted. */
  gone: () => void;
  /** `job()` or `pod()` may have changed. */
  change: () => void;
  gap: (gap: LogGap) => void;
  restart: (restart: LogRestart) => void;
}

/** What a run needs of the engine around it. */
export interface RunHost {
  readonly cluster: Cluster;
  /** Pods that the cache knows of a Job, by the Job's name and, where known, uid. */
  podsOf(namespace: string, jobName: string, uid: string | null): readonly Pod[];
  pod(namespace: string, name: string): Pod | undefined;
  /** The pods' watch is still telling what happened before this state of the Job. */
  arePodsBehind(job: Job, quietMs: number): boolean;
  /** Until when both watches have told all: now, once both have been open for so long; else when one of them was lost. */
  knownUntil(catchUpMs: number): number;
  /** Wall clock time since which one watch is not open; null while both are. */
  unknownSince(): number | null;
  /** Tells the run what the server says of its Job and pods now. Resolves with whether it told of the pods. */
  look(run: Run): Promise<boolean>;
  /** Tell this run what happens, and close it when the engine stops. */
  keep(run: Run): void;
  forget(run: Run): void;
  report(error: unknown): void;
}

export interface WaitOptions extends WaitLimits {
  /** The container whose log and exit code are the run's. */
  container: string;
}

/** What is known of one awaited container. */
interface Watched {
  ready: Pod | null;
  end: RunEnd | null;
}

/**
 * One Job and its pods, followed through the shared cache: promises, progress and logs. It makes no request of its own but
 * for `logs` and `delete`, and where a watch is silent about how it ended.
 *
 * Listen with `on`; what a listener throws goes to the engine's `listenerError` event, and the listeners after it miss that event.
 */
export class Run extends EventEmitter<RunEvents> {
  readonly namespace: string;
  readonly jobName: string;
  readonly policy: RunPolicy;
  readonly #host: RunHost;
  #uid: string | null;
  #state: RunState = INITIAL_STATE;
  /** What was known when the server had last been asked for the pods. */
  #lookedAt: RunState | null = null;
  /** It told of them then. */
  #wasTold = false;
  #isLooking = false;
  /** Between looks for pods of a deleted Job that the cache does not show. */
  readonly #lookBackoff = new Backoff();
  #lookAgainAt = 0;
  /** Frames that came while the create request was under way; whose they are is known with its answer. */
  #pending: RunFrame[] | null = null;
  readonly #watched = new Map<string, Watched>();
  readonly #waiters = new Waiters();
  readonly #followers = new Set<() => void>();
  #timer: NodeJS.Timeout | null = null;
  #lastPhase = "";
  readonly #closing = new AbortController();
  #isGone = false;

  /** @internal Runs come from `engine.launch` and `engine.attach`. */
  constructor(
    host: RunHost,
    ref: { namespace: string; jobName: string; uid: string | null; policy: RunPolicy; isLaunching?: boolean },
  ) {
    super();
    this.#host = host;
    this.namespace = ref.namespace;
    this.jobName = ref.jobName;
    this.#uid = ref.uid;
    this.policy = ref.policy;
    if (ref.isLaunching === true) this.#pending = [];
  }

  /** The Job's uid; null until the Job was seen or created. */
  get uid(): string | null {
    return this.#uid;
  }

  /** Last known state of the Job, also after its deletion. */
  job(): Job | null {
    return this.#state.job;
  }

  /** Last known state of the newest pod, also after its deletion. */
  pod(): Pod | null {
    return this.#state.pod;
  }

  /** @internal Of the pods that are known, the one made after `pod`; `null`: the first. Null when there is none. */
  podAfter(pod: Pod | null): Pod | null {
    const newest = this.#state.pod;
    const made = (each: Pod) => each.metadata.creationTimestamp;
    const pods = [...this.#host.podsOf(this.namespace, this.jobName, this.#uid)]
      .filter((each) => each.metadata.uid !== newest?.metadata.uid)
      .sort((a, b) =>
        made(a) < made(b) ? -1 : made(a) > made(b) ? 1 : Number(podFacts(b).hasEnded) - Number(podFacts(a).hasEnded),
      );
    if (newest !== null) pods.push(newest);
    const index = pod === null ? -1 : pods.findIndex((each) => each.metadata.uid === pod.metadata.uid);
    // After one that is not known any more comes the newest: that was seen after it.
    if (index === -1 && pod !== null) return newest;
    return pods[index + 1] ?? null;
  }

  /** How often a newer pod took the place of an older one. */
  get podChanges(): number {
    return this.#state.podChanges;
  }

  /** Where the run stands, for people. */
  phase(): PhaseChange {
    return describe(this.#state, this.#mainContainer());
  }

  /**
   * Resolves when the container's log can be read: it runs or has ended.
   * @throws StartFailedError when it cannot start, RunGoneError when the run ended before it ran, RunTimeoutError,
   * EngineStoppedError, or the signal's reason.
   */
  podReady(options: WaitOptions): Promise<Pod> {
    return this.#wait(options, "the pod being ready", (watched) => {
      if (watched.ready !== null) return watched.ready;
      if (watched.end === null) return null;
      if (watched.end.startFailure !== null)
        throw new StartFailedError(this.namespace, this.jobName, watched.end.startFailure);
      throw new RunGoneError(this.namespace, this.jobName, watched.end);
    });
  }

  /**
   * Resolves with how the container's run ended; a failed start, a deletion, a deadline are ends too, not rejections.
   * @throws RunTimeoutError, EngineStoppedError, or the signal's reason.
   */
  terminated(options: WaitOptions): Promise<RunEnd> {
    return this.#wait(options, "the end", (watched) => watched.end);
  }

  /**
   * Resolves when the Job and every pod of it are deleted.
   * @throws RunTimeoutError, EngineStoppedError, or the signal's reason.
   */
  gone(options: WaitLimits = {}): Promise<void> {
    return this.#settle(options, "the deletion of Job and pods", () =>
      this.#checkGone() ? { value: undefined } : null,
    );
  }

  /** Every line of the container once, in order, over pods that replace each other. Starts when the container does. */
  logs(options: LogOptions & { container: string; signal?: AbortSignal }): RunLogs {
    this.#watch(options.container);
    return new RunLogs(this.#host.cluster, this, options);
  }

  /**
   * From what is known, without a request. `unknown`: a watch is down, the Job has not been seen, or it is over and its pod may
   * not have been told yet.
   */
  liveness(): "alive" | "ended" | "unknown" {
    const { job, pod, jobDeletedAt, podDeletedAt } = this.#state;
    for (const { end } of this.#watched.values()) if (end !== null) return "ended";
    const isFinished = job !== null && jobFacts(job).end !== null;
    if (this.#isGone) return "ended";
    if (pod === null) {
      if (isFinished && !this.#mayPodsBeUntold()) return "ended";
      if (isFinished || jobDeletedAt !== null) return "unknown";
    } else if (podDeletedAt !== null ? isFinished || jobDeletedAt !== null : isFinished && podFacts(pod).hasEnded) {
      return "ended";
    }
    if (this.#host.unknownSince() !== null || (job === null && pod === null)) return "unknown";
    return "alive";
  }

  /** Wall clock time in milliseconds since which nothing certain is known; null while the watches are open. */
  unknownSince(): number | null {
    return this.#host.unknownSince();
  }

  /**
   * Deletes the Job; its pods follow. A Job that is already gone is success. Resolves with the server's answer: use `gone()`
   * to wait for the pods.
   * @throws ApiError
   */
  async delete(options: DeleteOptions = {}): Promise<void> {
    await deleteJob(this.#host.cluster, this, options);
  }

  /** A Secret or ConfigMap that its containers name has just been created: `configErrorGraceMs` counts from now. */
  configProvided(): void {
    this.#state = restartConfigGrace(this.#state, performance.now());
    this.#evaluate();
  }

  /** Forget the run: pending promises reject, listeners are dropped. The Job is left alone. */
  release(): void {
    this.close(new EngineStoppedError(`The run of Job ${this.namespace}/${this.jobName} was released`));
    this.#host.forget(this);
  }

  /** @internal */
  close(error: Error): void {
    if (this.isReleased) return;
    this.#closing.abort(error);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#waiters.end(error);
    this.#changed();
    this.removeAllListeners();
  }

  /** Was the last state of the pod told with its deletion? After a gap in the watch its end may be unknown. */
  get isPodFinal(): boolean {
    return this.#state.isPodFinal;
  }

  /** @internal */
  get isJobDeleted(): boolean {
    return this.#state.jobDeletedAt !== null;
  }

  /** @internal */
  get isPodDeleted(): boolean {
    return this.#state.podDeletedAt !== null;
  }

  get isReleased(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Aborts with EngineStoppedError on `release()` and `engine.stop()`. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** @internal The create request was answered: the run is this Job. */
  bind(job: Job): void {
    this.#uid = job.metadata.uid;
    const pending = this.#pending ?? [];
    this.#pending = null;
    this.frame({ resource: "jobs", type: "applied", object: job, at: performance.now() });
    for (const frame of pending) this.frame(frame);
  }

  /** @internal One change of the Job or of a pod of it. */
  frame(frame: RunFrame): void {
    if (this.#pending !== null) {
      this.#pending.push(frame);
      return;
    }
    if (!this.#isOurs(frame)) return;
    const before = this.#state;
    if (isStale(before, frame, this.#lookedAt !== null)) return;
    this.#state = reduceRun(before, frame);
    if (this.#state.podChanges !== before.podChanges && this.#state.pod !== null && before.pod !== null) {
      this.#emit("pod", { pod: this.#state.pod, previous: before.pod });
    }
    this.#evaluate();
    this.#changed();
    this.#emitPhase();
    this.#checkGone();
  }

  /** @internal The server was asked and knows no such Job. */
  markMissing(): void {
    if (this.#state.job !== null) return;
    this.#state = { ...this.#state, jobDeletedAt: performance.now() };
    this.#evaluate();
    this.#changed();
    this.#checkGone();
  }

  /** @internal How the awaited container ended, if it has. */
  endOf(container: string): RunEnd | null {
    return this.#watch(container).end;
  }

  /** @internal Told of each change and end, whatever a listener throws. Returns the function that ends it. */
  onChange(follower: () => void): () => void {
    this.#followers.add(follower);
    return () => {
      this.#followers.delete(follower);
    };
  }

  /** @internal What a log follower asks about one pod of this run. */
  logSource(pod: Pod, container: string): LogSource {
    const { namespace, name: podName, uid } = pod.metadata;
    return {
      namespace,
      podName,
      container,
      view: () => {
        // No frame of its pod comes any more, and the last one may say that it runs.
        if (this.#isGone) return containerView(undefined, container);
        const current =
          this.#state.pod?.metadata.uid === uid && this.#state.podDeletedAt === null
            ? this.#state.pod
            : this.#host.pod(namespace, podName);
        return containerView(current?.metadata.uid === uid ? current : undefined, container);
      },
      onChange: (listener) => this.onChange(listener),
    };
  }

  #isOurs({ resource, object }: RunFrame): boolean {
    const uid = resource === "jobs" ? object.metadata.uid : ownerUid(object);
    if (this.#uid === null) {
      // Attached by name alone: the first Job seen under it is the one.
      this.#uid = uid;
      return true;
    }
    return uid === this.#uid;
  }

  #watch(container: string): Watched {
    let watched = this.#watched.get(container);
    if (watched === undefined) {
      watched = { ready: null, end: null };
      this.#watched.set(container, watched);
      this.#evaluate();
    }
    return watched;
  }

  #evaluate(): void {
    const now = performance.now();
    const heldAt = this.#heldAt(now);
    const ends: RunEnd[] = [];
    let wakeAt = Number.POSITIVE_INFINITY;
    for (const [container, watched] of this.#watched) {
      if (watched.end !== null) continue;
      const verdict = classify(this.#state, container, this.policy, heldAt);
      watched.ready ??= verdict.ready;
      if (verdict.end !== null && this.#mayKnowMore(verdict.end)) {
        void this.#look();
        continue;
      }
      watched.end = verdict.end;
      if (verdict.end !== null) ends.push(verdict.end);
      else if (verdict.wakeAt !== null) wakeAt = Math.min(wakeAt, verdict.wakeAt);
    }
    if (ends.length > 0) this.#tellFollowers();
    // Before the listeners: one may release the run.
    this.#waiters.check();
    for (const end of ends) this.#emit("terminated", end);
    if (this.#isLookedFor()) wakeAt = Math.min(wakeAt, Math.max(this.#lookAgainAt, now));
    this.#wake(heldAt === now ? wakeAt : Math.max(wakeAt, now + CATCH_UP_MS / 2), now);
    this.#register();
  }

  /**
   * A watch can be open and silent for minutes. Before a run is said to be over without that its container was seen to start, or
   * the last pod of its Job at all, or why its pod was deleted, the server is asked.
   */
  #mayKnowMore(end: RunEnd): boolean {
    const { job, jobDeletedAt, podDeletedAt } = this.#state;
    const isUnseen = end.startedAt === null && podDeletedAt === null;
    const isGuess = end.kind === "pod_deleted" && job !== null && jobDeletedAt === null && jobFacts(job).end === null;
    return (isUnseen || isGuess || !isLastPod(this.#state)) && this.#state !== this.#lookedAt;
  }

  async #look(): Promise<void> {
    if (this.#isLooking || this.isReleased) return;
    this.#isLooking = true;
    // Without an answer it stands as it is known.
    this.#wasTold = await this.#host.look(this).catch(() => false);
    this.#isLooking = false;
    this.#lookedAt = this.#state;
    this.#lookAgainAt = performance.now() + this.#lookBackoff.next();
    this.#evaluate();
    this.#checkGone();
  }

  /**
   * The time by which waits are counted. It stands still while a watch is down: the event that ends a wait may be waiting on
   * the server. And, for a Job that is over, while the pods' watch brings a backlog from before the Job's end: how the
   * container ended is in it. That the run is over is certain then, and details are not waited for without end.
   */
  #heldAt(now: number): number {
    const catchUpMs = Math.min(CATCH_UP_MS, this.policy.settleMs);
    const { job, jobEndedAt, jobDeletedAt } = this.#state;
    const isOver = jobEndedAt !== null || jobDeletedAt !== null;
    const known = Math.min(now, Math.max(this.#host.knownUntil(catchUpMs), isOver ? now - MAX_HOLD_MS : 0));
    if (job === null || jobEndedAt === null || this.#host.unknownSince() !== null) return known;
    const isBehind = now - jobEndedAt <= MAX_BACKLOG_MS && this.#host.arePodsBehind(job, catchUpMs);
    return isBehind ? Math.min(known, jobEndedAt) : known;
  }

  /** Nothing more can happen to a run that is gone, but a bounded wait of it may still be under way. */
  #register(): void {
    if (!this.#isGone || this.isReleased) return;
    if (this.#timer === null) this.#host.forget(this);
    else this.#host.keep(this);
  }

  /** One timer a run, and only while a grace or a bounded wait is under way. */
  #wake(at: number, now: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (at === Number.POSITIVE_INFINITY || this.isReleased) return;
    this.#timer = setTimeout(() => this.#onTimer(), Math.max(1, Math.min(at - now, 2 ** 31 - 1)));
    this.#timer.unref();
  }

  #onTimer(): void {
    this.#evaluate();
    this.#emitPhase();
    this.#checkGone();
  }

  #wait<T>(options: WaitOptions, what: string, take: (watched: Watched) => T | null): Promise<T> {
    const watched = this.#watch(options.container);
    return this.#settle(options, what, () => {
      const value = take(watched);
      return value === null ? null : { value };
    });
  }

  #settle<T>(limits: WaitLimits, what: string, take: () => { value: T } | null): Promise<T> {
    return this.#waiters.wait(take, limits, (ms) => new RunTimeoutError(this.namespace, this.jobName, what, ms));
  }

  #checkGone(): boolean {
    if (this.#isGone) return true;
    if (!this.#isLookedFor()) return false;
    if (!this.#arePodsGone()) {
      if (this.#state !== this.#lookedAt || performance.now() >= this.#lookAgainAt) void this.#look();
      return false;
    }
    this.#isGone = true;
    this.#evaluate();
    this.#emit("gone");
    return true;
  }

  /** The Job is deleted and the cache has no pod of it whose deletion will be told. */
  #isLookedFor(): boolean {
    if (this.#isGone || this.#state.jobDeletedAt === null || this.isReleased) return false;
    return this.#host.podsOf(this.namespace, this.jobName, this.#uid).length === 0;
  }

  /** That the cache has none is no proof: its watch may be down, silent or behind the Jobs'. The server is asked then. */
  #arePodsGone(): boolean {
    const { job, pod, podDeletedAt } = this.#state;
    const isOnlyPod = job !== null && !jobFacts(job).allowsRetries;
    if (podDeletedAt !== null && isLastPod(this.#state) && (isOnlyPod || !this.#mayPodsBeUntold())) return true;
    if (this.#state !== this.#lookedAt) return false;
    if (this.#wasTold) return pod === null || podDeletedAt !== null;
    // Without an answer the cache counts, once the watches have told all.
    const now = performance.now();
    return this.#host.knownUntil(CATCH_UP_MS) >= now;
  }

  /** The pods' watch may have something of before the Job's last state to tell. */
  #mayPodsBeUntold(): boolean {
    const { job } = this.#state;
    return this.#host.unknownSince() !== null || (job !== null && this.#host.arePodsBehind(job, CATCH_UP_MS));
  }

  #changed(): void {
    this.#tellFollowers();
    this.#emit("change");
  }

  #tellFollowers(): void {
    for (const follower of [...this.#followers]) {
      try {
        follower();
      } catch (error) {
        this.#host.report(error);
      }
    }
  }

  #emitPhase(): void {
    if (this.listenerCount("phase") === 0) return;
    const change = this.phase();
    const key = `${change.phase} ${change.text}`;
    if (key === this.#lastPhase) return;
    this.#lastPhase = key;
    this.#emit("phase", change);
  }

  #mainContainer(): string | null {
    for (const container of this.#watched.keys()) return container;
    return null;
  }

  #emit<E extends keyof RunEvents>(event: E, ...args: Parameters<RunEvents[E]>): void {
    try {
      // The union of events is too much for the emitter's own typing; `Parameters` above has checked it.
      (this.emit as (event: E, ...args: Parameters<RunEvents[E]>) => boolean).call(this, event, ...args);
    } catch (error) {
      this.#host.report(error);
    }
  }

  /** @internal */
  reportGap(gap: LogGap): void {
    this.#emit("gap", gap);
  }

  /** @internal */
  reportRestart(restart: LogRestart): void {
    this.#emit("restart", restart);
  }
}

/** After a watch came back, how long its backlog may take to arrive. */
export const CATCH_UP_MS = 2_000;
/**
 * How long the details of a run that is over are waited for while a watch is down, on top of `settleMs`: longer than the longest
 * backoff (30 s) and a list, or a watch that is about to come back would cost the exit code.
 */
const MAX_HOLD_MS = 60_000;
/** Longest wait for a backlog: where Jobs and pods live in different stores, their versions say nothing about each other. */
const MAX_BACKLOG_MS = 120_000;

function ownerUid(pod: Pod): string | null {
  return pod.metadata.ownerReferences?.[0]?.uid ?? null;
}

/**
 * `bind` and the watch tell of the same Job; the older telling is no news. Nor is what a watch that was behind tells of after the
 * server has been asked.
 */
function isStale(state: RunState, frame: RunFrame, wasAsked: boolean): boolean {
  if (frame.type === "deleted") return false;
  const known = frame.resource === "jobs" ? state.job : state.pod;
  if (known === null || known.metadata.uid !== frame.object.metadata.uid) return false;
  const order = compareVersions(frame.object.metadata.resourceVersion, known.metadata.resourceVersion);
  return order === 0 || (order < 0 && wasAsked);
}
