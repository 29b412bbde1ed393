/**
 * Everything of the embedded cluster that is not its API server: scheduler, Job and TTL controllers, garbage collector,
 * and a kubelet for each node. They act on the store, by the clock, and on nothing else.
 */

import { chooseContainer } from "../api/pod-log.ts";
import type { Clock } from "../clock.ts";
import type { ContainerLog } from "../kubelet/container-log.ts";
import { type Delays, delaysOf } from "../kubelet/delays.ts";
import { ImageRegistry } from "../kubelet/image-registry.ts";
import { type NodeOptions, Nodes } from "../kubelet/nodes.ts";
import type { PodWorker } from "../kubelet/pod-worker.ts";
import { type Program, ProgramRegistry } from "../kubelet/programs.ts";
import { notFound, StatusError } from "../objects/status-error.ts";
import { podOf } from "../objects/workloads.ts";
import { seededRandom } from "../random.ts";
import { ApiGate } from "../store/api-gate.ts";
import { EventRecorder, type EventsOption } from "../store/event-recorder.ts";
import type { ObjectStore } from "../store/store.ts";
import { DefinitionController } from "./definition-controller.ts";
import { GarbageCollector } from "./garbage-collector.ts";
import { JobController } from "./job-controller.ts";
import { Scheduler } from "./scheduler.ts";
import { TaintController } from "./taint-controller.ts";
import { TtlController } from "./ttl-controller.ts";

export interface ControllersOptions {
  /** @internal */
  store: ObjectStore;
  /** @internal */
  clock: Clock;
  /** By `image/container`, container name, image, or `*`. More can be added later. */
  programs?: ProgramRegistry | Readonly<Record<string, Program>>;
  /** Default: one node, `embedded-node`. */
  nodes?: number | readonly NodeOptions[];
  /** How long things take: as recorded (default), `fast` for benchmarks, or single delays over the recorded ones. */
  delays?: "recorded" | "fast" | Partial<Delays>;
  /** Which `v1` Events are written. Default: all. */
  events?: EventsOption;
  /** Pods are held against a node's size one by one (default), instead of in sum as on a real cluster. */
  overcommit?: boolean;
  /** Bytes after which a container's log is rotated. Default 10 MiB. */
  containerLogMaxSize?: number;
  /** Milliseconds between two looks at the logs' sizes. Default 10 000; with 0 a log is rotated when it is too large. */
  containerLogMonitorMs?: number;
  /** For delays that are ranges. Default 1. */
  seed?: number;
}

const DEFAULT_EVICTION =
  "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90100Ki. Container was using more than it requested.";

/** @internal */
export class Controllers {
  readonly programs: ProgramRegistry;
  readonly images = new ImageRegistry();
  readonly nodes: Nodes;
  readonly #store: ObjectStore;
  readonly #gate = new ApiGate();
  /** What acts by timers, or on changes of the store. */
  readonly #stops: (() => void)[];

  constructor({ store, clock, events = "all", overcommit = true, ...options }: ControllersOptions) {
    this.#store = store;
    const recorder = new EventRecorder(store, clock, events);
    const cluster = { store, clock, delays: delaysOf(options.delays), events: recorder, gate: this.#gate };
    this.programs =
      options.programs instanceof ProgramRegistry ? options.programs : new ProgramRegistry(options.programs);
    this.nodes = new Nodes({
      ...cluster,
      programs: this.programs,
      images: this.images,
      claims: new Map(),
      containerLogMaxSize: options.containerLogMaxSize ?? 10 * 1024 * 1024,
      containerLogMonitorMs: options.containerLogMonitorMs ?? 10_000,
      random: seededRandom(options.seed ?? 1),
      nodes: options.nodes ?? 1,
    });
    const scheduler = new Scheduler({ ...cluster, overcommit });
    const jobs = new JobController(cluster);
    const ttl = new TtlController(cluster);
    const taints = new TaintController(cluster);
    const definitions = new DefinitionController(store);
    const garbage = new GarbageCollector(cluster);
    const unsubscribe = store.subscribe((event) => {
      if (event.resource === "events") return;
      for (const each of [definitions, garbage, jobs]) each.handle(event);
      if (event.resource === "jobs") ttl.handle(event);
      else {
        scheduler.handle(event);
        taints.handle(event);
        if (event.resource === "pods") this.nodes.handlePod(event);
      }
    });
    this.#stops = [unsubscribe, () => jobs.stop(), () => ttl.stop(), () => taints.stop()];
  }

  /**
   * The log that a request means: of the named container, or of the only one. What the API answers instead comes as a
   * StatusError: 404 no such pod, 400 no such container or not started, 500 kubelet down.
   */
  logFor(
    namespace: string,
    podName: string,
    container: string | undefined,
    previous = false,
  ): ContainerLog | StatusError {
    const object = this.#store.get("pods", namespace, podName);
    if (object === undefined) return notFound("pods", podName);
    const pod = podOf(object);
    try {
      return this.nodes.logFor(pod, chooseContainer(pod, container), previous);
    } catch (error) {
      if (error instanceof StatusError) return error;
      throw error;
    }
  }

  /** The kernel kills a running container for its memory: exit code 137, reason OOMKilled. */
  oomKill(namespace: string, podName: string, container: string): void {
    if (!this.#workerOf(namespace, podName).oomKill(container)) {
      throw new Error(`container ${container} of pod ${namespace}/${podName} does not run`);
    }
  }

  /** The kubelet evicts the pod: Failed, reason Evicted. */
  evictPod(namespace: string, podName: string, message = DEFAULT_EVICTION): void {
    this.#workerOf(namespace, podName).evict(message);
  }

  /** Starts a new log file, as at 10 MiB. */
  rotateLogs(namespace: string, podName: string, container: string): void {
    if (!this.#workerOf(namespace, podName).rotateLog(container)) {
      throw new Error(`container ${container} of pod ${namespace}/${podName} has no log yet`);
    }
  }

  /** While the API server is down, nothing is written and no new work begins; containers run on. */
  pause(): void {
    this.#gate.close();
  }

  resume(): void {
    this.#gate.open();
  }

  /**
   * Kills what runs; nothing is written any more. Stop the clock afterwards.
   * Resolves when the files of the nodes are removed.
   */
  async stop(): Promise<void> {
    for (const stop of this.#stops) stop();
    await this.nodes.stop();
  }

  #workerOf(namespace: string, podName: string): PodWorker {
    const pod = this.#store.get("pods", namespace, podName);
    const worker = pod === undefined ? undefined : this.nodes.workerOf(podOf(pod));
    if (worker === undefined) throw notFound("pods", podName);
    return worker;
  }
}
