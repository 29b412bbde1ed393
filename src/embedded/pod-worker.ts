import { randomBytes } from "node:crypto";
import { SleepAbortedError } from "./clock.ts";
import { ContainerLog } from "./container-log.ts";
import { ContainerStarter, type StartProblem } from "./container-starter.ts";
import { equalJson } from "./json-object.ts";
import type { Kubelet } from "./kubelet.ts";
import { MissingConfigError, PodVolumes } from "./pod-environment.ts";
import {
  type ContainerKind,
  type ContainerView,
  type PodView,
  podPhase,
  podStatus,
  unknownState,
} from "./pod-status.ts";
import type { ContainerExit, RunningContainer } from "./running-container.ts";
import { badRequest, type StatusError } from "./status-error.ts";
import { type Condition, type ContainerSpec, isPodFinished, type Pod, podOf } from "./workloads.ts";

export interface ContainerRecord extends ContainerView {
  readonly kind: ContainerKind;
  log: ContainerLog | null;
  previousLog: ContainerLog | null;
  running: RunningContainer | null;
  /** Wait before the next restart; 0 as long as there was none. */
  restartDelay: number;
}

const maxBackoffMs = 300_000;

/**
 * One pod on its node, from binding to removal: starts its containers in order, restarts what has to be restarted, ends
 * them when the pod is deleted, and writes the pod's status after each step.
 */
export class PodWorker {
  readonly #kubelet: Kubelet;
  readonly #records: ContainerRecord[];
  readonly #view: PodView;
  readonly #starter: ContainerStarter;
  #pod: Pod;
  #volumes: PodVolumes | null = null;
  /** Aborted when the pod is to be stopped: whatever `#run` waits for is over. */
  readonly #stopping = new AbortController();
  #graceUntil = Number.POSITIVE_INFINITY;
  #discarded = false;
  #crashed = false;
  #publishDue = false;

  constructor(kubelet: Kubelet, pod: Pod) {
    this.#kubelet = kubelet;
    this.#pod = pod;
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
      restartDelay: 0,
    });
    this.#records = [
      ...initContainers.map((spec) => record(spec, spec.restartPolicy === "Always" ? "sidecar" : "init")),
      ...containers.map((spec) => record(spec, "main")),
    ];
    this.#view = {
      containers: this.#records,
      sandboxReady: false,
      hostIP: kubelet.options.hostIP,
      podIP: null,
      startTime: kubelet.options.clock.timestamp(),
      stopped: false,
      hasRun: false,
      disruption: null,
    };
    this.#starter = new ContainerStarter(kubelet);
  }

  get pod(): Pod {
    return this.#pod;
  }

  start(): void {
    if (isPodFinished(this.#pod)) this.#view.stopped = true;
    else void this.#guard(() => this.#run());
    if (this.#pod.metadata.deletionTimestamp !== undefined) this.update(this.#pod);
  }

  /** The pod was changed; a deletion, or a shorter grace, is what concerns the kubelet. */
  update(pod: Pod): void {
    this.#pod = pod;
    const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = pod.metadata;
    if (deletionTimestamp === undefined || this.#view.stopped) return;
    const until = this.#kubelet.options.clock.now() + deletionGracePeriodSeconds * 1000;
    const first = !this.#stopping.signal.aborted;
    if (!first) {
      if (deletionGracePeriodSeconds * 1000 < this.#graceUntil - this.#kubelet.options.clock.now()) {
        this.#graceUntil = until;
        for (const record of this.#records) record.running?.terminate(deletionGracePeriodSeconds * 1000);
      }
      return;
    }
    this.#graceUntil = until;
    this.#stopping.abort();
    void this.#guard(() => this.#terminate(deletionGracePeriodSeconds * 1000));
  }

  log(containerName: string, previous: boolean): ContainerLog | StatusError {
    const record = this.#records.find(({ spec }) => spec.name === containerName);
    const { name } = this.#pod.metadata;
    if (previous) {
      // Between two restarts the previous container is the last one that ran.
      const last = record?.state.waiting !== undefined ? record.log : record?.previousLog;
      return last ?? badRequest(`previous terminated container "${containerName}" in pod "${name}" not found`);
    }
    if (record?.log) return record.log;
    const reason = record?.state.waiting?.reason ?? "ContainerCreating";
    return badRequest(`container "${containerName}" in pod "${name}" is waiting to start: ${waitingText(reason)}`);
  }

  endFollows(): void {
    for (const { log } of this.#records) log?.endFollows();
  }

  rotateLog(containerName: string): boolean {
    const log = this.#records.find(({ spec }) => spec.name === containerName)?.log;
    log?.rotate();
    return log !== undefined && log !== null;
  }

  /** The kernel kills a container for its memory. @returns whether it ran. */
  oomKill(containerName: string): boolean {
    const record = this.#records.find(({ spec }) => spec.name === containerName);
    if (!record?.running) return false;
    record.running.kill(137, "OOMKilled");
    return true;
  }

  /** The kubelet ends the pod for the sake of its node. */
  evict(message: string): void {
    if (this.#stopping.signal.aborted || this.#view.stopped) return;
    const { clock, events, nodeName } = this.#kubelet.options;
    this.#view.disruption = {
      phase: "Failed",
      reason: "Evicted",
      message,
      condition: this.#disruptionTarget("TerminationByKubelet", message),
    };
    events.record(this.#pod, { component: "kubelet", host: nodeName }, "Warning", "Evicted", message);
    this.#graceUntil = clock.now();
    this.#stopping.abort();
    void this.#guard(async () => {
      await this.#stopContainers(0);
      await this.#finish();
      if (this.#pod.metadata.deletionTimestamp !== undefined) await this.#remove();
    });
  }

  /** The node is dead: nothing runs any more, and nobody is told. */
  crash(): void {
    this.#crashed = true;
    this.#stopping.abort();
    for (const { running } of this.#records) running?.kill();
  }

  /** The node is back without its containers. */
  recover(): void {
    if (!this.#crashed) return;
    this.#crashed = false;
    if (this.#view.stopped) return;
    for (const record of this.#records) {
      record.running = null;
      if (record.containerID === null) record.lost = record.state.terminated === undefined;
      else if (record.state.terminated === undefined) record.state = { ...unknownState };
    }
    void this.#guard(async () => {
      await this.#finish();
      if (this.#pod.metadata.deletionTimestamp !== undefined) await this.#remove();
    });
  }

  /** Ends what runs without a word: the pod is gone, or the cluster stops. */
  discard(): void {
    this.#discarded = true;
    this.#stopping.abort();
    for (const { running } of this.#records) running?.kill();
    for (const { log } of this.#records) log?.close();
    this.#kubelet.removePodDirectory(this.#pod.metadata.uid);
  }

  // From binding to the last container's end.

  async #run(): Promise<void> {
    const { delays } = this.#kubelet.options;
    await this.#wait(delays.podSync);
    this.#view.startTime = this.#kubelet.options.clock.timestamp();
    this.#publish();
    await this.#mountVolumes();
    await this.#wait(delays.sandbox);
    this.#view.sandboxReady = true;
    this.#publish();
    await this.#wait(delays.containerStart);
    for (const record of this.#records) {
      if (record.kind === "main") break;
      await this.#startContainer(record);
      if (record.kind === "sidecar") void this.#guard(() => this.#keepRunning(record));
      else if (!(await this.#runToEnd(record))) break;
      await this.#wait(delays.nextContainerStart);
    }
    if (podPhase(this.#pod.spec, this.#records) !== "Failed") await this.#runMains();
    // A pod that is being stopped is finished by whoever stops it.
    if (!this.#stopping.signal.aborted) await this.#afterMains();
  }

  async #runMains(): Promise<void> {
    const mains = this.#records.filter(({ kind }) => kind === "main");
    await Promise.all(
      mains.map(async (record) => {
        await this.#startContainer(record);
        await this.#runToEnd(record);
      }),
    );
  }

  async #afterMains(): Promise<void> {
    const { delays } = this.#kubelet.options;
    const sidecars = this.#records.filter(({ kind, running }) => kind === "sidecar" && running !== null);
    // From here on a sidecar's end is no reason to restart it.
    this.#stopping.abort();
    if (sidecars.length === 0) {
      await this.#wait(delays.podCleanup, true);
    } else {
      const grace = this.#graceMs();
      for (const { running } of sidecars) running?.terminate(grace);
      await Promise.all(sidecars.map((record) => this.#ended(record, delays.killNoticed)));
      this.#view.sandboxReady = false;
      this.#publish();
      await this.#wait(delays.sidecarCleanup, true);
    }
    await this.#finish();
    if (this.#pod.metadata.deletionTimestamp !== undefined) await this.#remove();
  }

  /** Waits for the end of a started container, restarting it as the pod's policy says. @returns whether it succeeded. */
  async #runToEnd(record: ContainerRecord): Promise<boolean> {
    const { delays } = this.#kubelet.options;
    const policy = this.#pod.spec.restartPolicy ?? "Always";
    for (;;) {
      const exitCode = await this.#ended(record, delays.exitNoticed);
      this.#publish();
      const succeeded = exitCode === 0;
      const again =
        record.kind === "init"
          ? !succeeded && policy !== "Never"
          : policy === "Always" || (!succeeded && policy === "OnFailure");
      if (!again) return succeeded;
      await this.#restart(record);
    }
  }

  async #keepRunning(sidecar: ContainerRecord): Promise<void> {
    for (;;) {
      await this.#ended(sidecar, this.#kubelet.options.delays.exitNoticed);
      this.#publish();
      if (this.#stopping.signal.aborted) return;
      await this.#restart(sidecar);
    }
  }

  async #restart(record: ContainerRecord): Promise<void> {
    const { delays, events, nodeName } = this.#kubelet.options;
    const wait = record.restartDelay;
    record.restartDelay = wait === 0 ? delays.crashBackoff : Math.min(wait * 2, maxBackoffMs);
    if (wait > 0) {
      const { name, namespace, uid } = this.#pod.metadata;
      const message = `back-off ${formatSeconds(wait)} restarting failed container=${record.spec.name} pod=${name}_${namespace}(${uid})`;
      record.lastState = record.state;
      record.state = { waiting: { reason: "CrashLoopBackOff", message } };
      this.#publish();
      events.record(
        this.#pod,
        { component: "kubelet", host: nodeName },
        "Warning",
        "BackOff",
        `Back-off restarting failed container ${record.spec.name} in pod ${name}_${namespace}(${uid})`,
        `spec.containers{${record.spec.name}}`,
      );
      await this.#wait(wait);
    } else {
      await this.#wait(delays.nextContainerStart);
    }
    if (record.state.terminated !== undefined) record.lastState = record.state;
    record.restartCount++;
    record.previousLog = record.log;
    record.log = null;
    await this.#startContainer(record);
  }

  /**
   * Starts a container, however long image and configuration keep it from starting. What a try ran into is published at the
   * kubelet's next look at the pod, just before that look's own try: that is how the real one comes to alternate between
   * `ErrImagePull` and `ImagePullBackOff`.
   */
  async #startContainer(record: ContainerRecord): Promise<void> {
    const { delays } = this.#kubelet.options;
    let wait = delays.startErrorNoticed;
    for (;;) {
      const problem = await this.#tryStart(record);
      if (problem === null) break;
      await this.#wait(wait);
      record.state = { waiting: problem };
      this.#assignAddress();
      this.#publish();
      wait = delays.podResync;
    }
    this.#assignAddress();
    this.#publish();
  }

  async #tryStart(record: ContainerRecord): Promise<StartProblem | null> {
    const { images } = this.#kubelet.options;
    const pullTime = images.pullTime(record.spec.image);
    if (pullTime > 0) await this.#wait(pullTime);
    if (this.#volumes === null) throw new Error("containers are started after the pod's volumes are mounted");
    const log = new ContainerLog({
      now: () => this.#kubelet.nowNs(),
      maxSize: this.#kubelet.options.containerLogMaxSize,
    });
    const outcome = this.#starter.start(this.#pod, record.spec, record.restartCount, this.#volumes, log);
    if ("problem" in outcome) return outcome.problem;
    record.containerID = randomBytes(32).toString("hex");
    record.log = log;
    if ("failed" in outcome) {
      log.close();
      const { exitCode, reason, message } = outcome.failed;
      record.state = {
        terminated: {
          exitCode,
          reason,
          message,
          startedAt: "1970-01-01T00:00:00Z",
          finishedAt: this.#kubelet.options.clock.timestamp(),
          containerID: `containerd://${record.containerID}`,
        },
      };
      return null;
    }
    record.running = outcome.running;
    record.state = { running: { startedAt: this.#kubelet.options.clock.timestamp() } };
    return null;
  }

  /** Waits until a container has ended and the kubelet has seen it. @returns its exit code. */
  async #ended(record: ContainerRecord, noticeMs: number): Promise<number> {
    const { running } = record;
    if (running !== null) {
      const exit = await running.exit;
      if (record.running !== running) return record.state.terminated?.exitCode ?? 137;
      await this.#wait(noticeMs, true);
      this.#recordExit(record, exit);
    }
    return record.state.terminated?.exitCode ?? 0;
  }

  #recordExit(record: ContainerRecord, { exitCode, reason, finishedAt }: ContainerExit): void {
    if (record.running === null) return;
    record.running = null;
    record.state = {
      terminated: {
        exitCode,
        reason,
        startedAt: record.state.running?.startedAt ?? null,
        finishedAt: `${new Date(finishedAt).toISOString().slice(0, 19)}Z`,
        containerID: `containerd://${record.containerID}`,
      },
    };
  }

  async #mountVolumes(): Promise<void> {
    const { store, claims, delays, events, nodeName } = this.#kubelet.options;
    for (let wait = delays.mountBackoff; ; wait = Math.min(wait * 2, 122_000)) {
      try {
        this.#volumes = new PodVolumes(store, this.#pod, claims);
        return;
      } catch (error) {
        if (!(error instanceof MissingConfigError)) throw error;
        events.record(this.#pod, { component: "kubelet", host: nodeName }, "Warning", "FailedMount", error.message);
        await this.#wait(wait);
      }
    }
  }

  // From deletion to removal.

  async #terminate(graceMs: number): Promise<void> {
    const { delays } = this.#kubelet.options;
    await this.#wait(delays.deletionSync, true);
    const ran = this.#records.some(({ running }) => running !== null);
    for (const record of this.#records) {
      if (record.state.waiting === undefined || record.lastState.terminated !== undefined) continue;
      const inits = this.#records.some(({ kind }) => kind !== "main");
      record.state = { waiting: { reason: inits ? "PodInitializing" : "ContainerCreating" } };
    }
    this.#publish();
    if (ran) {
      await this.#stopContainers(Math.max(0, graceMs - delays.deletionSync));
    } else {
      await this.#wait(delays.killNoticed * 2, true);
      this.#view.sandboxReady = false;
      this.#publish();
      await this.#wait(delays.killNoticed * 2.5, true);
    }
    this.#markLost();
    await this.#finish();
    if (ran) await this.#wait(delays.podRemoval, true);
    await this.#remove();
  }

  async #stopContainers(graceMs: number): Promise<void> {
    const { delays, events, nodeName } = this.#kubelet.options;
    const stop = async (records: readonly ContainerRecord[], grace: number) => {
      for (const { spec, running } of records) {
        if (running === null) continue;
        events.record(
          this.#pod,
          { component: "kubelet", host: nodeName },
          "Normal",
          "Killing",
          `Stopping container ${spec.name}`,
          `spec.containers{${spec.name}}`,
        );
        if (grace === 0) running.kill();
        else running.terminate(grace);
      }
      await Promise.all(records.map(({ running }) => running?.exit));
    };
    const started = this.#kubelet.options.clock.now();
    await stop(
      this.#records.filter(({ kind }) => kind !== "sidecar"),
      graceMs,
    );
    // Sidecars go last, with what is left of the grace.
    const left = Math.max(0, graceMs - (this.#kubelet.options.clock.now() - started));
    await stop(
      this.#records.filter(({ kind }) => kind === "sidecar"),
      left,
    );
    await Promise.all(this.#records.map((record) => this.#ended(record, delays.killNoticed)));
  }

  /** What never ran is reported as lost: the main containers, or before them the init containers up to the current one. */
  #markLost(): void {
    const inits = this.#records.filter(({ kind }) => kind !== "main");
    const initialized = inits.every(({ kind, state }) =>
      kind === "init"
        ? state.terminated?.exitCode === 0
        : state.running !== undefined || state.terminated !== undefined,
    );
    if (initialized) {
      for (const record of this.#records) {
        if (record.kind === "main" && record.state.terminated === undefined) record.lost = true;
      }
      return;
    }
    const current = inits.findIndex(({ state }) => state.terminated === undefined);
    for (const record of inits.slice(0, current + 1)) {
      if (record.state.terminated === undefined) record.lost = true;
    }
  }

  async #finish(): Promise<void> {
    await this.#wait(0, true);
    this.#view.sandboxReady = false;
    this.#view.stopped = true;
    this.#publish();
  }

  async #remove(): Promise<void> {
    await this.#wait(3, true);
    const { store } = this.#kubelet.options;
    const { namespace, name, uid } = this.#pod.metadata;
    if (store.get("pods", namespace, name)?.metadata.uid !== uid) return;
    store.delete("pods", namespace, name, { gracePeriodSeconds: 0, preconditions: { uid } });
  }

  // Status.

  /** Several changes in one go make one write. */
  #publish(): void {
    if (this.#publishDue) return;
    this.#publishDue = true;
    queueMicrotask(() => {
      if (this.#discarded || this.#crashed) {
        this.#publishDue = false;
      } else if (this.#kubelet.canAct) {
        this.#publishDue = false;
        this.#write();
      } else {
        void this.#kubelet.ready().then(() => {
          this.#publishDue = false;
          this.#publish();
        });
      }
    });
  }

  #write(): void {
    const { store, clock } = this.#kubelet.options;
    const { namespace, name, uid } = this.#pod.metadata;
    const stored = store.get("pods", namespace, name);
    if (stored?.metadata.uid !== uid) return;
    const pod = podOf(stored);
    const status = podStatus(pod, this.#view, clock.timestamp());
    if (this.#records.some(({ kind, state }) => kind === "main" && state.running !== undefined)) {
      this.#view.hasRun = true;
    }
    if (equalJson(pod.status, status)) return;
    store.update("pods", namespace, name, (draft) => {
      draft.status = status;
    });
  }

  #assignAddress(): void {
    this.#view.podIP ??= this.#kubelet.nextPodIP();
  }

  #disruptionTarget(reason: string, message: string): Condition {
    return {
      type: "DisruptionTarget",
      observedGeneration: this.#pod.metadata.generation ?? 1,
      status: "True",
      lastProbeTime: null,
      lastTransitionTime: this.#kubelet.options.clock.timestamp(),
      reason,
      message,
    };
  }

  #graceMs(): number {
    return (this.#pod.spec.terminationGracePeriodSeconds ?? 30) * 1000;
  }

  /** @param throughStop keep waiting although the pod is being stopped. */
  async #wait(virtualMs: number, throughStop = false): Promise<void> {
    const { clock } = this.#kubelet.options;
    if (virtualMs > 0) await clock.sleep(virtualMs, throughStop ? undefined : this.#stopping.signal);
    if (!this.#kubelet.canAct) await this.#kubelet.ready();
    if (this.#discarded || this.#crashed || (!throughStop && this.#stopping.signal.aborted)) {
      throw new SleepAbortedError("The pod is being stopped");
    }
  }

  async #guard(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (error instanceof SleepAbortedError) return;
      process.emitWarning(error instanceof Error ? error : new Error(String(error)));
    }
  }
}

function waitingText(reason: string): string {
  if (reason === "ErrImagePull") return "image can't be pulled";
  return reason === "ImagePullBackOff" ? "trying and failing to pull image" : reason;
}

function formatSeconds(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return ms < 1000 ? `${ms}ms` : `${seconds}s`;
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
