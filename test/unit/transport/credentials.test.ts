import fs from "node:fs/promises";
import type { Http2ServerRequest } from "node:http2";
import os from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Credentials } from "../../../src/engine/transport/credentials.ts";
import { ApiError, Cluster, type KubeConfig, loadKubeConfig } from "../../../src/engine/transport/index.ts";
import {
  type ApiServer,
  base64,
  certificate,
  kubeConfigObject,
  sendJson,
  serverCertificate,
  startApiServer,
  status,
} from "./api-server.ts";

const cleanups: (() => Promise<unknown> | unknown)[] = [];
let directory = "";
beforeEach(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), "credentials-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await fs.rm(directory, { recursive: true });
});

const PODS = "/api/v1/namespaces/ns/pods";

interface Seen {
  authorization?: string | undefined;
  impersonate: string | string[] | undefined;
  /** Common name of the client certificate. */
  client: string | string[] | undefined;
}

function seen(request: Http2ServerRequest): Seen {
  const socket = request.stream.session?.socket as unknown as TLSSocket;
  return {
    authorization: request.headers.authorization,
    impersonate: request.headers["impersonate-user"],
    client: socket.getPeerCertificate().subject?.CN,
  };
}

/** Answers with what it saw; 401 for what `accepts` does not like. */
async function start(accepts: (credential: Seen) => boolean = () => true, ca?: string): Promise<ApiServer> {
  const server = await startApiServer(
    (request, response) => {
      const credential = seen(request);
      if (!accepts(credential)) sendJson(response, 401, status(401, "Unauthorized"));
      else if (request.url.includes("watch")) response.write(`${JSON.stringify(credential)}\n`);
      else sendJson(response, 200, credential);
    },
    ca === undefined ? {} : { requestCert: true, ca },
  );
  cleanups.push(() => server.close());
  return server;
}

function clusterOf(kubeConfig: KubeConfig): Cluster {
  const cluster = new Cluster({ kubeConfig, retry: { maxAttempts: 1 } });
  cleanups.push(() => cluster.close());
  return cluster;
}

function jwt(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "RS256" })}.${part(claims)}.c2ln`;
}

function claimsOf(authorization: string | undefined): Record<string, unknown> {
  return JSON.parse(Buffer.from(authorization?.split(".")[1] ?? "", "base64url").toString() || "{}");
}

interface Provider {
  /** Refresh tokens in the order in which they were used. */
  readonly refreshes: readonly (string | null)[];
  /** A user whose token has run out. */
  user(): Record<string, unknown>;
}

/** An OIDC identity provider. `issue` says what a refresh token is exchanged for; null refuses it. */
async function startProvider(
  issue: (refreshToken: string | null) => { sub: string; refresh_token?: string } | null,
): Promise<Provider> {
  // client-node 2.0.1 cannot use idp-certificate-authority (its fetch answers with no Response), so the provider is not verified.
  vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
  const seconds = () => Math.floor(Date.now() / 1_000);
  const refreshes: (string | null)[] = [];
  const server = await startApiServer(async (request, response) => {
    const issuer = `https://127.0.0.1:${server.port}`;
    if (request.url.endsWith("/.well-known/openid-configuration")) {
      sendJson(response, 200, {
        issuer,
        token_endpoint: `${issuer}/token`,
        authorization_endpoint: `${issuer}/auth`,
        jwks_uri: `${issuer}/keys`,
      });
      return;
    }
    const refreshToken = new URLSearchParams(await text(request)).get("refresh_token");
    refreshes.push(refreshToken);
    const issued = issue(refreshToken);
    if (issued === null) {
      sendJson(response, 400, { error: "invalid_grant" });
      return;
    }
    const { sub, ...tokens } = issued;
    const id_token = jwt({ iss: issuer, aud: "client", sub, iat: seconds(), exp: seconds() + 3_600 });
    sendJson(response, 200, { id_token, access_token: "a", token_type: "bearer", expires_in: 3_600, ...tokens });
  });
  cleanups.push(() => server.close());
  const config = {
    "client-id": "client",
    "id-token": jwt({ exp: seconds() - 60 }),
    "refresh-token": "r1",
    "idp-issuer-url": `https://127.0.0.1:${server.port}`,
  };
  return { refreshes, user: () => ({ "auth-provider": { name: "oidc", config } }) };
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

async function file(name: string, content: string): Promise<string> {
  const at = path.join(directory, name);
  await fs.writeFile(at, content);
  return at;
}

async function load(
  server: ApiServer,
  user: Record<string, unknown>,
  cluster: Record<string, unknown> = {},
): Promise<KubeConfig> {
  const { cert } = await serverCertificate();
  const object = kubeConfigObject(
    { server: `https://127.0.0.1:${server.port}`, "certificate-authority-data": base64(cert), ...cluster },
    user,
  );
  return loadKubeConfig(await file("kubeconfig", JSON.stringify(object)));
}

/** An exec plugin that prints `credential.json` and notes that it ran. */
async function execUser(
  credential: unknown,
): Promise<{ user: Record<string, unknown>; set(next: unknown): Promise<void>; runs(): Promise<number> }> {
  const set = async (next: unknown) =>
    void (await file(
      "credential.json",
      typeof next === "string"
        ? next
        : JSON.stringify({ apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status: next }),
    ));
  await set(credential);
  const runs = await file("runs", "");
  const script = `
    const fs = require("node:fs");
    fs.appendFileSync(${JSON.stringify(runs)}, "x");
    process.stdout.write(fs.readFileSync(${JSON.stringify(path.join(directory, "credential.json"))}));`;
  return {
    set,
    runs: async () => (await fs.readFile(runs, "utf8")).length,
    user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: process.execPath, args: ["-e", script] } },
  };
}

describe("credentials", () => {
  test("a token", async () => {
    const server = await start();
    expect(await clusterOf(server.kubeConfig({ token: "abc" })).json({ path: PODS })).toMatchObject({
      authorization: "Bearer abc",
    });
  });

  test("basic, with impersonation", async () => {
    const server = await start();
    const kubeConfig = server.kubeConfig({ username: "me", password: "pä:ss", as: "someone" });
    expect(await clusterOf(kubeConfig).json({ path: PODS })).toMatchObject({
      authorization: `Basic ${base64("me:pä:ss")}`,
      impersonate: "someone",
    });
  });

  test.each(["data", "files"])("a client certificate from %s", async (kind) => {
    const client = await certificate("agent-7", [{ type: 2, value: "agent-7" }]);
    const server = await start(({ client: name }) => name === "agent-7", client.cert);
    const user =
      kind === "data"
        ? { "client-certificate-data": base64(client.cert), "client-key-data": base64(client.key) }
        : { "client-certificate": "client.crt", "client-key": "client.key" };
    await file("client.crt", client.cert);
    await file("client.key", client.key);
    const { cert } = await serverCertificate();
    await file("ca.crt", cert);
    const cluster = clusterOf(
      await load(
        server,
        user,
        kind === "data" ? {} : { "certificate-authority-data": undefined, "certificate-authority": "ca.crt" },
      ),
    );
    expect(await cluster.json({ path: PODS })).toMatchObject({ client: "agent-7" });
    expect((await cluster.open({ path: PODS, query: { watch: true } })).status).toBe(200);
  });

  test("an exec plugin: run once, its token kept until it is refused, then run again", async () => {
    let valid = "Bearer one";
    const server = await start(({ authorization }) => authorization === valid);
    const plugin = await execUser({ token: "one" });
    const cluster = clusterOf(server.kubeConfig(plugin.user));
    await Promise.all(Array.from({ length: 10 }, () => cluster.json({ path: PODS })));
    expect(await plugin.runs()).toBe(1);
    await plugin.set({ token: "two" });
    valid = "Bearer two";
    // All are refused, and one run helps all.
    await Promise.all(Array.from({ length: 10 }, () => cluster.json({ path: PODS })));
    expect(await plugin.runs()).toBe(2);
  });

  test("a new client certificate from the exec plugin opens new connections; streams of the old one go on", async () => {
    const first = await certificate("first", [{ type: 2, value: "first" }]);
    const second = await certificate("second", [{ type: 2, value: "second" }]);
    let valid = "first";
    const server = await start(({ client }) => client === valid, `${first.cert}\n${second.cert}`);
    const plugin = await execUser({ clientCertificateData: first.cert, clientKeyData: first.key });
    const cluster = clusterOf(server.kubeConfig(plugin.user));
    const stream = await cluster.open({ path: PODS, query: { watch: true } });
    expect(await cluster.json({ path: PODS })).toMatchObject({ client: "first" });
    await plugin.set({ clientCertificateData: second.cert, clientKeyData: second.key });
    valid = "second";
    expect(await cluster.json({ path: PODS })).toMatchObject({ client: "second" });
    expect(stream.body.destroyed).toBe(false);
    expect(cluster.requests.snapshot()).toMatchObject({ connectionsOpened: 3 });
    // The old one-shot connection is idle and goes at once; the old long one with its stream.
    stream.body.destroy();
    while (cluster.requests.snapshot().connectionsOpen > 1) await new Promise((resolve) => setTimeout(resolve, 5));
    await cluster.close();
    expect(cluster.requests.snapshot().connectionsOpen).toBe(0);
  });

  test("a token file that rotates, its newline cut off", async () => {
    let valid = "Bearer one";
    const server = await start(({ authorization }) => authorization === valid);
    await file("token", "one\n");
    const cluster = clusterOf(await load(server, { tokenFile: "token", token: "stale" }));
    expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer one" });
    await file("token", "two\n");
    valid = "Bearer two";
    expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer two" });
    expect((await cluster.open({ path: PODS, query: { watch: true } })).status).toBe(200);
  });

  test("the in-cluster token file", async () => {
    let valid = "Bearer one";
    const server = await start(({ authorization }) => authorization === valid);
    const token = await file("token", "one");
    const user = { "auth-provider": { name: "tokenFile", config: { tokenFile: token } } };
    const cluster = clusterOf(server.kubeConfig(user));
    expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer one" });
    await file("token", "two");
    valid = "Bearer two";
    expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer two" });
  });

  test("a kubeconfig that a login tool has rewritten is read again", async () => {
    let valid = "Bearer one";
    const server = await start(({ authorization }) => authorization === valid);
    const cluster = clusterOf(await load(server, { token: "one" }));
    await cluster.json({ path: PODS });
    await load(server, { token: "two" });
    valid = "Bearer two";
    expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer two" });
  });

  test("an OIDC token that has run out is refreshed at the identity provider, once", async () => {
    const provider = await startProvider(() => ({ sub: "me", refresh_token: "r2" }));
    const server = await start();
    const cluster = clusterOf(server.kubeConfig(provider.user()));
    const { authorization } = await cluster.json<Seen>({ path: PODS });
    expect(claimsOf(authorization)).toMatchObject({ sub: "me" });
    expect(provider.refreshes).toEqual(["r1"]);
  });

  test("a 401 after a refresh: the refresh token that the provider gave last is used, not the spent one of the file", async () => {
    // Rotation, as Keycloak, Dex and Okta have it: each refresh token once.
    let valid = 1;
    const provider = await startProvider((token) => {
      if (token !== `r${valid}`) return null;
      valid += 1;
      return { sub: "me", refresh_token: `r${valid}` };
    });
    let refusals = 0;
    const server = await start(() => refusals-- <= 0);
    const cluster = clusterOf(await load(server, provider.user()));
    await cluster.json({ path: PODS });
    // As an API server that has just started, and not yet read the provider's keys.
    refusals = 1;
    await cluster.json({ path: PODS });
    await cluster.json({ path: PODS });
    expect(provider.refreshes).toEqual(["r1", "r2"]);
  });

  test("an identity provider that gives no new refresh token: the old one serves the next time, too", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    cleanups.push(() => vi.useRealTimers());
    let issued = 0;
    const provider = await startProvider(() => ({ sub: `me-${++issued}` }));
    const server = await start();
    const cluster = clusterOf(server.kubeConfig(provider.user()));
    const subject = async () => claimsOf((await cluster.json<Seen>({ path: PODS })).authorization).sub;
    expect(await subject()).toBe("me-1");
    vi.setSystemTime(Date.now() + 3_601_000);
    expect(await subject()).toBe("me-2");
    vi.setSystemTime(Date.now() + 3_601_000);
    expect(await subject()).toBe("me-3");
  });

  test("a 401 that comes after the same credentials were read anew", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    cleanups.push(() => vi.useRealTimers());
    let valid = "Bearer one";
    const server = await start(({ authorization }) => {
      if (authorization === valid) return true;
      // The answer takes its time.
      vi.setSystemTime(Date.now() + 10_050);
      return false;
    });
    await file("token", "one\n");
    const cluster = clusterOf(await load(server, { tokenFile: "token" }));
    await cluster.json({ path: PODS });
    await file("token", "two\n");
    valid = "Bearer two";
    expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer two" });
  });

  test("refused for good: 401 after one more try, without asking the plugin with every request", async () => {
    const server = await start(() => false);
    const plugin = await execUser({ token: "never" });
    const cluster = clusterOf(server.kubeConfig(plugin.user));
    const error = await failure(cluster.json({ path: PODS }));
    expect(error).toMatchObject({
      status: 401,
      message: expect.stringMatching(/credentials were refused, also after reading them again/),
    });
    expect(server.requests).toHaveLength(2);
    for (let n = 0; n < 5; n++) await failure(cluster.json({ path: PODS }));
    expect(await plugin.runs()).toBe(2);
  });

  test("a plugin that fails says why, but never what it printed as a secret", async () => {
    const server = await start();
    const plugin = await execUser('{"token": "eyJTRUNSRVQ');
    const broken = await failure(clusterOf(server.kubeConfig(plugin.user)).json({ path: PODS }));
    expect(broken).toMatchObject({
      status: 0,
      reason: "CredentialsError",
      sent: false,
      message: expect.stringMatching(/did not print valid JSON/),
    });
    const failing = {
      exec: {
        command: process.execPath,
        args: [
          "-e",
          'console.error("run `login` first; token was eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJlc2ln"); process.exit(1)',
        ],
      },
    };
    const refused = await failure(clusterOf(server.kubeConfig(failing)).json({ path: PODS }));
    expect(refused.message).toMatch(/run `login` first/);
    const missing = await failure(
      clusterOf(server.kubeConfig({ exec: { command: "/no/such/plugin" } })).json({ path: PODS }),
    );
    expect(missing.message).toMatch(/ENOENT/);
    for (const error of [broken, refused, missing])
      expect(`${error.message} ${JSON.stringify(error)} ${error.stack} ${String(error.cause)}`).not.toMatch(/eyJ/);
  });

  test("waiting for a plugin that hangs can be aborted, and times out", async () => {
    const server = await start();
    const cluster = clusterOf(
      server.kubeConfig({ exec: { command: process.execPath, args: ["-e", "setTimeout(() => {}, 3_000)"] } }),
    );
    expect((await failure(cluster.json({ path: PODS, timeoutMs: 50 }))).reason).toBe("Timeout");
    await expect(cluster.open({ path: PODS, signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      name: "TimeoutError",
    });
    expect(server.requests).toEqual([]);
  });
});

test("a plugin that hangs is started once, however often it is waited for", async () => {
  const runs = await file("runs", "");
  const script = `require("node:fs").appendFileSync(${JSON.stringify(runs)}, process.pid + "\\n"); setTimeout(() => {}, 20_000)`;
  const server = await start();
  const credentials = new Credentials(server.kubeConfig({ exec: { command: process.execPath, args: ["-e", script] } }));
  const pids = async () => (await fs.readFile(runs, "utf8")).split("\n").filter(Boolean);
  cleanups.push(async () => {
    for (const pid of await pids()) process.kill(Number(pid));
  });
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  cleanups.push(() => vi.useRealTimers());
  const giveUp = async () => {
    const got = expect(credentials.get()).rejects.toThrow(/were not had within/);
    await vi.advanceTimersByTimeAsync(60_000);
    await got;
  };
  await giveUp();
  await giveUp();
  vi.useRealTimers();
  await vi.waitFor(async () => expect(await pids()).toHaveLength(1), { timeout: 10_000, interval: 20 });
  // A second one, begun by the second wait, would have come as far by now as the first had when it was seen.
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  await giveUp();
  expect(await pids()).toHaveLength(1);
});

describe("TLS", () => {
  test("a server with another CA is a TlsError that names the field", async () => {
    const server = await start();
    const { cert } = await certificate("other CA", [{ type: 2, value: "x" }]);
    const kubeConfig = server.kubeConfig({}, { "certificate-authority-data": base64(cert) });
    expect(await failure(clusterOf(kubeConfig).json({ path: PODS }))).toMatchObject({
      status: 0,
      reason: "TlsError",
      sent: false,
      message: expect.stringMatching(/certificate-authority-data/),
    });
  });

  test("a server that wants another client certificate says so after the handshake (TLS 1.3): told at once", async () => {
    const server = await startApiServer((_, response) => sendJson(response, 200, {}), { requireCert: true });
    cleanups.push(() => server.close());
    const began = performance.now();
    expect((await failure(clusterOf(server.kubeConfig({ token: "a" })).json({ path: PODS }))).reason).toBe("TlsError");
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  test("insecure-skip-tls-verify", async () => {
    const server = await start();
    const kubeConfig = server.kubeConfig(
      {},
      { "certificate-authority-data": undefined, "insecure-skip-tls-verify": true },
    );
    expect(await clusterOf(kubeConfig).json({ path: PODS })).toBeDefined();
  });

  test("tls-server-name: checked against it, and sent as SNI", async () => {
    const server = await start();
    const names: unknown[] = [];
    server.server.on("secureConnection", (socket: TLSSocket & { servername?: unknown }) =>
      names.push(socket.servername),
    );
    await clusterOf(server.kubeConfig({}, { "tls-server-name": "localhost" })).json({ path: PODS });
    expect(names).toEqual(["localhost"]);
    const error = await failure(
      clusterOf(server.kubeConfig({}, { "tls-server-name": "kubernetes.default" })).json({ path: PODS }),
    );
    expect(error.message).toMatch(/tls-server-name/);
  });
});
