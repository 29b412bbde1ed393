/** What a log follow is told, and what it tells. */
import type { ApiRequest, ApiStream } from "../transport/index.ts";

/**
 * What the follower asks about the container it follows, answered from the pod cache. The pod decides when a log has
 * ended; the log's own end of stream proves nothing (a kubelet restart ends it just as cleanly).
 */
export interface ContainerView {
  /**
   * - `waiting`: the container has not started, or waits to be started again.
   * - `running`
   * - `ended`: it has ended and will not be started again.
   * - `gone`: the pod was deleted. A pod that has not been seen *yet* is `waiting`.
   */
  phase: "waiting" | "running" | "ended" | "gone";
  restartCount: number;
  startedAt: string | null;
  finishedAt: string | null;
}

export interface LogServerState {
  readonly isDown: boolean;
  /** Resolves at a moment of the caller's own after the server is back. Rejects with the signal's reason. */
  whenBack(signal: AbortSignal): Promise<void>;
}

/** A container whose log is followed. */
export interface LogSource {
  readonly namespace: string;
  readonly podName: string;
  readonly container: string;
  view(): ContainerView;
  /** Calls back after `view()` may have changed; returns the function that stops it. */
  onChange(listener: () => void): () => void;
  /** Who knows whether the server is down: a lost follow waits there for its return. Default: it tries again by itself. */
  readonly server?: LogServerState | undefined;
}

export interface LogLine {
  /**
   * Exactly what the container wrote up to the newline, which is left out; a `\r` before it is kept. Bytes that are not
   * UTF-8 become U+FFFD.
   */
  text: string;
  /** RFC 3339 time with nanoseconds, as the kubelet wrote it. */
  time: string;
  /** `false` only for a last line that the container left without a newline. */
  terminated: boolean;
  podName: string;
  /** Where it stands in the log, for `after`, also in another process. Text of which nothing is promised but that it can be kept. */
  position: string;
  /** How many bytes at the end of the line were left out because it is longer than `maxLineBytes`. Absent: none. */
  omittedBytes?: number;
}

/**
 * - `rotated`: the kubelet had rotated lines away before they could be read.
 * - `pod_gone`: the pod was deleted before the end of its log was seen.
 * - `restarted`: the container was started again, and the rest of the earlier instance cannot be read any more.
 * - `clock_stepped`: the node's clock went back while the follow was cut, and the server left out lines by their time.
 * - `unreachable`: the container has ended, and the server would not give the rest of its log.
 * - `limit_reached`: `limitBytes` was reached.
 */
export type LogGapReason = "rotated" | "pod_gone" | "restarted" | "clock_stepped" | "unreachable" | "limit_reached";

/**
 * Lines that are, or may be, missing. Reported before the first line after them is delivered, or as soon as it is known: of an
 * instance of the container that had come and gone before anything of it was read, when the pod tells that there was one; of files
 * that were rotated away while the consumer held the follow back, when the server begins the newest one again.
 */
export interface LogGap {
  /** "" where the pod had come and gone without ever having been seen. */
  podName: string;
  container: string;
  reason: LogGapReason;
  /** Time of the last line before the gap; null: there was none. */
  after: string | null;
  /** Time of the first line after the gap; null: the log ends with the gap. */
  before: string | null;
  /** Lines are known to be missing; else they may be. */
  certain: boolean;
  message: string;
}

/** The container was started again; the lines that follow are those of the new instance. */
export interface LogRestart {
  podName: string;
  container: string;
  restartCount: number;
}

export interface LogOptions {
  /**
   * Start with the last so many lines. Default: from the beginning of the log. The kubelet stores a line of more than 16 KiB in
   * parts and counts those, so the first line delivered may be the rest of a long one.
   */
  tailLines?: number | undefined;
  /** Start with the first line at or after this time. The kubelet counts in whole seconds; the rest is left out here. */
  since?: Date | undefined;
  /**
   * Go on behind the line of this `position`: with the next one, each once, also in another process. With neither `tailLines` nor
   * `since`. What was rotated away since then is reported as a gap.
   */
  after?: string | undefined;
  /** End the stream after so many bytes of text; reported as a gap. Default: no limit. */
  limitBytes?: number | undefined;
  /** Longest line in bytes; what is beyond is left out and counted in `omittedBytes`. Default 4 MiB. */
  maxLineBytes?: number | undefined;
  /**
   * Does this line, if it is the last one delivered, show that the output is complete? When the stream then ends cleanly and
   * the container has ended within two seconds of that line, the read that would otherwise confirm the end is saved. Default:
   * always confirm, since a clean end of stream alone may be a kubelet's restart.
   */
  isLastLine?: ((text: string) => boolean) | undefined;
  /**
   * Can this line, the first that is read, be the first of the output? False: the lines before it were rotated away, and that is a
   * gap. Default: a gap is possible where the first line's time is more than a minute after the container's start.
   */
  isFirstLine?: ((text: string) => boolean) | undefined;
  /**
   * How long after the container's end lines may still come, in milliseconds: some runtimes tell of an exit before its log is
   * complete. The end of the log is waited for so long, except after a line that `isLastLine` accepts. Default 3 000.
   */
  lateLinesMs?: number | undefined;
  /** `false`: what there is now, read once; nothing is waited for. Default `true`. */
  follow?: boolean | undefined;
  onGap?: ((gap: LogGap) => void) | undefined;
  onRestart?: ((restart: LogRestart) => void) | undefined;
}

/** What opens a log request: a `Cluster`. */
export interface LogTransport {
  open(request: ApiRequest): Promise<ApiStream>;
}

/** What a follow has done so far. */
export interface LogStats {
  /** `waiting`: for the pod. `resting`: between two requests. */
  state: "idle" | "waiting" | "reading" | "resting" | "ended";
  /** Lines delivered, and the bytes of their text. */
  lines: number;
  bytes: number;
  /** Requests made. */
  reads: number;
  /** Lines received again after a cut, and dropped. */
  repeated: number;
  gaps: number;
  restarts: number;
}
