import type { RequestInfo } from "../objects/request-info.ts";
import { internalError, StatusError } from "../objects/status-error.ts";
import type { FaultScope } from "./rule-set.ts";

export interface LogCut extends FaultScope {
  /** Cut each log answer after so many bytes. */
  atByte?: number;
  /** Cut each log answer after a random number of bytes between 1 and twice this (mean: this). */
  everyBytes?: number;
  /** Default `end`: a clean end of stream, as from a kubelet that restarts. */
  how?: "end" | "reset" | "random";
  /** Cut only log answers with `follow=true`. Default true. Without `follow` a clean end means that the log ends there. */
  followOnly?: boolean;
}

export interface LogFailure extends FaultScope {
  /** `unreachable`: 500, the kubelet is down; `notFound`: 404 though the pod runs, just after a kubelet start; `waiting`: 400. */
  kind: "unreachable" | "notFound" | "waiting";
}

/** @internal The answer that a failing log endpoint gives for the container. */
export function logFailure(kind: LogFailure["kind"], request: RequestInfo, container: string): StatusError {
  const pod = request.name ?? "";
  switch (kind) {
    case "unreachable":
      return kubeletRefuses("10.244.0.1", request.namespace ?? "", pod, container);
    case "notFound":
      return kubeletIsBlind(pod);
    case "waiting":
      return new StatusError(
        400,
        "BadRequest",
        `container "${container}" in pod "${pod}" is waiting to start: ContainerCreating`,
      );
  }
}

/** @internal 500: the kubelet's port refuses connections. */
export function kubeletRefuses(hostIP: string, namespace: string, pod: string, container: string): StatusError {
  const url = `https://${hostIP}:10250/containerLogs/${namespace}/${pod}/${container}`;
  return internalError(`Get "${url}": dial tcp ${hostIP}:10250: connect: connection refused`);
}

/** @internal 404 for a pod that runs: just after its start the kubelet does not know its pods yet. */
export function kubeletIsBlind(pod: string): StatusError {
  return new StatusError(404, "NotFound", `the server could not find the requested resource ( pods/log ${pod})`, {
    name: pod,
    kind: "pods/log",
  });
}
