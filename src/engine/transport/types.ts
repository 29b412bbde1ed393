import type { Readable } from "node:stream";

export type Query = Record<string, string | number | boolean | undefined>;

export type Method = "GET" | "POST" | "PATCH" | "PUT" | "DELETE";

export interface ApiRequest {
  /** Default `GET`. */
  method?: Method;
  /** Already encoded, without query: `/apis/batch/v1/namespaces/ns/jobs`. */
  path: string;
  /** Entries that are `undefined` are left out. */
  query?: Query;
  /** Sent as JSON. */
  body?: unknown;
  /** Default `application/json`; a PATCH needs `application/json-patch+json`, `application/merge-patch+json` … */
  contentType?: string;
  /** Its reason is thrown as it is, never inside an `ApiError`. */
  signal?: AbortSignal | undefined;
  /** One-shot requests only: from sending to the last byte of the answer, each attempt for itself. Default 30 000 ms. */
  timeoutMs?: number;
  /** Asked for before JSON; the server may answer in either. */
  preferred?: Preferred | undefined;
  /** One-shot requests only: how often it is sent at most. Default: the cluster's `retry.maxAttempts`. */
  maxAttempts?: number;
  /**
   * One-shot requests only: takes the place of the wait after a 429, which is `ms` at least. A caller that has many requests paces them
   * by it. What it rejects with is thrown as it is.
   */
  refused?: ((ms: number) => Promise<void>) | undefined;
}

/** A format besides JSON. */
export interface Preferred {
  /** Media type, with parameters. */
  type: string;
  /** One-shot requests only: reads a whole answer that is protobuf. What it throws is thrown as it is. */
  read?(body: Buffer): unknown;
}

export interface ApiStream {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  /** Chunks of bytes. Back-pressure reaches the server; `destroy()` ends the request. An error surfaces on reading, never uncaught. */
  readonly body: Readable;
}
