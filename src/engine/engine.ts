import type { KubeConfig } from "@kubernetes/client-node";
import { Bus } from "./bus.ts";
import type { BackoffOptions } from "./informer/backoff.ts";
import { Informer, type InformerStats, type Resource } from "./informer/informer.ts";
import { keyOf } from "./informer/store.ts";
import { trimJob, trimPod } from "./informer/trim.ts";
import { Keepalive } from "./keepalive/keepalive.ts";
import type { Job, Pod } from "./kubernetes.ts";
import { createJob, type JobManifest } from "./runs/launch.ts";
import { type RunPolicy, resolvePolicy } from "./runs/policy.ts";
import { jobKeyOfPod, PODS_BY_JOB, RunRegistry } from "./runs/registry.ts";
import type { Run } from "./runs/run.ts";
import { EngineStoppedError } from "./runs/types.ts";
import { EngineNotReadyError, ServerState } from "./server-state.ts";
import { type ClaimTarget, claimJob, type Shard, shardLabels, withLabels } from "./shard.ts";
import type { EngineTopics } from "./topics.ts";
import { Cluster, type ClusterOptions, LinkedAbort, type RequestCounts } from "./transport/index.ts";

export interface RunEngineOptions {
  kubeConfig: KubeConfig;
  /** One namespace, several, or `"*"` for all. Default: the kubeconfig's, else `default`. */
  namespace?: string | readonly string[];
  /** What Jobs and their pods carry; both watches select by it. Required: without it every pod of the namespace is cached. */
  labels: Readonly<Record<string, string>>;
  /** Watch only the Jobs that this process owns, where several share a namespace (docs/scale.md). Default: all. */
  shard?: Shard;
  /** Default of each run's policy. */
  policy?: Partial<RunPolicy>;
  /** A watch without a byte for so long is replaced. Default 90 000 ms. */
  progressTimeoutMs?: number;
  /** Delays after errors of a watch. Default 0.8 s doubling to 30 s, with full jitter. */
  backoff?: BackoffOptions;
  transport?: Omit<ClusterOptions, "kubeConfig">;
}

export interface StartOptions {
  signal?: AbortSignal;
}

export interface RunOptions {
  /** Over the engine's own; runs with different policies share the two watches. */
  policy?: Partial<RunPolicy>;
}

/** Jobs and pods of all shards, kept up to date until it is closed. */
export interface EngineView {
  readonly jobs: Informer<Job>;
  readonly pods: Informer<Pod>;
  close(): void;
}

/** What `engine.on` takes. */
export type EngineEvents = Pick<EngineTopics, "problem" | "recovered" | "listenerError">;

export interface EngineStats {
  runs: number;
  tombstones: number;
  keepalives: number;
  informers: InformerStats[];
  requests: RequestCounts;
}

const JOBS: Resource<Job> = { plural: "jobs", root: "/apis/batch/v1", trim: trimJob };
const PODS: Resource<Pod> = { plural: "pods", root: "/api/v1", trim: trimPod };

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
  readonly labels: Readonly<Record<string, string>>;
  /** Null: all namespaces. */
  readonly namespaces: readonly string[] | null;
  readonly #shard: Readonly<Record<string, string>>;
  readonly #views = new Set<Informer<Job> | Informer<Pod>>();
  readonly #stopped = new AbortController();
  readonly #registry: RunRegistry;
  #stopping: Promise<void> | null = null;

  /**
   * Starts an engine and waits until its caches are complete. A server that cannot be reached, or whose certificate is not
   * trusted, is tried until `signal` aborts; without a signal use `create` and listen to `problem`.
   * @throws ApiError at once when the server refuses (401, 403: the message names verb and resource); EngineNotReadyError when
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
    this.labels = { ...options.labels };
    this.#shard = shardLabels(options.shard);
    const labelSelector = `${selectorOf(this.labels)}${Object.entries(this.#shard).map(([key, value]) => `,${key}=${value}`)}`;
    this.namespaces = namespacesOf(options);
    this.cluster = new Cluster({ ...transport, kubeConfig });
    const report = (error: unknown) => this.#report(error);
    // What a listener of `listenerError` throws has no other place to go.
    this.bus = new Bus((error, topic) => (topic === "listenerError" ? warn(error) : report(error)));
    this.server = new ServerState(this.bus, this.#stopped.signal);
    const watches = this.bus.topic("watch");
    const common = {
      cluster: this.cluster,
      namespaces: this.namespaces,
      labelSelector,
      ...(progressTimeoutMs === undefined ? {} : { progressTimeoutMs }),
      ...(backoff === undefined ? {} : { backoff }),
    };
    this.jobs = new Informer({
      ...common,
      resource: JOBS,
      publishTo: { changes: this.bus.topic("job"), changeKey: keyOf, watches },
    });
    this.pods = new Informer({
      ...common,
      resource: PODS,
      indexers: { [PODS_BY_JOB]: jobKeyOfPod },
      publishTo: { changes: this.bus.topic("pod"), changeKey: jobKeyOfPod, watches },
    });
    this.keepalive = new Keepalive(report);
    this.#registry = new RunRegistry({
      cluster: this.cluster,
      jobs: this.jobs,
      pods: this.pods,
      labels: { ...this.labels, ...this.#shard },
      policy: resolved,
      report,
    });
    this.jobs.start();
    this.pods.start();
  }

  /**
   * Resolves when both caches are complete.
   * @throws ApiError at once while the server refuses with 401 or 403. The engine goes on trying: call again to wait on.
   * EngineNotReadyError when the signal aborts; EngineStoppedError.
   */
  async synced(signal?: AbortSignal): Promise<void> {
    await this.#whenSynced(this.jobs, this.pods, signal);
  }

  /**
   * Creates a Job and follows it. The run is registered before the request leaves, since the watch may tell of the Job
   * before the answer does. A run is one pod at a time, retries after each other: `completions` and `parallelism` are 1, as they
   * are where they are not given.
   * @throws TypeError for a manifest that the watches would not see or that is no run; ApiError, `AlreadyExists` when the name is taken.
   */
  async launch(job: JobManifest, { signal, policy }: RunOptions & { signal?: AbortSignal } = {}): Promise<Run> {
    this.#throwIfStopped();
    const namespace = job.metadata.namespace ?? this.#defaultNamespace();
    this.#checkManifest(job, namespace);
    const run = this.#registry.expect(namespace, job.metadata.name, policy);
    const ended = new LinkedAbort([signal, run.closed]);
    try {
      this.#registry.bind(run, await createJob(this.cluster, namespace, withLabels(job, this.#shard), ended.signal));
      return run;
    } catch (error) {
      // Closed already: by the engine's stop, which ended the request too.
      const reason = run.isReleased ? run.closed.reason : error;
      run.release();
      throw reason;
    } finally {
      ended.release();
    }
  }

  /**
   * Follows a Job that stands already, is on its way, or has ended and may be gone. Makes a request only if the cache has none.
   * What waits on the run rejects with AttachFailedError when that request shows that the watches do not select the Job, or is
   * refused (403).
   */
  attach(ref: { namespace?: string; jobName: string; uid?: string } & RunOptions): Run {
    this.#throwIfStopped();
    const namespace = ref.namespace ?? this.#defaultNamespace();
    this.#checkScope(namespace);
    return this.#registry.attach(namespace, ref.jobName, ref.uid ?? null, ref.policy);
  }

  /**
   * Makes a Job of another shard this process's own, with its pods, so that `attach` can follow it. For Jobs that their owner
   * has left behind: one that still follows it is told that it was deleted. Nothing happens without shards.
   * @throws ShardClaimError when another process was faster; ApiError
   */
  async claim(target: Omit<ClaimTarget, "namespace"> & { namespace?: string }, signal?: AbortSignal): Promise<void> {
    this.#throwIfStopped();
    const namespace = target.namespace ?? this.#defaultNamespace();
    this.#checkScope(namespace);
    for (const label of Object.entries(this.#shard))
      await claimJob(this.cluster, { ...target, namespace }, label, signal);
  }

  /** Asks the server, not the cache: for guards that need certainty. `labels` come on top of the engine's own. */
  async listJobs(
    namespace: string,
    labels: Readonly<Record<string, string>> = {},
    signal?: AbortSignal,
  ): Promise<Job[]> {
    return await this.#list(JOBS, namespace, labels, signal);
  }

  /** Asks the server, not the cache. `labels` come on top of the engine's own. */
  async listPods(
    namespace: string,
    labels: Readonly<Record<string, string>> = {},
    signal?: AbortSignal,
  ): Promise<Pod[]> {
    return await this.#list(PODS, namespace, labels, signal);
  }

  /**
   * What `labels` (on top of the engine's own) select in one namespace, whichever process owns it. Without shards that is in
   * the engine's own caches. With them two more watches are open until the view is closed: for the guard of one run's start,
   * not for its length.
   * @throws ApiError 401 or 403 at once; EngineNotReadyError when the signal aborts; EngineStoppedError
   */
  async openView(
    namespace: string,
    labels: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<EngineView> {
    this.#throwIfStopped();
    this.#checkScope(namespace);
    if (Object.keys(this.#shard).length === 0) return { jobs: this.jobs, pods: this.pods, close: () => undefined };
    const common = {
      cluster: this.cluster,
      namespaces: [namespace],
      labelSelector: selectorOf({ ...this.labels, ...labels }),
      onSubscriberError: (error: unknown) => this.#report(error),
    };
    const jobs = new Informer({ ...common, resource: JOBS });
    const pods = new Informer({ ...common, resource: PODS });
    const close = () => {
      for (const informer of [jobs, pods]) {
        this.#views.delete(informer);
        informer.stop().catch((error: unknown) => this.#report(error));
      }
    };
    for (const informer of [jobs, pods]) {
      this.#views.add(informer);
      informer.start();
    }
    try {
      await this.#whenSynced(jobs, pods, signal);
      return { jobs, pods, close };
    } catch (error) {
      close();
      throw error;
    }
  }

  /** Returns the function that ends the subscription. */
  on<E extends keyof EngineEvents>(event: E, listener: (event: EngineTopics[E]) => unknown): () => void {
    return this.bus.subscribe(event, listener);
  }

  stats(): EngineStats {
    return {
      runs: this.#registry.size,
      tombstones: this.#registry.tombstones,
      keepalives: this.keepalive.size,
      informers: [this.jobs.stats(), this.pods.stats()],
      requests: this.cluster.requests.snapshot(),
    };
  }

  get isStopped(): boolean {
    return this.#stopped.signal.aborted;
  }

  /** Rejects every pending promise with EngineStoppedError, ends watches, logs, timers and connections. Jobs are left alone. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const stopped = new EngineStoppedError();
    this.#stopped.abort(stopped);
    this.#registry.stop(stopped);
    this.keepalive.stop();
    await Promise.all([this.jobs, this.pods, ...this.#views].map((informer) => informer.stop()));
    await this.cluster.close();
    this.bus.close();
  }

  async #whenSynced(jobs: Informer<Job>, pods: Informer<Pod>, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const ended = new LinkedAbort([signal, this.#stopped.signal]);
    try {
      await Promise.all([jobs.whenSynced(ended.signal), pods.whenSynced(ended.signal)]);
    } catch (error) {
      if (signal?.aborted !== true || error !== signal.reason) throw error;
      const problem = jobs.freshness().error ?? pods.freshness().error;
      throw new EngineNotReadyError(this.cluster.server, problem, signal.reason);
    } finally {
      ended.release();
    }
  }

  async #list<T>(
    resource: Resource<T>,
    namespace: string,
    labels: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<T[]> {
    this.#throwIfStopped();
    const found: T[] = [];
    let next: string | undefined;
    do {
      const page = await this.cluster.json<{ items?: unknown[]; metadata?: { continue?: string } }>({
        path: `${resource.root}/namespaces/${encodeURIComponent(namespace)}/${resource.plural}`,
        query: { labelSelector: selectorOf({ ...this.labels, ...labels }), limit: 500, continue: next },
        ...(signal === undefined ? {} : { signal }),
      });
      for (const item of page.items ?? []) {
        const object = resource.trim(item);
        if (object !== null) found.push(object);
      }
      next = page.metadata?.continue || undefined;
    } while (next !== undefined);
    return found;
  }

  #checkManifest(job: JobManifest, namespace: string): void {
    if (typeof job.metadata?.name !== "string" || job.metadata.name === "") {
      throw new TypeError(
        `metadata.name must be a non-empty string, got ${JSON.stringify(job.metadata?.name)} (generateName is not supported)`,
      );
    }
    this.#checkScope(namespace);
    for (const field of ["completions", "parallelism"]) {
      const value = job.spec?.[field];
      if (typeof value !== "number" || value <= 1) continue;
      throw new TypeError(
        `spec.${field} must be 1 or left out, got ${value}: a run ends with its one pod; launch ${value} Jobs instead`,
      );
    }
    const labelled = {
      "metadata.labels": job.metadata.labels,
      "spec.template.metadata.labels": job.spec?.template?.metadata?.labels,
    };
    for (const [field, labels] of Object.entries(labelled)) {
      for (const [key, value] of Object.entries(this.labels)) {
        if (labels?.[key] === value) continue;
        throw new TypeError(
          `${field}[${JSON.stringify(key)}] must be ${JSON.stringify(value)}, which the watches select by; got ${JSON.stringify(labels?.[key])}`,
        );
      }
    }
  }

  #checkScope(namespace: string): void {
    if (this.namespaces === null || this.namespaces.includes(namespace)) return;
    throw new TypeError(
      `namespace ${JSON.stringify(namespace)} is not watched by this engine; it watches ${this.namespaces.join(", ")}`,
    );
  }

  #defaultNamespace(): string {
    return this.namespaces?.[0] ?? "default";
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
  process.emitWarning(error instanceof Error ? error : new Error(String(error)), { type: "RunEngineListenerError" });
}

function selectorOf(labels: Readonly<Record<string, string>>): string {
  const entries = Object.entries(labels ?? {});
  if (entries.length === 0)
    throw new TypeError("labels must name at least one label that the Jobs and their pods carry, got {}");
  for (const [key, value] of entries) {
    if (typeof value !== "string")
      throw new TypeError(`labels[${JSON.stringify(key)}] must be a string, got ${JSON.stringify(value)}`);
  }
  return entries.map(([key, value]) => `${key}=${value}`).join(",");
}

function namespacesOf({ namespace, kubeConfig }: RunEngineOptions): readonly string[] | null {
  if (namespace === "*") return null;
  const context = kubeConfig.getContextObject(kubeConfig.getCurrentContext());
  const names =
    namespace === undefined
      ? [context?.namespace ?? "default"]
      : typeof namespace === "string"
        ? [namespace]
        : [...new Set(namespace)];
  for (const name of names) {
    if (typeof name !== "string" || !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) {
      throw new TypeError(
        `namespace must be a Kubernetes namespace name, a list of them, or "*"; got ${JSON.stringify(name)}`,
      );
    }
  }
  if (names.length === 0) throw new TypeError('namespace must not be an empty list; use "*" for all namespaces');
  return names;
}
