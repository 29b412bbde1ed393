import { run } from "../support/shell.ts";
import type { OperationName, Operations, Target } from "./target.ts";

/** Environment variables with a shell command each, for what only the cluster's owner knows how to do. */
const HOOKS = {
  restartApiServer: "E2E_RESTART_APISERVER",
  restartKubelet: "E2E_RESTART_KUBELET",
  expireVersions: "E2E_EXPIRE_VERSIONS",
} as const satisfies Partial<Record<OperationName, string>>;

/**
 * Operations by the hook commands. Each command is run by `sh -c` with KUBECONFIG set, `E2E_NODE` for a kubelet, and must
 * end when what it restarts is on its way up.
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
    operations[name] = async (input: { node?: string }) => {
      await run("sh", ["-c", command], {
        env: { KUBECONFIG: kubeconfig, ...(input.node === undefined ? {} : { E2E_NODE: input.node }) },
      });
      return null;
    };
  }
  return { operations, unavailable };
}
