import { run } from "../support/shell.ts";
import type { OperationName, Operations, Target } from "./target.ts";

/** Environment variables with a shell command each, for what only the cluster's owner knows how to do. */
const HOOKS = {
  restartApiServer: "E2E_RESTART_APISERVER",
  restartKubelet: "E2E_RESTART_KUBELET",
  expireVersions: "E2E_EXPIRE_VERSIONS",
  oomKill: "E2E_OOM_KILL",
} as const satisfies Partial<Record<OperationName, string>>;

/**
 * Operations by the hook commands. Each command is run by `sh -c` with KUBECONFIG set, what it is about in
 * `E2E_NODE`, `E2E_POD_NAMESPACE`, `E2E_POD` and `E2E_CONTAINER`, and must end when what it restarts is on its way up.
 */
export function commandHooks(env: NodeJS.ProcessEnv, kubeconfig: string): Pick<Target, "operations" | "unavailable"> {
  const operations: Partial<Operations> = {};
  const unavailable: Partial<Record<OperationName, string>> = {};
  for (const [name, variable] of Object.entries(HOOKS) as [keyof typeof HOOKS, string][]) {
    const command = env[variable]?.trim();
    if (!command) {
      unavailable[name] = `no hook: ${variable} is not set`;
      continue;
    }
    operations[name] = async (input: { node?: string; namespace?: string; pod?: string; container?: string }) => {
      const { node = "", namespace = "", pod = "", container = "" } = input;
      const subject = { E2E_NODE: node, E2E_POD_NAMESPACE: namespace, E2E_POD: pod, E2E_CONTAINER: container };
      await run("sh", ["-c", command], { env: { KUBECONFIG: kubeconfig, ...subject } });
      return null;
    };
  }
  return { operations, unavailable };
}
