import {
  KubeConfigError,
  type LoadedKubeConfig,
  loadServiceAccount,
  loadKubeConfig as readKubeConfig,
} from "../../engine/index.ts";
import { ConfigError } from "../errors.ts";

/** To the server's log: a plugin may ask a person to log in. */
const onPluginOutput = (text: string) => void process.stderr.write(text);

/**
 * The configured file; else the pod's service account; else what `kubectl` would use. The service account goes before
 * `~/.kube/config`, since an agent may have left one in the shared home.
 *
 * @throws ConfigError when it cannot be used
 */
export function loadKubeConfig(path: string | null, env: NodeJS.ProcessEnv): LoadedKubeConfig {
  try {
    return (
      (path === null ? loadServiceAccount(env) : null) ?? readKubeConfig(path ?? undefined, { env, onPluginOutput })
    );
  } catch (error) {
    if (error instanceof KubeConfigError)
      throw new ConfigError("kubeconfig", path ?? "nothing", `a usable kubeconfig (${error.message})`);
    throw error;
  }
}
