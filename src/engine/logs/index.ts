import { LogStream } from "./log-stream.ts";
import type { LogOptions, LogSource, LogTransport } from "./types.ts";

export { containerView } from "./container-view.ts";
export type { LogMessage } from "./log-channel.ts";
export { LogStream } from "./log-stream.ts";
export type {
  ContainerView,
  LogGap,
  LogGapReason,
  LogLine,
  LogOptions,
  LogRestart,
  LogServerState,
  LogSource,
  LogStats,
  LogTransport,
} from "./types.ts";

/**
 * Follows the log of one container over `cluster`. Nothing is requested before the first line is asked for.
 *
 * @throws RangeError or TypeError when an option is not valid; it names the option.
 */
export function followLogs(
  cluster: LogTransport,
  source: LogSource,
  options: LogOptions & { signal?: AbortSignal | undefined } = {},
): LogStream {
  return new LogStream(cluster, source, options);
}
