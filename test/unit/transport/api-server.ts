import { once } from "node:events";
import http2, {
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { KubeConfig } from "@kubernetes/client-node";
import { CertificateAuthority } from "../../../src/embedded/api/certificates.ts";

export interface Pem {
  /** With its authority's behind it: whoever trusts this trusts the first. */
  cert: string;
  key: string;
}

let serverPem: Pem | undefined;

/** One certificate for all servers of a test file. */
export function serverCertificate(): Pem {
  serverPem ??= issued((authority) =>
    authority.server({
      // Nobody resolves those but the first: they are for SNI, and for proxies that know where to go.
      dns: ["localhost", "api.prod.example", "kube-teleport-proxy-alpn.example"],
      ips: ["127.0.0.1"],
    }),
  );
  return serverPem;
}

/** Of a user, by an authority of its own. */
export function clientCertificate(user: string): Pem {
  return issued((authority) => authority.client(user, []));
}

function issued(issue: (authority: CertificateAuthority) => Pem): Pem {
  const authority = new CertificateAuthority();
  const { cert, key } = issue(authority);
  return { cert: cert + authority.cert, key };
}

export type Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;

export interface ApiServer {
  port: number;
  server: Http2SecureServer;
  sessions: Set<ServerHttp2Session>;
  sockets: Set<Socket>;
  /** `GET /path?query`, in order of arrival. */
  requests: string[];
  kubeConfig(user?: Record<string, unknown>, cluster?: Record<string, unknown>): KubeConfig;
  close(): Promise<void>;
}

/** A real HTTPS server that speaks HTTP/2, or HTTP/1.1 only. */
export async function startApiServer(
  handler: Handler,
  options: {
    http1Only?: boolean;
    maxConcurrentStreams?: number;
    requestCert?: boolean;
    /** Refuses clients without a certificate of `ca`. */
    requireCert?: boolean;
    ca?: string;
    port?: number;
  } = {},
): Promise<ApiServer> {
  const { cert, key } = serverCertificate();
  const requests: string[] = [];
  const tls = {
    cert,
    key,
    ...(options.requestCert || options.requireCert
      ? {
          requestCert: true,
          rejectUnauthorized: options.requireCert === true,
          ...(options.ca === undefined ? {} : { ca: options.ca }),
        }
      : {}),
  };
  const server = options.http1Only
    ? // The two servers differ in what they answer by ALPN; requests and responses are alike as far as the tests use them.
      (https.createServer(tls) as unknown as Http2SecureServer)
    : http2.createSecureServer({
        ...tls,
        allowHTTP1: true,
        settings: { maxConcurrentStreams: options.maxConcurrentStreams ?? 250 },
      });
  const sessions = new Set<ServerHttp2Session>();
  const sockets = new Set<Socket>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.on("error", () => {});
  });
  server.on("secureConnection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => {});
  });
  server.on("sessionError", () => {});
  server.on("tlsClientError", () => {});
  server.on("request", (request, response) => {
    requests.push(`${request.method} ${request.url}`);
    request.on("error", () => {});
    response.on("error", () => {});
    handler(request, response);
  });
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    server,
    sessions,
    sockets,
    requests,
    kubeConfig: (user = {}, cluster = {}) =>
      kubeConfigOf(
        { server: `https://127.0.0.1:${port}`, "certificate-authority-data": base64(cert), ...cluster },
        user,
      ),
    async close() {
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    },
  };
}

export function kubeConfigOf(cluster: Record<string, unknown>, user: Record<string, unknown>): KubeConfig {
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(JSON.stringify(kubeConfigObject(cluster, user)));
  return kubeConfig;
}

export function kubeConfigObject(cluster: Record<string, unknown>, user: Record<string, unknown>) {
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster }],
    users: [{ name: "tester", user }],
    contexts: [{ name: "test", context: { cluster: "test", user: "tester", namespace: "ns" } }],
    "current-context": "test",
  };
}

export function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

export function sendJson(
  response: Http2ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}

export function status(code: number, reason: string, message = "", details: Record<string, unknown> = {}) {
  return { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message, details };
}
