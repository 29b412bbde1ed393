import type { Clock, Timer } from "../clock.ts";
import { condition, type Job, jobOf } from "../objects/workloads.ts";
import type { ApiGate } from "../store/api-gate.ts";
import type { StoreEvent } from "../store/change-feed.ts";
import type { ObjectStore } from "../store/store.ts";
import { isJobFinished } from "./job-plan.ts";

/** Deletes Jobs, in the foreground, `ttlSecondsAfterFinished` after their end. */
export class TtlController {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  readonly #gate: ApiGate;
  readonly #timers = new Map<string, Timer>();

  constructor(store: ObjectStore, clock: Clock, gate: ApiGate) {
    this.#store = store;
    this.#clock = clock;
    this.#gate = gate;
    for (const job of store.list("jobs")) this.#watch(jobOf(job));
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
    const left = Date.parse(end.lastTransitionTime) + seconds * 1000 - this.#clock.now();
    this.#timers.set(
      uid,
      this.#clock.setTimeout(() => this.#gate.pass(() => this.#delete(job)), left),
    );
  }

  #delete(job: Job): void {
    const { namespace, name, uid } = job.metadata;
    this.#timers.delete(uid);
    if (this.#store.get("jobs", namespace, name)?.metadata.uid !== uid) return;
    this.#store.delete("jobs", namespace, name, { propagationPolicy: "Foreground", preconditions: { uid } });
  }

  #forget(uid: string): void {
    this.#timers.get(uid)?.cancel();
    this.#timers.delete(uid);
  }
}
