import type { Status } from "../kubernetes.ts";

/** The server, or a proxy before it, answered, but not as a list or a watch does. */
export class WatchProtocolError extends Error {
  override readonly name: string = "WatchProtocolError";
  readonly code = "watch_protocol";
}

/** The answer has another content type than was asked for. */
export class ContentTypeError extends WatchProtocolError {}

/** The server ended the watch with an ERROR frame; most often 410 Expired, inside an answer of status 200. */
export class ErrorFrame extends WatchProtocolError {
  readonly status: Status;
  constructor(path: string, status: Status) {
    super(
      `the watch of ${path} was ended by the server: ${status.code ?? "?"} ${status.reason ?? ""}: ${status.message ?? ""}`,
    );
    this.status = status;
  }
}

/** A watch showed no sign of life, or a streaming list sent neither an object nor its end. */
export class StalledError extends Error {
  override readonly name = "StalledError";
  readonly code = "watch_stalled";
}
