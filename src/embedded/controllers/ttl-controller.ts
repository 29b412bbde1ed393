import type { Timer } from "../clock.ts";
import type { ClusterParts } from "../kubelet/cluster-parts.ts";
import { condition, type Job, jobOf } from "../objects/workloads.ts";
import type { StoreEvent } from "../store/change-feed.ts";
import { isJobFinished } from "./job-plan.ts";

/** Deletes Jobs, in the foreground, `ttlSecondsAfterFinished` after their end. */
export class TtlController {
  readonly #cluster: ClusterParts;
  readonly #timers = new Map<string, Timer>();

  constructor(cluster: ClusterParts) {
    this.#cluster = cluster;
    for (const job of cluster.store.list("jobs")) this.#watch(jobOf(job));
  }

  handle({ type, resource, object }: StoreEvent): void {
    if (resource !== "jobs") return;
    if (type === "DELETED") this.#forget(object.metadata.uid);
    else this.#watch(jobOf(object));
  }

  stop(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #watch(job: Job): void {
    const { uid, deletionTimestamp } = job.metadata;
    this.#forget(uid);
    const seconds = job.spec.ttlSecondsAfterFinished;
    if (seconds === undefined || deletionTimestamp !== undefined || !isJobFinished(job.status)) return;
    const end = condition(job.status?.conditions, "Complete") ?? condition(job.status?.conditions, "Failed");
    if (end?.lastTransitionTime === undefined) return;
    const left = Date.parse(end.lastTransitionTime) + seconds * 1000 - this.#cluster.clock.now();
    this.#timers.set(
      uid,
      this.#cluster.clock.setTimeout(() => this.#cluster.gate.pass(() => this.#delete(job)), left),
    );
  }

  #delete(job: Job): void {
    const { namespace, name, uid } = job.metadata;
    this.#timers.delete(uid);
    if (this.#cluster.store.get("jobs", namespace, name)?.metadata.uid !== uid) return;
    this.#cluster.store.delete("jobs", namespace, name, { propagationPolicy: "Foreground", preconditions: { uid } });
  }

  #forget(uid: string): void {
    this.#timers.get(uid)?.cancel();
    this.#timers.delete(uid);
  }
}
