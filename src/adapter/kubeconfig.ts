import { existsSync } from "node:fs";
import { KubeConfig } from "@kubernetes/client-node";
import { ConfigError } from "./errors.ts";

const SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/**
 * The configured file; else the pod's service account; else what `kubectl` would use. The service account goes before
 * `~/.kube/config`, since an agent may have left one in the shared home.
 *
 * @throws ConfigError when the configured file cannot be read
 */
export function loadKubeConfig(path: string | null, env: NodeJS.ProcessEnv): KubeConfig {
  const kubeConfig = new KubeConfig();
  if (path === null) {
    if (env.KUBERNETES_SERVICE_HOST && existsSync(SERVICE_ACCOUNT_TOKEN)) kubeConfig.loadFromCluster();
    else kubeConfig.loadFromDefault();
    return kubeConfig;
  }
  try {
    kubeConfig.loadFromFile(path);
  } catch (error) {
    throw new ConfigError(
      "kubeconfig",
      path,
      `a readable kubeconfig (${error instanceof Error ? error.message : String(error)})`,
    );
  }
  if (kubeConfig.getCurrentCluster() === null)
    throw new ConfigError("kubeconfig", path, "a kubeconfig whose current context names a cluster");
  return kubeConfig;
}
