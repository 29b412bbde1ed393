import { writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { ApiContext, ApiSettings } from "./api/api-context.ts";
import { ApiServer } from "./api/api-server.ts";
import { ADMIN, Authorization, type PolicyRule, type User } from "./api/authorization.ts";
import { CertificateAuthority } from "./api/certificates.ts";
import { Lister } from "./api/list.ts";
import type { RequestCounts } from "./api/request-counts.ts";
import { Clock, SleepAbortedError } from "./clock.ts";
import { Controllers, type ControllersOptions } from "./controllers/controllers.ts";
import { FaultRules } from "./faults/fault-rules.ts";
import { Faults } from "./faults/faults.ts";
import type { FaultTargets } from "./faults/targets.ts";
import { base64, type KubeConfigFile, type KubeConfigUser, kubeConfigFile } from "./kubeconfig.ts";
import type { ImageFailure, ImageRegistry } from "./kubelet/image-registry.ts";
import type { Nodes } from "./kubelet/nodes.ts";
import type { Program } from "./kubelet/programs.ts";
import { seededRandom } from "./random.ts";
import { ClusterObjects } from "./store/cluster-objects.ts";
import { ObjectStore } from "./store/store.ts";
import { WatchCache } from "./store/watch-cache.ts";

export interface EmbeddedKubernetesOptions extends Omit<ControllersOptions, "store" | "clock"> {
  /** Speed of the cluster's clock: 1 (default) is real time, 20 twenty times as fast. */
  timeScale?: number;
  /** Namespaces beside `default` and `kube-system`. */
  namespaces?: readonly string[];
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 0: any that is free. */
  port?: number;
  /** Users with bearer tokens and rules. Without, there is the admin only. More can be added at run time. */
  users?: readonly UserOptions[];
  /** HTTP/2 streams on one connection. Default 100, as kube-apiserver. */
  maxConcurrentStreams?: number;
  /** Whether watches can start with `sendInitialEvents`. Default true; false is a server before Kubernetes 1.34. */
  streamingList?: boolean;
  /** Changes of a resource that watches from older versions can still get. Default 5 000: of pods about 110 MB. */
  watchHistory?: { maxEvents?: number };
}

export interface UserOptions {
  name: string;
  groups?: readonly string[];
  /** Default: a random one. */
  token?: string;
  /** `undefined`: may do nothing. For a cluster admin give the group `system:masters`. */
  rules?: readonly PolicyRule[];
}

export interface RestartOptions {
  /** How long the server does not listen, in milliseconds of the cluster's clock. Default 1 000; with `until` without end. */
  downMs?: number;
  /** The server listens again when this resolves, should `downMs` not be over by then. */
  until?: Promise<unknown>;
  /** `kill` (default): connections reset. `graceful`: new ones are refused at once, open watches and logs end after `drainMs`. */
  mode?: "kill" | "graceful";
  /** Default 60 000, as kube-apiserver. */
  drainMs?: number;
  /** Whether versions from before the restart are forgotten (410). Default false. */
  expireVersions?: boolean;
}

/**
 * A Kubernetes in this process: an API server over real HTTPS (HTTP/2 and 1.1), the Job controller, scheduler, garbage
 * collector and kubelet behind it. Containers are scripted programs or local processes.
 */
export class EmbeddedKubernetes {
  /** Failures on demand. */
  readonly faults: Faults;
  /** What the server has seen. */
  readonly requests: RequestCounts;
  /** The cluster's state, directly. */
  readonly objects: ClusterObjects;
  /** Users, tokens and rules. */
  readonly authorization: Authorization;
  readonly settings: ApiSettings;
  readonly clock: Clock;
  readonly #context: ApiContext;
  readonly #server: ApiServer;
  readonly #authority: CertificateAuthority;
  readonly #watchCache: WatchCache;
  readonly #controllers: Controllers;
  readonly #host: string;
  #admin: KubeConfigUser = {};
  #stopped = false;

  private constructor(parts: {
    clock: Clock;
    store: ObjectStore;
    authority: CertificateAuthority;
    server: ApiServer;
    controllers: Controllers;
    options: EmbeddedKubernetesOptions;
  }) {
    const { clock, store, authority, server, controllers, options } = parts;
    this.clock = clock;
    this.#authority = authority;
    this.#server = server;
    this.#controllers = controllers;
    this.#host = options.host ?? "127.0.0.1";
    this.requests = server.counts;
    this.objects = new ClusterObjects(store);
    this.authorization = new Authorization();
    this.settings = { streamingList: options.streamingList ?? true, maxPendingEvents: 10_000 };
    const { maxEvents = 5_000 } = options.watchHistory ?? {};
    this.#watchCache = new WatchCache(store, { maxEvents });
    const lister = new Lister(store);
    const watches: ApiContext["watches"] = new Set();
    const logs: ApiContext["logs"] = new Set();
    const targets: FaultTargets = {
      clock,
      watches: () => watches,
      logs: () => logs,
      expireVersions: () => {
        this.#watchCache.expire();
        lister.expire();
      },
      resetConnections: (count) => server.closeConnections("reset", count),
      goAway: () => server.goAway(),
      rotateLogs: (namespace, pod, container) => controllers.rotateLogs(namespace, pod, container),
      freeze: () => {
        const thaw = server.freeze();
        const held = [...watches, ...logs].map(({ exchange }) => exchange);
        for (const exchange of held) exchange.stall();
        return () => {
          thaw();
          for (const exchange of held) exchange.release();
        };
      },
    };
    const random = seededRandom(options.seed ?? 1);
    const rules = new FaultRules(random);
    this.faults = new Faults(targets, rules, random);
    this.#context = {
      store,
      clock,
      authorization: this.authorization,
      faults: rules,
      lister,
      watchCache: this.#watchCache,
      kubelet: controllers,
      watches,
      logs,
      settings: this.settings,
    };
  }

  static async start(options: EmbeddedKubernetesOptions = {}): Promise<EmbeddedKubernetes> {
    const host = options.host ?? "127.0.0.1";
    const clock = new Clock(options.timeScale ?? 1);
    const authority = new CertificateAuthority();
    const names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
    const isAddress = /^[\d.]+$|:/.test(host);
    const certificate = authority.server({
      dns: isAddress ? names : [...new Set([...names, host])],
      ips: [...new Set(["127.0.0.1", "::1", ...(isAddress && host !== "0.0.0.0" && host !== "::" ? [host] : [])])],
    });
    const store = new ObjectStore({ now: () => clock.now() });
    for (const name of new Set(["default", "kube-system", ...(options.namespaces ?? [])])) {
      store.create("namespaces", { metadata: { name } });
      store.create("serviceaccounts", { metadata: { name: "default", namespace: name } });
    }
    const server = new ApiServer({
      host,
      port: options.port ?? 0,
      certificate,
      clientCa: authority.cert,
      maxConcurrentStreams: options.maxConcurrentStreams ?? 100,
    });
    const controllers = new Controllers({ ...options, store, clock });
    const k8s = new EmbeddedKubernetes({ clock, store, authority, server, controllers, options });
    const admin = authority.client(ADMIN.name, ["system:masters"]);
    k8s.#admin = { "client-certificate-data": base64(admin.cert), "client-key-data": base64(admin.key) };
    for (const user of options.users ?? []) k8s.addUser(user);
    await server.listen(k8s.#context);
    return k8s;
  }

  /** `https://127.0.0.1:34567` */
  get url(): string {
    const host = this.#host === "0.0.0.0" || this.#host === "::" ? "127.0.0.1" : this.#host;
    return `https://${host.includes(":") ? `[${host}]` : host}:${this.#server.port}`;
  }

  /** PEM of the cluster's certificate authority. */
  get ca(): string {
    return this.#authority.cert;
  }

  /** The admin's kubeconfig (a client certificate), namespace `default`. */
  get kubeconfig(): KubeConfigFile {
    return this.kubeconfigFor({});
  }

  /** A kubeconfig with a bearer token, or the admin's. */
  kubeconfigFor(options: { token?: string; userName?: string; namespace?: string }): KubeConfigFile {
    const { token, namespace = "default" } = options;
    return kubeConfigFile({
      server: this.url,
      ca: this.ca,
      userName: options.userName ?? (token === undefined ? ADMIN.name : "user"),
      user: token === undefined ? this.#admin : { token },
      namespace,
    });
  }

  /** A kubeconfig with a client certificate for the user. */
  async kubeconfigWithCertificate(user: {
    name: string;
    groups?: readonly string[];
    namespace?: string;
  }): Promise<KubeConfigFile> {
    const { cert, key } = this.#authority.client(user.name, user.groups ?? []);
    return kubeConfigFile({
      server: this.url,
      ca: this.ca,
      userName: user.name,
      user: { "client-certificate-data": base64(cert), "client-key-data": base64(key) },
      namespace: user.namespace ?? "default",
    });
  }

  /** Writes the admin's kubeconfig (mode 0600). Returns the path. */
  async writeKubeconfig(path: string, options: { token?: string; namespace?: string } = {}): Promise<string> {
    await writeFile(path, `${JSON.stringify(this.kubeconfigFor(options), null, 2)}\n`, { mode: 0o600 });
    return path;
  }

  /** A user with a bearer token. Returns the token; `authorization` changes and expires it. */
  addUser({ name, groups = [], token, rules }: UserOptions): string {
    const user: User = { name, groups: [...groups, "system:authenticated"] };
    if (rules !== undefined) this.authorization.setRules(name, rules);
    return this.authorization.addToken(user, token);
  }

  /**
   * What runs in place of an image: by `image/container`, container name, image (with or without its tag), or `*` for all
   * others. A generator of lines whose return value is the exit code, or `{ kind: "process" }` for the container's own command.
   */
  addProgram(name: string, program: Program): void {
    this.#controllers.programs.add(name, program);
  }

  /** The cluster's nodes: lose and recover one, restart its kubelet, set its clock skew. */
  get nodes(): Nodes {
    return this.#controllers.nodes;
  }

  /** Which images cannot be pulled. */
  get images(): ImageRegistry {
    return this.#controllers.images;
  }

  /** Watches that are open now. */
  get openWatches(): number {
    return this.#context.watches.size;
  }

  /** Log requests that are being answered now. */
  get openLogs(): number {
    return this.#context.logs.size;
  }

  /** Pulling the image fails from now on, or so many `times`. */
  failImagePull(image: string, failure: ImageFailure = {}): void {
    this.images.fail(image, failure);
  }

  /** The kernel kills a running container for its memory: exit code 137, reason OOMKilled. */
  oomKill(namespace: string, podName: string, container: string): void {
    this.#controllers.oomKill(namespace, podName, container);
  }

  /** The kubelet evicts the pod: Failed, reason Evicted. */
  evictPod(namespace: string, podName: string, message?: string): void {
    this.#controllers.evictPod(namespace, podName, message);
  }

  /** Starts a new log file, as at 10 MiB: what was not read is lost. */
  rotateLogs(namespace: string, podName: string, container: string): void {
    this.#controllers.rotateLogs(namespace, podName, container);
  }

  /**
   * Stops the API server and starts it again on the same port, with the same state. Resolves when it listens again, or when
   * the cluster was stopped meanwhile.
   */
  async restart(options: RestartOptions = {}): Promise<void> {
    try {
      await this.#restart(options);
    } catch (error) {
      if (!(this.#stopped && error instanceof SleepAbortedError)) throw error;
    }
  }

  async #restart({ until, mode = "kill", drainMs = 60_000, expireVersions = false, ...options }: RestartOptions) {
    const { downMs = until === undefined ? 1_000 : Number.POSITIVE_INFINITY } = options;
    this.#server.stopListening();
    if (mode === "graceful") {
      await this.clock.sleep(drainMs);
      for (const watch of [...this.#context.watches]) watch.end();
      await this.clock.sleep(Math.min(1_000, drainMs));
      this.#server.closeConnections("graceful");
    } else this.#server.closeConnections("reset");
    this.#controllers.pause();
    await this.#server.close();
    if (expireVersions) this.faults.expireVersions();
    const over = this.clock.sleep(downMs);
    await (until === undefined ? over : Promise.race([over, until]));
    await this.#listenAgain();
    if (!this.#stopped) this.#controllers.resume();
  }

  /** Any process may have been given the port meanwhile: it is waited for, a minute at most. */
  async #listenAgain(): Promise<void> {
    for (let tries = 1; !this.#stopped; tries++) {
      try {
        return await this.#server.listen(this.#context);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || tries === 600) throw error;
        await delay(100);
      }
    }
  }

  /** Ends the cluster: connections, timers, programs. Nothing of it is left in the process. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.faults.clear();
    const controllers = this.#controllers.stop();
    this.clock.stop();
    this.#watchCache.close();
    await this.#server.close();
    await controllers;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
