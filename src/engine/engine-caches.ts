import type { Bus } from "./bus.ts";
import type { EngineView, RunEngineOptions } from "./engine-types.ts";
import { anyResource, type ResourceInformerOptions } from "./informer/any-resource.ts";
import { Informer, type InformerOptions, type InformerStats, type Resource } from "./informer/informer.ts";
import { JOB_KINDS, POD_KINDS } from "./informer/messages.ts";
import { listAll } from "./informer/page-request.ts";
import { keyOf } from "./informer/store.ts";
import { trimJob, trimPod } from "./informer/trim.ts";
import type { Job, KubeObject, Pod } from "./kubernetes.ts";
import { jobKeyOfPod, PODS_BY_JOB } from "./runs/job-of-pod.ts";
import type { Scope } from "./scope.ts";
import { publishProblems } from "./server-state.ts";
import type { EngineTopics } from "./topics.ts";
import type { Cluster } from "./transport/index.ts";

export const JOBS: Resource<Job> = { plural: "jobs", root: "/apis/batch/v1", trim: trimJob, kinds: JOB_KINDS };
export const PODS: Resource<Pod> = { plural: "pods", root: "/api/v1", trim: trimPod, kinds: POD_KINDS };

interface CachesOptions extends Pick<RunEngineOptions, "progressTimeoutMs" | "backoff"> {
  cluster: Cluster;
  bus: Bus<EngineTopics>;
  scope: Scope;
  report: (error: unknown) => void;
}

/** The informers of one engine: its own two, those of its views, and those of other resources that its user asked for. */
export class EngineCaches {
  readonly jobs: Informer<Job>;
  readonly pods: Informer<Pod>;
  readonly #bus: Bus<EngineTopics>;
  readonly #scope: Scope;
  readonly #report: (error: unknown) => void;
  /** What each of them has in common. */
  readonly #common: Pick<
    InformerOptions<KubeObject>,
    "cluster" | "progressTimeoutMs" | "backoff" | "onSubscriberError"
  >;
  readonly #informers = new Set<Pick<Informer<KubeObject>, "stop" | "stats">>();

  constructor({ cluster, bus, scope, report, progressTimeoutMs, backoff }: CachesOptions) {
    this.#bus = bus;
    this.#scope = scope;
    this.#report = report;
    this.#common = { cluster, progressTimeoutMs, backoff, onSubscriberError: report };
    const own = { ...this.#common, namespaces: scope.namespaces, labelSelector: scope.selector(scope.shard) };
    const watches = bus.topic("watch");
    this.jobs = this.#add(
      new Informer({ ...own, resource: JOBS, publishTo: { changes: bus.topic("job"), changeKey: keyOf, watches } }),
    );
    this.pods = this.#add(
      new Informer({
        ...own,
        resource: PODS,
        indexers: { [PODS_BY_JOB]: jobKeyOfPod },
        publishTo: { changes: bus.topic("pod"), changeKey: jobKeyOfPod, watches },
      }),
    );
  }

  /** Jobs and pods with these labels, whichever shard they are of. Not synced yet. */
  view(namespace: string, labels: Readonly<Record<string, string>>): EngineView {
    if (Object.keys(this.#scope.shard).length === 0) {
      const { jobs, pods } = this;
      return { jobs, pods, close: () => undefined, [Symbol.asyncDispose]: async () => undefined };
    }
    const of = { ...this.#common, namespaces: [namespace], labelSelector: this.#scope.selector(labels) };
    const jobs = this.#add(new Informer({ ...of, resource: JOBS }));
    const pods = this.#add(new Informer({ ...of, resource: PODS }));
    const dispose = async () => void (await Promise.all([jobs.stop(), pods.stop()]));
    const close = () => void dispose().catch((error: unknown) => this.#report(error));
    jobs.start();
    pods.start();
    return { jobs, pods, close, [Symbol.asyncDispose]: dispose };
  }

  /** @throws TypeError naming a bad option */
  of<T extends KubeObject>(options: ResourceInformerOptions<T>): Informer<T> {
    const informer = this.#add(new Informer<T>({ ...this.#common, ...anyResource(options, this.#report) }));
    informer.start();
    return informer;
  }

  /** Asks the server, not the cache. @throws ApiError */
  async list<T>(
    resource: Resource<T>,
    namespace: string,
    labels: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<T[]> {
    const path = `${resource.root}/namespaces/${encodeURIComponent(namespace)}/${resource.plural}`;
    const labelSelector = this.#scope.selector(labels);
    return await listAll(this.#common.cluster, path, resource.trim, { labelSelector, signal });
  }

  stats(): InformerStats[] {
    return [...this.#informers].map((informer) => informer.stats());
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#informers].map((informer) => informer.stop()));
  }

  #add<T extends KubeObject>(informer: Informer<T>): Informer<T> {
    this.#informers.add(informer);
    informer.stopped.addEventListener("abort", () => this.#informers.delete(informer), { once: true });
    publishProblems(informer, this.#bus);
    return informer;
  }
}
