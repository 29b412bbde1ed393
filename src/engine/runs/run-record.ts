import type { Bus } from "../bus.ts";
import type { Job, Pod } from "../kubernetes.ts";
import { containerView, type LogServerState, type LogSource } from "../logs/index.ts";
import { backoffMs } from "../transport/backoff.ts";
import { timer } from "../transport/index.ts";
import { Awaited, type Watched } from "./awaited.ts";
import { type Ask, deletionOf, lastWordUntil } from "./deletion.ts";
import { describe } from "./describe.ts";
import { jobUidOfPod } from "./job-of-pod.ts";
import type { RunPolicy } from "./policy.ts";
import { RunListeners } from "./run-listeners.ts";
import type { LoggedRun } from "./run-logs.ts";
import {
  INITIAL_STATE,
  livePods,
  podAfter,
  type RunFrame,
  type RunState,
  reduceRun,
  restartConfigGrace,
} from "./run-state.ts";
import type { RunEvents, RunRef, RunTopics } from "./topics.ts";
import type { Trust } from "./trust.ts";
import type { PhaseChange, RunEnd } from "./types.ts";

/** What a run needs of the registry around it. */
export interface RecordHost {
  readonly bus: Bus<RunTopics>;
  readonly server: LogServerState;
  /** What the watches of this run are known to have told. */
  trustOf(record: RunRecord): Trust;
  /** Asks the server, and folds what it says into the record. Resolves with whether it told of the pods. Never rejects. */
  ask(record: RunRecord, what: Ask): Promise<boolean>;
  /** Deliver what happens to it, and close it when the engine stops. */
  keep(record: RunRecord): void;
  forget(record: RunRecord): void;
}

/**
 * The inside of a run: its state, what follows from it, and its one timer. The registry brings it frames; what it makes of them it
 * publishes. Everything that decides is pure (`reduceRun`, `classify`, `deletionOf`).
 */
export class RunRecord implements LoggedRun {
  readonly ref: RunRef & { uid: string | null };
  readonly policy: RunPolicy;
  readonly listeners: RunListeners;
  readonly #host: RecordHost;
  readonly #awaited = new Awaited();
  /** Questions so far: pods of whose deletion no watch will tell are asked for again and again. */
  #asked = 0;
  #state: RunState = INITIAL_STATE;
  /** Frames that came while the create request was under way: its answer says which Job they must be of. Null: it was answered. */
  #pending: RunFrame[] | null;
  #isAsking = false;
  #isDeleted = false;
  #timer: NodeJS.Timeout | null = null;
  #lastPhase = "";
  /** Why it is not followed any more. Null: it is. */
  #closedBy: Error | null = null;
  /** Made when somebody reads `closed`: a signal takes more memory than the rest of a run. */
  #closing: AbortController | null = null;

  constructor(host: RecordHost, ref: RunRef & { uid: string | null }, policy: RunPolicy, isLaunching: boolean) {
    this.#host = host;
    this.ref = ref;
    this.listeners = new RunListeners(host.bus, ref.id);
    this.policy = policy;
    this.#pending = isLaunching ? [] : null;
    this.refreshed();
  }

  get state(): RunState {
    return this.#state;
  }

  get job(): Job | null {
    return this.#state.job;
  }

  /** The Job and every pod of it are deleted. Stays so. */
  get isDeleted(): boolean {
    return this.#isDeleted;
  }

  /** Aborts when the run is released or the engine stops. */
  get closed(): AbortSignal {
    this.#closing ??= new AbortController();
    if (this.#closedBy !== null) this.#closing.abort(this.#closedBy);
    return this.#closing.signal;
  }

  get isClosed(): boolean {
    return this.#closedBy !== null;
  }

  /** @throws why the run is not followed any more. */
  throwIfClosed(): void {
    if (this.#closedBy !== null) throw this.#closedBy;
  }

  pod(): Pod | null {
    return this.#state.pod;
  }

  podAfter(followed: Pod | null): Pod | null {
    return podAfter(this.#state, followed);
  }

  /** The state, with what is known of the watches now. */
  refreshed(): RunState {
    this.#fold({ resource: "watch", trust: this.#host.trustOf(this), at: performance.now() });
    return this.#state;
  }

  /** @throws TypeError for a name that neither the Job's template nor its pod has. */
  checkContainer(container: string): void {
    const { job, pod } = this.#state;
    const template = job?.spec.template?.spec;
    if (template === undefined) return;
    // A webhook may have put one into the pod.
    const names = new Set([template, pod?.spec].flatMap((spec) => (spec === undefined ? [] : namesOf(spec))));
    if (names.has(container)) return;
    throw new TypeError(
      `container must be one of Job ${this.ref.namespace}/${this.ref.jobName}: ${[...names].join(", ")}; got ${JSON.stringify(container)}`,
    );
  }

  watched(container: string): Watched {
    const known = this.#awaited.find(container);
    if (known !== undefined) return known;
    const watched = this.#awaited.add(container);
    this.#evaluate();
    return watched;
  }

  endOf(container: string): RunEnd | null {
    return this.watched(container).end;
  }

  hasEnd(): boolean {
    return this.#awaited.hasEnd;
  }

  phase(): PhaseChange {
    return describe(this.#state, this.#awaited.main);
  }

  publish<E extends keyof RunEvents>(event: E, value: RunEvents[E]): void {
    this.#host.bus.publish(`run.${event}`, { run: this.ref, event: value } as RunTopics[`run.${E}`], this.ref.id);
  }

  /** The create request was answered: the run is this Job. */
  bind(job: Job): void {
    this.ref.uid = job.metadata.uid;
    const pending = this.#pending ?? [];
    this.#pending = null;
    this.frame({ resource: "jobs", type: "applied", object: job, at: performance.now() });
    for (const frame of pending) this.frame(frame);
  }

  /** Folds one frame, and publishes what follows from it. */
  frame(frame: RunFrame): void {
    if (this.#pending !== null) {
      this.#pending.push(frame);
      return;
    }
    if (this.isClosed || !this.#isOurs(frame)) return;
    const before = this.#state;
    if (!this.#fold(frame)) return;
    const { pod, podChanges } = this.#state;
    if (podChanges !== before.podChanges && pod !== null && before.pod !== null)
      this.publish("pod", { pod, previous: before.pod });
    this.#evaluate();
  }

  configProvided(): void {
    this.#state = restartConfigGrace(this.#state, performance.now());
    this.#evaluate();
  }

  close(error: Error): void {
    if (this.isClosed) return;
    this.#closedBy = error;
    this.#closing?.abort(error);
    this.#clear();
    // Wakes those who wait, to be rejected.
    this.publish("change", undefined);
    this.publish("released", undefined);
    this.listeners.end();
  }

  /** What a log follower asks about one pod of this run. */
  logSource(pod: Pod, container: string): LogSource {
    const { namespace, name: podName, uid } = pod.metadata;
    return {
      namespace,
      podName,
      container,
      view: () => {
        // A watch may still bring older states of its pod.
        if (this.#isDeleted) return containerView(undefined, container);
        const current = livePods(this.#state).find(({ metadata }) => metadata.uid === uid);
        return containerView(current, container);
      },
      onChange: (listener) => this.onChange(listener),
      server: this.#host.server,
    };
  }

  onChange(listener: () => void): () => void {
    return this.#host.bus.subscribe("run.change", listener, { key: this.ref.id });
  }

  #isOurs(frame: RunFrame): boolean {
    if (frame.resource !== "jobs" && frame.resource !== "pods") return true;
    if (frame.type === "missing") return true;
    const uid = frame.resource === "jobs" ? frame.object.metadata.uid : jobUidOfPod(frame.object);
    // Attached by name alone: the first Job seen under it is the one.
    this.ref.uid ??= uid;
    return uid === this.ref.uid;
  }

  /** False: it was no news. */
  #fold(frame: RunFrame): boolean {
    const before = this.#state;
    this.#state = reduceRun(before, frame);
    return this.#state !== before;
  }

  #evaluate(): void {
    const state = this.refreshed();
    const now = performance.now();
    const news = this.#awaited.classify(state, this.policy, now);
    const deletion = deletionOf(state, now);
    const isNewlyDeleted = deletion.isDone && !this.#isDeleted;
    this.#isDeleted ||= deletion.isDone;
    const lookAt = this.#isDeleted ? lastWordUntil(state, now) : deletion.wakeAt;
    const ask = news.ask ?? (this.#isDeleted ? null : deletion.ask);
    if (ask !== null) void this.#ask(ask);
    this.#wake(Math.min(news.wakeAt, lookAt ?? news.wakeAt), now);
    this.#register();
    // Last: a listener may release the run.
    this.publish("change", undefined);
    for (const pod of news.readied) this.publish("ready", pod);
    for (const end of news.ended) this.publish("terminated", end);
    this.#publishPhase();
    if (isNewlyDeleted) this.publish("gone", undefined);
  }

  async #ask(what: Ask): Promise<void> {
    if (this.#isAsking || this.isClosed) return;
    this.#isAsking = true;
    const toldPods = await this.#host.ask(this, what);
    this.#isAsking = false;
    const at = performance.now();
    const askAgainAt = at + backoffMs(this.#asked++, {}, Math.random());
    this.frame({ resource: "server", answer: { toldPods, askAgainAt }, at });
  }

  /** Nothing more happens to a run whose Job and pods are deleted, but for a bounded wait that is under way. */
  #register(): void {
    if (!this.#isDeleted || this.isClosed) return;
    if (this.#timer === null && livePods(this.#state).length === 0) this.#host.forget(this);
    else this.#host.keep(this);
  }

  /** One timer a run, and only while a grace or a bounded wait is under way. */
  #wake(at: number, now: number): void {
    this.#clear();
    if (at === Number.POSITIVE_INFINITY || this.isClosed) return;
    this.#timer = timer(at - now, () => this.#evaluate());
  }

  #clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #publishPhase(): void {
    if (!this.#host.bus.hasSubscribers("run.phase", this.ref.id)) return;
    const change = this.phase();
    const key = `${change.phase} ${change.text}`;
    if (key === this.#lastPhase) return;
    this.#lastPhase = key;
    this.publish("phase", change);
  }
}

function namesOf({
  containers = [],
  initContainers = [],
}: NonNullable<NonNullable<Job["spec"]["template"]>["spec"]>): string[] {
  return [...containers, ...initContainers].map(({ name }) => name);
}
