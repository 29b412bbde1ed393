import type { Timer } from "../clock.ts";
import type { StatusError } from "../objects/status-error.ts";
import { isPodFinished, type Pod } from "../objects/workloads.ts";
import { disruptionTarget } from "../store/disruption.ts";
import type { ContainerLog } from "./container-log.ts";
import type { PodHost } from "./pod-host.ts";
import { PodRun } from "./pod-run.ts";
import { type ContainerRecord, PodState } from "./pod-state.ts";
import { unknownState } from "./pod-status.ts";

/**
 * One pod on its node, from binding to removal: runs it, ends its containers when it is deleted, evicted, or done but for
 * its sidecars, and follows the faults of its node.
 */
export class PodWorker {
  readonly #state: PodState;
  /** Ends the pod at its own `activeDeadlineSeconds`. */
  #deadline: Timer | null = null;
  #graceUntil = Number.POSITIVE_INFINITY;

  constructor(host: PodHost, pod: Pod) {
    this.#state = new PodState(host, pod);
  }

  start(): void {
    if (isPodFinished(this.#state.pod)) this.#state.view.stopped = true;
    else void this.#state.guard(() => this.#run());
    if (this.#state.pod.metadata.deletionTimestamp !== undefined) this.update(this.#state.pod);
  }

  /** The pod was changed; a deletion, a shorter grace or another deadline is what concerns the kubelet. */
  update(pod: Pod): void {
    const before = this.#state.pod.spec.activeDeadlineSeconds;
    this.#state.pod = pod;
    if (pod.spec.activeDeadlineSeconds !== before) this.#watchDeadline();
    const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = pod.metadata;
    if (deletionTimestamp === undefined) return;
    if (this.#state.view.stopped) {
      // It was deleted with a grace, since its end was not on record yet. Nothing runs that needs the grace.
      if (deletionGracePeriodSeconds > 0) void this.#state.guard(() => this.#remove());
      return;
    }
    const until = this.#state.host.options.clock.now() + deletionGracePeriodSeconds * 1000;
    const first = !this.#state.stopping.signal.aborted;
    if (!first) {
      if (deletionGracePeriodSeconds * 1000 < this.#graceUntil - this.#state.host.options.clock.now()) {
        this.#graceUntil = until;
        for (const record of this.#state.records) record.running?.terminate(deletionGracePeriodSeconds * 1000);
      }
      return;
    }
    this.#graceUntil = until;
    this.#state.stopping.abort();
    void this.#state.guard(() => this.#terminate(deletionGracePeriodSeconds * 1000));
  }

  log(containerName: string, previous: boolean): ContainerLog | StatusError {
    return this.#state.log(containerName, previous);
  }

  endFollows(): void {
    for (const { log } of this.#state.records) log?.endFollows();
  }

  rotateLog(containerName: string): boolean {
    const log = this.#state.records.find(({ spec }) => spec.name === containerName)?.log;
    log?.rotate();
    return log !== undefined && log !== null;
  }

  /** The kernel kills a container for its memory. @returns whether it ran. */
  oomKill(containerName: string): boolean {
    const record = this.#state.records.find(({ spec }) => spec.name === containerName);
    if (!record?.running) return false;
    record.running.kill(137, "OOMKilled");
    return true;
  }

  /** The kubelet ends the pod for the sake of its node. */
  evict(message: string): void {
    if (this.#state.stopping.signal.aborted || this.#state.view.stopped) return;
    const { clock } = this.#state.host.options;
    this.#state.view.disruption = {
      phase: "Failed",
      reason: "Evicted",
      message,
      condition: disruptionTarget("TerminationByKubelet", message, clock.now(), this.#state.pod),
    };
    this.#state.say("Warning", "Evicted", message);
    this.#graceUntil = clock.now();
    this.#state.stopping.abort();
    void this.#state.guard(async () => {
      await this.#stopContainers(0);
      await this.#finish();
    });
  }

  /** The node is dead: its containers have ended, and no status says so. */
  crash(): void {
    this.#state.crashed = true;
    this.#state.stopping.abort();
    for (const { running } of this.#state.records) running?.kill();
  }

  /** The node is back without its containers. */
  recover(): void {
    if (!this.#state.crashed) return;
    this.#state.crashed = false;
    if (this.#state.view.stopped) return;
    for (const record of this.#state.records) {
      record.running = null;
      if (record.containerID === null) record.lost = record.state.terminated === undefined;
      else if (record.state.terminated === undefined) record.state = { ...unknownState };
    }
    void this.#state.guard(async () => {
      await this.#finish();
    });
  }

  /** Ends what runs without a word: the pod is gone, or the cluster stops. */
  discard(): void {
    this.#state.discarded = true;
    this.#deadline?.cancel();
    this.#state.stopping.abort();
    for (const { running } of this.#state.records) running?.kill();
    for (const { log } of this.#state.records) log?.close();
    this.#state.host.removePodDirectory(this.#state.pod.metadata.uid);
  }

  // From binding to the last container's end.

  async #run(): Promise<void> {
    await new PodRun(this.#state, () => this.#watchDeadline()).run();
    // A pod that is being stopped is finished by whoever stops it.
    if (!this.#state.stopping.signal.aborted) await this.#afterMains();
  }

  #watchDeadline(): void {
    this.#deadline?.cancel();
    const seconds = this.#state.pod.spec.activeDeadlineSeconds;
    if (seconds === undefined) return;
    const { clock } = this.#state.host.options;
    const left =
      Date.parse(this.#state.view.startTime) + seconds * 1000 - Number(this.#state.host.nowNs() / 1_000_000n);
    this.#deadline = clock.setTimeout(() => this.#expire(), left);
  }

  /** The pod has been on the node for longer than it may: its containers get their grace, it ends as Failed. */
  #expire(): void {
    if (this.#state.stopping.signal.aborted || this.#state.view.stopped) return;
    const { delays } = this.#state.host.options;
    const reason = "DeadlineExceeded";
    const message = "Pod was active on the node longer than the specified deadline";
    this.#state.view.disruption = { phase: "Failed", reason, message, condition: null };
    this.#state.say("Normal", reason, message);
    this.#graceUntil = this.#state.host.options.clock.now() + this.#graceMs();
    this.#state.stopping.abort();
    this.#state.publish();
    void this.#state.guard(async () => {
      await this.#stopContainers(this.#graceMs());
      this.#markLost();
      await this.#state.wait(delays.podRemoval, true);
      await this.#finish();
    });
  }

  async #afterMains(): Promise<void> {
    const { delays } = this.#state.host.options;
    const sidecars = this.#state.records.filter(({ kind, running }) => kind === "sidecar" && running !== null);
    // From here on a sidecar's end is no reason to restart it.
    this.#state.stopping.abort();
    if (sidecars.length === 0) {
      await this.#state.wait(delays.podCleanup, true);
    } else {
      const grace = this.#graceMs();
      for (const { running } of sidecars) running?.terminate(grace);
      await Promise.all(sidecars.map((record) => this.#state.ended(record, delays.killNoticed)));
      this.#state.view.sandboxReady = false;
      this.#state.publish();
      await this.#state.wait(delays.sidecarCleanup, true);
    }
    this.#markLost();
    await this.#finish();
  }

  // From deletion to removal.

  async #terminate(graceMs: number): Promise<void> {
    const { delays } = this.#state.host.options;
    await this.#state.wait(delays.deletionSync, true);
    const ran = this.#state.records.some(({ running }) => running !== null);
    for (const record of this.#state.records) {
      if (record.state.waiting === undefined || record.lastState.terminated !== undefined) continue;
      const inits = this.#state.records.some(({ kind }) => kind !== "main");
      record.state = { waiting: { reason: inits ? "PodInitializing" : "ContainerCreating" } };
    }
    this.#state.publish();
    if (ran) {
      await this.#stopContainers(Math.max(0, graceMs - delays.deletionSync));
    } else {
      await this.#state.wait(delays.killNoticed * 2, true);
      this.#state.view.sandboxReady = false;
      this.#state.publish();
      await this.#state.wait(delays.killNoticed * 2.5, true);
    }
    this.#markLost();
    await this.#stopped();
    if (ran) await this.#state.wait(delays.podRemoval, true);
    await this.#remove();
  }

  async #stopContainers(graceMs: number): Promise<void> {
    const { delays } = this.#state.host.options;
    const stop = async (records: readonly ContainerRecord[], grace: number) => {
      for (const { spec, running } of records) {
        if (running === null) continue;
        this.#state.say("Normal", "Killing", `Stopping container ${spec.name}`, `spec.containers{${spec.name}}`);
        if (grace === 0) running.kill();
        else running.terminate(grace);
      }
      await Promise.all(records.map(({ running }) => running?.exit));
    };
    const started = this.#state.host.options.clock.now();
    const sidecars = this.#state.records.filter(({ kind }) => kind === "sidecar");
    const others = this.#state.records.filter(({ kind }) => kind !== "sidecar");
    await stop(others, graceMs);
    // Sidecars go last, with what is left of the grace.
    await stop(sidecars, Math.max(0, graceMs - (this.#state.host.options.clock.now() - started)));
    await Promise.all(this.#state.records.map((record) => this.#state.ended(record, delays.killNoticed)));
  }

  /**
   * What has not ended when the pod is stopped is reported as lost (status manager `TerminatePod`): the main containers if
   * they were due, and the init containers up to the last that was started, at least the first.
   */
  #markLost(): void {
    const inits = this.#state.records.filter(({ kind }) => kind !== "main");
    const mains = this.#state.records.filter(({ kind }) => kind === "main");
    const wasStarted = ({ state, lastState }: ContainerRecord) =>
      state.waiting === undefined || lastState.terminated !== undefined;
    const initialized = inits.every((record) =>
      record.kind === "init" ? record.state.terminated?.exitCode === 0 : wasStarted(record),
    );
    const due = inits.slice(0, Math.max(1, inits.findLastIndex(wasStarted) + 1));
    for (const record of [...due, ...(initialized ? mains : [])]) {
      if (record.state.terminated === undefined) record.lost = true;
    }
  }

  /** The pod has ended; one that is being deleted goes. */
  async #finish(): Promise<void> {
    await this.#stopped();
    if (this.#state.pod.metadata.deletionTimestamp !== undefined) await this.#remove();
  }

  async #stopped(): Promise<void> {
    await this.#state.wait(0, true);
    this.#state.view.sandboxReady = false;
    this.#state.view.stopped = true;
    this.#state.publish();
  }

  async #remove(): Promise<void> {
    await this.#state.wait(3, true);
    const { store } = this.#state.host.options;
    const { namespace, name, uid } = this.#state.pod.metadata;
    if (store.get("pods", namespace, name)?.metadata.uid !== uid) return;
    store.delete("pods", namespace, name, { gracePeriodSeconds: 0, preconditions: { uid } });
  }

  #graceMs(): number {
    return (this.#state.pod.spec.terminationGracePeriodSeconds ?? 30) * 1000;
  }
}
