import { equalJson } from "../../json/json-object.ts";
import { SleepAbortedError, type Timer } from "../clock.ts";
import type { ClusterParts } from "../kubelet/cluster-parts.ts";
import { inOrder } from "../objects/field-order.ts";
import { StatusError } from "../objects/status-error.ts";
import { type Job, type JobStatus, jobOf, type Pod, podOf } from "../objects/workloads.ts";
import type { StoreEvent } from "../store/change-feed.ts";
import { warn } from "../warn.ts";
import {
  hasTrackingFinalizer,
  isJobFinished,
  isManagedElsewhere,
  type JobPlan,
  planJob,
  type RetryState,
  trackingFinalizer,
} from "./job-plan.ts";

interface Entry {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  retry: RetryState;
  timer: Timer | null;
  dueAt: number;
  syncing: boolean;
  /** The Job was deleted: a sync that is under way must not create pods again. */
  gone: boolean;
}

const source = { component: "job-controller" };

/** In the order in which the server writes them. */
const STATUS_FIELDS =
  "conditions startTime completionTime active succeeded failed terminating uncountedTerminatedPods ready".split(" ");

/** Carries out `planJob` for every Job when it, or one of its pods, has changed. */
export class JobController {
  readonly #cluster: ClusterParts;
  readonly #jobs = new Map<string, Entry>();

  constructor(cluster: ClusterParts) {
    this.#cluster = cluster;
    for (const job of cluster.store.list("jobs")) this.#track(jobOf(job));
  }

  handle(event: StoreEvent): void {
    if (event.resource === "jobs") this.#handleJob(event);
    else if (event.resource === "pods") this.#handlePod(event);
  }

  stop(): void {
    for (const entry of this.#jobs.values()) entry.timer?.cancel();
    this.#jobs.clear();
  }

  #handleJob({ type, object, previous }: StoreEvent): void {
    const { metadata } = object;
    if (type === "DELETED") {
      const entry = this.#jobs.get(metadata.uid);
      if (entry !== undefined) {
        entry.gone = true;
        entry.timer?.cancel();
        this.#jobs.delete(metadata.uid);
      }
      this.#releasePods(metadata.uid);
    } else if (type === "ADDED") {
      this.#track(jobOf(object));
    } else if (
      metadata.generation !== previous?.metadata.generation ||
      metadata.deletionTimestamp !== previous?.metadata.deletionTimestamp
    ) {
      const entry = this.#jobs.get(metadata.uid);
      if (entry !== undefined) this.#enqueue(entry, 0);
    }
  }

  #handlePod({ type, object }: StoreEvent): void {
    const owner = object.metadata.ownerReferences?.find(
      ({ controller, kind }) => controller === true && kind === "Job",
    );
    if (owner === undefined) return;
    const entry = this.#jobs.get(owner.uid);
    if (entry !== undefined) this.#enqueue(entry, this.#cluster.delays.jobSync);
    else if (type === "ADDED") this.#releasePods(owner.uid);
  }

  #track(job: Job): void {
    if (isManagedElsewhere(job)) return;
    const { metadata } = job;
    const entry: Entry = {
      uid: metadata.uid,
      namespace: metadata.namespace ?? "",
      name: metadata.name,
      retry: { failures: 0, lastFailureAt: 0 },
      timer: null,
      dueAt: Number.POSITIVE_INFINITY,
      syncing: false,
      gone: false,
    };
    this.#jobs.set(metadata.uid, entry);
    this.#enqueue(entry, this.#cluster.delays.jobStart);
  }

  /** The earliest of the times asked for counts, as in a delaying work queue. */
  #enqueue(entry: Entry, delayMs: number): void {
    const dueAt = this.#cluster.clock.now() + delayMs;
    if (entry.timer !== null && entry.dueAt <= dueAt) return;
    entry.timer?.cancel();
    entry.dueAt = dueAt;
    entry.timer = this.#cluster.clock.setTimeout(() => {
      entry.timer = null;
      void this.#sync(entry);
    }, delayMs);
  }

  async #sync(entry: Entry): Promise<void> {
    if (entry.gone) return;
    const { gate, delays } = this.#cluster;
    if (gate.closed) {
      gate.pass(() => this.#enqueue(entry, 0));
      return;
    }
    if (entry.syncing) {
      this.#enqueue(entry, delays.apiLatency + 1);
      return;
    }
    entry.syncing = true;
    try {
      await this.#syncJob(entry);
    } catch (error) {
      if (error instanceof SleepAbortedError) return;
      // A conflict or a quota: the real controller retries with a backoff as well.
      if (error instanceof StatusError) this.#enqueue(entry, delays.jobSync);
      else warn(error);
    } finally {
      entry.syncing = false;
    }
  }

  async #syncJob(entry: Entry): Promise<void> {
    const { store, clock, delays, events } = this.#cluster;
    const stored = store.get("jobs", entry.namespace, entry.name);
    if (stored === undefined || stored.metadata.uid !== entry.uid) return;
    const job = jobOf(stored);
    const pods = this.#podsOf(entry.uid);
    if (isJobFinished(job.status)) {
      for (const pod of pods) this.#release(pod);
      return;
    }
    const plan = planJob(job, pods, clock.now(), entry.retry, delays.jobBackoff);
    entry.retry = plan.retry;
    if (plan.againInMs !== null) this.#enqueue(entry, plan.againInMs);
    for (const pod of plan.discardPods) this.#release(pod);
    for (const pod of [...plan.deletePods, ...plan.discardPods]) this.#deletePod(job, pod);
    this.#createPods(job, plan);
    if (plan.deletePods.length + plan.discardPods.length + plan.createPods > 0) await this.#pause();
    if (this.#writeStatus(entry, plan.status)) await this.#pause();
    if (plan.countedPods.length > 0) {
      for (const pod of plan.countedPods) this.#release(pod);
      await this.#pause();
    }
    this.#writeStatus(entry, plan.finalStatus);
    for (const { type, reason, message } of plan.events) events.record(job, source, type, reason, message);
  }

  #createPods(job: Job, plan: JobPlan): void {
    const { store, events } = this.#cluster;
    const { metadata, spec } = job.spec.template;
    for (let created = 0; created < plan.createPods; created++) {
      try {
        const pod = store.create("pods", {
          metadata: {
            generateName: `${job.metadata.name}-`,
            ...(job.metadata.namespace === undefined ? {} : { namespace: job.metadata.namespace }),
            ...(metadata?.labels === undefined ? {} : { labels: metadata.labels }),
            ...(metadata?.annotations === undefined ? {} : { annotations: metadata.annotations }),
            ownerReferences: [
              {
                apiVersion: "batch/v1",
                kind: "Job",
                name: job.metadata.name,
                uid: job.metadata.uid,
                controller: true,
                blockOwnerDeletion: true,
              },
            ],
            finalizers: [trackingFinalizer],
          },
          spec,
        });
        events.record(job, source, "Normal", "SuccessfulCreate", `Created pod: ${pod.metadata.name}`);
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        events.record(job, source, "Warning", "FailedCreate", `Error creating: ${error.message}`);
        throw error;
      }
    }
  }

  #deletePod(job: Job, { metadata }: Pod): void {
    const { store, events } = this.#cluster;
    if (store.get("pods", metadata.namespace, metadata.name)?.metadata.uid !== metadata.uid) return;
    store.delete("pods", metadata.namespace, metadata.name, { preconditions: { uid: metadata.uid } });
    events.record(job, source, "Normal", "SuccessfulDelete", `Deleted pod: ${metadata.name}`);
  }

  /** @returns whether there was anything to write. */
  #writeStatus(entry: Entry, status: JobStatus): boolean {
    if (entry.gone) return false;
    const { store } = this.#cluster;
    const job = store.get("jobs", entry.namespace, entry.name);
    if (job === undefined || job.metadata.uid !== entry.uid || equalJson(job.status ?? {}, status)) return false;
    store.update("jobs", entry.namespace, entry.name, (draft) => {
      draft.status = inOrder(STATUS_FIELDS, { ...status });
    });
    return true;
  }

  /** No controller counts the pods of a deleted Job: they lose their finalizer. */
  #releasePods(jobUid: string): void {
    const { clock, delays, gate } = this.#cluster;
    if (!this.#podsOf(jobUid).some(hasTrackingFinalizer)) return;
    const release = () => {
      for (const pod of this.#podsOf(jobUid)) this.#release(pod);
    };
    clock.setTimeout(() => gate.pass(release), delays.orphan);
  }

  #release({ metadata }: Pod): void {
    const { store } = this.#cluster;
    const latest = store.get("pods", metadata.namespace, metadata.name);
    if (latest?.metadata.uid !== metadata.uid || !hasTrackingFinalizer(podOf(latest))) return;
    store.update("pods", metadata.namespace, metadata.name, (draft) => {
      draft.metadata.finalizers = draft.metadata.finalizers?.filter((name) => name !== trackingFinalizer) ?? [];
    });
  }

  #podsOf(jobUid: string): Pod[] {
    const pods: Pod[] = [];
    for (const { resource, object } of this.#cluster.store.dependents(jobUid)) {
      if (resource === "pods") pods.push(podOf(object));
    }
    return pods;
  }

  async #pause(): Promise<void> {
    const { clock, delays } = this.#cluster;
    if (delays.apiLatency > 0) await clock.sleep(delays.apiLatency);
  }
}
