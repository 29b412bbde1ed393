import { resolve } from "node:path";
import { Cluster, loadKubeConfig } from "../../../src/engine/index.ts";
import { commandHooks } from "./command-hooks.ts";
import { rbacUsers } from "./rbac-users.ts";
import { type Target, TargetUnavailableError } from "./target.ts";

const DEFAULT_IMAGE = "busybox:1.36";

/** Any cluster that a kubeconfig leads to. It is left as it was found. */
export async function useKubeconfig(env: NodeJS.ProcessEnv): Promise<Target> {
  const path = env.E2E_KUBECONFIG;
  if (!path)
    throw new TargetUnavailableError("kubeconfig", "E2E_KUBECONFIG must be the path of a kubeconfig; it is not set");
  const kubeconfig = resolve(path);
  await checkReachable(kubeconfig);
  const hooks = commandHooks(env, kubeconfig);
  const users = await rbacUsers(kubeconfig);
  return {
    kubeconfig,
    image: env.E2E_IMAGE || DEFAULT_IMAGE,
    namespace: env.E2E_NAMESPACE || null,
    // Nobody listens there on a node.
    missingImage: env.E2E_MISSING_IMAGE || "localhost:1/missing/none:1",
    timeScale: 1,
    sideBySide: false,
    operations: { ...hooks.operations, ...users.operations },
    unavailable: { ...hooks.unavailable, ...users.unavailable },
    stop: async () => {},
  };
}

async function checkReachable(kubeconfig: string): Promise<void> {
  let cluster: Cluster | null = null;
  try {
    cluster = new Cluster({ kubeConfig: loadKubeConfig(kubeconfig) });
    await cluster.json({ path: "/version", timeoutMs: 15_000 });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new TargetUnavailableError("kubeconfig", `the cluster of E2E_KUBECONFIG does not answer: ${message}`, {
      cause: error,
    });
  } finally {
    await cluster?.close();
  }
}
