import {
  KubeConfigError,
  type LoadedKubeConfig,
  loadServiceAccount,
  loadKubeConfig as readKubeConfig,
} from "../../engine/index.ts";
import { ConfigError } from "../errors.ts";
import type { BaseConfig } from "./config.ts";

/**
 * The configured file; else the pod's service account, unless a context is configured; else what `kubectl` would use. The service
 * account goes before `~/.kube/config`, since an agent may have left one in the shared home.
 *
 * @throws ConfigError when it cannot be used
 */
export function loadKubeConfig(
  { kubeconfig, kubeContext }: Pick<BaseConfig, "kubeconfig" | "kubeContext">,
  env: NodeJS.ProcessEnv,
): LoadedKubeConfig {
  try {
    const own = kubeconfig === null && kubeContext === undefined ? loadServiceAccount(env) : null;
    return own ?? readKubeConfig(kubeconfig ?? undefined, { env, context: kubeContext });
  } catch (error) {
    if (!(error instanceof KubeConfigError)) throw error;
    if (kubeContext !== undefined && error.field === "current-context")
      throw new ConfigError("kubeContext", kubeContext, `a context of the kubeconfig (${error.hint})`);
    throw new ConfigError("kubeconfig", kubeconfig ?? "nothing", `a usable kubeconfig (${error.message})`);
  }
}
