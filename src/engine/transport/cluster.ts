import { ApiError, errorFromException, errorFromResponse, type RequestName, statusObjectOf } from "./api-error.ts";
import { connectionFailure } from "./connection-failure.ts";
import { decoded } from "./content-encoding.ts";
import type { Credential } from "./credential.ts";
import { Credentials } from "./credentials.ts";
import { ClusterDispatcher, type Lane } from "./dispatcher.ts";
import { ExchangeError, type Incoming, type Outgoing, readAll, UnseenError } from "./exchange.ts";
import { type KubeConfig, withoutZone, zoneOf } from "./kube-config.ts";
import { checkKubeConfig, checkProxyUrl } from "./kube-config-check.ts";
import { abortable, type Bound, bounded, LinkedAbort } from "./linked-abort.ts";
import { isProtobuf, statusText } from "./protobuf.ts";
import { proxyFromEnvironment } from "./proxy-from-env.ts";
import { published } from "./request-channel.ts";
import { RequestCounter } from "./request-counter.ts";
import { type RetryOptions, withRetries } from "./retry.ts";
import { ServerClock } from "./server-clock.ts";
import { type ApiConstructor, createTypedApi, type TypedRequest, type TypedResponse } from "./typed-api.ts";
import type { ApiRequest, ApiStream, Query } from "./types.ts";

export interface ClusterOptions {
  /**
   * `loadKubeConfig()`, or a `KubeConfig` of `@kubernetes/client-node`. Its current context at the time of the call is used, for
   * good. Without a `proxy-url` in it, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` count, as for kubectl.
   */
  kubeConfig: KubeConfig;
  /** Of `json`. */
  retry?: RetryOptions;
  /** How often an HTTP/2 connection is pinged, in milliseconds. Default 15 000. */
  pingIntervalMs?: number;
  /**
   * A connection on which nothing arrived for so long, not even the answer to a ping, is given up, and its streams fail with
   * `ConnectionLost`; noticed within this time plus two intervals. Default 15 000 ms.
   */
  pingTimeoutMs?: number;
  /** Until a connection stands, TLS included. Default 10 000 ms. */
  connectTimeoutMs?: number;
  /** A one-shot answer larger than this is given up with `AnswerTooLarge`, in bytes. Default 256 MiB: a page of a list has a few. */
  maxAnswerBytes?: number;
}

const REQUEST_TIMEOUT_MS = 30_000;
/** For a long request: until it is on its way. Its answer may take as long as it likes: that of a silent log comes with its first line. */
const SEND_TIMEOUT_MS = 30_000;
/** For reading what the server says about a refused long request. */
const ERROR_BODY_TIMEOUT_MS = 10_000;
const ERROR_BODY_LIMIT = 64 * 1024;

/**
 * One Kubernetes API server with one set of credentials: every request of the engine goes through here, over few connections.
 *
 * One-shot and long requests have connections of their own, so that a create never waits behind a thousand log streams.
 */
export class Cluster {
  readonly server: string;
  readonly requests = new RequestCounter();
  readonly clock = new ServerClock();
  readonly #credentials: Credentials;
  readonly #dispatcher: ClusterDispatcher;
  readonly #retry: RetryOptions;
  readonly #maxAnswerBytes: number;
  /** Path of `server`, e.g. `/k8s/clusters/c-m-1` behind Rancher; mostly empty. */
  readonly #basePath: string;
  readonly #closing = new AbortController();

  /** @throws KubeConfigError when the current context leads to nothing usable */
  constructor({
    kubeConfig,
    retry = {},
    pingIntervalMs = 15_000,
    pingTimeoutMs = 15_000,
    connectTimeoutMs = 10_000,
    maxAnswerBytes = 256 * 1024 * 1024,
  }: ClusterOptions) {
    checkKubeConfig(kubeConfig);
    const cluster = kubeConfig.getCurrentCluster();
    const server = cluster?.server ?? "";
    const url = new URL(withoutZone(server));
    this.server = url.href.replace(/\/+$/, "");
    this.#basePath = url.pathname.replace(/\/+$/, "");
    this.#retry = retry;
    this.#maxAnswerBytes = maxAnswerBytes;
    this.#credentials = new Credentials(kubeConfig);
    this.#dispatcher = new ClusterDispatcher({
      origin: url.origin,
      zone: zoneOf(server),
      proxyUrl: cluster?.proxyUrl || environmentProxy(url),
      requests: this.requests,
      connectTimeoutMs,
      pingIntervalMs,
      pingTimeoutMs,
    });
  }

  /**
   * Has the credentials ready. A plugin may take minutes, as where a person is asked for a code: `timeoutMs` of a request after it
   * counts the server's time only.
   *
   * @throws ApiError; the signal's reason when that aborts
   */
  async login(signal: AbortSignal): Promise<void> {
    const abort = new LinkedAbort([signal, this.#closing.signal]);
    try {
      await abortable(this.#credentials.get(), abort.signal);
    } catch (error) {
      if (abort.signal.aborted) throw abort.signal.reason;
      throw errorFromException({ method: "GET", path: "/" }, error, false);
    } finally {
      abort.release();
    }
  }

  /**
   * One-shot, JSON in and out. Sent again where that is safe: after lost connections, 429 and 5xx for GET, PUT, DELETE and
   * patches that may be repeated; otherwise only if the server certainly did not act. A DELETE that is sent again may find
   * nothing: 404 after a lost answer is success.
   *
   * @throws ApiError; the reason of `request.signal` when that aborts
   */
  async json<T>(request: ApiRequest): Promise<T> {
    const abort = new LinkedAbort([request.signal, this.#closing.signal]);
    try {
      return await withRetries(request, this.#retry, abort.signal, () => this.#jsonOnce<T>(request, abort.signal));
    } finally {
      abort.release();
    }
  }

  /**
   * A long request (watch, followed log). Resolves when the headers of a 2xx arrive. Never sent again here, and without any
   * timeout once it is on its way: HTTP/2 pings guard the connection, the caller the progress.
   *
   * @throws ApiError; the reason of `request.signal` when that aborts. Reading `body` throws the same.
   */
  async open(request: ApiRequest): Promise<ApiStream> {
    const name = nameOf(request);
    const abort = new LinkedAbort([request.signal, this.#closing.signal]);
    try {
      const incoming = await this.#send("long", name, {
        ...this.#outgoing(request),
        signal: abort.signal,
        sendTimeoutMs: SEND_TIMEOUT_MS,
      });
      if (!isSuccess(incoming.status)) throw await this.#refusal(name, incoming, abort.signal);
      incoming.body.once("close", () => abort.release());
      return incoming;
    } catch (error) {
      abort.release();
      throw error;
    }
  }

  /**
   * A typed API class of client-node (`BatchV1Api` …) on this cluster's connections and credentials. Each call is sent once, with
   * `json`'s default timeout; it throws client-node's `ApiException` for an HTTP error (see `toApiError`), `ApiError` without an answer.
   */
  api<T>(type: ApiConstructor<T>): T {
    return createTypedApi(type, this.server, (request) => this.#typed(request));
  }

  /** Ends every request with `ClusterClosed`, and all connections. */
  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort(
        new ApiError({ status: 0, reason: "ClusterClosed", message: "this cluster was closed", sent: false }),
      );
    }
    this.#credentials.close();
    await this.#dispatcher.close();
  }

  async #jsonOnce<T>(request: ApiRequest, signal: AbortSignal): Promise<T> {
    const name = nameOf(request);
    const { status, headers, body } = await this.#whole(name, this.#outgoing(request), request.timeoutMs, signal);
    const type = headers["content-type"];
    if (!isSuccess(status)) throw errorFromResponse(name, status, headers, statusText(type, body));
    if (request.preferred?.read !== undefined && isProtobuf(type)) return request.preferred.read(body) as T;
    const text = body.toString("utf8");
    const value = parsed<T>(text);
    if (value === undefined) throw unreadableAnswer(name, status, headers, body.length);
    const failure = statusObjectOf(value);
    // Some gateways put 200 before whatever was answered.
    if (failure?.status === "Failure") throw errorFromResponse(name, failure.code ?? status, headers, text);
    return value;
  }

  async #typed({ method, target, headers, body, signal }: TypedRequest): Promise<TypedResponse> {
    const [path = target] = target.split("?");
    const outgoing = { method, target, headers, ...(body === undefined ? {} : { body }) };
    return await this.#whole({ method, path }, outgoing, undefined, [signal, this.#closing.signal]);
  }

  /** An answer of any status with its whole body, within the timeout. */
  async #whole(
    name: RequestName,
    outgoing: BareOutgoing,
    timeoutMs = REQUEST_TIMEOUT_MS,
    signal: Bound["signal"],
  ): Promise<TypedResponse> {
    const late = () => {
      const message = `${name.method} ${name.path}: Timeout: no complete answer within ${timeoutMs} ms`;
      return new ApiError({ ...name, status: 0, reason: "Timeout", message });
    };
    return await bounded({ signal, ms: timeoutMs, late }, async (limited) => {
      const bounds = { signal: limited, sendTimeoutMs: timeoutMs };
      const { status, headers, body } = await this.#send("short", name, { ...outgoing, ...bounds });
      this.clock.saw(headers.date);
      const whole = await readAll(body, this.#maxAnswerBytes + 1);
      if (whole.length > this.#maxAnswerBytes) {
        const message = `${name.method} ${name.path}: AnswerTooLarge: the answer is larger than ${this.#maxAnswerBytes} bytes`;
        throw new ApiError({ ...name, status, reason: "AnswerTooLarge", message });
      }
      return { status, headers, body: whole };
    });
  }

  /**
   * With credentials. A 401 is answered by reading them again, once. So is a failed handshake that sent nothing: certificates
   * and CAs rotate on disk.
   */
  async #send(lane: Lane, name: RequestName, outgoing: BareOutgoing & SendBounds): Promise<Incoming> {
    const { signal } = outgoing;
    try {
      const credential = await abortable(this.#credentials.get(), signal);
      let renewed: Credential;
      try {
        const incoming = await this.#exchange(lane, name, outgoing, credential);
        if (incoming.status !== 401) return decoded(incoming, name);
        incoming.body.destroy();
        renewed = await abortable(this.#credentials.renew(credential), signal);
      } catch (error) {
        if (!isUnsentTlsFailure(error)) throw error;
        renewed = await abortable(this.#credentials.reread(credential), signal);
        if (renewed.tlsFingerprint === credential.tlsFingerprint) throw error;
      }
      return decoded(await this.#exchange(lane, name, outgoing, renewed), name);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof ExchangeError) throw errorFromException(name, error.cause, error.sent);
      throw errorFromException(name, error, false);
    }
  }

  async #exchange(
    lane: Lane,
    name: RequestName,
    outgoing: BareOutgoing & SendBounds,
    credential: Credential,
  ): Promise<Incoming> {
    const request: Outgoing = {
      ...outgoing,
      headers: { ...outgoing.headers, ...credential.headers, "user-agent": "k8s-run-informer" },
      explain: (error) => errorFromException(name, error, true),
    };
    const send = () => {
      const pool = this.#dispatcher.for(credential, lane);
      const { method, target } = outgoing;
      this.requests.count(method, target);
      return published({ method, target, server: this.server }, () => pool.request(request));
    };
    try {
      return await send();
    } catch (error) {
      // A connection said GOAWAY under the request, as API servers do now and then (--goaway-chance): another takes it.
      if (error instanceof ExchangeError && error.cause instanceof UnseenError) return send();
      throw error;
    }
  }

  /** What the server says about a long request that it refuses; the status alone where its words do not come in time. */
  async #refusal(name: RequestName, { status, headers, body }: Incoming, signal: AbortSignal): Promise<ApiError> {
    const late = () => new Error(`no whole body within ${ERROR_BODY_TIMEOUT_MS} ms`);
    try {
      const text = await bounded({ signal, ms: ERROR_BODY_TIMEOUT_MS, late }, () => readAll(body, ERROR_BODY_LIMIT));
      return errorFromResponse(name, status, headers, statusText(headers["content-type"], text));
    } catch {
      if (signal.aborted) throw signal.reason;
      return errorFromResponse(name, status, headers, "");
    } finally {
      body.destroy();
    }
  }

  #outgoing(request: ApiRequest): BareOutgoing {
    const { method = "GET", path, query, body, contentType = "application/json", preferred } = request;
    const accept = preferred === undefined ? "application/json" : `${preferred.type}, application/json`;
    const search = query === undefined ? "" : encodeQuery(query);
    const target = this.#basePath + path + search;
    if (body === undefined) return { method, target, headers: { accept } };
    return {
      method,
      target,
      headers: { accept, "content-type": contentType },
      body: JSON.stringify(body),
    };
  }
}

type BareOutgoing = Pick<Outgoing, "method" | "target" | "headers" | "body">;
type SendBounds = Pick<Outgoing, "signal" | "sendTimeoutMs">;

/** @throws KubeConfigError */
function environmentProxy(server: URL): string | undefined {
  const proxy = proxyFromEnvironment(server, process.env);
  if (proxy !== null) checkProxyUrl(server.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY", proxy);
  return proxy ?? undefined;
}

function isUnsentTlsFailure(error: unknown): boolean {
  return error instanceof ExchangeError && !error.sent && connectionFailure(error.cause).reason === "TlsError";
}

function nameOf({ method = "GET", path }: ApiRequest): RequestName {
  return { method, path };
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

function encodeQuery(query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.append(name, String(value));
  const text = search.toString();
  return text === "" ? "" : `?${text}`;
}

/** Undefined: it is no JSON. */
function parsed<T>(text: string): T | undefined {
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined;
  }
}

/** 2xx, but no JSON: cut short on the way, or a proxy's login page. */
function unreadableAnswer(name: RequestName, status: number, headers: Incoming["headers"], bytes: number): ApiError {
  const type = String(headers["content-type"] ?? "");
  const isJson = type.includes("json");
  const said = isJson
    ? `the JSON of the answer (${bytes} bytes) is broken or cut short`
    : `the answer (${bytes} bytes) has the content type ${JSON.stringify(type)}, not JSON: is there a proxy before the API server?`;
  const reason = isJson ? "TruncatedAnswer" : "UnexpectedAnswer";
  return new ApiError({
    ...name,
    status,
    reason,
    message: `${name.method} ${name.path}: ${status} ${reason}: ${said}`,
  });
}
