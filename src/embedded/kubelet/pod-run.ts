import { randomHex } from "../random-hex.ts";
import { ContainerLog } from "./container-log.ts";
import { ContainerStarter, type StartProblem } from "./container-starter.ts";
import { MissingConfigError, PodVolumes } from "./pod-environment.ts";
import type { ContainerRecord, PodState } from "./pod-state.ts";
import { podPhase } from "./pod-status.ts";

const maxBackoffMs = 300_000;

/** Starts a pod's containers in order, and restarts what has to be restarted, until all main containers have ended. */
export class PodRun {
  readonly #state: PodState;
  readonly #starter: ContainerStarter;
  #volumes: PodVolumes | null = null;

  constructor(state: PodState) {
    this.#state = state;
    this.#starter = new ContainerStarter(state.host);
  }

  /** Resolves when nothing is left to run; rejects with SleepAbortedError when the pod is stopped. */
  async run(): Promise<void> {
    const { delays } = this.#state.host.options;
    await this.#state.wait(delays.podSync);
    this.#state.view.startTime = this.#state.host.options.clock.timestamp();
    this.#state.publish();
    await this.#mountVolumes();
    await this.#state.wait(delays.sandbox);
    this.#state.view.sandboxReady = true;
    this.#state.publish();
    await this.#state.wait(delays.containerStart);
    for (const record of this.#state.records) {
      if (record.kind === "main") break;
      await this.#startContainer(record);
      if (record.kind === "sidecar") void this.#state.guard(() => this.#keepRunning(record));
      else if (!(await this.#runToEnd(record))) break;
      await this.#state.wait(delays.nextContainerStart);
    }
    if (podPhase(this.#state.pod.spec, this.#state.records) !== "Failed") await this.#runMains();
  }

  async #runMains(): Promise<void> {
    const mains = this.#state.records.filter(({ kind }) => kind === "main");
    await Promise.all(
      mains.map(async (record) => {
        await this.#startContainer(record);
        await this.#runToEnd(record);
      }),
    );
  }

  /** Waits for the end of a started container, restarting it as the pod's policy says. @returns whether it succeeded. */
  async #runToEnd(record: ContainerRecord): Promise<boolean> {
    const { delays } = this.#state.host.options;
    const policy = this.#state.pod.spec.restartPolicy ?? "Always";
    for (;;) {
      const exitCode = await this.#state.ended(record, delays.exitNoticed);
      this.#state.publish();
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
      await this.#state.ended(sidecar, this.#state.host.options.delays.exitNoticed);
      this.#state.publish();
      if (this.#state.stopping.signal.aborted) return;
      await this.#restart(sidecar);
    }
  }

  async #restart(record: ContainerRecord): Promise<void> {
    const { delays, events, nodeName } = this.#state.host.options;
    const wait = record.restartDelay;
    record.restartDelay = wait === 0 ? delays.crashBackoff : Math.min(wait * 2, maxBackoffMs);
    if (wait > 0) {
      const { name, namespace, uid } = this.#state.pod.metadata;
      const message = `back-off ${formatSeconds(wait)} restarting failed container=${record.spec.name} pod=${name}_${namespace}(${uid})`;
      record.lastState = record.state;
      record.state = { waiting: { reason: "CrashLoopBackOff", message } };
      this.#state.publish();
      events.record(
        this.#state.pod,
        { component: "kubelet", host: nodeName },
        "Warning",
        "BackOff",
        `Back-off restarting failed container ${record.spec.name} in pod ${name}_${namespace}(${uid})`,
        `spec.containers{${record.spec.name}}`,
      );
      await this.#state.wait(wait);
    } else {
      await this.#state.wait(delays.nextContainerStart);
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
    const { delays } = this.#state.host.options;
    let wait = delays.startErrorNoticed;
    for (;;) {
      const problem = await this.#tryStart(record);
      if (problem === null) break;
      await this.#state.wait(wait);
      record.state = { waiting: problem };
      this.#state.assignAddress();
      this.#state.publish();
      wait = delays.podResync;
    }
    this.#state.assignAddress();
    this.#state.publish();
  }

  async #tryStart(record: ContainerRecord): Promise<StartProblem | null> {
    const { images } = this.#state.host.options;
    const pullTime = images.pullTime(record.spec.image);
    if (pullTime > 0) await this.#state.wait(pullTime);
    if (this.#volumes === null) throw new Error("containers are started after the pod's volumes are mounted");
    const log = new ContainerLog({
      now: () => this.#state.host.nowNs(),
      maxSize: this.#state.host.options.containerLogMaxSize,
    });
    const outcome = this.#starter.start(this.#state.pod, record.spec, record.restartCount, this.#volumes, log);
    if ("problem" in outcome) return outcome.problem;
    record.containerID = randomHex(64);
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
          finishedAt: this.#state.host.options.clock.timestamp(),
          containerID: `containerd://${record.containerID}`,
        },
      };
      return null;
    }
    record.running = outcome.running;
    record.state = { running: { startedAt: this.#state.host.options.clock.timestamp() } };
    return null;
  }

  async #mountVolumes(): Promise<void> {
    const { store, claims, delays, events, nodeName } = this.#state.host.options;
    for (let wait = delays.mountBackoff; ; wait = Math.min(wait * 2, 122_000)) {
      try {
        this.#volumes = new PodVolumes(store, this.#state.pod, claims);
        return;
      } catch (error) {
        if (!(error instanceof MissingConfigError)) throw error;
        events.record(
          this.#state.pod,
          { component: "kubelet", host: nodeName },
          "Warning",
          "FailedMount",
          error.message,
        );
        await this.#state.wait(wait);
      }
    }
  }
}

function formatSeconds(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return ms < 1000 ? `${ms}ms` : `${seconds}s`;
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
