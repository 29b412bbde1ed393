/** What the suite needs of a cluster, whichever it is. */

export const TARGET_NAMES = ["kubeconfig", "kind", "k3s", "embedded"] as const;
export type TargetName = (typeof TARGET_NAMES)[number];

/** A cluster that is up. Lives in vitest's main process; the tests reach it through the relay. */
export interface Target {
  /** Path of an admin's kubeconfig. */
  readonly kubeconfig: string;
  /** Has a `claude` or at least an `sh` on its PATH. */
  readonly image: string;
  /** Null: the suite makes up a name. */
  readonly namespace: string | null;
  /** An image that cannot be pulled, and is refused quickly. */
  readonly missingImage: string;
  /** Seconds of the cluster's clock in one of ours. */
  readonly timeScale: number;
  /** Whether it carries several files of cases at a time. */
  readonly sideBySide: boolean;
  /** What can be done to the cluster itself. */
  readonly operations: Partial<Operations>;
  /** Where there is no operation: why, and what would give one. */
  readonly unavailable: Partial<Record<keyof Operations, string>>;
  /** A cluster of their own for the files that disturb it, where one costs nothing. They take turns with the others elsewhere. */
  readonly another?: () => Promise<Target>;
  /** Ends what the target itself has started. Called once. */
  stop(): Promise<void>;
}

/** Each takes and returns JSON: the relay carries it between processes. */
export interface Operations {
  /** Restarts the API server; resolves when it answers again. */
  restartApiServer(input: Record<string, never>): Promise<null>;
  /** Restarts the kubelet of a node (open logs end); resolves when it is on its way up. */
  restartKubelet(input: { node: string }): Promise<null>;
  /** Makes every resourceVersion from before expire (410). */
  expireVersions(input: Record<string, never>): Promise<null>;
  /** Ends a container as the kernel does that has no memory left. Where missing, the container itself takes too much. */
  oomKill(input: { namespace: string; pod: string; container: string }): Promise<null>;
  /** A user with a bearer token and rules in one namespace. */
  createUser(input: { namespace: string; rules: readonly Rule[] }): Promise<{ user: string; token: string }>;
  setRules(input: { namespace: string; user: string; rules: readonly Rule[] }): Promise<null>;
  /** Another token for the same user. */
  createToken(input: { namespace: string; user: string }): Promise<{ token: string }>;
  /** Resolves when the server answers the token with 401. */
  expireToken(input: { namespace: string; token: string }): Promise<null>;
}

export type OperationName = keyof Operations;

export const OPERATION_NAMES: readonly OperationName[] = [
  "restartApiServer",
  "restartKubelet",
  "expireVersions",
  "oomKill",
  "createUser",
  "setRules",
  "createToken",
  "expireToken",
];

/** As in a Role. */
export interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
}

/** A target that cannot be had on this machine: the message says what is missing and what to do. */
export class TargetUnavailableError extends Error {
  override readonly name = "TargetUnavailableError";
  readonly target: TargetName;
  constructor(target: TargetName, message: string, options?: ErrorOptions) {
    super(`E2E_TARGET=${target} cannot be used: ${message}`, options);
    this.target = target;
  }
}
