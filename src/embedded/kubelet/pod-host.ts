import type { ClusterParts } from "./cluster-parts.ts";
import type { Volume } from "./container-files.ts";
import type { ContainerLog } from "./container-log.ts";
import type { RangedDelay } from "./delays.ts";
import type { ImageRegistry } from "./image-registry.ts";
import type { ProgramRegistry } from "./programs.ts";

export interface KubeletOptions extends ClusterParts {
  programs: ProgramRegistry;
  images: ImageRegistry;
  /** Volumes that outlive pods, by `namespace/claim`. */
  claims: Map<string, Volume>;
  nodeName: string;
  hostIP: string;
  /** First three numbers of the pods' addresses. */
  podSubnet: string;
  /** Bytes after which a container's log is rotated. */
  containerLogMaxSize: number;
  /** Milliseconds between two looks at the sizes of its containers' logs. */
  containerLogMonitorMs: number;
  /** Milliseconds by which the node's clock, and so the times in its logs, is ahead. */
  clockSkewMs: number;
  /** Whether the pods' statuses tell of their containers. */
  reportsContainers: boolean;
  /** For delays that are a range. */
  random: () => number;
}

/** What a pod's worker needs of the node on which the pod runs; the kubelet is one. */
export interface PodHost {
  readonly options: KubeletOptions;
  readonly nodeName: string;
  /** Whether the kubelet is up, and reaches the API server. */
  readonly canAct: boolean;
  /** Resolves once it can act. */
  ready(): Promise<void>;
  /** How long it takes this time, in milliseconds. */
  delay(name: RangedDelay): number;
  /** Nanoseconds since the epoch by the node's clock. */
  nowNs(): bigint;
  /** RFC 3339 by the node's clock, of `at` milliseconds by the cluster's clock (default: now). */
  timestamp(at?: number): string;
  nextPodIP(): string;
  /** The log of a container that is about to start. */
  createLog(): ContainerLog;
  /** A directory for the volumes and working directories of a pod's local processes. */
  podDirectory(uid: string): string;
  removePodDirectory(uid: string): void;
}
