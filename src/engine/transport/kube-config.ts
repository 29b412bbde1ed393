/** One server. The names are those of `@kubernetes/client-node`, whose objects fit. */
export interface KubeCluster {
  readonly name: string;
  readonly server: string;
  /** Base64 of PEM. */
  readonly caData?: string | undefined;
  readonly caFile?: string | undefined;
  readonly skipTLSVerify?: boolean | undefined;
  readonly tlsServerName?: string | undefined;
  readonly proxyUrl?: string | undefined;
  /** Only passed on to exec plugins: compression is never asked for. */
  readonly disableCompression?: boolean | undefined;
  /** The cluster's extension `client.authentication.k8s.io/exec`, for its exec plugin. */
  readonly execConfig?: unknown;
}

export interface KubeUser {
  readonly name: string;
  readonly token?: string | undefined;
  /** Read again as it rotates; wins over `token`. */
  readonly tokenFile?: string | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Base64 of PEM. */
  readonly certData?: string | undefined;
  readonly certFile?: string | undefined;
  /** Base64 of PEM. */
  readonly keyData?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly exec?: unknown;
  readonly authProvider?: unknown;
  readonly impersonateUser?: string | undefined;
  readonly impersonateUid?: string | undefined;
  readonly impersonateGroups?: readonly string[] | undefined;
  readonly impersonateExtra?: Readonly<Record<string, readonly string[]>> | undefined;
}

export interface KubeContext {
  readonly name: string;
  readonly cluster: string;
  readonly user?: string | undefined;
  readonly namespace?: string | undefined;
}

/** What the engine needs of a kubeconfig: ours (`loadKubeConfig`), or a `KubeConfig` of `@kubernetes/client-node`. */
export interface KubeConfig {
  getContexts(): KubeContext[];
  getClusters(): KubeCluster[];
  getUsers(): KubeUser[];
  getCurrentContext(): string;
  getContextObject(name: string): KubeContext | null;
  getCurrentCluster(): KubeCluster | null;
  getCurrentUser(): KubeUser | null;
  /** What an exec plugin says to a person while it runs, such as a device code; secrets are taken out. Default: to stderr, as kubectl. */
  readonly onPluginOutput?: ((text: string) => void) | undefined;
}

export interface KubeConfigParts {
  readonly clusters: readonly KubeCluster[];
  readonly users: readonly KubeUser[];
  readonly contexts: readonly KubeContext[];
  readonly currentContext: string;
}

/** A kubeconfig that `loadKubeConfig` has read. */
export class LoadedKubeConfig implements KubeConfig {
  readonly #parts: KubeConfigParts;
  readonly onPluginOutput: KubeConfig["onPluginOutput"];
  #currentContext: string;

  constructor(parts: KubeConfigParts, onPluginOutput?: KubeConfig["onPluginOutput"]) {
    this.#parts = parts;
    this.onPluginOutput = onPluginOutput;
    this.#currentContext = parts.currentContext;
  }

  getContexts(): KubeContext[] {
    return [...this.#parts.contexts];
  }

  getClusters(): KubeCluster[] {
    return [...this.#parts.clusters];
  }

  getUsers(): KubeUser[] {
    return [...this.#parts.users];
  }

  getCurrentContext(): string {
    return this.#currentContext;
  }

  setCurrentContext(name: string): void {
    this.#currentContext = name;
  }

  getContextObject(name: string): KubeContext | null {
    return named(this.#parts.contexts, name);
  }

  getCluster(name: string): KubeCluster | null {
    return named(this.#parts.clusters, name);
  }

  getUser(name: string): KubeUser | null {
    return named(this.#parts.users, name);
  }

  getCurrentCluster(): KubeCluster | null {
    const context = this.getContextObject(this.#currentContext);
    return context && this.getCluster(context.cluster);
  }

  getCurrentUser(): KubeUser | null {
    const context = this.getContextObject(this.#currentContext);
    return context && this.getUser(context.user ?? "");
  }
}

const ZONE = /^(https?:\/\/\[[\da-f:.]+)%25([^\]]+)/i;

/** A `URL` knows no IPv6 zone, as in `https://[fe80::1%25eth0]:6443` (RFC 6874). */
export function withoutZone(server: string): string {
  return server.replace(ZONE, "$1");
}

/** `%eth0`; mostly empty. */
export function zoneOf(server: string): string {
  const [, , zone] = ZONE.exec(server) ?? [];
  return zone === undefined ? "" : `%${zone}`;
}

export function named<T extends { readonly name: string }>(entries: readonly T[], name: string): T | null {
  return entries.find((each) => each.name === name) ?? null;
}
