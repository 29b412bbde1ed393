import type { Bus, WaitLimits } from "../bus.ts";
import type { Job, Pod } from "../kubernetes.ts";
import type { LogOptions } from "../logs/index.ts";
import type { Cluster } from "../transport/index.ts";
import type { Watched } from "./awaited.ts";
import { type DeleteOptions, deleteJob } from "./delete-job.ts";
import { livenessOf } from "./deletion.ts";
import { type PostMortem, postMortem } from "./post-mortem.ts";
import { RunLogs } from "./run-logs.ts";
import type { RunRecord } from "./run-record.ts";
import type { RunEvents, RunTopics } from "./topics.ts";
import {
  EngineStoppedError,
  type PhaseChange,
  type RunEnd,
  RunGoneError,
  RunTimeoutError,
  StartFailedError,
} from "./types.ts";

export interface WaitOptions extends WaitLimits {
  /** The container whose log and exit code are the run's. */
  container: string;
}

/** @internal */
export interface RunHost {
  readonly cluster: Cluster;
  readonly bus: Bus<RunTopics>;
  forget(record: RunRecord): void;
}

/**
 * One Job and its pods, followed through the shared cache: promises, progress and logs. It makes no request of its own but
 * for `logs` and `delete`, and where a watch is silent about how it ended.
 *
 * What a listener throws goes to the engine's `listenerError`, and harms no other listener.
 */
export class Run {
  readonly #record: RunRecord;
  readonly #host: RunHost;

  /** @internal Runs come from `engine.launch` and `engine.attach`. */
  constructor(host: RunHost, record: RunRecord) {
    this.#host = host;
    this.#record = record;
  }

  /** Unlike that of any other run of this process: the key of its events on the engine's bus. */
  get id(): string {
    return this.#record.ref.id;
  }

  get namespace(): string {
    return this.#record.ref.namespace;
  }

  get jobName(): string {
    return this.#record.ref.jobName;
  }

  /** The Job's uid; null until the Job was seen or created. */
  get uid(): string | null {
    return this.#record.ref.uid;
  }

  /** Last known state of the Job, also after its deletion. */
  job(): Job | null {
    return this.#record.job;
  }

  /** Last known state of the newest pod, also after its deletion. */
  pod(): Pod | null {
    return this.#record.pod();
  }

  /** Was the last state of the pod told with its deletion? After a gap in the watch its end may be unknown. */
  get isPodFinal(): boolean {
    return this.#record.state.isPodFinal;
  }

  /** How often a newer pod took the place of an older one. */
  get podChanges(): number {
    return this.#record.state.podChanges;
  }

  /** Where the run stands, for people. */
  phase(): PhaseChange {
    return this.#record.phase();
  }

  /**
   * Resolves when the container's log can be read: it runs or has ended.
   * @throws StartFailedError when it cannot start, RunGoneError when the run ended before it ran, TypeError when neither the Job
   * nor its pod has such a container, RunTimeoutError, EngineStoppedError, or the signal's reason.
   */
  podReady(options: WaitOptions): Promise<Pod> {
    return this.#wait(options, "the pod being ready", ({ ready, end }) => {
      if (ready !== null) return ready;
      if (end === null) return null;
      if (end.startFailure !== null) throw new StartFailedError(this.namespace, this.jobName, end.startFailure);
      throw new RunGoneError(this.namespace, this.jobName, end);
    });
  }

  /**
   * Resolves with how the container's run ended; a failed start, a deletion, a deadline are ends too, not rejections.
   * @throws TypeError when neither the Job nor its pod has such a container, RunTimeoutError, EngineStoppedError, or the signal's
   * reason.
   */
  terminated(options: WaitOptions): Promise<RunEnd> {
    return this.#wait(options, "the end", ({ end }) => end);
  }

  /**
   * How the container's run ended, as `terminated` says. Null: it has not, as far as is known.
   * @throws TypeError when neither the Job nor its pod has such a container.
   */
  endOf(container: string): RunEnd | null {
    this.#record.checkContainer(container);
    return this.#record.endOf(container);
  }

  /**
   * Resolves when the Job and every pod of it are deleted.
   * @throws RunTimeoutError, EngineStoppedError, or the signal's reason.
   */
  gone(options: WaitLimits = {}): Promise<void> {
    return this.#settle(options, "the deletion of Job and pods", () =>
      this.#record.isDeleted ? { value: undefined } : null,
    );
  }

  /**
   * Every line of the container once, in order, over pods that replace each other. Starts when the container does, and ends when
   * it has ended and all was read. The iteration throws StartFailedError where the container cannot start.
   * @throws TypeError when neither the Job nor its pod has such a container.
   */
  logs(options: LogOptions & { container: string; signal?: AbortSignal | undefined }): RunLogs {
    this.#record.checkContainer(options.container);
    this.#record.watched(options.container);
    return new RunLogs(this.#host.cluster, this.#record, options);
  }

  /**
   * From what is known, without a request. `unknown`: a watch is down, the Job has not been seen, or it has ended and its pod may
   * not have been told yet.
   */
  liveness(): "alive" | "ended" | "unknown" {
    if (this.#record.hasEnd() || this.#record.isDeleted) return "ended";
    return livenessOf(this.#record.refreshed(), performance.now());
  }

  /** Wall clock time in milliseconds since which nothing certain is known; null while the watches are open. */
  unknownSince(): number | null {
    const { lostSince } = this.#record.refreshed().trust;
    return lostSince === null ? null : Date.now() - (performance.now() - lostSince);
  }

  /**
   * Deletes the Job; its pods follow. A Job that is already gone is success. Resolves with the server's answer: use `gone()`
   * to wait for the pods.
   * @throws ApiError
   */
  async delete(options: DeleteOptions = {}): Promise<void> {
    await deleteJob(this.#host.cluster, this, options);
  }

  /**
   * What there is to know of a run that failed: last lines, image, node, who ended it, warning events. Asked of the server when it
   * is called, within ten seconds. Null while it has not ended, and where it succeeded.
   * @throws TypeError when neither the Job nor its pod has such a container; the signal's reason
   */
  async postMortem({
    container,
    signal,
  }: {
    container: string;
    signal?: AbortSignal | undefined;
  }): Promise<PostMortem | null> {
    const end = this.endOf(container);
    if (end === null || end.kind === "succeeded") return null;
    return await postMortem(this.#host.cluster, this.#record, end, signal);
  }

  /** A Secret or ConfigMap that its containers name has just been created: `configErrorGraceMs` counts from now. */
  configProvided(): void {
    this.#record.configProvided();
  }

  /** Returns the function that ends the subscription. Ended, too, by `release()` and `engine.stop()`. */
  on<E extends keyof RunEvents>(event: E, listener: (value: RunEvents[E]) => unknown): () => void {
    return this.#record.listeners.on(event, listener);
  }

  once<E extends keyof RunEvents>(event: E, listener: (value: RunEvents[E]) => unknown): () => void {
    const stop = this.on(event, (value) => {
      stop();
      return listener(value);
    });
    return stop;
  }

  /** Ends what `on` began with the same listener. */
  off<E extends keyof RunEvents>(event: E, listener: (value: RunEvents[E]) => unknown): void {
    this.#record.listeners.off(event, listener);
  }

  /** Aborts with EngineStoppedError on `release()` and `engine.stop()`. */
  get closed(): AbortSignal {
    return this.#record.closed;
  }

  /** Forget the run: pending promises reject, listeners are dropped. The Job is left alone. */
  release(): void {
    this.#record.close(new EngineStoppedError(`The run of Job ${this.namespace}/${this.jobName} was released`));
    this.#host.forget(this.#record);
  }

  /** `release()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }

  #wait<T>(options: WaitOptions, what: string, take: (watched: Watched) => T | null): Promise<T> {
    const { container } = options;
    return this.#settle(options, what, () => {
      this.#record.checkContainer(container);
      const value = take(this.#record.watched(container));
      return value === null ? null : { value };
    });
  }

  #settle<T>({ signal, timeoutMs }: WaitLimits, what: string, answer: () => { value: T } | null): Promise<T> {
    const take = () => {
      const taken = answer();
      if (taken === null) this.#record.throwIfClosed();
      return taken;
    };
    const timedOut = (ms: number) => new RunTimeoutError(this.namespace, this.jobName, what, ms);
    return this.#host.bus.when("run.change", { key: this.id, take, signal, timeoutMs, timedOut });
  }
}
