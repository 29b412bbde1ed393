import { setTimeout as delay } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { containerFacts, containerNames, jobFacts } from "../facts.ts";
import { Backoff } from "../informer/backoff.ts";
import type { Informer } from "../informer/informer.ts";
import type { StoreChange } from "../informer/store.ts";
import { trimJob, trimPod } from "../informer/trim.ts";
import { jobPath } from "../job-path.ts";
import type { Job, Pod } from "../kubernetes.ts";
import { type Cluster, isForbidden, isNotFound, LinkedAbort } from "../transport/index.ts";
import { type RunPolicy, resolvePolicy } from "./policy.ts";
import { CATCH_UP_MS, Run, type RunHost } from "./run.ts";
import { AttachFailedError } from "./types.ts";

interface RegistryOptions {
  cluster: Cluster;
  jobs: Informer<Job>;
  pods: Informer<Pod>;
  /** What both select by. */
  labels: Readonly<Record<string, string>>;
  policy: RunPolicy;
  report: (error: unknown) => void;
}

/** The last that was known of a Job that is gone (null: it stands, but its pod is gone) and of its newest pod. */
interface Tombstone {
  job: Job | null;
  pod: Pod | null;
}

/** Of all attempts together: a run's end waits for it. */
const LOOK_TIMEOUT_MS = 5_000;

/** Pods by the namespace and name of the Job that controls them. */
export const PODS_BY_JOB = "job";

export function jobKeyOfPod(pod: Pod): string | null {
  const owner = pod.metadata.ownerReferences?.[0];
  return owner?.kind === "Job" ? `${pod.metadata.namespace}/${owner.name}` : null;
}

/** Brings each change of the two informers to the runs that it is about, and remembers Jobs that are gone. */
export class RunRegistry implements RunHost {
  readonly cluster: Cluster;
  readonly #policy: RunPolicy;
  readonly #jobs: Informer<Job>;
  readonly #pods: Informer<Pod>;
  readonly #labels: Readonly<Record<string, string>>;
  readonly #report: (error: unknown) => void;
  readonly #runs = new Map<string, Set<Run>>();
  /** So that a run that ended before anyone asked still answers. By namespace/name; the newest Job of a name counts. */
  readonly #tombstones = new LRUCache<string, Tombstone>({ max: 2_000, ttl: 15 * 60_000 });
  readonly #stopped = new AbortController();
  #freshSince: number | null = null;
  /** When a watch was last lost of which both had caught up; 0: they never had. */
  #freshUntil = 0;
  #unknownSince: number | null = Date.now();

  constructor({ cluster, jobs, pods, labels, policy, report }: RegistryOptions) {
    this.cluster = cluster;
    this.#policy = policy;
    this.#jobs = jobs;
    this.#pods = pods;
    this.#labels = labels;
    this.#report = report;
    jobs.subscribe((change) => this.#onJob(change));
    pods.subscribe((change) => this.#onPod(change));
    jobs.onWatch(({ type }) => {
      this.#onWatch();
      if (type !== "listed") return;
      for (const runs of [...this.#runs.values()]) for (const run of [...runs]) this.#checkGone(run);
    });
    pods.onWatch(() => this.#onWatch());
  }

  get size(): number {
    let size = 0;
    for (const runs of this.#runs.values()) size += runs.size;
    return size;
  }

  get tombstones(): number {
    return this.#tombstones.size;
  }

  /** A run that is registered before its Job's create request leaves: the watch may be faster than the answer. */
  expect(namespace: string, jobName: string, policy?: Partial<RunPolicy>): Run {
    const resolved = resolvePolicy(policy, this.#policy);
    const run = new Run(this, { namespace, jobName, uid: null, policy: resolved, isLaunching: true });
    this.keep(run);
    return run;
  }

  /** The create request of an expected run was answered. */
  bind(run: Run, job: Job): void {
    run.bind(job);
    this.#checkGone(run);
  }

  attach(namespace: string, jobName: string, uid: string | null, policy?: Partial<RunPolicy>): Run {
    const run = new Run(this, { namespace, jobName, uid, policy: resolvePolicy(policy, this.#policy) });
    this.keep(run);
    this.#seed(run, uid);
    if (run.job() === null) void this.#confirm(run);
    return run;
  }

  stop(error: Error): void {
    this.#stopped.abort();
    for (const runs of [...this.#runs.values()]) for (const run of [...runs]) run.close(error);
    this.#runs.clear();
    this.#tombstones.clear();
  }

  podsOf(namespace: string, jobName: string, uid: string | null): readonly Pod[] {
    const pods = this.#pods.byIndex(PODS_BY_JOB, `${namespace}/${jobName}`);
    return uid === null ? pods : pods.filter((pod) => pod.metadata.ownerReferences?.[0]?.uid === uid);
  }

  pod(namespace: string, name: string): Pod | undefined {
    return this.#pods.get(namespace, name);
  }

  arePodsBehind(job: Job, quietMs: number): boolean {
    return this.#pods.isBehind(job.metadata.resourceVersion, quietMs);
  }

  knownUntil(catchUpMs: number): number {
    const now = performance.now();
    return this.#freshSince !== null && now - this.#freshSince >= catchUpMs ? now : this.#freshUntil;
  }

  unknownSince(): number | null {
    return this.#unknownSince;
  }

  keep(run: Run): void {
    const key = `${run.namespace}/${run.jobName}`;
    const runs = this.#runs.get(key);
    if (runs === undefined) this.#runs.set(key, new Set([run]));
    else runs.add(run);
  }

  forget(run: Run): void {
    const key = `${run.namespace}/${run.jobName}`;
    const runs = this.#runs.get(key);
    runs?.delete(run);
    if (runs?.size === 0) this.#runs.delete(key);
  }

  report(error: unknown): void {
    this.#report(error);
  }

  #seed(run: Run, uid: string | null): void {
    const at = performance.now();
    const { namespace, jobName } = run;
    const job = this.#jobs.get(namespace, jobName);
    if (job !== undefined && (uid === null || job.metadata.uid === uid)) {
      run.frame({ resource: "jobs", type: "applied", object: job, at });
    } else {
      const tombstone = this.#tombstones.get(`${namespace}/${jobName}`);
      if (tombstone?.job != null && (uid === null || tombstone.job.metadata.uid === uid)) {
        run.frame({ resource: "jobs", type: "applied", object: tombstone.job, at });
        this.#seedPod(run, tombstone.pod, at);
        run.frame({ resource: "jobs", type: "deleted", object: tombstone.job, at });
        return;
      }
    }
    const gone = this.#tombstones.get(`${namespace}/${jobName}`);
    if (gone !== undefined && gone.job === null) this.#seedPod(run, gone.pod, at);
    this.#tellPods(run, this.podsOf(namespace, jobName, run.uid), at);
  }

  /** In the order in which they were made. */
  #tellPods(run: Run, pods: readonly Pod[], at: number): void {
    const ordered = [...pods].sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? -1 : 1));
    for (const object of ordered) run.frame({ resource: "pods", type: "applied", object, at });
  }

  #seedPod(run: Run, pod: Pod | null, at: number): void {
    if (pod === null || pod.metadata.ownerReferences?.[0]?.uid !== run.uid) return;
    // Before anything that the cache knows of this pod: the order of its end and its deletion tells by which of them it ended.
    run.frame({ resource: "pods", type: "applied", object: pod, at: at - 1 });
    const live = this.#pods.get(pod.metadata.namespace, pod.metadata.name);
    if (live?.metadata.uid !== pod.metadata.uid) run.frame({ resource: "pods", type: "deleted", object: pod, at });
  }

  /** The cache knows no such Job. It may be on its way here, or never have been: the server decides, once. */
  async #confirm(run: Run): Promise<void> {
    const { signal } = this.#stopped;
    const backoff = new Backoff();
    const path = jobPath(run.namespace, run.jobName);
    const isOpen = () => run.job() === null && !run.isReleased && !signal.aborted;
    await this.#jobs.whenSynced(signal).catch(() => undefined);
    while (isOpen()) {
      try {
        const job = trimJob(await this.cluster.json({ path, signal }));
        if (!isOpen()) return;
        if (job === null) throw new TypeError(`the answer to GET ${path} is not a Job`);
        if (run.uid !== null && job.metadata.uid !== run.uid) return run.markMissing();
        if (!this.#isSelected(job)) return this.#fail(run, "not_selected", this.#whyNotSelected(job));
        // The watch will bring it; until then it is as good as seen.
        run.frame({ resource: "jobs", type: "applied", object: job, at: performance.now() });
        this.#checkGone(run);
        return;
      } catch (error) {
        if (isNotFound(error)) return run.markMissing();
        if (isForbidden(error) && isOpen())
          return this.#fail(run, "forbidden", `its watch does not tell of it, and ${(error as Error).message}`, error);
        await delay(backoff.next(), undefined, { signal, ref: false }).catch(() => undefined);
      }
    }
  }

  #fail(run: Run, reason: AttachFailedError["reason"], message: string, cause?: unknown): void {
    run.close(new AttachFailedError(run.namespace, run.jobName, reason, message, cause));
    this.forget(run);
  }

  #isSelected({ metadata: { labels = {} } }: Job): boolean {
    return Object.entries(this.#labels).every(([key, value]) => labels[key] === value);
  }

  #whyNotSelected({ metadata: { labels = {} } }: Job): string {
    const wanted = Object.entries(this.#labels);
    const found = wanted.map(([key]) => (labels[key] === undefined ? `no ${key}` : `${key}=${labels[key]}`));
    const selector = wanted.map(([key, value]) => `${key}=${value}`).join(",");
    return `it carries ${found.join(", ")}, and this engine watches ${selector}; attach with an engine that selects it, or claim a Job of another shard before`;
  }

  async look(run: Run): Promise<boolean> {
    const reason = () =>
      new Error(`the server did not tell of Job ${run.namespace}/${run.jobName} within ${LOOK_TIMEOUT_MS} ms`);
    const abort = new LinkedAbort([this.#stopped.signal, run.closed], { ms: LOOK_TIMEOUT_MS, reason });
    // What of it is not answered stands as it is known.
    const [, pods] = await Promise.allSettled([
      this.#lookAtJob(run, abort.signal),
      this.#lookAtPods(run, abort.signal),
    ]);
    abort.release();
    return pods.status === "fulfilled";
  }

  async #lookAtJob(run: Run, signal: AbortSignal): Promise<void> {
    const known = run.job();
    if (known === null || run.isJobDeleted || jobFacts(known).end !== null) return;
    const path = jobPath(run.namespace, run.jobName);
    const job = await this.cluster.json({ path, signal }).then(trimJob, (error: unknown) => {
      if (isNotFound(error)) return null;
      throw error;
    });
    const isThere = job?.metadata.uid === known.metadata.uid;
    const frame = isThere
      ? ({ resource: "jobs", type: "applied", object: job } as const)
      : ({ resource: "jobs", type: "deleted", object: known } as const);
    // What was told to be gone meanwhile is: the answer is of before.
    if (!run.isReleased && !run.isJobDeleted) run.frame({ ...frame, at: performance.now() });
  }

  async #lookAtPods(run: Run, signal: AbortSignal): Promise<void> {
    const known = run.pod();
    const wasDeleted = run.isPodDeleted;
    const { items } = await this.cluster.json<{ items: unknown[] }>({
      path: `/api/v1/namespaces/${encodeURIComponent(run.namespace)}/pods`,
      query: { labelSelector: `job-name=${run.jobName}` },
      signal,
    });
    if (run.isReleased) return;
    const at = performance.now();
    const pods = items.map(trimPod).filter((pod) => pod !== null);
    const goneMeanwhile = run.isPodDeleted && !wasDeleted ? run.pod()?.metadata.uid : undefined;
    this.#tellPods(
      run,
      pods.filter(({ metadata }) => metadata.uid !== goneMeanwhile),
      at,
    );
    // One that was made meanwhile need not be among them.
    const last = run.pod();
    if (last === null || last.metadata.uid !== known?.metadata.uid) return;
    if (pods.some(({ metadata }) => metadata.uid === last.metadata.uid)) return;
    run.frame({ resource: "pods", type: "deleted", object: last, at });
  }

  /** A Job that was created and deleted within a gap of the watch never was in the cache: no deletion of it is told. */
  #checkGone(run: Run): void {
    const job = run.job();
    if (job === null || run.isJobDeleted) return;
    const { namespace, name, uid, resourceVersion } = job.metadata;
    if (!this.#isSelected(job)) return;
    if (this.#jobs.get(namespace, name)?.metadata.uid === uid) return;
    if (!this.#jobs.isPast(namespace, resourceVersion)) return;
    this.#deliver(run, { resource: "jobs", type: "deleted", object: job, at: performance.now() });
  }

  #onJob({ type, object, previous }: StoreChange<Job>): void {
    const key = `${object.metadata.namespace}/${object.metadata.name}`;
    const frame = {
      resource: "jobs",
      type: type === "deleted" ? "deleted" : "applied",
      object,
      at: performance.now(),
    } as const;
    if (type === "deleted") this.#bury(key, object);
    else if (previous === null) this.#tombstones.delete(key);
    const runs = this.#runs.get(key);
    if (runs === undefined) return;
    for (const run of [...runs]) this.#deliver(run, frame);
  }

  #onPod({ type, object, previous }: StoreChange<Pod>): void {
    const key = jobKeyOfPod(object);
    if (key === null) return;
    this.#remember(key, type, object, previous);
    const runs = this.#runs.get(key);
    if (runs === undefined) return;
    const frame = {
      resource: "pods",
      type: type === "deleted" ? "deleted" : "applied",
      object,
      at: performance.now(),
    } as const;
    for (const run of [...runs]) this.#deliver(run, frame);
  }

  #bury(key: string, job: Job): void {
    const known = this.#tombstones.peek(key)?.pod ?? null;
    const newest = newestOf(this.podsOf(job.metadata.namespace, job.metadata.name, job.metadata.uid));
    const isOurs = known?.metadata.ownerReferences?.[0]?.uid === job.metadata.uid;
    // What is remembered of a pod was taken before its deletion began; the cache knows more only of another pod.
    const isBest = isOurs && (newest === null || newest.metadata.uid === known.metadata.uid);
    this.#tombstones.set(key, { job, pod: isBest ? known : newest });
  }

  /**
   * How a pod ended is best told by its state before its deletion began; after that, whatever killed it first cannot be told
   * from the deletion any more. Pods of a Job that is deleted in the foreground are gone before their Job is.
   */
  #remember(key: string, type: StoreChange<Pod>["type"], object: Pod, previous: Pod | null): void {
    const isBeginning =
      previous !== null && isUndisturbedEnd(previous) && object.metadata.deletionTimestamp !== undefined;
    const tombstone = this.#tombstones.peek(key);
    if (tombstone === undefined) {
      if (isBeginning) this.#tombstones.set(key, { job: null, pod: previous });
      else if (type === "deleted") this.#tombstones.set(key, { job: null, pod: object });
      return;
    }
    if (tombstone.job !== null && tombstone.job.metadata.uid !== object.metadata.ownerReferences?.[0]?.uid) return;
    const known = tombstone.pod;
    const isDisturbed = type === "deleted" || object.metadata.deletionTimestamp !== undefined;
    if (known !== null && known.metadata.uid === object.metadata.uid && isUndisturbedEnd(known) && isDisturbed) return;
    if (
      known === null ||
      known.metadata.uid === object.metadata.uid ||
      known.metadata.creationTimestamp <= object.metadata.creationTimestamp
    ) {
      tombstone.pod = isBeginning ? previous : object;
    }
  }

  #deliver(run: Run, frame: Parameters<Run["frame"]>[0]): void {
    try {
      run.frame(frame);
    } catch (error) {
      this.#report(error);
    }
  }

  #onWatch(): void {
    const isFresh = this.#jobs.freshness().connected && this.#pods.freshness().connected;
    if (isFresh === (this.#freshSince !== null)) return;
    const now = performance.now();
    if (this.#freshSince !== null && now - this.#freshSince >= CATCH_UP_MS) this.#freshUntil = now;
    this.#freshSince = isFresh ? now : null;
    this.#unknownSince = isFresh ? null : Date.now();
  }
}

/** A container has ended before anyone began to delete the pod. */
function isUndisturbedEnd(pod: Pod): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  return containerNames(pod).some((name) => containerFacts(pod, name).state === "ended");
}

function newestOf(pods: readonly Pod[]): Pod | null {
  let newest: Pod | null = null;
  for (const pod of pods) {
    if (newest === null || pod.metadata.creationTimestamp >= newest.metadata.creationTimestamp) newest = pod;
  }
  return newest;
}
