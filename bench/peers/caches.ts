import { once } from "node:events";
import { connect } from "node:http2";
import { CoreV1Api, makeInformer } from "@kubernetes/client-node";
import { Pool } from "undici";
import { PODS } from "../../src/engine/engine-caches.ts";
import { Cluster, Informer, type Pod } from "../../src/engine/index.ts";
import { jobKeyOfPod, PODS_BY_JOB } from "../../src/engine/runs/job-of-pod.ts";
import { ProtobufFrames } from "../../src/engine/transport/protobuf-frames.ts";
import { type Endpoint, kubeConfigFor } from "./kube-config.ts";

/** Something that keeps up with all pods of a namespace, as each contestant does it. */
export interface PodCache {
  /** Objects in the cache; 0 where there is none. */
  size(): number;
  stop(): Promise<void>;
}

export type CacheKind =
  | "ours"
  /** As with a server that does not speak protobuf. */
  | "ours-json"
  /** Each object as it came, as the others keep it. */
  | "ours-whole"
  | "client-node"
  | "fluent-client"
  | "floor-http2"
  | "floor-http1"
  /** What HTTP/2 and TLS cost in Node, whatever is done with what they bring. */
  | "floor-bytes";
type OnPod = () => void;

/** Resolves when the cache is complete; `onPod` is called for each object listed and each change. */
export async function openCache(kind: CacheKind, endpoint: Endpoint, onPod: OnPod): Promise<PodCache> {
  switch (kind) {
    case "ours":
      return await ours(endpoint, onPod, PODS);
    case "ours-json":
      return await ours(endpoint, onPod, { plural: "pods", root: "/api/v1", trim: PODS.trim });
    case "ours-whole":
      return await ours(endpoint, onPod, { plural: "pods", root: "/api/v1", trim: (raw) => raw as Pod });
    case "client-node":
      return await clientNode(endpoint, onPod);
    case "fluent-client":
      return await fluentClient(endpoint, onPod);
    case "floor-http2":
      return await floor(endpoint, onPod, true);
    case "floor-http1":
      return await floor(endpoint, onPod, false);
    case "floor-bytes":
      return await floorOfBytes(endpoint, onPod);
  }
}

async function ours(endpoint: Endpoint, onPod: OnPod, resource: typeof PODS): Promise<PodCache> {
  const cluster = new Cluster({ kubeConfig: kubeConfigFor(endpoint) });
  const informer = new Informer<Pod>({
    cluster,
    resource,
    indexers: { [PODS_BY_JOB]: jobKeyOfPod },
    namespaces: [endpoint.namespace],
    labelSelector: "app.kubernetes.io/managed-by=paperclip",
  });
  informer.subscribe(onPod);
  informer.start();
  await informer.whenSynced();
  return {
    size: () => informer.size,
    stop: async () => {
      await informer.stop();
      await cluster.close();
    },
  };
}

async function clientNode(endpoint: Endpoint, onPod: OnPod): Promise<PodCache> {
  const kubeConfig = kubeConfigFor(endpoint);
  const core = kubeConfig.makeApiClient(CoreV1Api);
  const { namespace } = endpoint;
  let isListed: () => void = () => undefined;
  const listed = new Promise<void>((resolve) => {
    isListed = resolve;
  });
  const informer = makeInformer(kubeConfig, `/api/v1/namespaces/${namespace}/pods`, () =>
    core.listNamespacedPod({ namespace }),
  );
  for (const verb of ["add", "update", "delete"] as const) informer.on(verb, onPod);
  informer.on("connect", () => isListed());
  // As its readme says: start it again after an error. Its own `stop` raises one, too: the abort of its watch.
  let isStopped = false;
  let restart: NodeJS.Timeout | undefined;
  informer.on("error", (error) => {
    if (isStopped) return;
    console.error("client-node informer:", error);
    restart = setTimeout(() => void informer.start(), 5_000);
  });
  await informer.start();
  await listed;
  return {
    size: () => informer.list(namespace).length,
    stop: async () => {
      isStopped = true;
      clearTimeout(restart);
      await informer.stop();
    },
  };
}

/** Installed apart, since its own client-node would hide ours. */
const FLUENT_CLIENT = new URL("../third-party/node_modules/kubernetes-fluent-client/dist/index.js", import.meta.url);

/** The part of it that is used. */
interface FluentClient {
  K8s(kind: unknown): { InNamespace(name: string): { Watch(onPod: OnPod, options?: object): FluentWatcher } };
  kind: { Pod: unknown };
}
interface FluentWatcher {
  start(): Promise<AbortController>;
  close(): void;
}

/** So that loading a package is no part of its cold start: the others are loaded with this file. */
export async function load(kind: CacheKind): Promise<void> {
  if (kind === "fluent-client") await import(FLUENT_CLIENT.href);
}

async function fluentClient(endpoint: Endpoint, onPod: OnPod): Promise<PodCache> {
  const { K8s, kind } = (await import(FLUENT_CLIENT.href)) as FluentClient;
  const watcher = K8s(kind.Pod).InNamespace(endpoint.namespace).Watch(onPod);
  await watcher.start();
  return { size: () => 0, stop: async () => watcher.close() };
}

/** As little as can be done with undici and `JSON.parse`: a list by pages, one watch, each object parsed and forgotten. */
async function floor({ url, ca, namespace }: Endpoint, onPod: OnPod, allowH2: boolean): Promise<PodCache> {
  const pool = new Pool(url, { connect: { ca }, allowH2, headersTimeout: 0, bodyTimeout: 0 });
  const path = `/api/v1/namespaces/${namespace}/pods`;
  const headers = { authorization: "Bearer bench" };
  let version = "";
  let next: string | undefined = "";
  // A whole list of fifty thousand would be held at once, which takes longer than to take page after page.
  while (next !== undefined) {
    const list = await pool.request({ method: "GET", path: `${path}?limit=500&continue=${next}`, headers });
    const page = (await list.body.json()) as {
      items: unknown[];
      metadata: { resourceVersion: string; continue?: string };
    };
    page.items.forEach(onPod);
    version = page.metadata.resourceVersion;
    next = page.metadata.continue;
  }
  const watch = await pool.request({
    method: "GET",
    path: `${path}?watch=true&resourceVersion=${version}`,
    headers,
  });
  const read = async () => {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of watch.body as AsyncIterable<Buffer>) {
      const buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let start = 0;
      for (let end = buffer.indexOf(10); end !== -1; end = buffer.indexOf(10, start)) {
        JSON.parse(buffer.toString("utf8", start, end));
        onPod();
        start = end + 1;
      }
      rest = buffer.subarray(start);
    }
  };
  // Ends with the pool.
  read().catch(() => undefined);
  return { size: () => 0, stop: () => pool.destroy() };
}

/** One watch of Node's own HTTP/2 client, in protobuf: its frames are cut and dropped. */
async function floorOfBytes({ url, ca, namespace }: Endpoint, onPod: OnPod): Promise<PodCache> {
  const session = connect(url, { ca });
  session.on("error", () => undefined);
  const watch = session.request({
    ":path": `/api/v1/namespaces/${namespace}/pods?watch=true`,
    accept: "application/vnd.kubernetes.protobuf;stream=watch",
    authorization: "Bearer bench",
  });
  const frames = new ProtobufFrames();
  watch.on("data", (chunk: Buffer) => frames.push(chunk, onPod));
  await once(watch, "response");
  return { size: () => 0, stop: async () => session.destroy() };
}
