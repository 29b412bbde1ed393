import { once } from "node:events";
import { ServerResponse } from "node:http";
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { CertificateAuthority } from "../../src/embedded/api/certificates.ts";
import { frameProtobuf, PROTOBUF_WATCH_HEADERS, wantsProtobuf } from "../../src/embedded/api/protobuf.ts";
import { serve } from "./child.ts";
import { ObjectFactory } from "./pods.ts";
import { logRoute, startLines, stopLines } from "./replay-logs.ts";

/**
 * An API server that can only do what the benches of the client need: lists, streaming lists and watches of recorded pods
 * and Jobs, and logs. It answers from ready-made buffers, so that the client is what is measured. Runs in its own process.
 */

export interface ReplayOptions {
  pods: number;
  jobs: number;
  /** Pod phases to take from the recordings. */
  phases: readonly string[];
}

export interface ReplayAddress {
  url: string;
  ca: string;
  bytes: { pods: number; jobs: number };
}

export const NAMESPACE = "bench";
const FIRST_VERSION = 1_000_000_000;
const PAGE = /\/namespaces\/bench\/(pods|jobs)$/;

interface Collection {
  kind: string;
  apiVersion: string;
  /** JSON of each object. */
  objects: Buffer[];
  watchers: Set<Watcher>;
}

interface Watcher {
  response: Http2ServerResponse;
  /** Protobuf, for who asks for it as a real server is asked. */
  isProtobuf: boolean;
}

const collections: Record<string, Collection> = {};
let server: Http2SecureServer | null = null;
let version = FIRST_VERSION;
let connections = 0;

function fill(name: "pods" | "jobs", count: number, phases: readonly string[]): Collection {
  const objects: Buffer[] = [];
  if (count > 0) {
    const factory = new ObjectFactory(name, NAMESPACE, phases);
    for (let index = 0; index < count; index += 1) objects.push(Buffer.from(factory.json(index, ++version)));
  }
  const kind = name === "pods" ? "Pod" : "Job";
  return { kind, apiVersion: name === "pods" ? "v1" : "batch/v1", objects, watchers: new Set() };
}

async function start({ pods, jobs, phases }: ReplayOptions): Promise<ReplayAddress> {
  const made = fill("pods", pods, phases);
  const madeJobs = fill("jobs", jobs, ["Running"]);
  collections.pods = made;
  collections.jobs = madeJobs;
  protobufFrames(made, "ADDED");
  const authority = new CertificateAuthority();
  const { cert, key } = authority.server({ dns: [], ips: ["127.0.0.1"] });
  server = createSecureServer({
    cert,
    key,
    allowHTTP1: true,
    // Of the real server: 250 streams a connection; windows as large as Go's default for the server side do not matter here.
    settings: { maxConcurrentStreams: 250 },
    // A real server has no such limit: streams whose client does not read would have others refused.
    maxSessionMemory: 4_000,
  });
  server.on("secureConnection", () => {
    connections += 1;
  });
  server.on("sessionError", () => undefined);
  server.on("request", (request, response) => void route(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const sum = ({ objects }: Collection) => objects.reduce((bytes, each) => bytes + each.length, 0);
  return { url: `https://127.0.0.1:${port}`, ca: authority.cert, bytes: { pods: sum(made), jobs: sum(madeJobs) } };
}

async function route(request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
  const url = new URL(request.url, "https://localhost");
  response.on("error", () => undefined);
  if (url.pathname.endsWith("/log")) return logRoute(url, response);
  const [, name = ""] = PAGE.exec(url.pathname) ?? [];
  const collection = collections[name];
  if (collection === undefined) {
    response.writeHead(404, { "content-type": "application/json" });
    response.end('{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}');
    return;
  }
  const isWatch = /[?&]watch=(true|1)/.test(request.url);
  const isProtobuf = isWatch && wantsProtobuf(request.headers.accept);
  response.writeHead(200, isProtobuf ? PROTOBUF_WATCH_HEADERS : { "content-type": "application/json" });
  if (!isWatch) return await sendList(collection, url, response);
  if (url.searchParams.get("sendInitialEvents") === "true") {
    const metadata = { resourceVersion: String(version), annotations: { "k8s.io/initial-events-end": "true" } };
    const added = isProtobuf ? protobufFrames(collection, "ADDED") : null;
    if (added !== null) for (const frame of added) await write(response, frame);
    else for (const object of collection.objects) await write(response, event("ADDED", object));
    const end = { kind: collection.kind, apiVersion: collection.apiVersion, metadata };
    response.write(
      isProtobuf ? frameProtobuf("BOOKMARK", collection, end) : event("BOOKMARK", Buffer.from(JSON.stringify(end))),
    );
  }
  // HTTP/1.1 would hold the headers back until the first byte of the body.
  if (response instanceof ServerResponse) response.flushHeaders();
  const watcher = { response, isProtobuf };
  collection.watchers.add(watcher);
  response.once("close", () => collection.watchers.delete(watcher));
}

async function sendList(
  { kind, apiVersion, objects }: Collection,
  url: URL,
  response: Http2ServerResponse,
): Promise<void> {
  const from = Number(url.searchParams.get("continue") ?? 0);
  const limit = Number(url.searchParams.get("limit") ?? 0) || objects.length;
  const next = from + limit < objects.length ? String(from + limit) : "";
  await write(
    response,
    Buffer.from(
      `{"kind":"${kind}List","apiVersion":"${apiVersion}","metadata":{"resourceVersion":"${version}"${next === "" ? "" : `,"continue":"${next}"`}},"items":[`,
    ),
  );
  let batch: Buffer[] = [];
  let bytes = 0;
  for (const [index, object] of objects.slice(from, from + limit).entries()) {
    if (index > 0) batch.push(COMMA);
    batch.push(object);
    bytes += object.length;
    if (bytes < 65_536) continue;
    await write(response, Buffer.concat(batch));
    batch = [];
    bytes = 0;
  }
  batch.push(Buffer.from("]}"));
  response.end(Buffer.concat(batch));
}

const COMMA = Buffer.from(",");

function event(type: string, object: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`{"type":"${type}","object":`), object, Buffer.from("}\n")]);
}

function write(response: Http2ServerResponse, bytes: Buffer): Promise<void> | undefined {
  if (response.write(bytes) || response.destroyed) return undefined;
  return new Promise<void>((resolve) => {
    const done = () => {
      response.off("drain", done);
      response.off("close", done);
      resolve();
    };
    response.on("drain", done);
    response.on("close", done);
  });
}

/** Modifies the pods in turn, `count` times in all; one write an event, as the real server flushes. */
async function modify({ count, chunked = false }: { count: number; chunked?: boolean }): Promise<{ bytes: number }> {
  const collection = collections.pods as Collection;
  const [first] = collection.watchers;
  const frames = first?.isProtobuf === true ? protobufFrames(collection, "MODIFIED") : null;
  let bytes = 0;
  let parts: Buffer[] = [];
  for (let index = 0; index < count; index += 1) {
    const at = index % collection.objects.length;
    version += 1;
    const object = withVersion(collection.objects[at] as Buffer, version, '"resourceVersion":"');
    const frame =
      frames === null ? event("MODIFIED", object) : withVersion(frames[at] as Buffer, version, VERSION_FIELD);
    bytes += frame.length;
    if (chunked) {
      parts.push(frame);
      if (parts.length < 20 && index < count - 1) continue;
    }
    // A frame that is written again is overwritten, perhaps before it has left.
    const out = chunked || frames !== null ? Buffer.concat(chunked ? parts : [frame]) : frame;
    parts = [];
    for (const { response } of collection.watchers) await write(response, out);
  }
  return { bytes };
}

/** The tag and length of `metadata.resourceVersion` of ten digits. */
const VERSION_FIELD = Buffer.from([0x32, 10]);
const madeFrames = new Map<string, Buffer[]>();

/** Encoded once: the cost of the server is not what is measured. */
function protobufFrames(collection: Collection, type: "ADDED" | "MODIFIED"): Buffer[] {
  const key = `${type} ${collection.kind}`;
  const known = madeFrames.get(key);
  if (known !== undefined) return known;
  const made = collection.objects.map((object) => frameProtobuf(type, collection, JSON.parse(object.toString())));
  madeFrames.set(key, made);
  return made;
}

const offsets = new WeakMap<Buffer, number>();

function withVersion(object: Buffer, value: number, before: string | Buffer): Buffer {
  let at = offsets.get(object);
  if (at === undefined) {
    at = object.indexOf(before) + before.length;
    offsets.set(object, at);
  }
  object.write(String(value), at, "latin1");
  return object;
}

if (process.send !== undefined) {
  serve({
    start,
    modify,
    startLines,
    stopLines,
    watchers: () => ({ pods: collections.pods?.watchers.size ?? 0, jobs: collections.jobs?.watchers.size ?? 0 }),
    connections: () => connections,
  });
}
