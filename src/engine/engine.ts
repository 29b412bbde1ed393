import { Bus } from "./bus.ts";
import { diagnose } from "./diagnostics.ts";
import { EngineCaches, JOBS, PODS } from "./engine-caches.ts";
import type {
  EngineEvents,
  EngineStats,
  EngineView,
  LaunchOptions,
  RunEngineOptions,
  RunOptions,
  StartOptions,
} from "./engine-types.ts";
import type { ResourceInformerOptions } from "./informer/any-resource.ts";
import type { Informer } from "./informer/informer.ts";
import { Keepalive } from "./keepalive/keepalive.ts";
import type { Job, KubeObject, Pod } from "./kubernetes.ts";
import type { JobInput } from "./runs/launch.ts";
import { LaunchQueue } from "./runs/launch-queue.ts";
import { Launcher } from "./runs/launcher.ts";
import { resolvePolicy } from "./runs/policy.ts";
import { RunRegistry } from "./runs/registry.ts";
import type { Run } from "./runs/run.ts";
import { type RunResult, type RunToEndOptions, runToEnd } from "./runs/run-to-end.ts";
import { EngineStoppedError } from "./runs/types.ts";
import { Scope } from "./scope.ts";
import { ServerState } from "./server-state.ts";
import { type ClaimTarget, claimJob } from "./shard.ts";
import type { EngineTopics } from "./topics.ts";
import { asError } from "./transport/as-error.ts";
import { bounded, Cluster } from "./transport/index.ts";

const STOP_HOOK_TIMEOUT_MS = 5_000;

/**
 * Runs Kubernetes Jobs at high volume on two shared watches: one of Jobs, one of their pods. Per run it makes the requests
 * that only a run can make (create, log, delete), however long it takes; two more (Job, pods) where a run ends and the watches
 * did not show its container start.
 */
export class RunEngine {
  readonly cluster: Cluster;
  /**
   * Everything that happens, to subscribe to: `job`, `pod` and `watch` as the two caches learn of it, `problem` and `recovered`.
   * Delivery is synchronous; what a listener throws goes to `listenerError`, and to no other listener.
   */
  readonly bus: Bus<EngineTopics>;
  /** What the watches know of the API server: whether it is down, and when it is back. */
  readonly server: ServerState;
  readonly jobs: Informer<Job>;
  readonly pods: Informer<Pod>;
  readonly keepalive: Keepalive;
  readonly #scope: Scope;
  readonly #caches: EngineCaches;
  readonly #stopped = new AbortController();
  readonly #stopHooks: (() => Promise<void>)[] = [];
  readonly #registry: RunRegistry;
  readonly #undiagnosed: () => void;
  readonly #queue: LaunchQueue;
  readonly #launcher: Launcher;
  #stopping: Promise<void> | null = null;

  /**
   * Starts an engine and waits until its caches are complete. A server that cannot be reached, or whose certificate is not
   * trusted, is tried until `signal` aborts; without a signal use `create` and listen to `problem`.
   * @throws ApiError at once when the server refuses (401, 403: the message names verb and resource); NotReadyError when
   * the signal aborts: its `cause` is the last problem, which its message names; KubeConfigError; TypeError naming a bad option.
   */
  static async start(options: RunEngineOptions & StartOptions): Promise<RunEngine> {
    const engine = RunEngine.create(options);
    try {
      await engine.synced(options.signal);
      return engine;
    } catch (error) {
      await engine.stop();
      throw error;
    }
  }

  /** Starts an engine without waiting; it goes on trying until it is stopped. */
  static create(options: RunEngineOptions): RunEngine {
    return new RunEngine(options);
  }

  private constructor(options: RunEngineOptions) {
    const { kubeConfig, policy, progressTimeoutMs, backoff, transport } = options;
    const resolved = resolvePolicy(policy);
    this.#scope = new Scope(options);
    const report = (error: unknown) => this.#report(error);
    // What a listener of `listenerError` throws has no other place to go.
    this.bus = new Bus((error, topic) => (topic === "listenerError" ? warn(error) : report(error)));
    this.#queue = new LaunchQueue(options, () => {
      if (this.bus.hasSubscribers("queue")) this.bus.publish("queue", this.#queue.stats());
    });
    this.cluster = new Cluster({ ...transport, kubeConfig });
    this.server = new ServerState(this.bus, this.#stopped.signal);
    const { bus, cluster, server } = this;
    const scope = this.#scope;
    this.#caches = new EngineCaches({ cluster, bus, scope, report, progressTimeoutMs, backoff });
    const { jobs, pods } = this.#caches;
    this.jobs = jobs;
    this.pods = pods;
    this.keepalive = new Keepalive(report);
    const labels = { ...scope.labels, ...scope.shard };
    const registry = new RunRegistry({ cluster, bus, server, jobs, pods, labels, policy: resolved, report });
    this.#registry = registry;
    this.#launcher = new Launcher({ cluster, bus, scope, registry, queue: this.#queue, stopped: this.#stopped.signal });
    this.#undiagnosed = diagnose(this);
    this.jobs.start();
    this.pods.start();
  }

  /**
   * Resolves when both caches are complete.
   * @throws ApiError at once while the server refuses with 401 or 403. The engine goes on trying: call again to wait on.
   * NotReadyError when the signal aborts; EngineStoppedError.
   */
  async synced(signal?: AbortSignal): Promise<void> {
    await this.#whenSynced(this, signal);
  }

  /**
   * Creates a Job and follows it. The run is registered before the request leaves, since the watch may tell of the Job
   * before the answer does. Waits for its turn: by `priority`, and while there are more of them than `maxConcurrent`, or than the
   * server bears at once. A run is one pod at a time, retries after each other: `completions` and `parallelism` are 1, as they
   * are where they are not given.
   * Labels that the watches select by are put on Job and pod template where they are not there.
   * @throws TypeError for a manifest that the watches would not see or that is no run; ApiError, `AlreadyExists` when the name is taken.
   */
  async launch(job: JobInput, options: LaunchOptions = {}): Promise<Run> {
    this.#throwIfStopped();
    return await this.#launcher.launch(job, options);
  }

  /**
   * A Job in one call: created, its log read line by line, awaited, deleted. Resolves also where it failed or could not start:
   * `hasSucceeded`, `end` and `postMortem` say how. With `onDisruption` it may go on in another Job.
   * @throws what `launch` throws; the signal's reason; what `onLine` or `onDisruption` throws; EngineStoppedError
   */
  async run(job: JobInput, options: RunToEndOptions = {}): Promise<RunResult> {
    return await runToEnd(job, (each) => this.launch(each, options), options);
  }

  /**
   * Follows a Job that stands already, is on its way, or has ended and may be gone. Makes a request only if the cache has none.
   * What waits on the run rejects with AttachFailedError where it cannot be followed: there is no such Job, the watches do not
   * select it, `get jobs` is refused (403), or it is more than one run (`completions`, `parallelism`).
   */
  attach(ref: { namespace?: string | undefined; jobName: string; uid?: string | undefined } & RunOptions): Run {
    this.#throwIfStopped();
    const namespace = ref.namespace ?? this.#scope.defaultNamespace;
    this.#scope.check(namespace);
    return this.#registry.attach(namespace, ref.jobName, ref.uid ?? null, ref.policy);
  }

  /**
   * Makes a Job of another shard this process's own, with its pods, so that `attach` can follow it. For Jobs that their owner
   * has left behind: a process that still follows it sees it deleted. Nothing happens without shards.
   * @throws ShardClaimError when another process was faster; ApiError
   */
  async claim(target: Omit<ClaimTarget, "namespace"> & { namespace?: string }, signal?: AbortSignal): Promise<void> {
    this.#throwIfStopped();
    const namespace = target.namespace ?? this.#scope.defaultNamespace;
    this.#scope.check(namespace);
    for (const label of Object.entries(this.#scope.shard))
      await claimJob(this.cluster, { ...target, namespace }, label, signal);
  }

  /** Asks the server, not the cache: for guards that need certainty. `labels` come on top of the engine's own. */
  async listJobs(
    namespace: string,
    labels: Readonly<Record<string, string>> = {},
    signal?: AbortSignal,
  ): Promise<Job[]> {
    this.#throwIfStopped();
    return await this.#caches.list(JOBS, namespace, labels, signal);
  }

  /** Asks the server, not the cache. `labels` come on top of the engine's own. */
  async listPods(
    namespace: string,
    labels: Readonly<Record<string, string>> = {},
    signal?: AbortSignal,
  ): Promise<Pod[]> {
    this.#throwIfStopped();
    return await this.#caches.list(PODS, namespace, labels, signal);
  }

  /**
   * What `labels` (on top of the engine's own) select in one namespace, whichever process owns it. Without shards that is in
   * the engine's own caches. With them two more watches are open until the view is closed: for the guard of one run's start,
   * not for its length.
   * @throws ApiError 401 or 403 at once; NotReadyError when the signal aborts; EngineStoppedError
   */
  async openView(
    namespace: string,
    labels: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<EngineView> {
    this.#throwIfStopped();
    this.#scope.check(namespace);
    const view = this.#caches.view(namespace, labels);
    try {
      await this.#whenSynced(view, signal);
      return view;
    } catch (error) {
      view.close();
      throw error;
    }
  }

  /**
   * A cache of any resource, kept up to date like those of Jobs and pods, over a watch of its own that is open until it or the
   * engine is stopped: snapshots, indices, `subscribe`, `whenSynced`, `freshness`. Objects are as the server sends them (those of
   * a paged list have no `kind`); of a resource without namespaces the namespace is `""`. What its watches have to say is on
   * `problem` and `recovered`.
   * @throws TypeError naming a bad option; EngineStoppedError
   */
  informer<T extends KubeObject = KubeObject>(options: ResourceInformerOptions<T>): Informer<T> {
    this.#throwIfStopped();
    return this.#caches.of(options);
  }

  /** Returns the function that ends the subscription. */
  on<E extends keyof EngineEvents>(event: E, listener: (event: EngineTopics[E]) => unknown): () => void {
    return this.bus.subscribe(event, listener);
  }

  stats(): EngineStats {
    return {
      runs: this.#registry.size,
      phases: this.#registry.phases(),
      tombstones: this.#registry.tombstones,
      keepalives: this.keepalive.size,
      queue: this.#queue.stats(),
      informers: this.#caches.stats(),
      requests: this.cluster.requests.snapshot(),
    };
  }

  get isStopped(): boolean {
    return this.#stopped.signal.aborted;
  }

  get labels(): Readonly<Record<string, string>> {
    return this.#scope.labels;
  }

  /** Null: all namespaces. */
  get namespaces(): readonly string[] | null {
    return this.#scope.namespaces;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Rejects every pending promise with EngineStoppedError, ends watches, logs, timers and connections. Jobs are left alone. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** `hook` is called by `stop`, once runs and timers have ended, and awaited before the connections close, for five seconds at most. */
  beforeStop(hook: () => Promise<void>): void {
    this.#stopHooks.push(hook);
  }

  async #stop(): Promise<void> {
    const stopped = new EngineStoppedError();
    this.#stopped.abort(stopped);
    this.#registry.stop(stopped);
    this.#undiagnosed();
    this.keepalive.stop();
    const bound = { ms: STOP_HOOK_TIMEOUT_MS, late: () => new Error("stop hooks are late") };
    const hooks = () => Promise.allSettled(this.#stopHooks.map(async (hook) => await hook()));
    await bounded(bound, hooks).catch(() => undefined);
    await this.#caches.stop();
    await this.cluster.close();
    this.bus.close();
  }

  async #whenSynced({ jobs, pods }: Pick<EngineView, "jobs" | "pods">, signal?: AbortSignal): Promise<void> {
    try {
      await Promise.all([jobs.whenSynced(signal), pods.whenSynced(signal)]);
    } catch (error) {
      this.#throwIfStopped();
      throw error;
    }
  }

  #throwIfStopped(): void {
    if (this.isStopped) throw new EngineStoppedError();
  }

  #report(error: unknown): void {
    if (this.bus.hasSubscribers("listenerError")) this.bus.publish("listenerError", error);
    else warn(error);
  }
}

function warn(error: unknown): void {
  process.emitWarning(asError(error), { type: "RunEngineListenerError" });
}
