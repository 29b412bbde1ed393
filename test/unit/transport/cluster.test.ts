import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { BatchV1Api, CoreV1Api } from "@kubernetes/client-node";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { ApiError, Cluster, type ClusterOptions, toApiError } from "../../../src/engine/transport/index.ts";
import { type ApiServer, type Handler, kubeConfigOf, sendJson, startApiServer, status } from "./api-server.ts";

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const PODS = "/api/v1/namespaces/ns/pods";
const JOBS = "/apis/batch/v1/namespaces/ns/jobs";

async function connect(
  handler: Handler,
  options: Partial<ClusterOptions> & { server?: Parameters<typeof startApiServer>[1]; path?: string } = {},
): Promise<{ cluster: Cluster; server: ApiServer }> {
  const { server: serverOptions, path = "", ...clusterOptions } = options;
  const server = await startApiServer(handler, serverOptions);
  cleanups.push(() => server.close());
  const kubeConfig = server.kubeConfig(
    { token: "t0ken" },
    path === "" ? {} : { server: `https://127.0.0.1:${server.port}${path}` },
  );
  const cluster = new Cluster({ kubeConfig, retry: { baseMs: 1 }, ...clusterOptions });
  cleanups.push(() => cluster.close());
  return { cluster, server };
}

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** One answer after another; the last one for good. */
function inTurn(...handlers: Handler[]): Handler {
  let turn = 0;
  return (request, response) => handlers[Math.min(turn++, handlers.length - 1)]?.(request, response);
}

const ok: Handler = (_, response) => sendJson(response, 200, { ok: true });
const answer =
  (code: number, reason: string, headers: Record<string, string> = {}): Handler =>
  (_, response) =>
    sendJson(response, code, status(code, reason), headers);

describe.each([
  ["HTTP/2", {}],
  ["HTTP/1.1", { http1Only: true }],
])("json over %s", (protocol, serverOptions) => {
  test("sends method, query, body, content type and credentials; gives back what was answered", async () => {
    const { cluster, server } = await connect(
      (request, response) => {
        const chunks: Buffer[] = [];
        request.on("data", (chunk: Buffer) => chunks.push(chunk));
        request.on("end", () =>
          sendJson(response, 201, {
            version: request.httpVersion,
            type: request.headers["content-type"],
            authorization: request.headers.authorization,
            accept: request.headers.accept,
            body: JSON.parse(Buffer.concat(chunks).toString()),
          }),
        );
      },
      { server: serverOptions },
    );
    const result = await cluster.json({
      method: "PATCH",
      path: `${JOBS}/j`,
      query: { labelSelector: "a=b,c in (d)", dryRun: undefined, force: true },
      body: { metadata: { labels: { ü: "🚀" } } },
      contentType: "application/merge-patch+json",
    });
    expect(result).toEqual({
      version: protocol === "HTTP/2" ? "2.0" : "1.1",
      type: "application/merge-patch+json",
      authorization: "Bearer t0ken",
      accept: "application/json",
      body: { metadata: { labels: { ü: "🚀" } } },
    });
    const { searchParams } = new URL(server.requests[0]?.split(" ")[1] ?? "", "https://x");
    expect(Object.fromEntries(searchParams)).toEqual({ labelSelector: "a=b,c in (d)", force: "true" });
    expect(cluster.requests.snapshot()).toEqual({
      total: 1,
      byVerb: { "patch jobs": 1 },
      connectionsOpened: 1,
      connectionsOpen: 1,
    });
  });

  test.each(["POST", "PUT", "DELETE"] as const)("%s sends its body whole, twice on one connection", async (method) => {
    const { cluster } = await connect(
      (request, response) => {
        let text = "";
        request.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        request.on("end", () => sendJson(response, 200, { method: request.method, body: JSON.parse(text) }));
      },
      { server: serverOptions },
    );
    const body = { preconditions: { uid: "ü" } };
    for (let n = 0; n < 2; n += 1) expect(await cluster.json({ method, path: JOBS, body })).toEqual({ method, body });
    expect(cluster.requests.snapshot().connectionsOpened).toBe(1);
  });

  test("a large answer comes whole", async () => {
    const items = Array.from({ length: 20_000 }, (_, n) => ({ name: `pod-${n}`, text: "ü".repeat(50) }));
    const { cluster } = await connect((_, response) => sendJson(response, 200, { items }), { server: serverOptions });
    expect(await cluster.json<{ items: unknown[] }>({ path: PODS })).toEqual({ items });
  });

  test("an answer that is cut short is an error, and is asked for again", async () => {
    const cut: Handler = (request, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.write('{"items":[');
      setTimeout(() => request.socket?.destroy(), 10);
    };
    const { cluster } = await connect(inTurn(cut, ok), { server: serverOptions });
    expect(await cluster.json({ path: PODS })).toEqual({ ok: true });
    expect(cluster.requests.snapshot().total).toBe(2);
  });

  test("50 requests at once and 50 after another share few connections", async () => {
    const { cluster } = await connect(ok, { server: serverOptions });
    await Promise.all(Array.from({ length: 50 }, () => cluster.json({ path: PODS })));
    for (let n = 0; n < 50; n++) await cluster.json({ path: PODS });
    expect(cluster.requests.snapshot().connectionsOpened).toBeLessThanOrEqual(protocol === "HTTP/2" ? 1 : 16);
  });

  test("times out, says after how long, and resets the request", async () => {
    const arrived = Promise.withResolvers<void>();
    const options = { server: serverOptions, retry: { maxAttempts: 1 } };
    const { cluster, server } = await connect(() => arrived.resolve(), options);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const failed = failure(cluster.json({ path: PODS, timeoutMs: 1_000 }));
    await arrived.promise;
    await vi.advanceTimersByTimeAsync(1_000);
    const error = await failed;
    expect(error).toMatchObject({ status: 0, reason: "Timeout", message: expect.stringMatching(/within 1000 ms/) });
    expect(server.requests).toHaveLength(1);
  });

  test("the timeout covers the body too", async () => {
    const { cluster } = await connect(
      (_, response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.write("{");
      },
      { server: serverOptions, retry: { maxAttempts: 1 } },
    );
    expect((await failure(cluster.json({ path: PODS, timeoutMs: 100 }))).reason).toBe("Timeout");
  });
});

describe("json", () => {
  test("throws an ApiError with the Status, method and path, and does not ask again", async () => {
    const { cluster } = await connect(answer(404, "NotFound"));
    expect(await failure(cluster.json({ path: `${PODS}/p`, query: { a: 1 } }))).toMatchObject({
      status: 404,
      method: "GET",
      path: `${PODS}/p`,
    });
    expect(cluster.requests.snapshot().total).toBe(1);
  });

  test("asks again while the server is overloaded, at most five times", async () => {
    const { cluster } = await connect(
      inTurn(answer(429, "TooManyRequests"), answer(500, "InternalError"), answer(503, "ServiceUnavailable"), ok),
    );
    expect(await cluster.json({ path: PODS })).toEqual({ ok: true });
    const { cluster: other } = await connect(answer(503, "ServiceUnavailable"));
    expect((await failure(other.json({ path: PODS }))).status).toBe(503);
    expect(other.requests.snapshot().total).toBe(5);
  });

  test("waits as long as Retry-After says", async () => {
    const { cluster } = await connect(inTurn(answer(429, "TooManyRequests", { "retry-after": "1" }), ok));
    const startedAt = performance.now();
    expect(await cluster.json({ path: JOBS, method: "POST", body: {} })).toEqual({ ok: true });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(990);
  });

  test("a wait of more than a minute is the caller's to decide", async () => {
    const { cluster } = await connect(answer(503, "ServiceUnavailable", { "retry-after": "3600" }));
    // Its hour is cut to five minutes (api-error.test.ts).
    expect((await failure(cluster.json({ path: PODS }))).retryAfterMs).toBe(300_000);
    expect(cluster.requests.snapshot().total).toBe(1);
  });

  test("a create whose answer was lost is not sent again", async () => {
    const { cluster, server } = await connect((request) => request.socket?.destroy());
    expect(await failure(cluster.json({ path: JOBS, method: "POST", body: {} }))).toMatchObject({
      reason: "ConnectionReset",
      sent: true,
    });
    expect(server.requests).toHaveLength(1);
  });

  test("a create is sent again until a server that is down is back", async () => {
    const { server } = await connect(ok);
    const { port } = server;
    await server.close();
    const cluster = new Cluster({ kubeConfig: server.kubeConfig(), retry: { baseMs: 200, maxAttempts: 20 } });
    cleanups.push(() => cluster.close());
    const created = cluster.json({ path: JOBS, method: "POST", body: {} });
    while (cluster.requests.snapshot().total < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const back = await startApiServer(ok, { port });
    cleanups.push(() => back.close());
    expect(await created).toEqual({ ok: true });
    expect(back.requests).toEqual([`POST ${JOBS}`]);
  });

  test("an answer with the wrong content type names the proxy", async () => {
    const { cluster } = await connect((_, response) => {
      response.writeHead(200, { "content-type": "text/html" });
      response.end("<html>please log in</html>");
    });
    expect(await failure(cluster.json({ path: PODS }))).toMatchObject({
      status: 200,
      reason: "UnexpectedAnswer",
      message: expect.stringMatching(/text\/html.*proxy/),
    });
    expect(cluster.requests.snapshot().total).toBe(1);
  });

  test("broken JSON is asked for again", async () => {
    const broken: Handler = (_, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end('{"items":[');
    };
    const { cluster } = await connect(inTurn(broken, ok));
    expect(await cluster.json({ path: PODS })).toEqual({ ok: true });
  });

  test("keeps the server's own path, as behind Rancher", async () => {
    const { cluster, server } = await connect(ok, { path: "/k8s/clusters/c-1/" });
    await cluster.json({ path: PODS });
    await cluster.api(CoreV1Api).listNamespacedPod({ namespace: "ns" });
    expect(server.requests).toEqual([`GET /k8s/clusters/c-1${PODS}`, `GET /k8s/clusters/c-1${PODS}`]);
    expect(cluster.requests.snapshot().byVerb).toEqual({ "list pods": 2 });
  });

  test("an abort surfaces as its reason: before, while waiting, and between attempts", async () => {
    const { cluster, server } = await connect(
      inTurn(() => {}, answer(503, "ServiceUnavailable")),
      { retry: { baseMs: 60_000 } },
    );
    const reason = new Error("enough");
    await expect(cluster.json({ path: PODS, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(cluster.requests.snapshot().total).toBe(0);

    const waiting = new AbortController();
    const asked = cluster.json({ path: PODS, signal: waiting.signal });
    await expect.poll(() => server.requests).toHaveLength(1);
    waiting.abort();
    await expect(asked).rejects.toMatchObject({ name: "AbortError" });

    const between = new AbortController();
    const again = cluster.json({ path: PODS, signal: between.signal });
    setTimeout(() => between.abort(reason), 200);
    await expect(again).rejects.toBe(reason);
  });

  test("aborting a create that waits for a connection keeps it from being sent", async () => {
    // Accepts connections and never says a word: the TLS handshake hangs.
    const mute = net.createServer((socket) => socket.on("error", () => {}));
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    cleanups.push(() => mute.close());
    const { port } = mute.address() as AddressInfo;
    const cluster = new Cluster({ kubeConfig: kubeConfigOf({ server: `https://127.0.0.1:${port}` }, {}) });
    cleanups.push(() => cluster.close());
    const abort = new AbortController();
    const created = cluster.json({ path: JOBS, method: "POST", body: {}, signal: abort.signal });
    await once(mute, "connection");
    abort.abort();
    await expect(created).rejects.toMatchObject({ name: "AbortError" });
  });

  test("a server that takes connections and does not speak is a ConnectTimeout", async () => {
    const sockets = new Set<net.Socket>();
    const mute = net.createServer((socket) => sockets.add(socket.on("error", () => {})));
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    cleanups.push(
      () => mute.close(),
      () => sockets.forEach((socket) => void socket.destroy()),
    );
    const { port } = mute.address() as AddressInfo;
    const cluster = new Cluster({
      kubeConfig: kubeConfigOf({ server: `https://127.0.0.1:${port}` }, {}),
      connectTimeoutMs: 300,
      retry: { maxAttempts: 1 },
    });
    cleanups.push(() => cluster.close());
    const errors = await Promise.all([...Array(20)].map(() => failure(cluster.open({ path: PODS }))));
    expect(new Set(errors.map(({ reason, sent }) => `${reason} ${sent}`))).toEqual(new Set(["ConnectTimeout false"]));
    // All who wait hear of it at once, not one attempt after another. The server may hear of the connection later than they.
    await expect.poll(() => sockets.size).toBe(1);
  });
});

describe("open", () => {
  test("gives the headers at once and the body as it comes", async () => {
    let send = (_: string | null) => {};
    const { cluster } = await connect((_, response) => {
      response.writeHead(200, { "content-type": "application/json", "x-audit": "1" });
      send = (text) => void (text === null ? response.end() : response.write(text));
      send("one\n");
    });
    const stream = await cluster.open({ path: PODS, query: { watch: true } });
    expect(stream).toMatchObject({ status: 200, headers: { "content-type": "application/json", "x-audit": "1" } });
    const chunks: string[] = [];
    for await (const chunk of stream.body) {
      chunks.push(String(chunk));
      send(chunks.length === 1 ? "two\n" : null);
    }
    expect(chunks).toEqual(["one\n", "two\n"]);
    expect(cluster.requests.snapshot().byVerb).toEqual({ "watch pods": 1 });
  });

  test("a refusal is an ApiError, whether its body comes or never ends", async () => {
    const { cluster } = await connect(answer(403, "Forbidden"));
    expect(await failure(cluster.open({ path: `${PODS}/p/log` }))).toMatchObject({
      status: 403,
      path: `${PODS}/p/log`,
    });
    const { cluster: endless } = await connect((_, response) => {
      response.writeHead(503);
      const write = () => {
        while (response.writable && response.write("x".repeat(16_384)));
      };
      response.on("drain", write);
      write();
    });
    expect((await failure(endless.open({ path: PODS }))).status).toBe(503);
  });

  test("a lost connection throws from the body as an ApiError, and nowhere else", async () => {
    const { cluster, server } = await connect((_, response) => void response.write("one\n"));
    const read = await cluster.open({ path: PODS });
    const unread = await cluster.open({ path: PODS });
    const iterator = read.body[Symbol.asyncIterator]();
    expect(String((await iterator.next()).value)).toBe("one\n");
    for (const socket of server.sockets) socket.destroy();
    expect(await failure(iterator.next())).toMatchObject({ status: 0, reason: "ConnectionReset", path: PODS });
    // Begun to be read only after the error: no uncaught exception before, the error then.
    while (!unread.body.closed) await new Promise((resolve) => setImmediate(resolve));
    expect((await failure(unread.body.toArray())).reason).toBe("ConnectionReset");
  });

  test("an abort ends the body with its reason", async () => {
    const { cluster } = await connect((_, response) => void response.write("one\n"));
    const abort = new AbortController();
    const stream = await cluster.open({ path: PODS, signal: abort.signal });
    const reason = new Error("stopped");
    setTimeout(() => abort.abort(reason), 20);
    await expect(stream.body.toArray()).rejects.toBe(reason);
  });

  test("destroying the body tells the server", async () => {
    let closed = Promise.resolve<unknown>(undefined);
    const { cluster } = await connect((_, response) => {
      closed = once(response, "close");
      response.write("one\n");
    });
    const stream = await cluster.open({ path: PODS });
    stream.body.destroy();
    await closed;
  });
});

describe("typed API classes", () => {
  test("use this cluster's connection, credentials and counter", async () => {
    const seen: unknown[] = [];
    const { cluster } = await connect((request, response) => {
      seen.push(request.headers.authorization);
      sendJson(response, 200, {
        kind: "JobList",
        items: [{ metadata: { name: "j", creationTimestamp: "2026-01-01T00:00:00Z" } }],
      });
    });
    const api = cluster.api(BatchV1Api);
    for (let n = 0; n < 5; n++) {
      const list = await api.listNamespacedJob({ namespace: "ns" });
      expect(list.items[0]?.metadata?.creationTimestamp).toEqual(new Date("2026-01-01T00:00:00Z"));
    }
    expect(seen).toEqual(Array(5).fill("Bearer t0ken"));
    expect(cluster.requests.snapshot()).toEqual({
      total: 5,
      byVerb: { "list jobs": 5 },
      connectionsOpened: 1,
      connectionsOpen: 1,
    });
  });

  test("send bodies", async () => {
    const { cluster } = await connect((request, response) => {
      let text = "";
      request.on("data", (chunk) => {
        text += chunk;
      });
      request.on("end", () => sendJson(response, 201, JSON.parse(text)));
    });
    const created = await cluster
      .api(BatchV1Api)
      .createNamespacedJob({ namespace: "ns", body: { metadata: { name: "j" } } });
    expect(created.metadata?.name).toBe("j");
  });

  test("fail with an exception that toApiError understands", async () => {
    const { cluster } = await connect(answer(404, "NotFound"));
    const error = await cluster
      .api(BatchV1Api)
      .readNamespacedJob({ namespace: "ns", name: "j" })
      .catch((caught: unknown) => toApiError(caught, { method: "GET", path: JOBS }));
    expect(error).toMatchObject({ status: 404, reason: "NotFound", path: JOBS });
  });
});

describe("close", () => {
  test("ends requests and streams with ClusterClosed and leaves no connection", async () => {
    const { cluster } = await connect(
      (request, response) => void (request.url.includes("watch") && response.write("one\n")),
    );
    const stream = await cluster.open({ path: PODS, query: { watch: true } });
    const waiting = failure(cluster.json({ path: PODS }));
    while (cluster.requests.snapshot().total < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await cluster.close();
    expect(await waiting).toMatchObject({ reason: "ClusterClosed" });
    expect((await failure(stream.body.toArray())).reason).toBe("ClusterClosed");
    expect((await failure(cluster.json({ path: PODS }))).reason).toBe("ClusterClosed");
    expect(cluster.requests.snapshot().connectionsOpen).toBe(0);
    await cluster.close();
  });
});
