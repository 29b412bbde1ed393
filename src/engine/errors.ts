import type { InformerStoppedError, NotReadyError } from "./informer/informer.ts";
import type {
  AttachFailedError,
  EngineStoppedError,
  RunGoneError,
  RunTimeoutError,
  StartFailedError,
} from "./runs/types.ts";
import type { ShardClaimError } from "./shard.ts";
import type { ApiError, KubeConfigError } from "./transport/index.ts";

/**
 * Every error that the library makes for its caller; a `switch` over `code` can exhaust them. What else a promise rejects with is
 * the caller's own: a signal's reason, a TypeError or RangeError about an argument.
 */
export type EngineError =
  | ApiError
  | AttachFailedError
  | EngineStoppedError
  | InformerStoppedError
  | KubeConfigError
  | NotReadyError
  | RunGoneError
  | RunTimeoutError
  | ShardClaimError
  | StartFailedError;
