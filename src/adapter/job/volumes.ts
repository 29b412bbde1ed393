import type { BaseConfig } from "../config/config.ts";
import { DATA_DIRECTORY, PROMPT_DIRECTORY, type PreparedFile, SCRATCH_DIRECTORY } from "../definition.ts";
import type { SelfPod } from "./self-pod.ts";

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly subPath?: string;
  readonly readOnly?: boolean;
}

/** The volumes of the pod, and what the agent's container mounts of them. */
export function volumesOf(
  config: BaseConfig,
  selfPod: SelfPod | null,
  secretName: string,
  files: readonly PreparedFile[],
): { volumes: Record<string, unknown>[]; mounts: VolumeMount[] } {
  const items = files.map(({ name }) => ({ key: name, path: name }));
  const volumes: Record<string, unknown>[] = [{ name: "prompt", secret: { secretName, items, optional: false } }];
  const mounts: VolumeMount[] = [{ name: "prompt", mountPath: PROMPT_DIRECTORY, readOnly: true }];
  const data = selfPod?.dataVolume ?? null;
  if (data !== null) {
    volumes.push({ name: "data", persistentVolumeClaim: { claimName: data.claimName } });
    mounts.push({
      name: "data",
      mountPath: DATA_DIRECTORY,
      ...(data.subPath === null ? {} : { subPath: data.subPath }),
    });
  } else if (selfPod === null && config.workspaceMountPath !== DATA_DIRECTORY) {
    // No pod to inherit from: HOME must be a directory that the agent can write to all the same.
    volumes.push({ name: "data", emptyDir: {} });
    mounts.push({ name: "data", mountPath: DATA_DIRECTORY });
  }
  if (config.workspaceVolumeClaim !== null) {
    volumes.push({ name: "workspace", persistentVolumeClaim: { claimName: config.workspaceVolumeClaim } });
    mounts.push({ name: "workspace", mountPath: config.workspaceMountPath ?? "/workspace" });
  }
  volumes.push({ name: "scratch", emptyDir: {} });
  mounts.push({ name: "scratch", mountPath: SCRATCH_DIRECTORY });
  const taken = new Set(["prompt", "data", "scratch", "workspace", "docker-graph", "docker-sock"]);
  const named = new Map<string, string>();
  for (const { volumeName, secretName: inherited, mountPath, subPath, defaultMode, items } of selfPod?.secretVolumes ??
    []) {
    let name = named.get(volumeName);
    if (name === undefined) {
      name = taken.has(volumeName) ? `inherited-${volumeName}` : volumeName;
      named.set(volumeName, name);
      volumes.push({
        name,
        secret: {
          secretName: inherited,
          ...(defaultMode === null ? {} : { defaultMode }),
          ...(items === null ? {} : { items }),
          optional: true,
        },
      });
    }
    mounts.push({ name, mountPath, ...(subPath === null ? {} : { subPath }), readOnly: true });
  }
  if (config.docker !== null) {
    volumes.push({ name: "docker-graph", emptyDir: {} }, { name: "docker-sock", emptyDir: {} });
    mounts.push({ name: "docker-sock", mountPath: "/var/run" });
  }
  return { volumes, mounts };
}
