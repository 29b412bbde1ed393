/** How the engine talks to a Kubernetes API server. */
export {
  ApiError,
  type ApiErrorOptions,
  isAlreadyExists,
  isConflict,
  isForbidden,
  isGone,
  isNotFound,
  isRetryable,
  isUnauthorized,
  retryAfterMs,
  toApiError,
} from "./api-error.ts";
export { Cluster, type ClusterOptions } from "./cluster.ts";
export type { ConnectionFailureReason } from "./connection-failure.ts";
export {
  FrameError,
  type FrameErrorKind,
  JsonLinesDecoder,
  type JsonLinesOptions,
  type OnValue,
} from "./json-lines.ts";
export { KubeConfigError, loadKubeConfig } from "./kube-config.ts";
export { abortable, LinkedAbort } from "./linked-abort.ts";
export { describeRequest, RequestCounter, type RequestCounts } from "./request-counter.ts";
export type { RetryOptions } from "./retry.ts";
export type { ApiConstructor } from "./typed-api.ts";
export type { ApiRequest, ApiStream, Method, Query } from "./types.ts";
