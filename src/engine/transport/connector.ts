import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import { SocksClient } from "socks";
import { buildConnector } from "undici";
import { ConnectionError } from "./connection-failure.ts";
import type { TlsMaterial } from "./credentials.ts";

/** Where a connection leads. */
export interface Target {
  protocol: string;
  host: string;
  /** Of an IPv6 address without brackets. */
  hostname: string;
  /** "" = the protocol's own. */
  port: string;
}

/** Resolves with a connected socket, for `https:` after the TLS handshake. */
export type Connector = (target: Target) => Promise<Socket>;

export interface ConnectorOptions {
  tls: TlsMaterial;
  /** `http://`, `https://` (CONNECT), `socks4://`, `socks5://`; undefined = directly. */
  proxyUrl: string | undefined;
  /** From the first packet to the end of the TLS handshake; with a proxy, once more for the way to the proxy. */
  connectTimeoutMs: number;
}

/**
 * Opens connections to the API server. A proxy is a tunnel below TLS, so HTTP/2, pings and certificates are the same with and
 * without one. (undici's ProxyAgent and client-node's SOCKS connector each bring an agent of their own.)
 */
export function createConnector({ tls, proxyUrl, connectTimeoutMs }: ConnectorOptions): Connector {
  const { servername, ...tlsOptions } = tls;
  const connect = buildConnector({
    ...tlsOptions,
    allowH2: true,
    // Servers choose; to those that take the client's order, offer HTTP/2 first.
    preferH2: true,
    timeout: connectTimeoutMs,
    keepAlive: true,
    // client-go's value: below the 60 s after which common load balancers drop an idle connection.
    keepAliveInitialDelay: 30_000,
  });
  const connectTo = (target: Target, httpSocket?: Socket) =>
    new Promise<Socket>((resolve, reject) => {
      const options: buildConnector.Options = { ...target };
      if (servername !== undefined) options.servername = servername;
      if (httpSocket !== undefined) options.httpSocket = httpSocket;
      connect(options, (error, socket) => {
        if (error === null) resolve(socket);
        else reject(error);
      });
    });
  if (proxyUrl === undefined) return (target) => connectTo(target);

  const tunnel = createTunnel(new URL(proxyUrl), connectTimeoutMs);
  return async (target) => {
    const isTls = target.protocol === "https:";
    const socket = await tunnel(target.hostname, Number(target.port) || (isTls ? 443 : 80));
    return isTls ? connectTo(target, socket) : socket;
  };
}

type Tunnel = (host: string, port: number) => Promise<Socket>;

function createTunnel(proxy: URL, timeoutMs: number): Tunnel {
  return proxy.protocol.startsWith("socks") ? socksTunnel(proxy, timeoutMs) : connectTunnel(proxy, timeoutMs);
}

function socksTunnel(proxy: URL, timeoutMs: number): Tunnel {
  const isVersion4 = proxy.protocol === "socks4:" || proxy.protocol === "socks4a:";
  const credentials =
    proxy.username === ""
      ? {}
      : { userId: decodeURIComponent(proxy.username), password: decodeURIComponent(proxy.password) };
  return async (host, port) => {
    try {
      const { socket } = await SocksClient.createConnection({
        proxy: {
          host: unbracketed(proxy.hostname),
          port: Number(proxy.port) || 1080,
          type: isVersion4 ? 4 : 5,
          ...credentials,
        },
        command: "connect",
        destination: { host, port },
        timeout: timeoutMs,
      });
      return socket.setNoDelay(true);
    } catch (error) {
      throw proxyError(proxy, error instanceof Error ? error.message : String(error));
    }
  };
}

function connectTunnel(proxy: URL, timeoutMs: number): Tunnel {
  const { request } = proxy.protocol === "https:" ? https : http;
  const authorization =
    proxy.username === ""
      ? {}
      : {
          "proxy-authorization": `Basic ${Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString("base64")}`,
        };
  return (host, port) =>
    new Promise((resolve, reject) => {
      const authority = `${host.includes(":") ? `[${host}]` : host}:${port}`;
      const connect = request({
        method: "CONNECT",
        host: unbracketed(proxy.hostname),
        port: Number(proxy.port) || (proxy.protocol === "https:" ? 443 : 80),
        path: authority,
        headers: { host: authority, ...authorization },
        agent: false,
        timeout: timeoutMs,
      });
      connect.once("connect", (response, socket: Socket, head) => {
        if (response.statusCode !== 200) {
          socket.destroy();
          reject(
            proxyError(proxy, `it answered CONNECT ${authority} with ${response.statusCode} ${response.statusMessage}`),
          );
          return;
        }
        socket.setTimeout(0);
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      connect.once("timeout", () => connect.destroy(new Error(`no answer within ${timeoutMs} ms`)));
      // Stays: a socket error after the answer is the tunnel user's, but must not be uncaught here.
      connect.on("error", (error) => reject(proxyError(proxy, error.message)));
      connect.once("response", (response) => {
        response.destroy();
        reject(proxyError(proxy, `it answered CONNECT ${authority} with ${response.statusCode}`));
      });
      connect.end();
    });
}

/** Without the proxy's password. */
function proxyError(proxy: URL, detail: string): ConnectionError {
  return new ConnectionError("ProxyError", `the proxy ${proxy.protocol}//${proxy.host} did not connect: ${detail}`);
}

function unbracketed(host: string): string {
  return host.startsWith("[") ? host.slice(1, -1) : host;
}
