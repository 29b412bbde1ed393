import type { IncomingMessage } from "node:http";
import net, { type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { ConnectionError } from "./connection-failure.ts";
import type { TlsMaterial } from "./credential.ts";
import { abortable, bounded } from "./linked-abort.ts";
import { casOfMachine } from "./secure-context.ts";

/** Where a connection leads. */
export interface Target {
  isTls: boolean;
  /** Of an IPv6 address without brackets. */
  host: string;
  port: number;
}

/** Resolves with a connected socket, after the TLS handshake where there is one; rejects with the signal's reason. */
export type Connector = (target: Target, signal: AbortSignal) => Promise<Socket>;

export interface ConnectorOptions {
  tls: TlsMaterial;
  /** `http://`, `https://` (CONNECT), `socks4://`, `socks5://`; undefined = directly. */
  proxyUrl: string | undefined;
  /** From the first packet to the end of the TLS handshake; with a proxy, once more for the way to the proxy. */
  connectTimeoutMs: number;
}

/** client-go's value: below the 60 s after which common load balancers drop an idle connection. */
export const KEEP_ALIVE_DELAY_MS = 30_000;

/**
 * Opens connections to the API server. A proxy is a tunnel below TLS, so HTTP/2, pings and certificates are the same with and
 * without one.
 */
export function createConnector({ tls: material, proxyUrl, connectTimeoutMs }: ConnectorOptions): Connector {
  const tunnel = proxyUrl === undefined ? null : createTunnel(new URL(proxyUrl), connectTimeoutMs);
  /** Saves the certificate's way and check on the next handshake. */
  let session: Buffer | undefined;
  return async (target, signal) => {
    const raw = tunnel === null ? undefined : await tunnel(target, signal);
    const late = () =>
      new ConnectionError("ConnectTimeout", `${authorityOf(target)} did not connect within ${connectTimeoutMs} ms`);
    return bounded({ signal, ms: connectTimeoutMs, late }, async (limited) => {
      if (!target.isTls) return raw ?? connectTcp(target, limited);
      const socket = await connectTls(
        target,
        { ...material, session, ALPNProtocols: ["h2", "http/1.1"] },
        limited,
        raw,
      );
      socket.on("session", (latest: Buffer) => {
        session = latest;
      });
      return socket;
    });
  };
}

/** The socket once it is connected; destroyed when the signal comes first. */
async function connected<T extends Socket>(
  socket: T,
  event: "connect" | "secureConnect",
  signal: AbortSignal,
): Promise<T> {
  // Stays: a peer may leave before anyone else listens.
  socket.on("error", () => {});
  const connecting = new Promise<T>((resolve, reject) => {
    socket.once(event, () => resolve(socket));
    socket.once("error", reject);
    socket.once("close", () =>
      reject(new ConnectionError("ConnectionReset", "the connection was closed before it stood")),
    );
  });
  try {
    await abortable(connecting, signal);
    return socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function connectTcp({ host, port }: Target, signal: AbortSignal): Promise<Socket> {
  return connected(net.connect({ host, port }), "connect", signal);
}

/** @param raw the way there, where it leads through a proxy */
function connectTls(
  { host, port }: Target,
  options: ConnectionOptions,
  signal: AbortSignal,
  raw?: Socket,
): Promise<Socket> {
  const tls = process.getBuiltinModule("node:tls");
  const name = bareHost(options.servername ?? host);
  const ca = options.ca ?? (options.rejectUnauthorized === false ? undefined : casOfMachine());
  const socket = tls.connect({
    // As in Go, a CA need not be a root: kubeconfigs hold intermediate ones, and the server's own certificate.
    allowPartialTrustChain: true,
    ...options,
    ca,
    ...(raw === undefined ? { port } : { socket: raw }),
    host,
    // Never an address, nor the dot of a whole name (RFC 6066, 3).
    servername: net.isIP(name) === 0 ? name.replace(/\.$/, "") : undefined,
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(name, certificate),
  });
  return connected(socket, "secureConnect", signal);
}

type Tunnel = (target: Target, signal: AbortSignal) => Promise<Socket>;

function createTunnel(proxy: URL, timeoutMs: number): Tunnel {
  const isSocks = proxy.protocol.startsWith("socks");
  const isTls = proxy.protocol === "https:";
  const at: Target = {
    isTls,
    host: bareHost(proxy.hostname),
    port: Number(proxy.port) || (isSocks ? 1080 : isTls ? 443 : 80),
  };
  const late = () => proxyError(proxy, `timed out: no answer within ${timeoutMs} ms`);
  return (target, signal) =>
    bounded({ signal, ms: timeoutMs, late }, async (limited) => {
      let socket: Socket | undefined;
      try {
        socket = await (isTls ? connectTls(at, {}, limited) : connectTcp(at, limited));
        // A proxy passes plain HTTP on itself: many refuse CONNECT for it.
        if (!isSocks && !target.isTls) return socket;
        const handshake = isSocks ? askSocks(proxy, at, target, socket, timeoutMs) : askConnect(proxy, target, socket);
        return await abortable(handshake, limited);
      } catch (error) {
        socket?.destroy();
        if (limited.aborted) throw limited.reason;
        throw proxyError(proxy, error instanceof Error ? error.message : String(error));
      }
    });
}

async function askSocks(
  proxy: URL,
  at: Target,
  { host, port }: Target,
  socket: Socket,
  timeoutMs: number,
): Promise<Socket> {
  const isVersion4 = proxy.protocol === "socks4:" || proxy.protocol === "socks4a:";
  const credentials =
    proxy.username === ""
      ? {}
      : { userId: decodeURIComponent(proxy.username), password: decodeURIComponent(proxy.password) };
  const { SocksClient } = await import("socks");
  await SocksClient.createConnection({
    proxy: { host: at.host, port: at.port, type: isVersion4 ? 4 : 5, ...credentials },
    command: "connect",
    destination: { host, port },
    existing_socket: socket,
    timeout: timeoutMs,
  });
  return socket;
}

function askConnect(proxy: URL, target: Target, socket: Socket): Promise<Socket> {
  const authority = authorityOf(target);
  return new Promise((resolve, reject) => {
    const request = process.getBuiltinModule("node:http").request({
      method: "CONNECT",
      path: authority,
      headers: { host: authority, ...proxyHeaders(proxy) },
      createConnection: () => socket,
    });
    const answered = ({ statusCode, statusMessage }: IncomingMessage, head: Buffer) => {
      if (statusCode === undefined || statusCode < 200 || statusCode > 299) {
        reject(new Error(`it answered CONNECT ${authority} with ${statusCode} ${statusMessage}`));
        return;
      }
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    };
    request.once("connect", (response, _, head: Buffer) => answered(response, head));
    request.once("response", (response) => answered(response, Buffer.alloc(0)));
    // Stays: after the answer an error is for who uses the tunnel, but must not be uncaught here.
    request.on("error", reject);
    request.end();
  });
}

function proxyHeaders({ username, password }: URL): Record<string, string> {
  if (username === "") return {};
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { "proxy-authorization": `Basic ${Buffer.from(login).toString("base64")}` };
}

/** What requests to an `http://` server say to the proxy that passes them on; undefined where there is none, or a tunnel. */
export function forwardHeaders(origin: string, proxyUrl: string | undefined): Record<string, string> | undefined {
  const proxy = proxyUrl === undefined ? null : new URL(proxyUrl);
  return origin.startsWith("http:") && proxy?.protocol.startsWith("http") ? proxyHeaders(proxy) : undefined;
}

/** Without the proxy's password. */
function proxyError(proxy: URL, detail: string): ConnectionError {
  return new ConnectionError("ProxyError", `the proxy ${proxy.protocol}//${proxy.host} did not connect: ${detail}`);
}

/** As certificates name it: an IPv6 address without brackets and zone, and ::ffff:10.0.0.1 as 10.0.0.1. */
export function bareHost(host: string): string {
  const bare = host.replace(/^\[|\]$/g, "");
  if (!net.isIPv6(bare)) return bare;
  return new net.SocketAddress({ address: bare, family: "ipv6" }).address.replace(/^::ffff:(?=\d+\.)/, "");
}

function authorityOf({ host, port }: Target): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
