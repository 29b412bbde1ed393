import { LRUCache } from "lru-cache";
import {
  abortable,
  type Cluster,
  deleteUnchanged,
  EngineStoppedError,
  findObject,
  isDeleting,
  isForbidden,
  isNotFound,
  isRetryable,
  isStrayAnswer,
  type Job,
  jobPath,
  type RunEngine,
} from "../../engine/index.ts";
import { AnnotationKey } from "../job/names.ts";
import { ownPodName, type SelfPod } from "../job/self-pod.ts";
import { bounded } from "../wait.ts";
import { type Holder, lifeOf, thisProcess } from "./holder.ts";
import { annotate, annotationPath, isFailedTest, patchJob } from "./job-patch.ts";
import {
  durationMsOf,
  holderOf,
  LEASE_SECONDS,
  type LeaseObject,
  leasePath,
  ProcessLease,
  writtenAt,
} from "./lease.ts";
import { judgeLease, type OwnerState, type Sight } from "./lease-verdict.ts";
import { processState } from "./process-state.ts";
import { repeated } from "./repeated.ts";

/** Without the right to Leases, it is asked again after this. */
const DENIED_MS = 5 * 60_000;
const REQUEST_TIMEOUT_MS = 5_000;
const MAX_REMEMBERED = 10_000;

/** The name of the owner's Lease, where the Job has one. */
export function ownerNameOf({ metadata }: Pick<Job, "metadata">): string | null {
  return metadata.annotations?.[AnnotationKey.owner] ?? null;
}

/**
 * Who owns which Job, among processes that share a namespace: whose Lease's name stands on it. Without the right to Leases no Job
 * is given an owner, and processes know of their own runs only.
 */
export class Ownership {
  readonly #cluster: Cluster;
  readonly #namespace: string;
  readonly #holder: Holder;
  readonly #selfPod: SelfPod | null;
  readonly #sights = new LRUCache<string, Sight>({ max: MAX_REMEMBERED });
  /** Leases that had certainly run out, and that this process deleted. */
  readonly #deleted = new LRUCache<string, true>({ max: MAX_REMEMBERED });
  #lease: ProcessLease | null = null;
  #users = 0;
  #taking: Promise<void> | null = null;
  /** Aborts with the engine. */
  readonly #stopped = new AbortController();
  #deniedUntil = Number.NEGATIVE_INFINITY;

  /** The engine's; it takes a Lease with its first run, and ends it with the engine. @throws ApiError; the signal's reason */
  static async of(
    engine: RunEngine,
    place: { namespace: string; env: NodeJS.ProcessEnv; selfPod: SelfPod | null; signal: AbortSignal },
  ): Promise<Ownership> {
    let ownership = known.get(engine);
    if (ownership === undefined) {
      const pod = await ownPodName(place.env);
      const holder = await thisProcess(pod.name === null ? null : `${pod.namespace}/${pod.name}`);
      ownership = known.get(engine) ?? new Ownership(engine, place, holder);
      known.set(engine, ownership);
    }
    await ownership.ensure(place.signal);
    return ownership;
  }

  private constructor(
    engine: RunEngine,
    { namespace, selfPod }: { namespace: string; selfPod: SelfPod | null },
    holder: Holder,
  ) {
    this.#cluster = engine.cluster;
    this.#namespace = namespace;
    this.#holder = holder;
    this.#selfPod = selfPod;
    engine.beforeStop(async () => {
      this.#stopped.abort(new EngineStoppedError());
      await this.#taking?.catch(() => undefined);
      await this.#lease?.end();
    });
  }

  /** The Lease whose name is written on Jobs; null without the right to Leases. */
  get lease(): ProcessLease | null {
    return this.#lease;
  }

  /** A run begins that needs a Lease. Returns the function that ends its need; `isLast`: the host takes its runs from this server. */
  use(): (isLast: boolean) => Promise<void> {
    this.#users += 1;
    return async (isLast) => {
      this.#users -= 1;
      // A server that shuts down: its Lease is not to be waited for, nor left behind.
      if (isLast && this.#users === 0) await this.#lease?.end();
    };
  }

  /** Takes a Lease where there is none, or where it was lost. @throws ApiError; the signal's reason */
  async ensure(signal: AbortSignal): Promise<void> {
    if (this.#lease !== null && (await this.#lease.hold())) return;
    if (this.#lease !== null && !this.#lease.ended.aborted) return;
    if (performance.now() < this.#deniedUntil) return;
    // For every run that waits for it: the Stop of the one that asked first ends its own wait.
    this.#taking ??= this.#take().finally(() => {
      this.#taking = null;
    });
    await abortable(this.#taking, signal);
  }

  async #take(): Promise<void> {
    this.#lease = null;
    try {
      const place = { holder: this.#holder, selfPod: this.#selfPod, signal: this.#stopped.signal };
      const lease = await ProcessLease.create(this.#cluster, this.#namespace, place);
      this.#lease = lease;
      const { leases } = processState();
      leases.add(lease);
      lease.ended.addEventListener("abort", () => leases.delete(lease), { once: true });
    } catch (error) {
      // 404: an API server without coordination.k8s.io.
      if (!isForbidden(error) && !isNotFound(error)) throw error;
      this.#deniedUntil = performance.now() + DENIED_MS;
    }
  }

  /** Asks the server for the Lease. One that has certainly run out is deleted. @throws ApiError; the signal's reason */
  async stateOf(name: string, signal: AbortSignal): Promise<OwnerState> {
    if (this.isHere(name)) return { state: "live", ms: LEASE_SECONDS * 1_000 };
    const path = leasePath(this.#namespace, name);
    let lease: LeaseObject | null;
    try {
      lease = await findObject<LeaseObject>(this.#cluster, path, signal);
    } catch (error) {
      // Whoever wrote its name had the right. That it lives cannot be ruled out.
      if (isForbidden(error)) return { state: "live", ms: LEASE_SECONDS * 1_000 };
      throw error;
    }
    if (lease === null) return { state: "over", mayBeUnheard: !this.#deleted.has(name) };
    const life = await lifeOf(holderOf(lease), this.#holder);
    const written = writtenAt(lease);
    const { verdict, sight } = judgeLease(this.#sights.get(name), {
      version: lease.metadata.resourceVersion,
      durationMs: durationMsOf(lease),
      writtenMsAgo: written === null ? null : this.#cluster.clock.now() - written,
      life,
      now: performance.now(),
    });
    this.#sights.set(name, sight);
    if (verdict.state !== "over") return verdict;
    // The deletion decides: a holder that wakes up cannot renew its Lease any more. One whose process has ended does not.
    const outcome = await deleteUnchanged(this.#cluster, path, lease.metadata, { signal }).catch((error: unknown) => {
      if (life !== "dead" || !isForbidden(error)) throw error;
    });
    if (outcome === "changed") return { state: "live", ms: LEASE_SECONDS * 1_000 };
    this.#deleted.set(name, true);
    return { state: "over" };
  }

  /**
   * Is a Job whose owner this process was still its own? Without a request while the Lease is held. Asked before each act that
   * would harm another owner: a process that was stopped for a while does not know what happened meanwhile.
   * @param owner the Lease that stands on the Job; null: it has none
   * @returns the Lease that stands on it now, or false
   */
  async confirm(job: { name: string; uid: string | null }, owner: string | null): Promise<string | null | false> {
    if (owner === null) return null;
    const lease = this.#lease;
    if (lease?.name === owner && lease.wasGivenUp) return false;
    // The renewal says that no process has deleted the Lease, and that is what comes before each adoption.
    if (lease?.name === owner && (await lease.hold())) return owner;
    return await bounded({ ms: CONFIRM_LIMIT_MS }, (signal) => this.#reclaim(job, owner, signal)).catch(
      () => false as const,
    );
  }

  /** One lost write costs nothing but a retry. @throws ApiError; the signal's reason */
  async #reclaim(
    job: { name: string; uid: string | null },
    owner: string,
    signal: AbortSignal,
  ): Promise<string | false> {
    const isFinal = (error: unknown) => !isRetryable(error) && !isStrayAnswer(error);
    return await repeated(() => this.#reclaimOnce(job, owner, signal), { signal, isFinal });
  }

  async #reclaimOnce(
    job: { name: string; uid: string | null },
    owner: string,
    signal: AbortSignal,
  ): Promise<string | false> {
    await this.ensure(signal);
    const path = jobPath(this.#namespace, job.name);
    const { metadata } = await this.#cluster.json<Job>({ path, signal });
    const current = ownerNameOf({ metadata });
    const lease = this.#lease;
    if (metadata.uid !== job.uid) return false;
    // Written by a request whose answer was lost.
    if (current !== null && current === lease?.name) return current;
    if (current !== owner) return false;
    if (lease === null || lease.name === owner) return owner;
    const isOwner = { op: "test", path: annotationPath(AnnotationKey.owner), value: owner } as const;
    const operations = [isOwner, ...annotate(metadata, { [AnnotationKey.owner]: lease.name })];
    try {
      await patchJob(this.#cluster, metadata, operations, signal);
      return lease.name;
    } catch (error) {
      if (!isFailedTest(error)) throw error;
      // Another process came between; or the answer was lost, and what was sent again found the Job changed by the first write.
      const now = await this.#cluster.json<Job>({ path, signal });
      return now.metadata.uid === job.uid && ownerNameOf(now) === lease.name ? lease.name : false;
    }
  }

  /**
   * Takes the owner off a Job that goes on without this process, so that the next run may adopt it at once. Never rejects. When a
   * server shuts down, its host takes the hold on each run from it: so others need not wait for its Lease to run out.
   */
  async giveUp(job: Job | null, owner: string | null): Promise<void> {
    if (job === null || owner === null) return;
    const path = annotationPath(AnnotationKey.owner);
    const operations = [
      { op: "test", path: "/metadata/uid", value: job.metadata.uid },
      { op: "test", path, value: owner },
      { op: "remove", path },
    ] as const;
    await bounded({ ms: REQUEST_TIMEOUT_MS }, (signal) =>
      patchJob(this.#cluster, job.metadata, operations, signal),
    ).catch(() => undefined);
  }

  /** Has another process handed out the result of a Job of this one? It deletes the Job then, or marks it. @throws ApiError */
  async isCollected({ name, uid }: { name: string; uid: string | null }, signal: AbortSignal): Promise<boolean> {
    const job = await findObject<Job>(this.#cluster, jobPath(this.#namespace, name), signal);
    if (job === null || job.metadata.uid !== uid) return true;
    return job.metadata.annotations?.[AnnotationKey.collectedAt] !== undefined || isDeleting(job);
  }

  /** Is it a Lease of this process? */
  isHere(name: string): boolean {
    return this.#lease?.name === name || [...processState().leases].some((lease) => lease.name === name);
  }
}

/** A server that is away is asked for so long whether a Job is still this process's. */
const CONFIRM_LIMIT_MS = 60_000;

const known = new WeakMap<RunEngine, Ownership>();
