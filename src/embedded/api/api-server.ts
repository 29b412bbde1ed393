import { createSecureServer, type Http2SecureServer, type Http2Session, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { handleRequest } from "./api.ts";
import type { ApiContext } from "./api-context.ts";
import type { User } from "./authorization.ts";
import type { KeyPair } from "./certificates.ts";
import { type AnyRequest, type AnyResponse, Exchange } from "./exchange.ts";
import { RequestCounts } from "./request-counts.ts";

export interface ApiServerOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  certificate: KeyPair;
  /** PEM of the authority whose client certificates are believed. */
  clientCa: string;
  /** Streams on one HTTP/2 connection (kube-apiserver: 100). */
  maxConcurrentStreams: number;
}

/** The listening side: TLS with HTTP/2 and HTTP/1.1, and the connections, which faults reach through here. */
export class ApiServer {
  readonly counts: RequestCounts;
  readonly #options: ApiServerOptions;
  readonly #sockets = new Set<Socket>();
  readonly #secureSockets = new Set<TLSSocket>();
  readonly #sessions = new Set<ServerHttp2Session>();
  #context: ApiContext | undefined;
  #server: Http2SecureServer | undefined;
  #port: number;
  #frozen = 0;
  readonly #frozenHandles: StreamHandle[] = [];

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#port = options.port;
    this.counts = new RequestCounts(() => {
      let bytes = 0;
      for (const socket of this.#sockets) bytes += socket.bytesWritten;
      return bytes;
    });
  }

  get port(): number {
    return this.#port;
  }

  /** Listens, always on the same port once there is one. Throws what the system says (`EADDRINUSE`, …). */
  async listen(context: ApiContext): Promise<void> {
    this.#context = context;
    const { certificate, clientCa, host, maxConcurrentStreams } = this.#options;
    const server = createSecureServer({
      allowHTTP1: true,
      cert: certificate.cert,
      key: certificate.key,
      ca: clientCa,
      requestCert: true,
      // Who has no certificate may have a token; who has neither is anonymous.
      rejectUnauthorized: false,
      settings: { maxConcurrentStreams },
      // Node refuses new streams once a session buffers more than this many megabytes; a large list times many clients does.
      maxSessionMemory: 4096,
    });
    server.on("request", (request: AnyRequest, response: AnyResponse) => this.#onRequest(request, response));
    server.on("connection", (socket: Socket) => this.#onConnection(socket));
    server.on("secureConnection", (socket: TLSSocket) => {
      this.#secureSockets.add(socket);
      socket.on("error", ignore);
      socket.once("close", () => this.#secureSockets.delete(socket));
    });
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", ignore);
      session.once("close", () => this.#sessions.delete(session));
    });
    server.on("sessionError", ignore);
    server.on("tlsClientError", ignore);
    server.on("clientError", (_error, socket) => socket.destroy());
    server.setTimeout(0);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, host, () => {
        server.off("error", reject);
        server.on("error", ignore);
        resolve();
      });
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Refuses new connections. Those that are open go on. */
  stopListening(): void {
    this.#server?.close();
  }

  /** Ends all connections: with a TCP reset, as a killed process leaves them, or with GOAWAY and FIN. */
  closeConnections(how: "reset" | "graceful", count = Number.POSITIVE_INFINITY): number {
    if (how === "graceful") for (const session of this.#sessions) session.close();
    let closed = 0;
    for (const socket of [...this.#sockets]) {
      if (closed >= count) break;
      closed++;
      if (how === "reset") socket.resetAndDestroy();
      else if (!this.#hasSession(socket)) socket.destroy();
    }
    return closed;
  }

  /** HTTP/2 GOAWAY with no error: streams that are open go on, new ones are refused. */
  goAway(): number {
    for (const session of this.#sessions) session.close();
    return this.#sessions.size;
  }

  /** Stops reading at all connections, new ones as well; returns the undo. (What is written, the exchanges hold back.) */
  freeze(): () => void {
    const handles = [...this.#secureSockets].map(handleOf);
    for (const handle of handles) handle?.readStop?.();
    this.#frozen++;
    return () => {
      this.#frozen--;
      for (const handle of handles) handle?.readStart?.();
      if (this.#frozen > 0) return;
      for (const handle of this.#frozenHandles.splice(0)) handle.readStart?.();
    };
  }

  /** Ends everything; nothing of the server is left in the process afterwards. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#secureSockets) socket.destroy();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #hasSession(socket: Socket): boolean {
    for (const session of this.#sessions) if (session.socket?.remotePort === socket.remotePort) return true;
    return false;
  }

  #onConnection(socket: Socket): void {
    socket.setNoDelay(true);
    this.#sockets.add(socket);
    this.counts.connectionsOpened++;
    this.counts.connectionsOpen++;
    socket.on("error", ignore);
    const handle = this.#frozen > 0 ? handleOf(socket) : undefined;
    if (handle !== undefined) {
      // The kernel has accepted it; its handshake is not read.
      handle.readStop?.();
      this.#frozenHandles.push(handle);
    }
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.counts.connectionClosed(socket.bytesWritten);
    });
  }

  #onRequest(request: AnyRequest, response: AnyResponse): void {
    const context = this.#context as ApiContext;
    const exchange = new Exchange(request, response, context.clock);
    const session: Http2Session | undefined = "stream" in request ? request.stream.session : undefined;
    const socket = (session?.socket ?? request.socket) as TLSSocket;
    // The connection broke before its request was looked at: no answer can be sent, and the socket is no TLS socket any more.
    if (typeof socket?.getPeerCertificate !== "function") return;
    void handleRequest(context, this.counts, exchange, certificateUser(socket));
  }
}

const users = new WeakMap<TLSSocket, { user: User | null | undefined }>();

/** The user that the client certificate names (common name and organizations); `null` if it is not to be believed. */
function certificateUser(socket: TLSSocket): User | null | undefined {
  let known = users.get(socket);
  if (known === undefined) {
    known = { user: readCertificate(socket) };
    users.set(socket, known);
  }
  return known.user;
}

function readCertificate(socket: TLSSocket): User | null | undefined {
  const { subject } = socket.getPeerCertificate();
  if (subject?.CN === undefined) return undefined;
  if (!socket.authorized) return null;
  const organizations = subject.O === undefined ? [] : [subject.O].flat();
  return { name: String(subject.CN), groups: [...organizations, "system:authenticated"] };
}

interface StreamHandle {
  readStop?(): void;
  readStart?(): void;
}

/** Node has no public way to stop reading below an HTTP/2 session, which is what a stopped process does. */
function handleOf(socket: Socket): StreamHandle | undefined {
  return (socket as unknown as { _handle?: StreamHandle })._handle;
}

/** Broken connections are the clients' business: `close` follows, and does what is needed. */
function ignore(): void {}
