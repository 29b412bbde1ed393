import type { InformerStoppedError, NotReadyError } from "./informer/informer.ts";
import type { StalledError, WatchProtocolError } from "./informer/watch-errors.ts";
import type {
  AttachFailedError,
  EngineStoppedError,
  RunGoneError,
  RunTimeoutError,
  StartFailedError,
} from "./runs/types.ts";
import type { ShardClaimError } from "./shard.ts";
import type { ApiError, FrameError, KubeConfigError } from "./transport/index.ts";

/**
 * Every error that the library makes for its caller; a `switch` over `code` can exhaust them. The last ones of a
 * watch come with `problem` events. What else a promise rejects with is
 * the caller's own: a signal's reason, a TypeError or RangeError about an argument.
 */
export type EngineError =
  | ApiError
  | AttachFailedError
  | EngineStoppedError
  | FrameError
  | InformerStoppedError
  | KubeConfigError
  | NotReadyError
  | RunGoneError
  | RunTimeoutError
  | ShardClaimError
  | StalledError
  | StartFailedError
  | WatchProtocolError;
