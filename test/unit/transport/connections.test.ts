import { type ChildProcess, spawn } from "node:child_process";
import { type EventEmitter, once } from "node:events";
import type { Http2ServerResponse, ServerHttp2Session } from "node:http2";
import net, { type AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, test } from "vitest";
import { ApiError, type ApiStream, Cluster, type ClusterOptions } from "../../../src/engine/transport/index.ts";
import {
  type ApiServer,
  base64,
  type Handler,
  kubeConfigObject,
  kubeConfigOf,
  sendJson,
  serverCertificate,
  startApiServer,
} from "./api-server.ts";

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const PODS = "/api/v1/namespaces/ns/pods";
const watch = { path: PODS, query: { watch: true } };

/** Holds watches open, floods `/flood`, answers the rest. */
function watchServer(held: Http2ServerResponse[]): Handler {
  return (request, response) => {
    if (request.url.includes("watch=true")) {
      response.writeHead(200, { "content-type": "application/json" });
      response.write("{}\n");
      held.push(response);
    } else if (request.url.startsWith("/flood")) {
      response.writeHead(200);
      flood(response, 4 * 1024 * 1024);
    } else {
      sendJson(response, 200, { ok: true });
    }
  };
}

function flood(response: Http2ServerResponse, bytes: number): void {
  const chunk = Buffer.alloc(16 * 1024, "x");
  let left = bytes;
  const write = () => {
    while (left > 0) {
      left -= chunk.length;
      if (!response.write(chunk)) return void response.once("drain", write);
    }
    response.end();
  };
  write();
}

async function start(server: Parameters<typeof startApiServer>[1] = {}, options: Partial<ClusterOptions> = {}) {
  const held: Http2ServerResponse[] = [];
  const api = await startApiServer(watchServer(held), server);
  cleanups.push(() => api.close());
  const cluster = new Cluster({ kubeConfig: api.kubeConfig(), retry: { baseMs: 1 }, ...options });
  cleanups.push(() => cluster.close());
  return { api, cluster, held };
}

const open = (cluster: Cluster, count: number) => Promise.all(Array.from({ length: count }, () => cluster.open(watch)));

/** How the stream ended: "end", or the reason of its error. */
async function ending(stream: ApiStream): Promise<string> {
  try {
    for await (const _ of stream.body);
    return "end";
  } catch (error) {
    return error instanceof ApiError ? error.reason : String(error);
  }
}

async function firstChunkAfter(stream: ApiStream, act: () => void): Promise<string> {
  const iterator = stream.body[Symbol.asyncIterator]();
  await iterator.next();
  act();
  return String((await iterator.next()).value);
}

describe("sessions", () => {
  test.each([
    [250, 200, 2, 5],
    [100, 200, 3, 11],
  ])(
    "with a stream limit of %i, few connections: 200 streams, then 1 000, each with one for one-shots",
    async (maxConcurrentStreams, _, for200, for1000) => {
      const { cluster } = await start({ maxConcurrentStreams });
      await cluster.json({ path: PODS });
      await open(cluster, 200);
      expect(cluster.requests.snapshot().connectionsOpen).toBeLessThanOrEqual(for200);
      await open(cluster, 800);
      expect(cluster.requests.snapshot().connectionsOpen).toBeLessThanOrEqual(for1000);
    },
  );

  test("streams that end make room: no new connection for the next ones", async () => {
    const { cluster, held } = await start({ maxConcurrentStreams: 10 });
    const streams = await open(cluster, 10);
    for (const stream of streams.slice(0, 5)) stream.body.destroy();
    await Promise.all(held.slice(0, 5).map((response) => (response.closed ? undefined : once(response, "close"))));
    await open(cluster, 5);
    expect(cluster.requests.snapshot().connectionsOpened).toBe(1);
  });

  test("one-shots do not queue behind streams at the limit", async () => {
    const { cluster } = await start({ maxConcurrentStreams: 5 });
    await open(cluster, 5);
    expect(await cluster.json({ path: PODS })).toEqual({ ok: true });
    expect(cluster.requests.snapshot().connectionsOpened).toBe(2);
  });

  test("HTTP/1.1 by ALPN: a connection a stream, and a one-shot beside them", async () => {
    const { cluster } = await start({ http1Only: true });
    const streams = await open(cluster, 20);
    expect(await cluster.json({ path: PODS })).toEqual({ ok: true });
    expect(cluster.requests.snapshot().connectionsOpen).toBe(21);
    for (const { body } of streams) body.destroy();
  });

  test("streams that nobody reads hold one window each and stall nobody on the same connection", async () => {
    const { cluster, api } = await start();
    const before = process.memoryUsage().arrayBuffers;
    const stalled = await Promise.all(Array.from({ length: 100 }, () => cluster.open({ path: "/flood" })));
    const reader = await cluster.open({ path: "/flood" });
    let bytes = 0;
    for await (const chunk of reader.body) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(4 * 1024 * 1024);
    expect(api.sessions.size).toBe(1);
    // 256 KiB on our side; the test's server holds a little of its own.
    expect((process.memoryUsage().arrayBuffers - before) / stalled.length).toBeLessThan(400 * 1024);
    // And back-pressure ends when reading begins.
    let late = 0;
    for await (const chunk of (stalled[0] as ApiStream).body) late += (chunk as Buffer).length;
    expect(late).toBe(4 * 1024 * 1024);
  });
});

describe("GOAWAY", () => {
  test("a graceful one ends nothing; new requests go elsewhere at once", async () => {
    const { cluster, api, held } = await start({}, { pingIntervalMs: 50, pingTimeoutMs: 3_000 });
    const streams = await open(cluster, 3);
    const [session] = api.sessions;
    session?.goaway(0, 2 ** 31 - 1);
    const [next] = await open(cluster, 1);
    expect(api.sessions.size).toBe(2);
    // The old connection is still asked for a sign of life.
    for (let signs = 0; signs < 3; signs++) await once(session as EventEmitter, "remoteSettings");
    expect(await firstChunkAfter(streams[0] as ApiStream, () => held[0]?.write("more\n"))).toBe("more\n");
    expect(await firstChunkAfter(next as ApiStream, () => held[3]?.write("new\n"))).toBe("new\n");
    expect(streams.map(({ body }) => body.destroyed)).toEqual([false, false, false]);
  });

  test("one with a last stream ends only the streams behind it", async () => {
    const { cluster, api, held } = await start();
    const streams = await open(cluster, 4);
    // Streams 1 and 3 are served to their end.
    for (const session of api.sessions) session.goaway(0, 3);
    expect(await Promise.all(streams.slice(2).map(ending))).toEqual(["ConnectionReset", "ConnectionReset"]);
    expect(await firstChunkAfter(streams[1] as ApiStream, () => held[1]?.write("more\n"))).toBe("more\n");
    expect(await cluster.open(watch)).toMatchObject({ status: 200 });
  });

  test("a request that the server has not seen is sent again, a create too", async () => {
    let refuse = true;
    const { cluster, api } = await start();
    api.server.prependListener("stream", (stream) => {
      if (!refuse) return;
      refuse = false;
      stream.close(7);
    });
    expect(await cluster.json({ method: "POST", path: PODS, body: {} })).toEqual({ ok: true });
    expect(cluster.requests.snapshot().total).toBe(2);
  });

  test("under a GOAWAY every 5 ms each one-shot is answered, and no connection is left behind", async () => {
    const { cluster, api } = await start({}, { retry: { baseMs: 1, maxAttempts: 8 } });
    const asked = new Set<ServerHttp2Session | undefined>();
    api.server.prependListener("stream", ({ session }) => void asked.add(session as ServerHttp2Session));
    const timer = setInterval(() => {
      // Each serves a request before: where none ever did, as on a slow machine, nothing would be answered.
      for (const session of api.sessions) if (asked.has(session) && !session.destroyed) session.goaway(0);
    }, 5);
    cleanups.push(() => clearInterval(timer));
    for (let n = 0; n < 40 || cluster.requests.snapshot().connectionsOpened <= 5; n++) {
      const answers = await Promise.all(Array.from({ length: 5 }, () => cluster.json({ path: PODS })));
      expect(answers).toEqual(Array(5).fill({ ok: true }));
    }
    clearInterval(timer);
    await expect.poll(() => cluster.requests.snapshot().connectionsOpen).toBeLessThan(5);
  });
});

describe("a broken connection", () => {
  test("RST_STREAM is an error of its stream alone, also with CANCEL, which Node takes for an end", async () => {
    const { cluster, held } = await start();
    const streams = await open(cluster, 3);
    held[0]?.stream.close(8);
    held[1]?.stream.close(2);
    expect(await Promise.all(streams.slice(0, 2).map(ending))).toEqual(["ConnectionReset", "ConnectionReset"]);
    expect(await firstChunkAfter(streams[2] as ApiStream, () => held[2]?.write("more\n"))).toBe("more\n");
  });

  test("a reset ends every stream of it, and the next request opens another", async () => {
    const { cluster, api } = await start();
    const streams = await open(cluster, 50);
    for (const socket of api.sockets) socket.destroy();
    expect(new Set(await Promise.all(streams.map(ending)))).toEqual(new Set(["ConnectionReset"]));
    expect(await cluster.open(watch)).toMatchObject({ status: 200 });
  });

  test("a reset is noticed within seconds also where Node does not pass it on, as happens while it writes", async () => {
    const { cluster, api } = await start({}, { pingIntervalMs: 600_000 });
    for (let round = 0; round < 8; round++) {
      const streams = await Promise.all(Array.from({ length: 10 }, () => cluster.open({ path: "/flood" })));
      const endings = streams.map(ending);
      const writes = Array.from({ length: 10 }, () =>
        cluster.open(watch).then(
          ({ body }) => body.destroy(),
          () => undefined,
        ),
      );
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 10));
      for (const socket of api.sockets) socket.destroy();
      // Long before the next ping, and before the end of the test.
      await Promise.all([...endings, ...writes]);
    }
  });

  test.each([
    ["", "ping", () => undefined],
    [", which the server has told that it goes,", "remoteSettings", (session: ServerHttp2Session) => session.goaway(0)],
  ])("a half-open one%s ends its streams with ConnectionLost", async (_, sign, before) => {
    const { api } = await start();
    const line = await startLine(api);
    cleanups.push(() => line.close());
    const kubeConfig = api.kubeConfig({}, { server: `https://127.0.0.1:${line.port}` });
    const cluster = new Cluster({ kubeConfig, pingIntervalMs: 100, pingTimeoutMs: 2_000, retry: { baseMs: 1 } });
    cleanups.push(() => cluster.close());
    const streams = await open(cluster, 10);
    const [session] = api.sessions as Iterable<ServerHttp2Session>;
    if (session === undefined) throw new Error("no session");
    before(session);
    // Silent, but asked for a sign of life, and it gives one.
    for (let signs = 0; signs < 5; signs++) await once(session, sign);
    expect(streams.map(({ body }) => body.destroyed)).toEqual(Array(10).fill(false));
    line.freeze();
    expect(new Set(await Promise.all(streams.map(ending)))).toEqual(new Set(["ConnectionLost"]));
    line.thaw();
    expect(await cluster.open(watch)).toMatchObject({ status: 200 });
    expect(await cluster.json({ path: PODS })).toEqual({ ok: true });
  });
});

describe("the process", () => {
  const child = (script: string): ChildProcess =>
    spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const face = new URL("../../../src/engine/transport/index.ts", import.meta.url).href;

  async function script(api: ApiServer, body: string, options = ""): Promise<string> {
    const { cert } = serverCertificate();
    const config = JSON.stringify(
      kubeConfigObject({ server: `https://127.0.0.1:${api.port}`, "certificate-authority-data": base64(cert) }, {}),
    );
    return `
      import { Cluster } from ${JSON.stringify(face)};
      import { KubeConfig } from ${JSON.stringify(import.meta.resolve("@kubernetes/client-node"))};
      const kubeConfig = new KubeConfig();
      kubeConfig.loadFromString(${JSON.stringify(config)});
      const cluster = new Cluster({ kubeConfig, ${options} });
      ${body}`;
  }

  test("that was stopped for longer than the ping timeout, with a ping under way, keeps its connections", async () => {
    const { api, held } = await start();
    const stopped = child(
      await script(
        api,
        `const { body } = await cluster.open({ path: "${PODS}", query: { watch: true } }); for await (const chunk of body) console.log(String(chunk).trim());`,
        "pingIntervalMs: 50, pingTimeoutMs: 3_000",
      ),
    );
    cleanups.push(() => stopped.kill("SIGKILL"));
    const lines = createInterface({ input: stopped.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
    expect(await lines.next()).toMatchObject({ value: "{}" });
    const [session] = api.sessions;
    // Its answer is not read: the process stands still before it comes.
    (session as EventEmitter).once("ping", () => stopped.kill("SIGSTOP"));
    await once(session as EventEmitter, "ping");
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    stopped.kill("SIGCONT");
    await once(session as EventEmitter, "ping");
    held[0]?.write("still there\n");
    expect(await lines.next()).toMatchObject({ value: "still there" });
    expect(api.sessions.size).toBe(1);
  });

  test("exits by itself after close, with streams and requests under way", async () => {
    const { api } = await start();
    const running = child(
      await script(
        api,
        `const stream = await cluster.open({ path: "${PODS}", query: { watch: true } });
         await cluster.json({ path: "${PODS}" });
         const ended = stream.body.toArray().catch((error) => error.reason);
         await cluster.close();
         const held = () => process.getActiveResourcesInfo().filter((each) => !/Pipe|TTY/.test(each)).join();
         // A socket is closed when the server has answered, which may take its time.
         for (let tries = 0; held() !== "" && tries < 1_000; tries += 1) await new Promise((resolve) => setTimeout(resolve, 50));
         console.log(await ended, held());`,
      ),
    );
    const [out] = (await once(running.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
    expect(String(out).trim()).toBe("ClusterClosed");
    expect(await once(running, "exit")).toEqual([0, null]);
  });

  test("is not held by idle connections, but by an open stream", async () => {
    const { api, held } = await start();
    const idle = child(await script(api, `await cluster.json({ path: "${PODS}" });`));
    expect(await once(idle, "exit")).toEqual([0, null]);
    const busy = child(
      await script(
        api,
        `const { body } = await cluster.open({ path: "${PODS}", query: { watch: true } }); for await (const chunk of body) console.log(String(chunk));`,
      ),
    );
    await once(busy.stdout as NodeJS.ReadableStream, "data");
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(busy.exitCode).toBeNull();
    for (const response of held) response.end();
    expect(await once(busy, "exit")).toEqual([0, null]);
  });
});

/** A line to the server that can be held up so that neither side is told. */
async function startLine(api: ApiServer) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((client) => {
    const upstream = net.connect(api.port, "127.0.0.1");
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("data", (chunk) => to.write(chunk));
      from.on("close", () => to.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    freeze: () => {
      for (const socket of sockets) socket.pause();
    },
    thaw: () => {
      for (const socket of sockets) socket.resume();
    },
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

describe("ALPN", () => {
  test("is decided by each connection: after one HTTP/1.1 member of a load balancer, HTTP/2 members are HTTP/2", async () => {
    const old = await startApiServer(watchServer([]), { http1Only: true });
    const held: Http2ServerResponse[] = [];
    const young = await startApiServer(watchServer(held));
    cleanups.push(
      () => old.close(),
      () => young.close(),
    );
    let member = old.port;
    const balancer = net.createServer((client) => {
      const upstream = net.connect(member, "127.0.0.1");
      client.pipe(upstream).pipe(client);
      client.on("error", () => upstream.destroy());
      upstream.on("error", () => client.destroy());
    });
    balancer.listen(0, "127.0.0.1");
    await once(balancer, "listening");
    cleanups.push(() => balancer.close());
    const { port } = balancer.address() as AddressInfo;
    const cluster = new Cluster({
      kubeConfig: old.kubeConfig({}, { server: `https://127.0.0.1:${port}` }),
      retry: { baseMs: 1 },
    });
    cleanups.push(() => cluster.close());
    const [first] = await open(cluster, 1);
    expect(old.requests).toHaveLength(1);
    member = young.port;
    const streams = [...(await open(cluster, 1)), ...(await open(cluster, 2))];
    // One connection for all three: that is HTTP/2. A CANCEL is no end.
    expect([old.requests.length, young.requests.length, young.sessions.size]).toEqual([1, 3, 1]);
    held[0]?.stream.close(8);
    expect(await ending(streams[0] as ApiStream)).toBe("ConnectionReset");
    expect(first?.body.destroyed).toBe(false);
    member = old.port;
    for (const session of young.sessions) session.goaway(0);
    expect(await cluster.open(watch)).toMatchObject({ status: 200 });
    expect(await cluster.json({ path: PODS })).toEqual({ ok: true });
    expect(old.requests).toHaveLength(3);
  });
});

describe("close", () => {
  test.each([
    ["a TLS handshake", {}],
    ["a CONNECT", (port: number) => ({ "proxy-url": `http://127.0.0.1:${port}` })],
    ["a SOCKS greeting", (port: number) => ({ "proxy-url": `socks5://127.0.0.1:${port}` })],
  ])("%s that never ends does not keep its socket", async (_, extra) => {
    const mute = net.createServer((socket) => socket.on("error", () => {}).resume());
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    cleanups.push(() => mute.close());
    const { port } = mute.address() as AddressInfo;
    const more = typeof extra === "function" ? extra(port) : extra;
    const cluster = new Cluster({
      kubeConfig: kubeConfigOf({ server: `https://127.0.0.1:${port}`, ...more }, {}),
      connectTimeoutMs: 60_000,
    });
    const connected = once(mute, "connection") as Promise<[net.Socket]>;
    const asked = cluster.json({ path: PODS }).catch((error: ApiError) => error.reason);
    const [socket] = await connected;
    const closed = once(socket, "close");
    await cluster.close();
    expect(await asked).toBe("ClusterClosed");
    await closed;
  });
});
