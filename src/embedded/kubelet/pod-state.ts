import { equalJson } from "../../json/json-object.ts";
import { SleepAbortedError } from "../clock.ts";
import { badRequest, type StatusError } from "../objects/status-error.ts";
import { type ContainerSpec, isPodFinished, type Pod, podOf } from "../objects/workloads.ts";
import { warn } from "../warn.ts";
import type { ContainerFiles } from "./container-files.ts";
import type { ContainerLog } from "./container-log.ts";
import type { PodHost } from "./pod-host.ts";
import { type ContainerKind, type ContainerView, type PodView, podResources, podStatus } from "./pod-status.ts";
import type { ContainerExit, RunningContainer } from "./running-container.ts";

export interface ContainerRecord extends ContainerView {
  readonly kind: ContainerKind;
  log: ContainerLog | null;
  previousLog: ContainerLog | null;
  running: RunningContainer | null;
  /** Of the container that runs, or ran last. */
  files: ContainerFiles | null;
  /** Wait before the next restart; 0 as long as there was none. */
  restartDelay: number;
  /** When its last instance ended, in milliseconds of the cluster's clock. */
  endedAt: number;
}

/** What the kubelet knows of one pod, how it waits on its behalf, and the writing of the pod's status. */
export class PodState {
  readonly host: PodHost;
  readonly records: readonly ContainerRecord[];
  readonly view: PodView;
  /** Aborted when the pod is to be stopped, or all its main containers have ended. */
  readonly stopping = new AbortController();
  pod: Pod;
  /** The pod is gone, or the cluster stops: nothing is written any more. */
  discarded = false;
  /** The node is dead. */
  crashed = false;
  #publishDue = false;

  constructor(host: PodHost, pod: Pod) {
    this.host = host;
    this.pod = pod;
    const { initContainers = [], containers } = pod.spec;
    const waitingReason = initContainers.length > 0 ? "PodInitializing" : "ContainerCreating";
    const record = (spec: ContainerSpec, kind: ContainerKind): ContainerRecord => ({
      spec,
      kind,
      state: { waiting: { reason: waitingReason } },
      lastState: {},
      restartCount: 0,
      containerID: null,
      lost: false,
      log: null,
      previousLog: null,
      running: null,
      files: null,
      restartDelay: 0,
      endedAt: 0,
    });
    this.records = [
      ...initContainers.map((spec) => record(spec, spec.restartPolicy === "Always" ? "sidecar" : "init")),
      ...containers.map((spec) => record(spec, "main")),
    ];
    this.view = {
      containers: this.records,
      sandboxReady: false,
      hostIP: host.options.hostIP,
      podIP: null,
      startTime: host.timestamp(),
      stopped: false,
      restartsAll: false,
      resources: podResources(pod.spec),
      reportsContainers: host.options.reportsContainers,
      hasRun: false,
      disruption: null,
    };
  }

  log(containerName: string, previous: boolean): ContainerLog | StatusError {
    const record = this.records.find(({ spec }) => spec.name === containerName);
    const { name } = this.pod.metadata;
    if (previous) {
      // Between two restarts the previous container is the last one that ran.
      const last = record?.state.waiting !== undefined ? record.log : record?.previousLog;
      return last ?? badRequest(`previous terminated container "${containerName}" in pod "${name}" not found`);
    }
    if (record?.log) return record.log;
    const reason = record?.state.waiting?.reason ?? "ContainerCreating";
    return badRequest(`container "${containerName}" in pod "${name}" is waiting to start: ${waitingText(reason)}`);
  }

  /** Several changes in one go make one write. */
  publish(): void {
    if (this.#publishDue) return;
    this.#publishDue = true;
    queueMicrotask(() => {
      if (this.discarded || this.crashed) {
        this.#publishDue = false;
      } else if (this.host.canAct) {
        this.#publishDue = false;
        this.#write();
      } else {
        void this.host.ready().then(() => {
          this.#publishDue = false;
          this.publish();
        });
      }
    });
  }

  #write(): void {
    const { store } = this.host.options;
    const { namespace, name, uid } = this.pod.metadata;
    const stored = store.get("pods", namespace, name);
    if (stored?.metadata.uid !== uid) return;
    const pod = podOf(stored);
    const status = podStatus(pod, this.view, this.host.timestamp());
    if (this.records.some(({ kind, state }) => kind === "main" && state.running !== undefined)) {
      this.view.hasRun = true;
    }
    if (equalJson(pod.status, status)) return;
    // A phase that is final stays, whoever wrote it (status manager `mergePodStatus`).
    if (isPodFinished(pod) && !isPodFinished({ status })) return;
    store.update(
      "pods",
      namespace,
      name,
      (draft) => {
        draft.status = status;
      },
      { manager: "kubelet", subresource: "status" },
    );
  }

  assignAddress(): void {
    this.view.podIP ??= this.host.nextPodIP();
  }

  /** Waits until a container has ended and the kubelet has seen it (PLEG), after `exitNoticed`. @returns its exit code. */
  async ended(record: ContainerRecord, noticeMs = this.host.delay("exitNoticed")): Promise<number> {
    const { running } = record;
    if (running !== null) {
      const exit = await running.exit;
      if (record.running !== running) return record.state.terminated?.exitCode ?? 137;
      await this.wait(noticeMs, true);
      this.#recordExit(record, exit);
    }
    return record.state.terminated?.exitCode ?? 0;
  }

  #recordExit(record: ContainerRecord, { exitCode, reason, finishedAt }: ContainerExit): void {
    if (record.running === null) return;
    record.running = null;
    record.endedAt = finishedAt;
    const message = record.files?.terminationMessage(record.spec.terminationMessagePath) ?? "";
    record.state = {
      terminated: {
        exitCode,
        reason,
        ...(message === "" ? {} : { message }),
        startedAt: record.state.running?.startedAt ?? null,
        finishedAt: this.host.timestamp(finishedAt),
        containerID: `containerd://${record.containerID}`,
      },
    };
  }

  /** @param throughStop keep waiting although the pod is being stopped. */
  async wait(virtualMs: number, throughStop = false): Promise<void> {
    const { clock } = this.host.options;
    if (virtualMs > 0) await clock.sleep(virtualMs, throughStop ? undefined : this.stopping.signal);
    if (!this.host.canAct) await this.host.ready();
    if (this.discarded || this.crashed || (!throughStop && this.stopping.signal.aborted)) {
      throw new SleepAbortedError("The pod is being stopped");
    }
  }

  /** An Event about the pod. */
  say(type: "Normal" | "Warning", reason: string, message: string, fieldPath?: string): void {
    const { events, nodeName } = this.host.options;
    events.record(this.pod, { component: "kubelet", host: nodeName }, type, reason, message, fieldPath);
  }

  async guard(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (error instanceof SleepAbortedError) return;
      warn(error);
    }
  }
}

function waitingText(reason: string): string {
  if (reason === "ErrImagePull") return "image can't be pulled";
  return reason === "ImagePullBackOff" ? "trying and failing to pull image" : reason;
}
