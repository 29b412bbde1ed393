/**
 * The parts of Kubernetes objects that the engine reads, as they stand on the wire: times are RFC 3339 strings.
 *
 * `@kubernetes/client-node`'s `V1Job`/`V1Pod` describe the same objects with `Date`s, which costs a pass over every
 * object; a watch that sees thousands of frames a second does without. Unknown fields survive: the cache keeps what
 * `informer/trim.ts` keeps.
 */

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
}

export interface ObjectMeta {
  name: string;
  namespace: string;
  uid: string;
  resourceVersion: string;
  creationTimestamp: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  finalizers?: string[];
}

/** What every object in a cache has. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

export interface Condition {
  type: string;
  status: "True" | "False" | "Unknown";
  reason?: string;
  message?: string;
}

export interface JobStatus {
  startTime?: string;
  active?: number;
  succeeded?: number;
  failed?: number;
  terminating?: number;
  conditions?: Condition[];
}

export interface Job extends KubeObject {
  spec: {
    backoffLimit?: number;
    activeDeadlineSeconds?: number;
    suspend?: boolean;
    /** Only its presence is read: such a Job may replace a pod that `backoffLimit` alone would not (KEP-3329). */
    podFailurePolicy?: unknown;
    /** The controller that runs it, where that is not Kubernetes' own (KEP-4368). */
    managedBy?: string;
    /** Only where it is more than 1. */
    completions?: number;
    /** Only where it is more than 1. */
    parallelism?: number;
    /** Only the names of its containers are kept. */
    template?: {
      readonly spec?: {
        readonly containers?: readonly { readonly name: string }[];
        readonly initContainers?: readonly { readonly name: string }[];
      };
    };
  };
  status: JobStatus;
}

export interface ContainerStateWaiting {
  reason?: string;
  message?: string;
}
export interface ContainerStateRunning {
  startedAt?: string;
}
export interface ContainerStateTerminated {
  exitCode: number;
  signal?: number;
  reason?: string;
  message?: string;
  startedAt?: string;
  finishedAt?: string;
}
/** Exactly one of the three is set; none at all means waiting. */
export interface ContainerState {
  waiting?: ContainerStateWaiting;
  running?: ContainerStateRunning;
  terminated?: ContainerStateTerminated;
}
export interface ContainerStatus {
  name: string;
  state?: ContainerState;
  lastState?: ContainerState;
  started?: boolean;
  restartCount: number;
}

export interface Container {
  name: string;
  /** On an init container `Always` makes it a native sidecar (KEP-753); on a main one it goes before the pod's (KEP-5307). */
  restartPolicy?: string;
  restartRules?: readonly RestartRule[];
}

/** One of `restartPolicyRules` (KEP-5307, KEP-5532): what the kubelet does after these exit codes, or after all but these. */
export interface RestartRule {
  action: "Restart" | "RestartAllContainers";
  isIn: boolean;
  exitCodes: readonly number[];
}

export interface Pod extends KubeObject {
  spec: {
    nodeName?: string;
    restartPolicy?: string;
    terminationGracePeriodSeconds?: number;
    containers: Container[];
    initContainers?: Container[];
  };
  status: {
    phase?: "Pending" | "Running" | "Succeeded" | "Failed" | "Unknown";
    reason?: string;
    message?: string;
    conditions?: Condition[];
    initContainerStatuses?: ContainerStatus[];
    containerStatuses?: ContainerStatus[];
  };
}

/** The error body of the Kubernetes API (apimachinery `metav1.Status`). */
export interface Status {
  kind: "Status";
  status?: string;
  message?: string;
  reason?: string;
  code?: number;
  details?: {
    name?: string;
    group?: string;
    kind?: string;
    uid?: string;
    retryAfterSeconds?: number;
    causes?: { reason?: string; message?: string; field?: string }[];
  };
}
