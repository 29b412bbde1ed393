import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import net, { type AddressInfo, type Server } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type ApiError, Cluster } from "../../../src/engine/transport/index.ts";
import { type ApiServer, kubeConfigOf, sendJson, serverCertificate, startApiServer } from "./api-server.ts";

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const PODS = "/api/v1/namespaces/ns/pods";

async function start(): Promise<ApiServer> {
  const server = await startApiServer((request, response) => {
    if (request.url.includes("watch")) response.write(`${request.httpVersion}\n`);
    else sendJson(response, 200, { version: request.httpVersion });
  });
  cleanups.push(() => server.close());
  return server;
}

/** @param connectTimeoutMs only where no answer comes: where one does, a slow machine has its time */
function clusterBehind(server: ApiServer, proxyUrl: string, connectTimeoutMs = 60_000): Cluster {
  const cluster = new Cluster({
    kubeConfig: server.kubeConfig({}, { "proxy-url": proxyUrl }),
    retry: { maxAttempts: 1 },
    connectTimeoutMs,
  });
  cleanups.push(() => cluster.close());
  return cluster;
}

async function listen(server: Server): Promise<number> {
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket: net.Socket) => sockets.add(socket.on("error", () => {})));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function join(client: net.Socket, host: string, port: number, onConnect: () => void): void {
  const upstream = net.connect(port, host, () => {
    onConnect();
    upstream.pipe(client).pipe(upstream);
  });
  upstream.on("error", () => client.destroy());
  client.on("error", () => upstream.destroy());
  client.on("close", () => upstream.destroy());
}

/** An HTTP(S) proxy; `asked` holds what was asked of it, with the credentials. */
async function startHttpProxy(tls = false, answer = 200, to?: number) {
  const asked: string[] = [];
  const server = tls ? https.createServer(serverCertificate()) : http.createServer();
  const answerTo: http.RequestListener = (request, response) => {
    asked.push(`${request.url} ${request.headers["proxy-authorization"]}`);
    http.get(request.url ?? "", (passedOn) => passedOn.pipe(response.writeHead(passedOn.statusCode ?? 0)));
  };
  server.on("request", answerTo);
  server.on("connect", (request: http.IncomingMessage, socket: net.Socket) => {
    asked.push(`${request.url} ${request.headers["proxy-authorization"] ?? ""}`.trim());
    if (answer !== 200) {
      socket.end(`HTTP/1.1 ${answer} No\r\n\r\n`);
      return;
    }
    const [host = "", port] = (request.url ?? "").split(":");
    const [toHost, toPort] = to === undefined ? [host, Number(port)] : ["127.0.0.1", to];
    join(socket, toHost, toPort, () => socket.write("HTTP/1.1 200 Connection established\r\n\r\n"));
  });
  return { asked, port: await listen(server) };
}

/** SOCKS 5 (RFC 1928, with RFC 1929 passwords) and SOCKS 4. */
async function startSocksProxy() {
  const asked: string[] = [];
  const server = net.createServer((socket) => {
    const read = () => new Promise<Buffer>((resolve) => socket.once("data", resolve));
    const talk = async () => {
      const hello = await read();
      if (hello[0] === 4) {
        const host = [...hello.subarray(4, 8)].join(".");
        asked.push(`4 ${host}:${hello.readUInt16BE(2)}`);
        join(socket, host, hello.readUInt16BE(2), () => socket.write(Buffer.from([0, 90, 0, 0, 0, 0, 0, 0])));
        return;
      }
      let user = "";
      if (hello.subarray(2).includes(2)) {
        socket.write(Buffer.from([5, 2]));
        const login = await read();
        const userLength = login[1] ?? 0;
        user = ` ${login.subarray(2, 2 + userLength)}:${login.subarray(3 + userLength)}`;
        socket.write(Buffer.from([1, 0]));
      } else {
        socket.write(Buffer.from([5, 0]));
      }
      const request = await read();
      const isName = request[3] === 3;
      const host = isName
        ? request.subarray(5, 5 + (request[4] ?? 0)).toString()
        : [...request.subarray(4, 8)].join(".");
      const port = request.readUInt16BE(request.length - 2);
      asked.push(`5 ${host}:${port}${user}`);
      join(socket, host, port, () => socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])));
    };
    talk().catch(() => socket.destroy());
  });
  return { asked, port: await listen(server) };
}

async function useBoth(cluster: Cluster): Promise<void> {
  expect(await cluster.json({ path: PODS })).toEqual({ version: "2.0" });
  const { body } = await cluster.open({ path: PODS, query: { watch: true } });
  for await (const chunk of body) {
    expect(String(chunk)).toBe("2.0\n");
    break;
  }
  expect(cluster.requests.snapshot().connectionsOpened).toBe(2);
}

describe("proxy-url", () => {
  test("http: a CONNECT tunnel with HTTP/2 inside, with the URL's credentials", async () => {
    const server = await start();
    const proxy = await startHttpProxy();
    await useBoth(clusterBehind(server, `http://me:p%40ss@127.0.0.1:${proxy.port}`));
    expect(proxy.asked).toEqual(
      Array(2).fill(`127.0.0.1:${server.port} Basic ${Buffer.from("me:p@ss").toString("base64")}`),
    );
  });

  test("http, for an http:// server: it passes requests on by their whole URL, with its credentials", async () => {
    const plain = http.createServer((_, response) => response.setHeader("content-type", "application/json").end("{}"));
    const url = `http://127.0.0.1:${await listen(plain)}`;
    const proxy = await startHttpProxy();
    const cluster = new Cluster({
      kubeConfig: kubeConfigOf({ server: `${url}/base`, "proxy-url": `http://me:p%40ss@127.0.0.1:${proxy.port}` }, {}),
      retry: { maxAttempts: 1 },
    });
    cleanups.push(() => cluster.close());
    expect(await cluster.json({ path: PODS })).toEqual({});
    expect(proxy.asked).toEqual([`${url}/base${PODS} Basic ${Buffer.from("me:p@ss").toString("base64")}`]);
  });

  test("https", async () => {
    const server = await start();
    const proxy = await startHttpProxy(true);
    // The proxy's certificate is checked against the machine's CAs; this one is not among them.
    const cluster = clusterBehind(server, `https://127.0.0.1:${proxy.port}`);
    const error = await cluster.json({ path: PODS }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ reason: "ProxyError", message: expect.stringMatching(/self-signed/) });
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    await useBoth(clusterBehind(server, `https://127.0.0.1:${proxy.port}`));
  });

  test.each(["socks5", "socks5h", "socks", "socks4"])("%s", async (protocol) => {
    const server = await start();
    const proxy = await startSocksProxy();
    await useBoth(clusterBehind(server, `${protocol}://127.0.0.1:${proxy.port}`));
    expect(proxy.asked).toEqual(Array(2).fill(`${protocol === "socks4" ? 4 : 5} 127.0.0.1:${server.port}`));
  });

  test("socks5 with credentials", async () => {
    const server = await start();
    const proxy = await startSocksProxy();
    await useBoth(clusterBehind(server, `socks5://me:secret@127.0.0.1:${proxy.port}`));
    expect(proxy.asked[0]).toBe(`5 127.0.0.1:${server.port} me:secret`);
  });

  test("a proxy that refuses, is not there or does not answer is a ProxyError without its password", async () => {
    const server = await start();
    const refusing = await startHttpProxy(false, 407);
    const mute = await listen(net.createServer());
    const gone = await listen(
      net.createServer().on("listening", function (this: Server) {
        setImmediate(() => this.close());
      }),
    );
    for (const [url, message, timeoutMs] of [
      [`http://me:secret@127.0.0.1:${refusing.port}`, /407/],
      [`http://me:secret@127.0.0.1:${mute}`, /1000 ms/, 1_000],
      [`socks5://me:secret@127.0.0.1:${mute}`, /timed out/i, 1_000],
      [`http://me:secret@127.0.0.1:${gone}`, /ECONNREFUSED/],
      [`socks5://me:secret@127.0.0.1:${gone}`, /ECONNREFUSED/],
    ] as const) {
      const error = (await clusterBehind(server, url, timeoutMs)
        .json({ path: PODS })
        .catch((caught: unknown) => caught)) as ApiError;
      expect(error).toMatchObject({ name: "ApiError", status: 0, reason: "ProxyError", sent: false });
      expect(error.message).toMatch(message);
      expect(`${error.stack} ${String(error.cause)}`).not.toMatch(/secret/);
    }
    expect(server.requests).toEqual([]);
  });
});

/** Nobody but the proxy can resolve it, and no loopback address is ever asked of a proxy. */
const API = "https://api.prod.example:6443";

describe("HTTPS_PROXY", () => {
  const start = async () => {
    const server = await startApiServer((request, response) =>
      sendJson(response, 200, { version: request.httpVersion }),
    );
    cleanups.push(() => server.close());
    const proxy = await startHttpProxy(false, 200, server.port);
    return { server, proxy };
  };
  const ask = async (server: ApiServer, cluster: Record<string, unknown> = {}) => {
    const kubeConfig = server.kubeConfig({}, { server: API, ...cluster });
    const each = new Cluster({ kubeConfig, retry: { maxAttempts: 1 } });
    cleanups.push(() => each.close());
    return await each.json({ path: PODS });
  };

  test("is the way where the kubeconfig names none; NO_PROXY takes it away", async () => {
    const { server, proxy } = await start();
    vi.stubEnv("HTTPS_PROXY", `http://me:secret@127.0.0.1:${proxy.port}`);
    expect(await ask(server)).toEqual({ version: "2.0" });
    expect(proxy.asked).toEqual([`api.prod.example:6443 Basic ${Buffer.from("me:secret").toString("base64")}`]);
    vi.stubEnv("NO_PROXY", "prod.example");
    await expect(ask(server)).rejects.toMatchObject({ reason: "HostNotFound" });
    expect(proxy.asked).toHaveLength(1);
  });

  test("is not the way where the kubeconfig has a proxy-url", async () => {
    const { server, proxy } = await start();
    vi.stubEnv("HTTPS_PROXY", "http://127.0.0.1:1");
    expect(await ask(server, { "proxy-url": `http://127.0.0.1:${proxy.port}` })).toEqual({ version: "2.0" });
    expect(proxy.asked).toHaveLength(1);
  });

  test("of a kind that is not known is refused by its name, without its password", async () => {
    const { server } = await start();
    vi.stubEnv("HTTPS_PROXY", "ftp://me:secret@proxy:1");
    const error = await ask(server).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ name: "KubeConfigError", field: "HTTPS_PROXY" });
    expect(String(error)).not.toMatch(/secret/);
  });
});
