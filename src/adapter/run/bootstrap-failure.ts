import { ApiError, isForbidden, isRetryable, isUnauthorized, KubeConfigError, lacksRight } from "../../engine/index.ts";
import { BootstrapError, ConfigError, reasonOf } from "../errors.ts";
import { RunSecretTooLargeError } from "../job/manifest.ts";
import { SelfPodError } from "../job/self-pod.ts";

/** Any failure before the Job exists, with the code that fits it. */
export function toBootstrapError(error: unknown): BootstrapError {
  if (error instanceof BootstrapError) return error;
  const told = { message: reasonOf(error), cause: error };
  if (error instanceof ConfigError || error instanceof KubeConfigError)
    return new BootstrapError({ code: "k8s_config_invalid", family: null, ...told });
  if (error instanceof SelfPodError)
    return new BootstrapError({ code: "k8s_self_pod_unavailable", family: null, ...told });
  if (error instanceof RunSecretTooLargeError)
    return new BootstrapError({ code: "k8s_prompt_secret_create_failed", family: null, ...told });
  if (isForbidden(error) || isUnauthorized(error)) {
    if (!lacksRight(error)) return new BootstrapError({ code: "k8s_forbidden", family: null, ...told });
    const message = `${reasonOf(error)}. Grant what deploy/rbac.yaml lists (since this adapter watches: \`watch\` on \`jobs\` and \`pods\`); the environment test names what is missing.`;
    return new BootstrapError({ code: "k8s_forbidden", family: null, message, cause: error });
  }
  if (isRetryable(error))
    return new BootstrapError({ code: "k8s_api_unreachable", family: "transient_upstream", ...told });
  // A certificate that is not trusted, credentials that cannot be had: waiting does not help.
  if (error instanceof ApiError && error.status === 0)
    return new BootstrapError({ code: "k8s_api_unreachable", family: null, ...told });
  return new BootstrapError({ code: "k8s_prepare_failed", family: null, ...told });
}
