import type { Bus } from "../bus.ts";
import type { Informer } from "../informer/informer.ts";
import { compareVersions, type StoreChange } from "../informer/store.ts";
import type { Job, Pod } from "../kubernetes.ts";
import type { LogServerState } from "../logs/index.ts";
import type { WatchEvent } from "../topics.ts";
import { type Cluster, isForbidden, isUnauthorized } from "../transport/index.ts";
import { askServer, findJob } from "./ask-server.ts";
import type { Ask } from "./deletion.ts";
import { inOrder, jobKeyOfPod, jobUidOfPod, PODS_BY_JOB } from "./job-of-pod.ts";
import { severalPods } from "./launch.ts";
import { type RunPolicy, resolvePolicy } from "./policy.ts";
import { Run } from "./run.ts";
import { type RecordHost, RunRecord } from "./run-record.ts";
import type { RunFrame } from "./run-state.ts";
import { Tombstones } from "./tombstones.ts";
import type { RunTopics } from "./topics.ts";
import { noTrust, reduceTrust, type Trust, withPodsTold } from "./trust.ts";
import { AttachFailedError, type RunPhase } from "./types.ts";

interface RegistryOptions {
  cluster: Cluster;
  bus: Bus<RunTopics>;
  server: LogServerState;
  jobs: Informer<Job>;
  pods: Informer<Pod>;
  /** What both select by. */
  labels: Readonly<Record<string, string>>;
  policy: RunPolicy;
  report: (error: unknown) => void;
}

/** A run whose create request is under way. */
export interface Launching {
  run: Run;
  /** The request was answered. */
  bind(job: Job): void;
}

/** How many runs all engines of this process have had. The number of a run is part of its id. */
let runs = 0;

/** Brings each change of the two caches and of their watches to the runs that it is about. */
export class RunRegistry implements RecordHost {
  readonly cluster: Cluster;
  readonly bus: Bus<RunTopics>;
  readonly server: LogServerState;
  readonly #policy: RunPolicy;
  readonly #jobs: Informer<Job>;
  readonly #pods: Informer<Pod>;
  readonly #labels: Readonly<Record<string, string>>;
  readonly #report: (error: unknown) => void;
  readonly #records = new Map<string, readonly RunRecord[]>();
  readonly #tombstones = new Tombstones((key, uid) => this.#podsOf(key, uid));
  /** By namespace; null: one watch over all of them. */
  readonly #trust = new Map<string | null, Trust>();
  /** Until its watches are heard of. */
  readonly #noTrust = noTrust(performance.now());
  readonly #stopped = new AbortController();

  constructor({ cluster, bus, server, jobs, pods, labels, policy, report }: RegistryOptions) {
    this.cluster = cluster;
    this.bus = bus;
    this.server = server;
    this.#policy = policy;
    this.#jobs = jobs;
    this.#pods = pods;
    this.#labels = labels;
    this.#report = report;
    jobs.subscribe((change) => this.#onJob(change));
    pods.subscribe((change) => this.#onPod(change));
    jobs.onWatch((event) => this.#onWatch("jobs", event));
    pods.onWatch((event) => this.#onWatch("pods", event));
  }

  /** Without those that are deleted and only wait for the last state of their pod. */
  get size(): number {
    let size = 0;
    for (const record of this.#all()) if (!record.isDeleted) size += 1;
    return size;
  }

  /** How many of the runs stand in each phase. */
  phases(): Partial<Record<RunPhase, number>> {
    const phases: Partial<Record<RunPhase, number>> = {};
    for (const record of this.#all()) {
      if (record.isDeleted) continue;
      const { phase } = record.phase();
      phases[phase] = (phases[phase] ?? 0) + 1;
    }
    return phases;
  }

  get tombstones(): number {
    return this.#tombstones.size;
  }

  /** A run that is registered before its Job's create request leaves: the watch may be faster than the answer. */
  expect(namespace: string, jobName: string, policy?: Partial<RunPolicy>): Launching {
    const record = this.#record(namespace, jobName, null, policy, true);
    const since = performance.now();
    const bind = (job: Job) => {
      record.publish("followed", { how: "launch", since });
      record.bind(job);
      this.#checkDeleted(record);
    };
    return { run: new Run(this, record), bind };
  }

  attach(namespace: string, jobName: string, uid: string | null, policy?: Partial<RunPolicy>): Run {
    const record = this.#record(namespace, jobName, uid, policy, false);
    record.publish("followed", { how: "attach", since: performance.now() });
    this.#seed(record, uid);
    if (record.job === null) void this.#confirm(record);
    else this.#checkOnePod(record, record.job);
    return new Run(this, record);
  }

  stop(error: Error): void {
    this.#stopped.abort();
    for (const record of this.#all()) record.close(error);
    this.#records.clear();
    this.#tombstones.clear();
  }

  /** Why a run of this Job could not be told to its end. Null: it can. */
  whyNotFollowed(job: Job): { reason: "several_pods" | "not_selected"; message: string } | null {
    const several = severalPods(job.spec);
    if (several !== null) return { reason: "several_pods", message: several };
    return this.#isSelected(job) ? null : { reason: "not_selected", message: this.#whyNotSelected(job) };
  }

  keep(record: RunRecord): void {
    const key = keyOf(record);
    const records = this.#records.get(key) ?? [];
    if (!records.includes(record)) this.#records.set(key, records.concat(record));
  }

  forget(record: RunRecord): void {
    const key = keyOf(record);
    const others = (this.#records.get(key) ?? []).filter((each) => each !== record);
    if (others.length === 0) this.#records.delete(key);
    else this.#records.set(key, others);
  }

  ask(record: RunRecord, what: Ask): Promise<boolean> {
    return askServer(this.cluster, record, what, this.#stopped.signal);
  }

  trustOf({ ref: { namespace }, state }: RunRecord): Trust {
    const trust = this.#trustIn(namespace);
    // The version that the pods' watch has reached counts only once the Job has ended. Before, each of its frames would change every run.
    const matters = state.jobEndedAt !== null || state.jobDeletedAt !== null;
    return matters ? withPodsTold(state.trust, trust, this.#pods.told(namespace)) : trust;
  }

  #record(
    namespace: string,
    jobName: string,
    uid: string | null,
    policy: Partial<RunPolicy> | undefined,
    isLaunching: boolean,
  ): RunRecord {
    runs += 1;
    const ref = { id: `${namespace}/${jobName}#${runs}`, namespace, jobName, uid };
    const record = new RunRecord(this, ref, resolvePolicy(policy, this.#policy), isLaunching);
    this.keep(record);
    return record;
  }

  *#all(): Generator<RunRecord> {
    for (const records of [...this.#records.values()]) yield* records;
  }

  #podsOf(key: string, uid: string | null): readonly Pod[] {
    const pods = this.#pods.byIndex(PODS_BY_JOB, key);
    return uid === null ? pods : pods.filter((pod) => jobUidOfPod(pod) === uid);
  }

  #seed(record: RunRecord, uid: string | null): void {
    const at = performance.now();
    const { namespace, jobName } = record.ref;
    const key = keyOf(record);
    const live = this.#jobs.get(namespace, jobName);
    const tombstone = this.#tombstones.get(key);
    const isMeant = (job: Job) => uid === null || job.metadata.uid === uid;
    const isLive = live !== undefined && isMeant(live);
    const buried = !isLive && tombstone?.job != null && isMeant(tombstone.job) ? tombstone.job : null;
    const job = isLive ? live : buried;
    if (job !== null) record.frame({ resource: "jobs", type: "applied", object: job, at });
    if (tombstone !== undefined && (buried !== null || tombstone.job === null))
      this.#seedPod(record, tombstone.pod, at);
    for (const object of inOrder(this.#podsOf(key, record.ref.uid)))
      record.frame({ resource: "pods", type: "applied", object, at });
    if (buried !== null) record.frame({ resource: "jobs", type: "deleted", object: buried, at });
  }

  #seedPod(record: RunRecord, pod: Pod | null, at: number): void {
    if (pod === null || jobUidOfPod(pod) !== record.ref.uid) return;
    // Earlier than what the cache has of this pod: whether it ended before its deletion says what ended the run.
    record.frame({ resource: "pods", type: "applied", object: pod, at: at - 1 });
    const live = this.#pods.get(pod.metadata.namespace, pod.metadata.name);
    if (live?.metadata.uid !== pod.metadata.uid) record.frame({ resource: "pods", type: "deleted", object: pod, at });
  }

  /** The cache has no such Job: its watch may be late, or there was none. The server is asked once. */
  async #confirm(record: RunRecord): Promise<void> {
    const { signal } = this.#stopped;
    await this.#jobs.whenSynced(signal).catch(() => undefined);
    const isOpen = () => record.job === null && !record.isClosed && !signal.aborted;
    const found = await findJob(this.cluster, record.ref, isOpen, signal);
    if (found === null) {
      if (record.job !== null) this.#checkOnePod(record, record.job);
      return;
    }
    const { job } = found;
    const { uid } = record.ref;
    const at = performance.now();
    if (job === null && found.refusal !== null) {
      const message = `its watch does not tell of it, and ${found.refusal.message}`;
      this.#fail(record, "forbidden", message, found.refusal);
    } else if (job === null && uid === null) {
      this.#fail(record, "not_found", "there is none of this name: it was never created, or was deleted a while ago");
    } else if (job === null || (uid !== null && job.metadata.uid !== uid)) {
      // The caller has its uid, so the Job existed and was deleted.
      record.frame({ resource: "jobs", type: "missing", at });
    } else if (!this.#isSelected(job)) {
      this.#fail(record, "not_selected", this.#whyNotSelected(job));
    } else {
      // The watch will show it soon; the answer counts until then.
      record.frame({ resource: "jobs", type: "applied", object: job, at });
      this.#checkDeleted(record);
      this.#checkOnePod(record, job);
    }
  }

  #checkOnePod(record: RunRecord, { spec }: Job): void {
    const several = severalPods(spec);
    if (several !== null) this.#fail(record, "several_pods", several);
  }

  #fail(record: RunRecord, reason: AttachFailedError["reason"], message: string, cause?: unknown): void {
    const { namespace, jobName } = record.ref;
    record.close(new AttachFailedError(namespace, jobName, reason, message, cause));
    this.forget(record);
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

  /** A Job that was created and deleted during a gap of the watch was never in the cache, so no deletion of it is published. */
  #checkDeleted(record: RunRecord): void {
    const { job, state } = record;
    if (job === null || state.jobDeletedAt !== null) return;
    const { namespace, name, uid, resourceVersion } = job.metadata;
    if (!this.#isSelected(job) || this.#jobs.get(namespace, name)?.metadata.uid === uid) return;
    const told = this.#jobs.told(namespace);
    if (told === null || !/^\d+$/.test(resourceVersion) || compareVersions(told.version, resourceVersion) < 0) return;
    this.#deliver(record, { resource: "jobs", type: "deleted", object: job, at: performance.now() });
  }

  #onJob(change: StoreChange<Job>): void {
    const { type, object } = change;
    const key = `${object.metadata.namespace}/${object.metadata.name}`;
    this.#tombstones.onJob(key, change);
    const records = this.#records.get(key);
    if (records === undefined) return;
    const at = performance.now();
    const frame = { resource: "jobs", type: type === "deleted" ? "deleted" : "applied", object, at } as const;
    for (const record of records) this.#deliver(record, frame);
  }

  #onPod(change: StoreChange<Pod>): void {
    const { type, object, previous } = change;
    // A Job releases its pod when it is deleted with `--cascade=orphan` or the pod loses its labels: no later frame names it.
    if (type === "updated" && previous !== null && jobUidOfPod(previous) !== jobUidOfPod(object))
      this.#onPod({ type: "deleted", object: previous, previous });
    const key = jobKeyOfPod(object);
    if (key === null) return;
    this.#tombstones.onPod(key, change);
    const records = this.#records.get(key);
    if (records === undefined) return;
    const at = performance.now();
    const frame = { resource: "pods", type: type === "deleted" ? "deleted" : "applied", object, at } as const;
    for (const record of records) this.#deliver(record, frame);
  }

  #onWatch(watch: "jobs" | "pods", { type, namespace, error, at }: WatchEvent): void {
    if (type === "listed") {
      if (watch === "jobs") for (const record of this.#all()) this.#checkDeleted(record);
      return;
    }
    const known = this.#trustIn(namespace);
    const isRefused = error !== null && (isForbidden(error) || isUnauthorized(error));
    const trust = reduceTrust(known, { watch, type, isRefused, at });
    if (trust === known) return;
    this.#trust.set(namespace, trust);
    for (const record of this.#all())
      if (namespace === null || record.ref.namespace === namespace)
        this.#deliver(record, { resource: "watch", trust: this.trustOf(record), at });
  }

  #trustIn(namespace: string | null): Trust {
    return this.#trust.get(null) ?? this.#trust.get(namespace) ?? this.#noTrust;
  }

  #deliver(record: RunRecord, frame: RunFrame): void {
    try {
      record.frame(frame);
    } catch (error) {
      this.#report(error);
    }
  }
}

function keyOf({ ref }: RunRecord): string {
  return `${ref.namespace}/${ref.jobName}`;
}
