import { recordsIn } from "../../json/read-json.ts";
import type { BaseConfig } from "../config/config.ts";
import { DATA_DIRECTORY, type Notice } from "../definition.ts";
import type { SelfPod } from "./self-pod.ts";

/** What a pod sees at such a host is itself, not the server. False of what is no URL. */
export function isLoopback(url: string): boolean {
  if (!URL.canParse(url)) return false;
  return /^(?:localhost|127(?:\.\d+){3}|\[::1\]|0\.0\.0\.0)$/.test(new URL(url).hostname);
}

/** Is the directory on a claim that is mounted in the pod? Elsewhere the agent finds an empty one. */
export function isOnVolume(directory: string, config: BaseConfig, selfPod: SelfPod | null): boolean {
  const mounts = [
    selfPod?.dataVolume == null ? null : DATA_DIRECTORY,
    config.workspaceVolumeClaim === null ? null : (config.workspaceMountPath ?? "/workspace"),
    ...patchedMounts(config),
  ];
  return mounts.some((mount) => mount !== null && isWithin(directory, mount));
}

/** Where `podPatch` mounts claims of its own. */
function patchedMounts({ podPatch }: BaseConfig): string[] {
  const { volumes, containers } = podPatch?.spec ?? {};
  const claims = new Set(recordsIn(volumes).flatMap((each) => (each.persistentVolumeClaim ? [each.name] : [])));
  const mounts = recordsIn(containers).flatMap(({ volumeMounts }) => recordsIn(volumeMounts));
  return mounts.flatMap(({ name, mountPath }) =>
    claims.has(name) && typeof mountPath === "string" ? [mountPath] : [],
  );
}

function isWithin(directory: string, mount: string): boolean {
  const root = mount.replace(/\/+$/, "");
  return directory === root || directory.startsWith(`${root}/`);
}

/** Warnings for the run's log: what the agent will miss in its pod, and what to set. */
export function reachNotices(input: {
  workingDir: string;
  apiUrl: string;
  config: BaseConfig;
  selfPod: SelfPod | null;
}): Notice[] {
  const { workingDir, apiUrl, config, selfPod } = input;
  const texts: string[] = [];
  if (isLoopback(apiUrl)) texts.push(`${loopbackText(apiUrl)}. ${LOOPBACK_HINT}`);
  if (workingDir !== DATA_DIRECTORY && !isOnVolume(workingDir, config, selfPod)) {
    texts.push(`${unmountedText(workingDir)}. ${UNMOUNTED_HINT}`);
  }
  return texts.map((text) => ({ stream: "stderr", text }));
}

export function loopbackText(apiUrl: string): string {
  return `PAPERCLIP_API_URL is ${apiUrl}, which in a pod is the pod itself: agents cannot report to Paperclip`;
}
export const LOOPBACK_HINT =
  "Set PAPERCLIP_API_URL in the server's Deployment (or in the agent's env) to the address of the server's Service, " +
  "such as http://paperclip.NAMESPACE.svc:3100";

export function unmountedText(directory: string): string {
  return `The working directory ${directory} is on no volume of the pod: the agent finds an empty directory there`;
}
export const UNMOUNTED_HINT =
  `Mount a ReadWriteMany claim at ${DATA_DIRECTORY} of the server's pod and set PAPERCLIP_HOME=${DATA_DIRECTORY} in its Deployment, ` +
  "or name a claim that holds the directory by workspaceVolumeClaim and workspaceMountPath";
