import type { BaseConfig } from "../config/config.ts";
import { agentApiUrl } from "../job/environment.ts";
import { isLoopback, isOnVolume, LOOPBACK_HINT, loopbackText, UNMOUNTED_HINT, unmountedText } from "../job/reach.ts";
import type { SelfPod } from "../job/self-pod.ts";
import type { Check } from "./check.ts";

/** What an agent would miss in its pod, and what to set. */
export function reachChecks(config: BaseConfig, selfPod: SelfPod | null, env: NodeJS.ProcessEnv): Check[] {
  const checks: Check[] = [];
  const apiUrl = agentApiUrl(config, selfPod, env);
  if (isLoopback(apiUrl)) {
    // Elsewhere, as on a laptop, nodes may share the server's network.
    const level = selfPod === null ? "warn" : "error";
    checks.push({ code: "k8s_api_url_loopback", level, message: loopbackText(apiUrl), hint: LOOPBACK_HINT });
  }
  const directories = [config.cwd, env.PAPERCLIP_HOME?.trim() || null];
  for (const directory of new Set(directories)) {
    if (directory === null || isOnVolume(directory, config, selfPod)) continue;
    const isHome = directory !== config.cwd;
    // What is not mounted at all has its own check.
    if (isHome && selfPod?.dataVolume == null) continue;
    const message = isHome
      ? `PAPERCLIP_HOME is ${directory}, on no volume of the pods: agents find no workspaces, skills or sessions`
      : unmountedText(directory);
    checks.push({ code: "k8s_directory_not_mounted", level: "warn", message, hint: UNMOUNTED_HINT });
  }
  return checks;
}
