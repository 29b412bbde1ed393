/** How the engine talks to a Kubernetes API server. */
export { ApiError, type ApiErrorOptions, retryAfterMs, toApiError } from "./api-error.ts";
export { Cluster, type ClusterOptions } from "./cluster.ts";
export type { ConnectionFailureReason } from "./connection-failure.ts";
export {
  isAlreadyExists,
  isAmbiguous,
  isConflict,
  isForbidden,
  isGone,
  isNotFound,
  isQuotaConflict,
  isRetryable,
  isStrayAnswer,
  isUnauthorized,
  lacksRight,
  speaksOfObject,
} from "./error-kinds.ts";
export {
  FrameError,
  type FrameErrorKind,
  JsonLinesDecoder,
  type JsonLinesOptions,
  type OnValue,
} from "./json-lines.ts";
export type { KubeCluster, KubeConfig, KubeContext, KubeUser, LoadedKubeConfig } from "./kube-config.ts";
export { KubeConfigError } from "./kube-config-error.ts";
export { type LoadOptions, loadKubeConfig, loadServiceAccount } from "./kube-config-load.ts";
export { abortable, type Bound, bounded, Link, LinkedAbort } from "./linked-abort.ts";
export { isProtobuf, type Kinds, messageTable, PROTOBUF, readEvent, readObject } from "./protobuf.ts";
export { ProtobufFrames } from "./protobuf-frames.ts";
export type { RequestMessage } from "./request-channel.ts";
export { describeRequest, RequestCounter, type RequestCounts } from "./request-counter.ts";
export type { RetryOptions } from "./retry.ts";
export { timer } from "./timer.ts";
export type { ApiConstructor } from "./typed-api.ts";
export type { ApiRequest, ApiStream, Method, Preferred, Query } from "./types.ts";
