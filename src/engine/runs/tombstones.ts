import { LRUCache } from "lru-cache";
import { containerFacts, containerNames, isDeleting } from "../facts.ts";
import type { StoreChange } from "../informer/store.ts";
import type { Job, Pod } from "../kubernetes.ts";
import { jobUidOfPod } from "./job-of-pod.ts";

/** The last that was known of a Job that is deleted (null: it stands, but its pod is deleted) and of its newest pod. */
export interface Tombstone {
  job: Job | null;
  pod: Pod | null;
}

/** What is remembered of Jobs and pods that are deleted, so that a run that ended before anyone asked still answers. */
export class Tombstones {
  /** By namespace/name of the Job; the newest Job of a name counts. */
  readonly #tombstones = new LRUCache<string, Tombstone>({ max: 2_000, ttl: 15 * 60_000 });
  readonly #podsOf: (key: string, uid: string) => readonly Pod[];

  /** @param podsOf the pods that the cache holds of a Job */
  constructor(podsOf: (key: string, uid: string) => readonly Pod[]) {
    this.#podsOf = podsOf;
  }

  get size(): number {
    return this.#tombstones.size;
  }

  get(key: string): Tombstone | undefined {
    return this.#tombstones.get(key);
  }

  clear(): void {
    this.#tombstones.clear();
  }

  onJob(key: string, { type, object: job, previous }: StoreChange<Job>): void {
    if (type === "added" && previous === null) this.#tombstones.delete(key);
    if (type !== "deleted") return;
    const known = this.#tombstones.peek(key)?.pod ?? null;
    const newest = newestOf(this.#podsOf(key, job.metadata.uid));
    const isOurs = known !== null && jobUidOfPod(known) === job.metadata.uid;
    // The remembered state of a pod is from before its deletion began, so it is better than the cache's. Another pod may be newer.
    const isBest = isOurs && (newest === null || newest.metadata.uid === known.metadata.uid);
    this.#tombstones.set(key, { job, pod: isBest ? known : newest });
  }

  /**
   * How a pod ended is best told by its state before its deletion began; after that, whatever killed it first cannot be told
   * from the deletion any more. Pods of a Job that is deleted in the foreground are deleted before their Job is.
   */
  onPod(key: string, { type, object, previous }: StoreChange<Pod>): void {
    const isBeginning = previous !== null && isUndisturbedEnd(previous) && isDeleting(object);
    const tombstone = this.#tombstones.peek(key);
    if (tombstone === undefined) {
      if (isBeginning) this.#tombstones.set(key, { job: null, pod: previous });
      else if (type === "deleted") this.#tombstones.set(key, { job: null, pod: object });
      return;
    }
    if (tombstone.job !== null && tombstone.job.metadata.uid !== jobUidOfPod(object)) return;
    const known = tombstone.pod;
    const isDisturbed = type === "deleted" || isDeleting(object);
    const isSame = known !== null && known.metadata.uid === object.metadata.uid;
    if (isSame && isUndisturbedEnd(known) && isDisturbed) return;
    if (known === null || isSame || known.metadata.creationTimestamp <= object.metadata.creationTimestamp)
      tombstone.pod = isBeginning ? previous : object;
  }
}

/** A container has ended before anyone began to delete the pod. */
function isUndisturbedEnd(pod: Pod): boolean {
  if (isDeleting(pod)) return false;
  return containerNames(pod).some((name) => containerFacts(pod, name).state === "ended");
}

function newestOf(pods: readonly Pod[]): Pod | null {
  let newest: Pod | null = null;
  for (const pod of pods) {
    if (newest === null || pod.metadata.creationTimestamp >= newest.metadata.creationTimestamp) newest = pod;
  }
  return newest;
}
