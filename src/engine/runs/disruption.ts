import type { RunEnd } from "./types.ts";

/**
 * Was the run ended from outside, by what happens to nodes and room on them, so that the same work may go on elsewhere?
 *
 * | it ended by | |
 * |---|---|
 * | eviction, preemption, a taint, node pressure, shutdown or loss of the node (`DisruptionTarget`, or the pod's reason) | yes |
 * | a restart of the node: the kubelet cannot find the container any more (`ContainerStatusUnknown`) | yes |
 * | a deadline; a deletion of Job or pod by someone | no |
 * | its own exit; its own memory limit (`OOMKilled`) | no |
 * | a container that cannot start | no |
 */
export function isDisruption({ kind, reason }: Pick<RunEnd, "kind" | "reason">): boolean {
  return kind === "evicted" || (kind === "failed" && reason === "ContainerStatusUnknown");
}
