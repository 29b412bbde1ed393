/** Milliseconds, or the least and the most of them: each time takes a random part of the range. */
export type DelayRange = number | readonly [least: number, most: number];

const ranged = ["exitNoticed", "startNoticed"] as const;
/** The delays that may be ranges. */
export type RangedDelay = (typeof ranged)[number];

/** How long the controllers and the kubelet take, in virtual milliseconds. */
export interface Delays {
  /** Job seen → its pod created. */
  jobStart: number;
  /** Pod changed → its Job looked at: the Job controller batches. */
  jobSync: number;
  /** Between two writes of a controller. */
  apiLatency: number;
  /** First retry of a failed pod; doubled by each further one, at most 10 minutes. */
  jobBackoff: number;
  /** Job gone → its pods lose the tracking finalizer. */
  orphan: number;
  /** Owner gone → its dependents are deleted. */
  garbageCollection: number;
  schedule: number;
  /** Pod bound → the kubelet's first status. */
  podSync: number;
  /** First status → sandbox (network) ready. */
  sandbox: number;
  /** Sandbox ready → first container runs. */
  containerStart: number;
  /** Container seen to have ended → the next one runs. */
  nextContainerStart: number;
  /** Container runs → its status says so. A real node takes 0.1–1.3 s; the recorded statuses came at once. */
  startNoticed: DelayRange;
  /** Container prints → its log has it. Some runtimes tell of an exit seconds before the last lines. */
  outputWritten: number;
  /** Container ended → the kubelet sees it. A real node takes 0.3–1.2 s. */
  exitNoticed: DelayRange;
  /** Container could not be started → its status says so. */
  startErrorNoticed: number;
  /** All containers ended → the pod's phase is final. */
  podCleanup: number;
  /** As `podCleanup`, where sidecars had to be killed first. */
  sidecarCleanup: number;
  /** Pod deleted → the kubelet sees it. */
  deletionSync: number;
  /** Container killed → the kubelet sees it. */
  killNoticed: number;
  /** Phase of a deleted pod final → the pod is gone. */
  podRemoval: number;
  /** The regular look at a pod whose containers cannot start, or wait for their restart. */
  podResync: number;
  /** First retry of an image pull, doubled by each further one, at most 5 minutes. */
  imageBackoff: number;
  /** First wait before a container is restarted again, doubled by each further restart, at most 5 minutes. */
  crashBackoff: number;
  /** First retry of a volume that cannot be mounted, doubled by each further one, at most 2 minutes. */
  mountBackoff: number;
}

/** As the recorded cluster (Kubernetes 1.36, one node) behaved. */
const recordedDelays: Delays = {
  jobStart: 7,
  jobSync: 1000,
  apiLatency: 7,
  jobBackoff: 10_000,
  orphan: 10,
  garbageCollection: 25,
  schedule: 6,
  podSync: 35,
  sandbox: 900,
  containerStart: 820,
  nextContainerStart: 220,
  startNoticed: 0,
  outputWritten: 0,
  exitNoticed: 250,
  startErrorNoticed: 1200,
  podCleanup: 1150,
  sidecarCleanup: 1900,
  deletionSync: 12,
  killNoticed: 150,
  podRemoval: 560,
  podResync: 13_000,
  imageBackoff: 10_000,
  crashBackoff: 10_000,
  mountBackoff: 500,
};

/** For benchmarks: every state is still passed through, in a few milliseconds. */
const fastDelays: Delays = {
  jobStart: 1,
  jobSync: 5,
  apiLatency: 0,
  jobBackoff: 50,
  orphan: 1,
  garbageCollection: 2,
  schedule: 1,
  podSync: 1,
  sandbox: 2,
  containerStart: 2,
  nextContainerStart: 2,
  startNoticed: 0,
  outputWritten: 0,
  exitNoticed: 2,
  startErrorNoticed: 5,
  podCleanup: 4,
  sidecarCleanup: 4,
  deletionSync: 1,
  killNoticed: 2,
  podRemoval: 3,
  podResync: 200,
  imageBackoff: 150,
  crashBackoff: 50,
  mountBackoff: 20,
};

function isDelay(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && Number.isFinite(value);
}

/** Named delays over a preset. */
export function delaysOf(option: "recorded" | "fast" | Partial<Delays> | undefined): Delays {
  if (option === undefined || option === "recorded") return recordedDelays;
  if (option === "fast") return fastDelays;
  for (const [name, value] of Object.entries(option)) {
    if (!Object.hasOwn(recordedDelays, name)) {
      throw new TypeError(`delays.${name} is not a delay; known are ${Object.keys(recordedDelays).join(", ")}`);
    }
    const mayBeRange = (ranged as readonly string[]).includes(name);
    const isRange = mayBeRange && Array.isArray(value) && value.length === 2 && value.every(isDelay);
    if (isDelay(value) || (isRange && value[0] <= value[1])) continue;
    const wanted = mayBeRange ? " or a range of them, [least, most]" : "";
    throw new TypeError(
      `delays.${name} must be a number of milliseconds, 0 or more${wanted}, got ${JSON.stringify(value)}`,
    );
  }
  return { ...recordedDelays, ...option };
}
