import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";
import { request as httpsRequest } from "node:https";
import type { EmbeddedKubernetes } from "../../../src/embedded/index.ts";

/** A plain client for the tests of the server: no Kubernetes library, so that its own habits do not stand in between. */

export interface Call {
  method?: string;
  path: string;
  /** A string is sent as it is, everything else as JSON. */
  body?: unknown;
  headers?: Record<string, string>;
  /** Default: the admin's client certificate. `null`: no credentials at all. */
  token?: string | null;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders | NodeJS.Dict<string | string[]>;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  json: any;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into objects of every kind
export type Frame = { type: string; object: any };

export class Client {
  readonly #k8s: EmbeddedKubernetes;
  readonly #sessions = new Map<string, ClientHttp2Session>();

  constructor(k8s: EmbeddedKubernetes) {
    this.#k8s = k8s;
  }

  async call(call: Call): Promise<Answer> {
    const stream = this.#open(call);
    const { status, headers } = await head(stream);
    const chunks: Buffer[] = [];
    for await (const chunk of untilReset(stream)) chunks.push(chunk as Buffer);
    return answer(status, headers, Buffer.concat(chunks));
  }

  /** The same over HTTP/1.1. */
  call1({ method = "GET", path, body, headers = {}, token }: Call): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = httpsRequest(
        new URL(path, this.#k8s.url),
        {
          method,
          headers: { ...contentType(body), ...authorization(token), ...headers },
          ...this.#tls(token),
          agent: false,
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => resolve(answer(response.statusCode ?? 0, response.headers, Buffer.concat(chunks))));
          response.on("error", reject);
        },
      );
      request.on("error", reject);
      request.end(encode(body));
    });
  }

  /** A watch, frame by frame. */
  async watch(path: string, token?: string | null): Promise<Watch> {
    const stream = this.#open({ path, ...(token === undefined ? {} : { token }) });
    const { status, headers } = await head(stream);
    return new Watch(stream, status, headers);
  }

  /** An answer whose body is read by the test. */
  async stream(call: Call): Promise<{ status: number; headers: IncomingHttpHeaders; body: ClientHttp2Stream }> {
    const stream = this.#open(call);
    return { ...(await head(stream)), body: stream };
  }

  /** The one HTTP/2 connection for these credentials. */
  session(token?: string | null): ClientHttp2Session {
    const key = String(token);
    let session = this.#sessions.get(key);
    if (session === undefined || session.closed || session.destroyed) {
      session = connect(this.#k8s.url, this.#tls(token));
      session.on("error", () => {});
      this.#sessions.set(key, session);
    }
    return session;
  }

  close(): void {
    for (const session of this.#sessions.values()) session.destroy();
    this.#sessions.clear();
  }

  #open({ method = "GET", path, body, headers = {}, token }: Call): ClientHttp2Stream {
    const stream = this.session(token).request(
      { ":method": method, ":path": path, ...contentType(body), ...authorization(token), ...headers },
      { endStream: body === undefined },
    );
    if (body !== undefined) stream.end(encode(body));
    return stream;
  }

  #tls(token: string | null | undefined): { ca: string; cert?: Buffer; key?: Buffer } {
    if (token !== undefined) return { ca: this.#k8s.ca };
    const user = this.#k8s.kubeconfig.users[0]?.user;
    return {
      ca: this.#k8s.ca,
      cert: Buffer.from(user?.["client-certificate-data"] ?? "", "base64"),
      key: Buffer.from(user?.["client-key-data"] ?? "", "base64"),
    };
  }
}

/** Frames of a watch, one after the other; `next` waits for the next one. */
export class Watch {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly #stream: ClientHttp2Stream;
  readonly #lines: AsyncIterator<string>;

  constructor(stream: ClientHttp2Stream, status: number, headers: IncomingHttpHeaders) {
    this.#stream = stream;
    this.status = status;
    this.headers = headers;
    this.#lines = lines(stream);
  }

  /** `undefined` after a clean end; rejects when the stream was reset. */
  async next(): Promise<Frame | undefined> {
    const line = await this.nextLine();
    return line === undefined ? undefined : (JSON.parse(line) as Frame);
  }

  async nextLine(): Promise<string | undefined> {
    const { done, value } = await this.#lines.next();
    return done ? undefined : value;
  }

  /** The next frame of which `wanted` holds. */
  async until(wanted: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const frame = await this.next();
      if (frame === undefined) throw new Error("the watch ended before the frame came");
      if (wanted(frame)) return frame;
    }
  }

  async rest(): Promise<Frame[]> {
    const frames: Frame[] = [];
    for (let frame = await this.next(); frame !== undefined; frame = await this.next()) frames.push(frame);
    return frames;
  }

  close(): void {
    this.#stream.close();
  }
}

/** Node ends the reading of a stream that was reset as if all were well: the code tells. */
export async function* untilReset(stream: ClientHttp2Stream): AsyncGenerator<Buffer | string> {
  yield* stream;
  if (!stream.closed) await new Promise((resolve) => stream.once("close", resolve));
  if (stream.rstCode !== constants.NGHTTP2_NO_ERROR || stream.aborted) {
    throw new Error(`the stream was reset with code ${stream.rstCode}`);
  }
}

async function* lines(stream: ClientHttp2Stream): AsyncGenerator<string> {
  let rest = "";
  stream.setEncoding("utf8");
  for await (const chunk of untilReset(stream)) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) yield part;
  }
  if (rest !== "") yield rest;
}

function head(stream: ClientHttp2Stream): Promise<{ status: number; headers: IncomingHttpHeaders }> {
  return new Promise((resolve, reject) => {
    stream.once("response", (headers) => resolve({ status: Number(headers[":status"]), headers }));
    stream.once("error", reject);
    stream.once("close", () => reject(new Error(`stream closed without an answer (code ${stream.rstCode})`)));
  });
}

function answer(status: number, headers: Answer["headers"], body: Buffer): Answer {
  const text = body.toString();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status, headers, text, json };
}

function encode(body: unknown): string | undefined {
  return body === undefined || typeof body === "string" ? body : JSON.stringify(body);
}

function contentType(body: unknown): Record<string, string> {
  return body === undefined ? {} : { "content-type": "application/json" };
}

function authorization(token: string | null | undefined): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** The smallest Job that the server takes. */
export function job(name: string, labels: Record<string, string> = {}, spec: Record<string, unknown> = {}) {
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name, labels },
    spec: {
      backoffLimit: 0,
      ...spec,
      template: {
        metadata: { labels },
        spec: { restartPolicy: "Never", containers: [{ name: "claude", image: "local/claude:1" }] },
      },
    },
  };
}

export function secret(name: string, labels: Record<string, string> = {}) {
  return { apiVersion: "v1", kind: "Secret", metadata: { name, labels }, stringData: { key: name } };
}
