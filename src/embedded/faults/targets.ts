import type { Clock } from "../clock.ts";
import type { RequestInfo } from "../objects/request-info.ts";

/** What faults reach of the running server: the API implements it, so that faults know nothing of the API. */
export interface FaultTargets {
  clock: Clock;
  watches(): Iterable<OpenWatch>;
  logs(): Iterable<OpenLog>;
  expireVersions(): void;
  /** Destroys open connections with a TCP reset; returns how many. */
  resetConnections(count: number): number;
  /** HTTP/2 GOAWAY on every connection: streams that are open go on. */
  goAway(): number;
  rotateLogs(namespace: string, podName: string, container: string): void;
  /** Stops reading from and writing to every connection, as SIGSTOP does. Returns the undo. */
  freeze(): () => void;
}

/** Bytes written in one go, then a pause (milliseconds of the cluster's clock). */
export interface Pace {
  bytes: number;
  everyMs: number;
}

/** An answer that is under way. */
export interface OpenAnswer {
  /** Nothing leaves until `release`. */
  stall(): void;
  release(): void;
  pace(pace: Pace | undefined): void;
  /** The peer sees RST_STREAM, or a closed connection. */
  reset(): void;
  /** A clean end. */
  end(): void;
}

export interface OpenLog {
  readonly request: RequestInfo;
  readonly exchange: OpenAnswer;
}

export interface OpenWatch {
  readonly request: RequestInfo;
  readonly exchange: OpenAnswer;
  /** The fault that holds back the end of its list, if there is one. */
  readonly listEndFault: ListEndFault | undefined;
  /** A clean end, after what is pending. */
  end(): void;
  /** Sends the bookmark that ends its list, if that is held back. */
  endList(): void;
  /** The next frame goes wrong. */
  damage(fault: WatchFrameFault): void;
}

/** What a watch is made to send wrongly, once (see `Faults.nextWatch`). */
export type WatchFrameFault =
  /** A line that is no JSON; the watch goes on. */
  | { kind: "garbage"; text?: string }
  /** Half of the next frame, then a clean end (or a reset). */
  | { kind: "truncated"; how?: "end" | "reset" }
  /** The next object, with an annotation that makes the frame as large as this. */
  | { kind: "huge"; bytes: number }
  /** An ERROR frame, then a clean end. */
  | { kind: "error"; code: number; reason: string; message: string };

/** The bookmark that ends a streaming list is late, and changes come before it (see `Faults.delayListEnd`). */
export interface ListEndFault {
  ms: number;
  /** The bookmark comes without the annotation that makes it the end of the list. */
  unmarked?: boolean;
}
