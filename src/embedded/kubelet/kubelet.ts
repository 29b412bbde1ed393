/**
 * One node's kubelet: a worker per pod bound to the node, the logs of their containers, and what can happen to a node.
 */
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { timestamp } from "../clock.ts";
import { kubeletIsBlind, kubeletRefuses } from "../faults/log-faults.ts";
import { notFound, type StatusError } from "../objects/status-error.ts";
import { type ContainerSpec, type Pod, podOf } from "../objects/workloads.ts";
import type { StoreEvent } from "../store/change-feed.ts";
import { ContainerLog } from "./container-log.ts";
import type { RangedDelay } from "./delays.ts";
import type { KubeletOptions, PodHost } from "./pod-host.ts";
import { PodWorker } from "./pod-worker.ts";

type Reachable = "up" | "down" | "blind";

export class Kubelet implements PodHost {
  readonly options: KubeletOptions;
  clockSkewMs: number;
  readonly #workers = new Map<string, PodWorker>();
  /** `blind`: up again, but it does not know its containers yet. */
  #state: Reachable = "up";
  readonly #waiting = new Set<() => void>();
  readonly #startedAt: number;
  #address = 1;
  #directory: string | null = null;

  constructor(options: KubeletOptions) {
    this.options = options;
    this.clockSkewMs = options.clockSkewMs;
    this.#startedAt = options.clock.now();
    for (const object of options.store.list("pods")) {
      const pod = podOf(object);
      if (pod.spec.nodeName === options.nodeName) this.#add(pod);
    }
  }

  get nodeName(): string {
    return this.options.nodeName;
  }

  get isDown(): boolean {
    return this.#state === "down";
  }

  /** Called for pods bound to this node only. */
  handle({ type, object }: StoreEvent): void {
    const pod = podOf(object);
    const worker = this.#workers.get(pod.metadata.uid);
    if (type === "DELETED") {
      worker?.discard();
      this.#workers.delete(pod.metadata.uid);
    } else if (worker === undefined) {
      this.#add(pod);
    } else {
      worker.update(pod);
    }
  }

  worker(podUid: string): PodWorker | undefined {
    return this.#workers.get(podUid);
  }

  workers(): IterableIterator<PodWorker> {
    return this.#workers.values();
  }

  /** The log that a `GET pods/{name}/log` is about, or the answer that it gets instead. */
  logFor(pod: Pod, container: ContainerSpec, previous: boolean): ContainerLog | StatusError {
    const { name, namespace, uid } = pod.metadata;
    if (this.#state === "down") {
      return kubeletRefuses(this.options.hostIP, namespace ?? "", name, container.name);
    }
    if (this.#state === "blind") return kubeletIsBlind(name);
    return this.#workers.get(uid)?.log(container.name, previous) ?? notFound("pods", name);
  }

  /** The kubelet is stopped; containers run on. */
  stopKubelet(): void {
    if (this.#state === "down") return;
    this.#state = "down";
    for (const worker of this.#workers.values()) worker.endFollows();
  }

  /** @param blindMs how long, in virtual milliseconds, it answers 404 for the logs of pods that run. */
  async startKubelet(blindMs = 0): Promise<void> {
    if (this.#state === "up") return;
    this.#state = "blind";
    if (blindMs > 0) await this.options.clock.sleep(blindMs);
    this.#state = "up";
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resume of waiting) resume();
  }

  /** Resolves once this kubelet can act, and reach the API server. */
  async ready(): Promise<void> {
    const { gate } = this.options;
    while (this.#state !== "up" || gate.closed) {
      await new Promise<void>((resolve) => {
        if (this.#state !== "up") this.#waiting.add(resolve);
        else gate.pass(resolve);
      });
    }
  }

  get canAct(): boolean {
    return this.#state === "up" && !this.options.gate.closed;
  }

  delay(name: RangedDelay): number {
    const delay = this.options.delays[name];
    if (typeof delay === "number") return delay;
    const [least, most] = delay;
    return least + (most - least) * this.options.random();
  }

  timestamp(at = this.options.clock.now()): string {
    return timestamp(at + this.clockSkewMs);
  }

  nowNs(): bigint {
    const ms = this.options.clock.now() + this.clockSkewMs;
    const whole = Math.floor(ms);
    return BigInt(whole) * 1_000_000n + BigInt(Math.floor((ms - whole) * 1e6));
  }

  nextPodIP(): string {
    const index = this.#address++;
    return `${this.options.podSubnet}.${(index >> 8) & 0xff}.${index & 0xff}`;
  }

  createLog(): ContainerLog {
    const { clock, containerLogMaxSize: maxSize, containerLogMonitorMs: everyMs } = this.options;
    const { outputWritten } = this.options.delays;
    const untilNextLook = () => everyMs - ((clock.now() - this.#startedAt) % everyMs);
    return new ContainerLog({
      now: () => this.nowNs(),
      maxSize,
      ...(everyMs === 0 ? {} : { rotateLater: (rotate) => clock.setTimeout(rotate, untilNextLook()) }),
      ...(outputWritten === 0 ? {} : { writeLater: (write) => clock.setTimeout(write, outputWritten) }),
    });
  }

  /** A directory for the volumes and working directories of a pod's local processes. */
  podDirectory(uid: string): string {
    this.#directory ??= mkdtempSync(join(tmpdir(), "k8s-run-informer-node-"));
    return join(this.#directory, uid);
  }

  removePodDirectory(uid: string): void {
    if (this.#directory === null) return;
    // Best effort: a process that was just killed may still be writing.
    void rm(join(this.#directory, uid), { recursive: true, force: true, maxRetries: 3 }).catch(() => {});
  }

  /** Kills what runs, and forgets it: nothing is written any more. Resolves when its files are removed. */
  async stop(): Promise<void> {
    for (const worker of this.#workers.values()) worker.discard();
    this.#workers.clear();
    const directory = this.#directory;
    this.#directory = null;
    if (directory !== null) await rm(directory, { recursive: true, force: true, maxRetries: 3 }).catch(() => {});
  }

  #add(pod: Pod): void {
    const worker = new PodWorker(this, pod);
    this.#workers.set(pod.metadata.uid, worker);
    worker.start();
  }
}
