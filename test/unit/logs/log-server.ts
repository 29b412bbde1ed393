import { once } from "node:events";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { KubeConfig } from "@kubernetes/client-node";
import { afterAll, expect, onTestFinished, vi } from "vitest";
import type { ContainerView, LogSource } from "../../../src/engine/logs/index.ts";
import { Cluster } from "../../../src/engine/transport/index.ts";
import { serverCertificate } from "../transport/api-server.ts";

/** A log server, and a cluster that reads from it, for all tests of a file. */
export async function startLogServer() {
  const server = await LogServer.start();
  const cluster = new Cluster({ kubeConfig: server.kubeConfig });
  afterAll(async () => {
    await cluster.close();
    await server.stop();
  });
  let names = 0;
  const container = (time?: () => bigint) => server.add(new TestContainer(`pod-${names++}`, time));
  return { server, cluster, container };
}

/**
 * A real HTTPS server (HTTP/2 and 1.1) for `pods/log` alone, with faults at chosen bytes. It serves the log file as the
 * kubelet's code does: `sinceTime` is a filter on each part of the file, cut to whole seconds; lines over 16 KiB are stored
 * in parts with a time each; a time is put where a line begins, unless its beginning was filtered out.
 */
export class LogServer {
  readonly #server: http2.Http2SecureServer;
  readonly #certificate: string;
  readonly #containers = new Map<string, TestContainer>();
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  /** Requests that are being answered now, and the most connections that were ever open. */
  openRequests = 0;
  mostConnections = 0;

  private constructor(server: http2.Http2SecureServer, certificate: string) {
    this.#server = server;
    this.#certificate = certificate;
  }

  static async start(options: { maxConcurrentStreams?: number } = {}): Promise<LogServer> {
    const { cert, key } = serverCertificate();
    const settings = { maxConcurrentStreams: options.maxConcurrentStreams ?? 250 };
    const server = http2.createSecureServer({ key, cert, allowHTTP1: true, settings });
    const self = new LogServer(server, cert);
    server.on("session", (session) => {
      self.#sessions.add(session);
      self.mostConnections = Math.max(self.mostConnections, self.#sessions.size);
      session.on("close", () => self.#sessions.delete(session));
      session.on("error", () => {});
    });
    server.on("sessionError", () => {});
    server.on("request", (request, response) => {
      request.on("error", () => {});
      response.on("error", () => {});
      void self.#answer(request, response);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return self;
  }

  get address(): ServerAddress {
    const { port } = this.#server.address() as AddressInfo;
    return { server: `https://127.0.0.1:${port}`, caData: Buffer.from(this.#certificate).toString("base64") };
  }

  get kubeConfig(): KubeConfig {
    return kubeConfigOf(this.address);
  }

  add(container: TestContainer): TestContainer {
    this.#containers.set(container.podName, container);
    return container;
  }

  /** Breaks every connection, as a killed API server does. */
  resetConnections(): void {
    for (const session of this.#sessions) session.destroy(undefined, http2.constants.NGHTTP2_INTERNAL_ERROR);
  }

  /** Resolves when the client has taken all that was sent: it answers a ping after what came before it. */
  async taken(): Promise<void> {
    await Promise.all(
      [...this.#sessions].map((session) => new Promise<void>((resolve) => session.ping(() => resolve()))),
    );
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.resetConnections();
  }

  async #answer(request: http2.Http2ServerRequest, response: http2.Http2ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "https://localhost");
    const podName = url.pathname.split("/")[6] ?? "";
    const container = this.#containers.get(podName);
    this.openRequests++;
    // Node's server keeps a reset stream until its last write is through, which a stalled client never lets happen.
    request.on("aborted", () => {
      const { stream } = request;
      // Our own reset must still be sent.
      if (stream && stream.rstCode !== http2.constants.NGHTTP2_INTERNAL_ERROR) stream.destroy();
    });
    response.on("close", () => this.openRequests--);
    if (!container) return refuse(response, { status: 404, message: `pods "${podName}" not found` });
    await container.serve(url.searchParams, response);
  }
}

/** Resolves when it holds. */
export const until = (condition: () => boolean) => expect.poll(condition).toBe(true);

/** The monotonic clock of this test. One that is stopped goes forward only as it is told: no machine is too slow for it. */
export function testClock(): { stop(): void; forward(ms: number): void } {
  const now = performance.now.bind(performance);
  let laterMs = 0;
  let stoppedAt: number | null = null;
  const spy = vi.spyOn(performance, "now").mockImplementation(() => (stoppedAt ?? now()) + laterMs);
  onTestFinished(() => spy.mockRestore());
  return {
    stop: () => {
      // A whole number, so that what was waited for is over to the bit.
      stoppedAt ??= Math.ceil(now());
    },
    forward: (ms) => {
      laterMs += ms;
    },
  };
}

/** Of follows whose containers are known to have written all when they end. */
export const NO_LATE_LINES = { lateLinesMs: 0 };

export interface ServerAddress {
  server: string;
  caData: string;
}

export function kubeConfigOf(address: ServerAddress): KubeConfig {
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromOptions({
    clusters: [{ name: "test", ...address }],
    users: [{ name: "test", token: "test" }],
    contexts: [{ name: "test", cluster: "test", user: "test" }],
    currentContext: "test",
  });
  return kubeConfig;
}

/** One part of a line in the log file. */
interface Part {
  ns: bigint;
  bytes: Buffer;
  endsLine: boolean;
}

export interface Refusal {
  status: number;
  message: string;
  headers?: Record<string, string>;
}

/** How the answer to one request breaks: after so many bytes, with a clean end of stream or a reset. */
export interface Cut {
  atByte: number;
  how: "clean" | "reset";
}

export interface Served {
  query: URLSearchParams;
  /** Number of this request, from 0. */
  index: number;
}

/** A container with its log, and what the pod cache would tell of it. */
export class TestContainer implements LogSource {
  readonly namespace = "ns";
  readonly podName: string;
  readonly container = "claude";
  readonly requests: URLSearchParams[] = [];
  readonly #listeners = new Set<() => void>();
  #view: ContainerView = { phase: "running", restartCount: 0, startedAt: "2026-11-24T00:00:00Z", finishedAt: null };
  /** Files, oldest first: only who read before the rotation sees any but the last. */
  #files: Part[][] = [[]];
  #previous: Part[][] | null = null;
  /** Whole second of the last part; the container is started in the second of its first. */
  #lastTime: string | null = null;
  #isBegun = false;
  #running = true;
  #epoch = 0;
  readonly #readers = new Set<() => void>();
  /** Chooses what becomes of each request. */
  refuse: (served: Served) => Refusal | null | undefined = () => null;
  cut: (served: Served) => Cut | null | undefined = () => null;
  /** Text in place of the log, as the kubelet writes errors into a 200 answer. */
  say: (served: Served) => string | null | undefined = () => null;
  /**
   * A follow that is held back takes notice of each rotation afterwards, and each time opens the newest file from its beginning, as
   * the kubelet's does: files between are lost, and the newest is sent more than once. Else it reads file after file.
   */
  reopensNewest = false;
  /** Nanoseconds since 1970 of the next part. */
  time: () => bigint;
  #stall: { opening: number; reached: () => void; over: Promise<void> } | null = null;

  constructor(podName: string, time?: () => bigint) {
    this.podName = podName;
    let last = BigInt(Date.parse("2026-11-24T00:00:00Z")) * 1_000_000n;
    this.time = time ?? (() => (last += 250_000_017n));
  }

  // ---- the pod

  view(): ContainerView {
    return this.#view;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A follow has sent all that there is, and waits for more. */
  get isSent(): boolean {
    return this.#readers.size > 0;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** What the cache says; the log itself is not touched. Who says no `finishedAt` of an end has it at the last line. */
  tell(change: Partial<ContainerView>): void {
    const finishedAt = change.phase === "ended" ? (this.#lastTime ?? this.#view.finishedAt) : this.#view.finishedAt;
    this.#view = { ...this.#view, finishedAt, ...change };
    for (const listener of [...this.#listeners]) listener();
  }

  // ---- the container

  write(text: string | Buffer, ns?: bigint): this {
    let rest = Buffer.isBuffer(text) ? text : Buffer.from(text);
    while (rest.length > 0) {
      const newline = rest.indexOf(10);
      const line = newline < 0 ? rest : rest.subarray(0, newline);
      for (let start = 0; start === 0 || start < line.length; start += 16_384) {
        const bytes = line.subarray(start, start + 16_384);
        const endsLine = newline >= 0 && start + 16_384 >= line.length;
        const time = ns ?? this.time();
        this.#files.at(-1)?.push({ ns: time, bytes, endsLine });
        this.#lastTime = secondOf(time);
        if (!this.#isBegun) this.#view = { ...this.#view, startedAt: this.#lastTime };
        this.#isBegun = true;
      }
      rest = newline < 0 ? Buffer.alloc(0) : rest.subarray(newline + 1);
    }
    this.#wake();
    return this;
  }

  lines(lines: readonly string[]): this {
    for (const line of lines) this.write(`${line}\n`);
    return this;
  }

  rotate(): this {
    this.#files.push([]);
    this.#wake();
    return this;
  }

  /** The container ends: follows end cleanly. `tell` the pod's part apart. */
  exit(): this {
    this.#running = false;
    this.#wake();
    return this;
  }

  /** A new instance of the container; the old one's log is `previous`. */
  restart(): this {
    this.exit();
    this.#previous = this.#files;
    this.#files = [[]];
    this.#running = true;
    return this;
  }

  /**
   * From when it has sent a part of the file that it opens as the so many-th (0: the first) of a request, the server sends nothing,
   * as over a network that stalls. Resolves then, with what ends the stall.
   */
  stall(opening: number): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<() => void>();
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    this.#stall = { opening, reached: () => resolve(end), over };
    return promise;
  }

  /** Takes back a stall that has not been reached. */
  endStalls(): void {
    this.#stall = null;
  }

  /** Ends all follows cleanly, as a restart of the kubelet does. */
  restartKubelet(): void {
    this.#epoch++;
    this.#wake();
  }

  #wake(): void {
    const readers = [...this.#readers];
    this.#readers.clear();
    for (const wake of readers) wake();
  }

  // ---- the server

  async serve(query: URLSearchParams, response: http2.Http2ServerResponse): Promise<void> {
    const served = { query, index: this.requests.length };
    this.requests.push(query);
    const refusal = this.refuse(served);
    if (refusal) return refuse(response, refusal);
    const previous = query.get("previous") === "true";
    if (previous && this.#previous === null) {
      return refuse(response, {
        status: 400,
        message: `previous terminated container "claude" in pod "${this.podName}" not found`,
      });
    }
    const out = new CutWriter(response, this.cut(served) ?? null);
    response.writeHead(200, { "content-type": "text/plain", date: new Date().toUTCString() });
    const words = this.say(served);
    if (typeof words === "string") return out.end(words);
    response.stream?.once?.("close", () => this.#wake());
    await this.#send(query, out, previous ? (this.#previous as Part[][]) : this.#files);
  }

  async #send(query: URLSearchParams, out: CutWriter, files: Part[][]): Promise<void> {
    const follow = query.get("follow") === "true";
    const epoch = this.#epoch;
    const sinceTime = query.get("sinceTime");
    const since = sinceTime === null ? null : BigInt(Math.floor(Date.parse(sinceTime) / 1000)) * 1_000_000_000n;
    const tail = query.get("tailLines");
    let file = files.length - 1;
    let noticed = file;
    let opening = 0;
    let at = tail === null ? 0 : Math.max(0, (files[file]?.length ?? 0) - Number(tail));
    let lineStart = true;
    while (!out.isOver) {
      const parts = files[file] as Part[];
      const pieces: Buffer[] = [];
      let bytes = 0;
      for (; at < parts.length && bytes < 65_536; at++) {
        const part = parts[at] as Part;
        if (since === null || part.ns >= since) {
          if (lineStart) pieces.push(Buffer.from(`${formatTime(part.ns)} `));
          pieces.push(part.bytes);
          if (part.endsLine) pieces.push(Buffer.from("\n"));
          bytes += part.bytes.length;
        }
        lineStart = part.endsLine;
      }
      if (pieces.length > 0) {
        await out.write(Buffer.concat(pieces));
        if (this.#stall?.opening === opening) {
          const { reached, over } = this.#stall;
          this.#stall = null;
          reached();
          await over;
        }
      } else if (follow && noticed < files.length - 1) {
        noticed++;
        opening++;
        file = this.reopensNewest ? files.length - 1 : noticed;
        at = 0;
      } else if (!follow || epoch !== this.#epoch || files !== this.#files || !this.#running) {
        return out.end();
      } else {
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#readers.add(resolve);
        await promise;
      }
    }
  }
}

class CutWriter {
  readonly #response: http2.Http2ServerResponse;
  readonly #cut: Cut | null;
  #sent = 0;
  #over = false;
  #wake = () => {};

  constructor(response: http2.Http2ServerResponse, cut: Cut | null) {
    this.#response = response;
    this.#cut = cut;
    response.once("close", () => {
      this.#over = true;
      this.#wake();
    });
    if (cut?.atByte === 0) queueMicrotask(() => this.#break());
  }

  get isOver(): boolean {
    return this.#over;
  }

  async write(bytes: Buffer): Promise<void> {
    const left = this.#cut ? this.#cut.atByte - this.#sent : Number.POSITIVE_INFINITY;
    const sent = bytes.subarray(0, Math.min(bytes.length, left));
    this.#sent += sent.length;
    if (sent.length > 0 && !this.#over) {
      // Resolves when it is on its way: back-pressure, and a reset after it does not take it back.
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#response.write(sent, () => resolve());
      });
    }
    if (this.#cut && this.#sent >= this.#cut.atByte) this.#break();
  }

  end(bytes?: string): void {
    if (this.#over) return;
    this.#over = true;
    if (bytes !== undefined) this.#response.write(bytes);
    this.#response.end();
  }

  #break(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#cut?.how === "clean") this.#response.end();
    else if (this.#response.stream?.close) this.#response.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    else this.#response.socket?.destroy();
  }
}

function refuse(response: http2.Http2ServerResponse, { status, message, headers }: Refusal): void {
  const reason =
    { 400: "BadRequest", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests" }[status] ?? "InternalError";
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", message, reason, code: status }));
}

/** As the kubelet writes times into a pod: cut to the second. */
export function secondOf(ns: bigint): string {
  return `${formatTime(ns).slice(0, 19)}Z`;
}

function formatTime(ns: bigint): string {
  const seconds = new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(ns % 1_000_000_000n).padStart(9, "0")}Z`;
}
