/** Store, controllers and kubelets on a clock that stands still until the test moves it. */
import { Clock } from "../../../src/embedded/clock.ts";
import { Controllers, type ControllersOptions } from "../../../src/embedded/controllers/controllers.ts";
import type { ContainerLog } from "../../../src/embedded/kubelet/container-log.ts";
import type { StoredObject } from "../../../src/embedded/objects/objects.ts";
import { StatusError } from "../../../src/embedded/objects/status-error.ts";
import {
  type Condition,
  type ContainerStatus,
  type Job,
  jobOf,
  type Pod,
  podOf,
} from "../../../src/embedded/objects/workloads.ts";
import { ObjectStore } from "../../../src/embedded/store/store.ts";

export const namespace = "ns";

export class SteppedCluster {
  readonly clock = Clock.stepped(Date.parse("2026-11-23T10:00:00.500Z"));
  readonly store = new ObjectStore({ now: () => this.clock.now() });
  readonly controllers: Controllers;
  /** Every pod state that was written, in order. */
  readonly podStates: Pod[] = [];
  readonly jobStates: Job[] = [];

  constructor(options: Omit<ControllersOptions, "store" | "clock"> = {}) {
    this.store.create("namespaces", { metadata: { name: namespace } });
    this.store.subscribe(({ resource, object }) => {
      if (resource === "pods") this.podStates.push(podOf(object));
      if (resource === "jobs") this.jobStates.push(jobOf(object));
    });
    this.controllers = new Controllers({ ...options, store: this.store, clock: this.clock });
  }

  stop(): void {
    this.controllers.stop();
    this.clock.stop();
  }

  advance(ms: number): Promise<void> {
    return this.clock.advance(ms);
  }

  /** Moves on in small steps until it holds; fails after `limitMs`. */
  async until(what: string, holds: () => boolean, limitMs = 120_000): Promise<void> {
    for (let passed = 0; !holds(); passed += 50) {
      if (passed >= limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
      await this.clock.advance(50);
    }
  }

  createJob(podSpec: Record<string, unknown>, jobSpec: Record<string, unknown> = {}, name = "job"): Job {
    const { containers = [{ name: "main", image: "app:1" }], ...rest } = podSpec;
    return jobOf(
      this.store.create("jobs", {
        metadata: { name, namespace },
        spec: {
          backoffLimit: 0,
          ...jobSpec,
          template: { spec: { restartPolicy: "Never", terminationGracePeriodSeconds: 2, containers, ...rest } },
        },
      }),
    );
  }

  job(name = "job"): Job {
    const job = this.store.get("jobs", namespace, name);
    if (job === undefined) throw new Error(`no job ${name}`);
    return jobOf(job);
  }

  hasJob(name = "job"): boolean {
    return this.store.get("jobs", namespace, name) !== undefined;
  }

  pods(): Pod[] {
    return this.store
      .list("pods", namespace)
      .map(podOf)
      .sort((a, b) => Number(a.metadata.resourceVersion) - Number(b.metadata.resourceVersion));
  }

  /** The only pod. */
  pod(): Pod {
    const [pod, ...more] = this.pods();
    if (pod === undefined || more.length > 0) throw new Error(`there are ${this.pods().length} pods`);
    return pod;
  }

  container(name = "main"): ContainerStatus {
    const { initContainerStatuses = [], containerStatuses = [] } = this.pod().status;
    const found = [...initContainerStatuses, ...containerStatuses].find((status) => status.name === name);
    if (found === undefined) throw new Error(`no status of container ${name}`);
    return found;
  }

  hasStarted(name = "main"): boolean {
    const { initContainerStatuses = [], containerStatuses = [] } = this.pods()[0]?.status ?? {};
    const found = [...initContainerStatuses, ...containerStatuses].find((status) => status.name === name);
    return found?.state.running !== undefined;
  }

  async running(name = "main"): Promise<void> {
    await this.until(`container ${name} runs`, () => this.hasStarted(name));
  }

  async finished(name = "job"): Promise<Condition> {
    const find = () => this.job(name).status?.conditions?.find(({ type }) => type === "Complete" || type === "Failed");
    await this.until(`job ${name} has finished`, () => find() !== undefined);
    return find() as Condition;
  }

  /** @throws what the API would answer instead. */
  log(container?: string, previous = false): ContainerLog {
    const log = this.controllers.logFor(namespace, this.pods()[0]?.metadata.name ?? "", container, previous);
    if (log instanceof StatusError) throw log;
    return log;
  }

  /** `reason: message` of the Events about an object, oldest first. */
  events(about?: string): string[] {
    return this.store
      .list("events", namespace)
      .filter((event) => about === undefined || (event.involvedObject as { kind: string }).kind === about)
      .sort((a, b) => version(a) - version(b))
      .map((event) => `${event.reason}: ${event.message}`);
  }
}

function version({ metadata }: StoredObject): number {
  return Number(metadata.resourceVersion);
}
