import { randomUUID } from "node:crypto";
import { type Cluster, createOnce, deleteUnchanged, isConflict, isForbidden, isNotFound } from "../../engine/index.ts";
import { isRecord } from "../../json/read-json.ts";
import { LabelKey } from "../job/names.ts";
import type { SelfPod } from "../job/self-pod.ts";
import { bounded } from "../wait.ts";
import type { Holder } from "./holder.ts";

/** Others may take over what this process owns when it has not renewed its Lease for so long, by the server's clock. */
export const LEASE_SECONDS = 40;
const RENEW_EVERY_MS = 10_000;
const RENEW_AGAIN_MS = 1_000;
const REQUEST_TIMEOUT_MS = 5_000;
/** The process stops to act as the owner a little before others may. */
const HELD_MS = (LEASE_SECONDS - 3) * 1_000;

export const LEASE_LABELS = { [LabelKey.managedBy]: "paperclip", [LabelKey.component]: "server-lease" };
const HOLDER_ANNOTATION = "paperclip.io/holder";

/** As the server has it. */
export interface LeaseObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
    /** Their times are the server's: when the Lease was written last. */
    readonly managedFields?: readonly { readonly time?: string }[];
  };
  readonly spec?: { readonly leaseDurationSeconds?: number };
}

export function leasesPath(namespace: string): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases`;
}

export function leasePath(namespace: string, name: string): string {
  return `${leasesPath(namespace)}/${encodeURIComponent(name)}`;
}

/** When it was written last, by the server's clock. Null where the server keeps no `managedFields`. */
export function writtenAt({ metadata }: LeaseObject): number | null {
  const times = (metadata.managedFields ?? []).map(({ time = "" }) => Date.parse(time)).filter(Number.isFinite);
  return times.length === 0 ? null : Math.max(...times);
}

/** Which process holds it, as it wrote of itself. Empty where the annotation is not what this adapter writes. */
export function holderOf({ metadata }: LeaseObject): Partial<Holder> {
  try {
    const holder: unknown = JSON.parse(metadata.annotations?.[HOLDER_ANNOTATION] ?? "{}");
    return isRecord(holder) ? (holder as Partial<Holder>) : {};
  } catch {
    return {};
  }
}

/** Longer ones are no process's of this adapter, and a timer takes 24 days at most. */
const LONGEST_SECONDS = 3_600;

/** For how long it holds after a renewal. Somebody may have taken the duration off, or set it to anything. */
export function durationMsOf({ spec }: LeaseObject): number {
  const seconds = Number(spec?.leaseDurationSeconds ?? LEASE_SECONDS);
  return (seconds > 0 ? Math.min(seconds, LONGEST_SECONDS) : LEASE_SECONDS) * 1_000;
}

/**
 * That this process lives, as a fact of the cluster: one `coordination.k8s.io` Lease a process and namespace, renewed whatever the
 * number of runs, whose name stands on the Jobs that the process follows.
 */
export class ProcessLease {
  readonly name: string;
  readonly #cluster: Cluster;
  readonly #namespace: string;
  readonly #uid: string;
  readonly #ended = new AbortController();
  #wasGivenUp = false;
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<boolean> | null = null;
  /** When the last renewal that was carried out was sent, on both clocks: each may stand still where the other goes on. */
  #renewedAt: Moment;

  /**
   * @param selfPod the server's own pod: its Lease is deleted with it
   * @throws ApiError: 403 without the right to create Leases
   */
  static async create(
    cluster: Cluster,
    namespace: string,
    { holder, selfPod, signal }: { holder: Holder; selfPod: SelfPod | null; signal: AbortSignal },
  ): Promise<ProcessLease> {
    const sentAt = bothClocks();
    const now = microTime(cluster.clock.now());
    const owner = selfPod === null || selfPod.namespace !== namespace || selfPod.uid === null ? null : selfPod;
    const lease = await createOnce<LeaseObject>(
      cluster,
      leasesPath(namespace),
      {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: {
          name: `k8s-run-informer-${randomUUID()}`,
          namespace,
          labels: LEASE_LABELS,
          annotations: { [HOLDER_ANNOTATION]: JSON.stringify(holder) },
          ...(owner === null
            ? {}
            : { ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: owner.name, uid: owner.uid }] }),
        },
        spec: {
          holderIdentity: holder.pod ?? holder.id,
          leaseDurationSeconds: LEASE_SECONDS,
          acquireTime: now,
          renewTime: now,
        },
      },
      signal,
    );
    return new ProcessLease(cluster, namespace, lease, sentAt);
  }

  private constructor(cluster: Cluster, namespace: string, { metadata }: LeaseObject, sentAt: Moment) {
    this.#cluster = cluster;
    this.#namespace = namespace;
    this.name = metadata.name;
    this.#uid = metadata.uid;
    this.#renewedAt = sentAt;
    this.#renewIn(RENEW_EVERY_MS);
  }

  /** Aborts when the Lease is no longer this process's: deleted by another one, or ended. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Is it certain that no other process may take over now? Costs no request. */
  get isHeld(): boolean {
    const { monotonic, wall } = this.#renewedAt;
    const elapsedMs = Math.max(performance.now() - monotonic, Date.now() - wall);
    return !this.#ended.signal.aborted && elapsedMs < HELD_MS;
  }

  /** Renews now, unless it is held anyway. @returns whether it is held then. Never rejects. */
  async hold(): Promise<boolean> {
    if (this.isHeld) return true;
    await this.#renew();
    return this.isHeld;
  }

  /** Was it ended by this process itself? */
  get wasGivenUp(): boolean {
    return this.#wasGivenUp;
  }

  /** Deletes it, so that others need not wait until it runs out. Never rejects. */
  async end(): Promise<void> {
    if (this.#ended.signal.aborted) return;
    this.#wasGivenUp = true;
    this.#end("ended");
    const path = leasePath(this.#namespace, this.name);
    await bounded({ ms: REQUEST_TIMEOUT_MS }, (signal) =>
      deleteUnchanged(this.#cluster, path, { uid: this.#uid }, { signal }),
    ).catch(() => undefined);
  }

  #renew(): Promise<boolean> {
    this.#renewing ??= this.#renewOnce().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  /** A merge that tests the uid: sent twice it does no harm. */
  async #renewOnce(): Promise<boolean> {
    const sentAt = bothClocks();
    const body = {
      metadata: { uid: this.#uid },
      spec: { renewTime: microTime(this.#cluster.clock.now()) },
    };
    try {
      await this.#cluster.json({
        method: "PATCH",
        path: leasePath(this.#namespace, this.name),
        contentType: "application/merge-patch+json",
        body,
        timeoutMs: REQUEST_TIMEOUT_MS,
        maxAttempts: 1,
        signal: this.#ended.signal,
      });
      this.#renewedAt = sentAt;
      return true;
    } catch (error) {
      // Deleted by a process that waited in vain for a renewal. Another uid under the name is a conflict.
      if (isNotFound(error) || isConflict(error)) this.#end("deleted by another process");
      return isForbidden(error);
    }
  }

  #renewIn(ms: number): void {
    if (this.#ended.signal.aborted) return;
    this.#timer = setTimeout(async () => {
      const wasAnswered = await this.#renew();
      this.#renewIn(wasAnswered ? RENEW_EVERY_MS : RENEW_AGAIN_MS);
    }, ms);
    this.#timer.unref();
  }

  #end(reason: string): void {
    clearTimeout(this.#timer);
    this.#ended.abort(new Error(`Lease ${this.#namespace}/${this.name}: ${reason}`));
  }
}

interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

function bothClocks(): Moment {
  return { monotonic: performance.now(), wall: Date.now() };
}

/** `metav1.MicroTime`: six digits of a second. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}
