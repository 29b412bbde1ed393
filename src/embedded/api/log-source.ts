import type { StatusError } from "../objects/status-error.ts";

/** How a `GET pods/{name}/log` wants its log (core/v1 `PodLogOptions`). */
export interface LogReadOptions {
  /** Stay and deliver what is written later, until the container ends. */
  follow?: boolean;
  /** Put the RFC 3339 time and a space before each line. */
  timestamps?: boolean;
  /** The server's parameter loses its fraction in parsing: lines from the start of that second on are served. */
  sinceTime?: string | Date;
  sinceSeconds?: number;
  /** Counted in entries of the current file, as the kubelet does: a long line counts once per 16 KiB. */
  tailLines?: number;
  limitBytes?: number;
  signal?: AbortSignal | undefined;
}

export interface ReadableLog {
  read(options: LogReadOptions): AsyncIterable<Uint8Array>;
}

/** Where logs come from: the kubelets implement it. */
export interface LogSource {
  /** A StatusError is the answer in place of the log: 400 not started, 404, 500 kubelet down. */
  logFor(namespace: string, podName: string, container: string, previous: boolean): ReadableLog | StatusError;
}
