import { existsSync } from "node:fs";
import { KubeConfig } from "@kubernetes/client-node";
import { KubeConfigError, loadKubeConfig as readKubeConfig } from "../../engine/index.ts";
import { ConfigError } from "../errors.ts";

const SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/**
 * The configured file; else the pod's service account; else what `kubectl` would use. The service account goes before
 * `~/.kube/config`, since an agent may have left one in the shared home.
 *
 * @throws ConfigError when the configured file cannot be used
 */
export function loadKubeConfig(path: string | null, env: NodeJS.ProcessEnv): KubeConfig {
  if (path === null) {
    const kubeConfig = new KubeConfig();
    if (env.KUBERNETES_SERVICE_HOST && existsSync(SERVICE_ACCOUNT_TOKEN)) kubeConfig.loadFromCluster();
    else kubeConfig.loadFromDefault();
    return kubeConfig;
  }
  try {
    return readKubeConfig(path);
  } catch (error) {
    if (error instanceof KubeConfigError)
      throw new ConfigError("kubeconfig", path, `a usable kubeconfig (${error.message})`);
    throw error;
  }
}
