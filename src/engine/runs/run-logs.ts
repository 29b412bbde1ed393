import type { Pod } from "../kubernetes.ts";
import { describeGap } from "../logs/gap.ts";
import {
  followLogs,
  type LogGap,
  type LogLine,
  type LogOptions,
  type LogSource,
  type LogStream,
} from "../logs/index.ts";
import { type LinePlace, placeAfter } from "../logs/line-place.ts";
import { endedByLeaving, linesOf } from "../logs/log-stream.ts";
import { type Changing, nextChange } from "../logs/next-change.ts";
import { type Cluster, LinkedAbort } from "../transport/index.ts";
import type { RunEvents } from "./topics.ts";
import { type RunEnd, StartFailedError } from "./types.ts";
import { VerdictSource } from "./verdict-source.ts";

/** @internal What the log of a run needs of it. */
export interface LoggedRun extends Changing {
  readonly ref: { readonly namespace: string; readonly jobName: string };
  /** Aborts when the run is released. */
  readonly closed: AbortSignal;
  pod(): Pod | null;
  /** Of the pods that are known, the one made after `pod`; `null`: the first. Null when there is none. */
  podAfter(pod: Pod | null): Pod | null;
  /** @throws TypeError when neither the Job nor its pod has such a container. */
  checkContainer(container: string): void;
  /** How the container ended, if it has. */
  endOf(container: string): RunEnd | null;
  logSource(pod: Pod, container: string): LogSource;
  publish<E extends "gap" | "restart">(event: E, value: RunEvents[E]): void;
}

/** Why a log ends that its reader closed: that is no failure. */
const CLOSED = Symbol("closed");

/**
 * The log of one run's container: a follow of its pod's, and of the next pod's where one replaces another. Iterate it once,
 * by line or by batch; `Readable.from(logs)` makes a Node stream of it. Gaps and restarts are reported to the options'
 * callbacks and as events of the run.
 */
export class RunLogs implements AsyncIterable<LogLine> {
  readonly #cluster: Cluster;
  readonly #run: LoggedRun;
  readonly #options: LogOptions & { container: string };
  /** Aborts with the caller's reason, with EngineStoppedError when the run is released, or with CLOSED. */
  readonly #abort: LinkedAbort;
  readonly #after: LinePlace | null;
  #stream: LogStream | null = null;
  /** The pod of `after` is not known any more, which was reported. */
  #hasLostPosition = false;

  /** @internal Logs come from `run.logs`. */
  constructor(
    cluster: Cluster,
    run: LoggedRun,
    { signal, ...options }: LogOptions & { container: string; signal?: AbortSignal | undefined },
  ) {
    this.#cluster = cluster;
    this.#run = run;
    this.#options = options;
    this.#after = placeAfter(options, options.container);
    this.#abort = new LinkedAbort([signal, run.closed]);
  }

  /**
   * Lines as they arrive, as many at once as there are: cheaper than one by one where there are many.
   * They end with the run's verdict on the container, 120 s after the verdict and the last line at the latest.
   * @throws StartFailedError where the container cannot start; ApiError where no further try can help; EngineStoppedError; the
   * signal's reason.
   */
  batches(): AsyncGenerator<readonly LogLine[], void> {
    return endedByLeaving(this.#batches(), () => this.close());
  }

  [Symbol.asyncIterator](): AsyncGenerator<LogLine, void> {
    return endedByLeaving(linesOf(this.#batches()), () => this.close());
  }

  /** Ends the follow and its iteration; lines that nobody took yet are dropped. */
  close(): void {
    // Before the stream's signal aborts, which it would take for a failure.
    this.#stream?.close();
    this.#abort.abort(CLOSED);
  }

  get #isClosed(): boolean {
    return this.#abort.signal.reason === CLOSED;
  }

  async *#batches(): AsyncGenerator<readonly LogLine[], void> {
    const { container, onGap: _, onRestart, tailLines, since, after, ...options } = this.#options;
    let isLimited = false;
    for (let pod = await this.#firstPod(); pod !== null; pod = await this.#nextPod(pod)) {
      // While the pod was looked for: `close` has found no stream to end.
      if (this.#isClosed) return;
      const isFirst = this.#stream === null;
      const goesOn = this.#after?.podName === pod.metadata.name;
      const source = new VerdictSource(this.#run.logSource(pod, container), () => this.#run.endOf(container));
      this.#stream = followLogs(this.#cluster, source, {
        ...options,
        // The caller's start counts for the first pod; a later one is read from its beginning.
        tailLines: isFirst ? tailLines : undefined,
        since: isFirst ? since : undefined,
        after: goesOn ? after : undefined,
        signal: this.#abort.signal,
        onGap: (gap) => {
          if (gap.reason === "limit_reached") isLimited = true;
          this.#onGap(gap);
        },
        onRestart: (restart) => {
          onRestart?.(restart);
          this.#run.publish("restart", restart);
        },
      });
      try {
        for await (const lines of this.#stream.batches()) {
          source.active();
          yield lines;
        }
      } finally {
        this.#stream.close();
        source.close();
      }
      if (isLimited) return;
    }
    this.#checkUnread();
  }

  #onGap(gap: LogGap): void {
    this.#options.onGap?.(gap);
    this.#run.publish("gap", gap);
  }

  /** Nothing was read: it could not start, or its pod came, ran and was deleted while its watch was lost. */
  #checkUnread(): void {
    const { container } = this.#options;
    const end = this.#run.endOf(container);
    if (this.#isClosed || end === null) return;
    const { namespace, jobName } = this.#run.ref;
    if (end.startFailure !== null) throw new StartFailedError(namespace, jobName, end.startFailure);
    const hasRun = end.exitCode !== null || end.startedAt !== null;
    const { reads = 0, gaps = 0 } = this.#stream?.stats ?? {};
    if (!hasRun || reads > 0 || gaps > 0 || this.#hasLostPosition) return;
    this.#onGap(describeGap({ podName: end.podName ?? "", container }, "pod_gone", {}));
  }

  /** The pod to begin with: that of `after`, where it is still known. */
  async #firstPod(): Promise<Pod | null> {
    const first = await this.#nextPod(null);
    if (this.#after === null) return first;
    const { podName, container, time } = this.#after;
    for (let pod = first; pod !== null; pod = this.#run.podAfter(pod)) if (pod.metadata.name === podName) return pod;
    this.#hasLostPosition = true;
    this.#onGap(describeGap({ podName, container }, "pod_gone", { after: time }));
    return first;
  }

  /** The pod after `followed`; null when no further one will come. */
  async #nextPod(followed: Pod | null): Promise<Pod | null> {
    while (true) {
      if (this.#isClosed) return null;
      this.#abort.signal.throwIfAborted();
      // Who asks for the last lines, or for those since, means the pod that is there now.
      const isOfNow = followed === null && (this.#options.tailLines ?? this.#options.since) !== undefined;
      const pod = isOfNow ? this.#run.pod() : this.#run.podAfter(followed);
      this.#run.checkContainer(this.#options.container);
      if (pod !== null) return pod;
      if (this.#options.follow === false || this.#run.endOf(this.#options.container) !== null) return null;
      await nextChange(this.#run, this.#abort.signal);
    }
  }
}
