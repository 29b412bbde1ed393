import type { Condition, ContainerState, Job, Pod } from "../../../src/engine/kubernetes.ts";

export const NAMESPACE = "agents";
export const JOB = "agent";
export const CONTAINER = "claude";
const GRACE_SECONDS = 2;

/** Who asked for a pod's deletion. */
export type Deleter = "user" | "job" | "deadline" | "eviction" | "suspension";

/** What is true of one pod, whoever has seen it. */
export interface PodTruth {
  readonly name: string;
  readonly uid: string;
  ranAt: number | null;
  /** `undisturbed`: before anybody began to delete the pod. */
  end: { exitCode: number; undisturbed: boolean; at: number } | null;
  evictedAt: number | null;
  readonly deletedFor: Map<Deleter, number>;
  /** Codes of start failures that it would be right to report. */
  readonly troubles: Set<string>;
}

/** What is true of a Job, and since when. */
export interface JobTruth {
  readonly uid: string;
  readonly backoffLimit: number;
  readonly pods: PodTruth[];
  deadlineAt: number | null;
  completeAt: number | null;
  failedAt: number | null;
  deletedAt: number | null;
}

export type HistoryEvent =
  | { resource: "jobs"; type: "applied" | "deleted"; object: Job }
  | { resource: "pods"; type: "applied" | "deleted"; object: Pod };

export const OPERATIONS = [
  "createJob",
  "createPod",
  "schedule",
  "cannotSchedule",
  "imageTrouble",
  "configTrouble",
  "initFails",
  "start",
  "exit0",
  "exit3",
  "deletePod",
  "evictByKubelet",
  "evictByApi",
  "killed",
  "killedGracefully",
  "removePod",
  "deadline",
  "syncJob",
  "deleteJob",
  "deleteJobInForeground",
  "suspend",
  "resume",
] as const;
export type Operation = (typeof OPERATIONS)[number];

/**
 * What may happen to the Jobs of one name and their pods, as Job controller, scheduler, kubelet and users do it: an operation
 * that cannot happen now does nothing. Each change is emitted as a watch would tell it; what is true is kept aside.
 */
export class JobHistory {
  readonly jobs: JobTruth[] = [];
  job: Job | null = null;
  readonly pods = new Map<string, Pod>();
  readonly #truths = new Map<string, PodTruth>();
  readonly #hasSidecar: boolean;
  readonly #backoffLimit: number;
  readonly #emit: (event: HistoryEvent) => void;
  #version = 100;
  #serial = 0;

  constructor(options: { hasSidecar: boolean; backoffLimit: number }, emit: (event: HistoryEvent) => void) {
    this.#hasSidecar = options.hasSidecar;
    this.#backoffLimit = options.backoffLimit;
    this.#emit = emit;
  }

  do(operation: Operation): void {
    this[operation]();
  }

  /** Everything that is under way comes to its end, and nothing new begins. */
  deleteEverything(): void {
    this.deleteJob();
    while (this.pods.size > 0) {
      this.killed();
      this.removePod();
    }
  }

  createJob(): void {
    if (this.job !== null) return;
    this.#serial += 1;
    const uid = `job-${this.#serial}`;
    this.jobs.push({
      uid,
      backoffLimit: this.#backoffLimit,
      pods: [],
      deadlineAt: null,
      completeAt: null,
      failedAt: null,
      deletedAt: null,
    });
    this.#applyJob({
      metadata: { name: JOB, namespace: NAMESPACE, uid, resourceVersion: "", creationTimestamp: seconds() },
      spec: { backoffLimit: this.#backoffLimit },
      status: {},
    });
  }

  createPod(): void {
    const { job } = this;
    if (job === null || job.metadata.deletionTimestamp !== undefined || job.spec.suspend === true || isOver(job))
      return;
    const known = this.#podsOf(job);
    if (known.some(({ status, metadata }) => !isPodOver(status.phase) && metadata.deletionTimestamp === undefined))
      return;
    const counted = this.#truth.pods.filter(({ deletedFor }) => !deletedFor.has("suspension"));
    if (counted.length > this.#backoffLimit) return;
    this.#serial += 1;
    const truth: PodTruth = {
      name: `${JOB}-${this.#serial}`,
      uid: `pod-${this.#serial}`,
      ranAt: null,
      end: null,
      evictedAt: null,
      deletedFor: new Map(),
      troubles: new Set(),
    };
    this.#truth.pods.push(truth);
    this.#truths.set(truth.uid, truth);
    const owner = { apiVersion: "batch/v1", kind: "Job", name: JOB, uid: job.metadata.uid, controller: true };
    this.#applyPod({
      metadata: {
        name: truth.name,
        namespace: NAMESPACE,
        uid: truth.uid,
        resourceVersion: "",
        creationTimestamp: seconds(),
        ownerReferences: [owner],
      },
      spec: { restartPolicy: "Never", containers: [{ name: CONTAINER }], initContainers: [{ name: "prompt" }] },
      status: { phase: "Pending" },
    });
  }

  schedule(): void {
    this.#change(this.#pending(), (pod) => {
      pod.spec.nodeName = "node";
      pod.status.conditions = [{ type: "PodScheduled", status: "True" }];
      this.#state(pod, { waiting: { reason: "PodInitializing" } });
    });
  }

  cannotSchedule(): void {
    this.#change(this.#pending(), (pod, truth) => {
      truth.troubles.add("unschedulable");
      pod.status.conditions = [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message: "no node" }];
    });
  }

  imageTrouble(): void {
    this.#trouble("image_pull", this.#serial % 2 === 0 ? "ErrImagePull" : "ImagePullBackOff");
  }

  configTrouble(): void {
    this.#trouble("container_config", "CreateContainerConfigError");
  }

  initFails(): void {
    this.#change(this.#starting(), (pod, truth) => {
      truth.troubles.add("init_failed");
      const terminated = { exitCode: 7, reason: "Error", startedAt: seconds(), finishedAt: seconds() };
      pod.status.initContainerStatuses = [{ name: "prompt", restartCount: 0, state: { terminated } }];
      pod.status.phase = "Failed";
    });
  }

  start(): void {
    this.#change(this.#starting(), (pod, truth) => {
      truth.ranAt = performance.now();
      this.#state(pod, { running: { startedAt: seconds() } });
      pod.status.phase = "Running";
    });
  }

  exit0(): void {
    this.#exit(0);
  }

  exit3(): void {
    this.#exit(3);
  }

  deletePod(): void {
    for (const pod of this.pods.values()) this.#askDeletion(pod, "user");
  }

  /** Memory or disk pressure: the kubelet kills the containers and fails the pod, which stays. */
  evictByKubelet(): void {
    this.#change(this.#running(), (pod, truth) => {
      truth.evictedAt = performance.now();
      truth.end = { exitCode: 137, undisturbed: true, at: performance.now() };
      this.#ended(pod, 137);
      pod.status.phase = "Failed";
      pod.status.reason = "Evicted";
      disrupt(pod, "TerminationByKubelet");
    });
  }

  evictByApi(): void {
    const pod = [...this.pods.values()].find(
      ({ status, metadata }) => !isPodOver(status.phase) && metadata.deletionTimestamp === undefined,
    );
    if (pod === undefined) return;
    this.#change(pod, (draft, truth) => {
      truth.evictedAt = performance.now();
      disrupt(draft, "EvictionByEvictionAPI");
    });
    this.#askDeletion(this.pods.get(pod.metadata.uid) as Pod, "eviction");
  }

  /** The end of a grace period. What never started is told as the kubelet tells it. */
  killed(exitCode = 137): void {
    const isDeleting = ({ metadata, status }: Pod) =>
      metadata.deletionTimestamp !== undefined && !isPodOver(status.phase);
    this.#change([...this.pods.values()].find(isDeleting), (pod, truth) => {
      pod.status.phase = "Failed";
      if (truth.end !== null) return;
      if (truth.ranAt === null) {
        this.#state(pod, { terminated: { exitCode: 137, reason: "ContainerStatusUnknown" } });
        return;
      }
      truth.end = { exitCode, undisturbed: false, at: performance.now() };
      this.#ended(pod, exitCode);
      pod.status.phase = exitCode === 0 ? "Succeeded" : "Failed";
    });
  }

  killedGracefully(): void {
    this.killed(0);
  }

  removePod(): void {
    const pod = [...this.pods.values()].find(
      ({ metadata, status }) => metadata.deletionTimestamp !== undefined && isPodOver(status.phase),
    );
    if (pod !== undefined) this.#remove(pod);
  }

  /** The controller deletes the pod, then says why; the condition `Failed` comes when the pod has gone. */
  deadline(): void {
    const { job } = this;
    if (job === null || isOver(job) || job.metadata.deletionTimestamp !== undefined || job.spec.suspend === true)
      return;
    this.#truth.deadlineAt ??= performance.now();
    for (const pod of this.#podsOf(job)) if (!isPodOver(pod.status.phase)) this.#askDeletion(pod, "deadline");
    this.#say("FailureTarget", "DeadlineExceeded");
  }

  syncJob(): void {
    const { job } = this;
    if (job === null) return;
    const pods = this.#podsOf(job);
    const target = job.status.conditions?.at(-1);
    if (target?.type === "FailureTarget" || target?.type === "SuccessCriteriaMet") {
      if (pods.some(({ status }) => !isPodOver(status.phase))) return;
      this.#say(target.type === "FailureTarget" ? "Failed" : "Complete", target.reason ?? "");
      return;
    }
    if (target !== undefined || job.spec.suspend === true) return;
    const truth = this.#truth;
    if (pods.some(({ status }) => status.phase === "Succeeded")) {
      truth.completeAt = performance.now();
      this.#say("SuccessCriteriaMet", "CompletionsReached");
      return;
    }
    const isLost = ({ uid, deletedFor }: PodTruth) => {
      const pod = this.pods.get(uid);
      return !deletedFor.has("suspension") && (pod === undefined || pod.status.phase === "Failed");
    };
    if (truth.pods.filter(isLost).length <= this.#backoffLimit) return;
    truth.failedAt = performance.now();
    this.#say("FailureTarget", "BackoffLimitExceeded");
  }

  deleteJob(): void {
    const { job } = this;
    if (job === null) return;
    this.#truth.deletedAt ??= performance.now();
    this.#removeJob(job);
    for (const pod of this.#podsOf(job)) this.#askDeletion(pod, "job");
  }

  deleteJobInForeground(): void {
    const { job } = this;
    if (job === null || job.metadata.deletionTimestamp !== undefined) return;
    this.#truth.deletedAt ??= performance.now();
    const { metadata } = job;
    this.#applyJob({
      ...job,
      metadata: { ...metadata, deletionTimestamp: seconds(), finalizers: ["foregroundDeletion"] },
    });
    for (const pod of this.#podsOf(job)) this.#askDeletion(pod, "job");
    this.#collect();
  }

  suspend(): void {
    const { job } = this;
    if (job === null || isOver(job) || job.spec.suspend === true || job.metadata.deletionTimestamp !== undefined)
      return;
    this.#applyJob({ ...job, spec: { ...job.spec, suspend: true } });
    for (const pod of this.#podsOf(job)) if (!isPodOver(pod.status.phase)) this.#askDeletion(pod, "suspension");
  }

  resume(): void {
    const { job } = this;
    if (job?.spec.suspend !== true) return;
    this.#applyJob({ ...job, spec: { ...job.spec, suspend: false } });
    this.createPod();
  }

  get #truth(): JobTruth {
    return this.jobs.at(-1) as JobTruth;
  }

  #podsOf(job: Job): Pod[] {
    return [...this.pods.values()].filter(({ metadata }) => metadata.ownerReferences?.[0]?.uid === job.metadata.uid);
  }

  #alive(fits: (pod: Pod) => boolean): Pod | undefined {
    return [...this.pods.values()].find(
      (pod) => !isPodOver(pod.status.phase) && pod.metadata.deletionTimestamp === undefined && fits(pod),
    );
  }

  #pending(): Pod | undefined {
    return this.#alive(({ spec }) => spec.nodeName === undefined);
  }

  #starting(): Pod | undefined {
    return this.#alive(
      ({ spec, metadata }) => spec.nodeName !== undefined && this.#truths.get(metadata.uid)?.ranAt === null,
    );
  }

  #running(): Pod | undefined {
    return this.#alive(({ metadata }) => {
      const truth = this.#truths.get(metadata.uid);
      return truth?.ranAt != null && truth.end === null;
    });
  }

  #trouble(code: string, reason: string): void {
    this.#change(this.#starting(), (pod, truth) => {
      truth.troubles.add(code);
      this.#state(pod, { waiting: { reason, message: `${reason} it is` } });
    });
  }

  #exit(exitCode: number): void {
    this.#change(this.#running(), (pod, truth) => {
      truth.end = { exitCode, undisturbed: true, at: performance.now() };
      this.#ended(pod, exitCode);
      if (!this.#hasSidecar) pod.status.phase = exitCode === 0 ? "Succeeded" : "Failed";
    });
  }

  #ended(pod: Pod, exitCode: number): void {
    const startedAt = pod.status.containerStatuses?.[0]?.state?.running?.startedAt ?? seconds();
    const reason = exitCode === 0 ? "Completed" : "Error";
    this.#state(pod, { terminated: { exitCode, reason, startedAt, finishedAt: seconds() } });
  }

  #state(pod: Pod, state: ContainerState): void {
    pod.status.containerStatuses = [{ name: CONTAINER, restartCount: 0, state }];
    if (this.#hasSidecar) pod.status.containerStatuses.push({ name: "mesh", restartCount: 0, state: { running: {} } });
  }

  #askDeletion(pod: Pod, deleter: Deleter): void {
    const truth = this.#truths.get(pod.metadata.uid) as PodTruth;
    if (pod.metadata.deletionTimestamp !== undefined) return;
    truth.deletedFor.set(deleter, performance.now());
    // A pod without a node, or one that is over, needs no kubelet to let go of it.
    if (pod.spec.nodeName === undefined) this.#remove(pod);
    else
      this.#change(pod, ({ metadata }) => {
        metadata.deletionTimestamp = seconds(GRACE_SECONDS);
        metadata.deletionGracePeriodSeconds = GRACE_SECONDS;
      });
  }

  #say(type: string, reason: string): void {
    const job = this.job as Job;
    const said: Condition = { type, status: "True", reason, message: reason };
    this.#applyJob({ ...job, status: { conditions: [...(job.status.conditions ?? []), said] } });
  }

  #change(pod: Pod | undefined, mutate: (draft: Pod, truth: PodTruth) => void): void {
    if (pod === undefined) return;
    const draft = structuredClone(pod);
    mutate(draft, this.#truths.get(pod.metadata.uid) as PodTruth);
    this.#applyPod(draft);
  }

  #applyJob(job: Job): void {
    this.job = { ...job, metadata: { ...job.metadata, resourceVersion: this.#nextVersion() } };
    this.#emit({ resource: "jobs", type: "applied", object: this.job });
  }

  #applyPod(pod: Pod): void {
    pod.metadata.resourceVersion = this.#nextVersion();
    this.pods.set(pod.metadata.uid, pod);
    this.#emit({ resource: "pods", type: "applied", object: pod });
  }

  #remove(pod: Pod): void {
    this.pods.delete(pod.metadata.uid);
    const object = { ...pod, metadata: { ...pod.metadata, resourceVersion: this.#nextVersion() } };
    this.#emit({ resource: "pods", type: "deleted", object });
    this.#collect();
  }

  /** Foreground deletion: the Job goes after its pods. */
  #collect(): void {
    const { job } = this;
    if (job?.metadata.deletionTimestamp !== undefined && this.#podsOf(job).length === 0) this.#removeJob(job);
  }

  #removeJob(job: Job): void {
    this.job = null;
    const object = { ...job, metadata: { ...job.metadata, resourceVersion: this.#nextVersion() } };
    this.#emit({ resource: "jobs", type: "deleted", object });
  }

  #nextVersion(): string {
    this.#version += 1;
    return String(this.#version);
  }
}

function disrupt(pod: Pod, reason: string): void {
  pod.status.conditions = [...(pod.status.conditions ?? []), { type: "DisruptionTarget", status: "True", reason }];
}

function isOver(job: Job): boolean {
  return (job.status.conditions ?? []).length > 0;
}

function isPodOver(phase: Pod["status"]["phase"]): boolean {
  return phase === "Succeeded" || phase === "Failed";
}

/** Kubernetes writes whole seconds. */
function seconds(ahead = 0): string {
  return new Date(Math.floor(Date.now() / 1_000 + ahead) * 1_000).toISOString().replace(".000Z", "Z");
}
