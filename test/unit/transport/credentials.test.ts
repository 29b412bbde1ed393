import { execFile } from "node:child_process";
import fs from "node:fs/promises";
import type { Http2ServerRequest } from "node:http2";
import os from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import type { TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Credentials } from "../../../src/engine/transport/credentials.ts";
import { ApiError, Cluster, type KubeConfig, loadKubeConfig } from "../../../src/engine/transport/index.ts";
import {
  type ApiServer,
  base64,
  clientCertificate,
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

async function kubeconfigText(
  server: ApiServer,
  user: Record<string, unknown>,
  cluster: Record<string, unknown> = {},
): Promise<string> {
  const { cert } = serverCertificate();
  return JSON.stringify(
    kubeConfigObject(
      { server: `https://127.0.0.1:${server.port}`, "certificate-authority-data": base64(cert), ...cluster },
      user,
    ),
  );
}

async function load(...what: Parameters<typeof kubeconfigText>): Promise<KubeConfig> {
  return loadKubeConfig(await file("kubeconfig", await kubeconfigText(...what)));
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
    const client = clientCertificate("agent-7");
    const server = await start(({ client: name }) => name === "agent-7", client.cert);
    const user =
      kind === "data"
        ? { "client-certificate-data": base64(client.cert), "client-key-data": base64(client.key) }
        : { "client-certificate": "client.crt", "client-key": "client.key" };
    await file("client.crt", client.cert);
    await file("client.key", client.key);
    const { cert } = serverCertificate();
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
    const first = clientCertificate("first");
    const second = clientCertificate("second");
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

  test("a 401 that comes after the same credentials were read again", async () => {
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

/** A program that notes its pid, and then does as the script says. */
const noting = async (script: string) => {
  const pids = await file("pids", "");
  return {
    exec: {
      apiVersion: "client.authentication.k8s.io/v1",
      command: process.execPath,
      args: ["-e", `require("node:fs").appendFileSync(${JSON.stringify(pids)}, process.pid + "\\n"); ${script}`],
    },
    pids: async () => (await fs.readFile(pids, "utf8")).split("\n").filter(Boolean).map(Number),
  };
};
const printing = (status: object) =>
  `console.log(${JSON.stringify(JSON.stringify({ kind: "ExecCredential", apiVersion: "client.authentication.k8s.io/v1", status }))})`;

describe("an exec plugin", () => {
  test("what it says is shown while it runs, without the user's secrets", async () => {
    const server = await start();
    let shown = "";
    let seeCode = () => {};
    const codeShown = new Promise<void>((resolve) => {
      seeCode = resolve;
    });
    const go = path.join(directory, "go");
    const plugin = await noting(`
      console.error("To sign in, open https://device.sso.us-east-1.amazonaws.com/ and enter ABCD-EFGH; not eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2ln");
      const wait = setInterval(() => { if (require("node:fs").existsSync(${JSON.stringify(go)})) { clearInterval(wait); ${printing({ token: "one" })} } }, 5)`);
    const { exec } = plugin;
    const kubeConfig = loadKubeConfig(await kubeconfigText(server, { exec }), {
      onPluginOutput: (text) => {
        shown += text;
        if (shown.includes("\n")) seeCode();
      },
    });
    const asked = clusterOf(kubeConfig).json({ path: PODS });
    await codeShown;
    expect(shown).toBe(
      "To sign in, open https://device.sso.us-east-1.amazonaws.com/ and enter ABCD-EFGH; not [redacted]\n",
    );
    await file("go", "");
    expect(await asked).toMatchObject({ authorization: "Bearer one" });
  });

  test("a listener of its words that throws has no effect on the request", async () => {
    const server = await start();
    const warned = new Promise((resolve) => process.once("warning", resolve));
    const { exec } = await noting(`console.error("hello"); ${printing({ token: "one" })}`);
    const kubeConfig = loadKubeConfig(await kubeconfigText(server, { exec }), {
      onPluginOutput: () => {
        throw new Error("no terminal");
      },
    });
    expect(await clusterOf(kubeConfig).json({ path: PODS })).toMatchObject({ authorization: "Bearer one" });
    expect(await warned).toMatchObject({ message: "no terminal" });
  });

  test.each([
    ["", "setTimeout(() => {}, 60_000)"],
    ["and goes on after SIGTERM ", 'process.on("SIGTERM", () => {}); setTimeout(() => {}, 60_000)'],
  ])("that hangs %sends with the cluster", async (_, script) => {
    const server = await start();
    const plugin = await noting(script);
    const cluster = new Cluster({ kubeConfig: server.kubeConfig({ exec: plugin.exec }) });
    const asked = failure(cluster.json({ path: PODS }));
    await expect.poll(() => plugin.pids()).toHaveLength(1);
    await cluster.close();
    expect(await asked).toMatchObject({ reason: "ClusterClosed" });
    const [pid = 0] = await plugin.pids();
    await expect.poll(() => isAlive(pid)).toBe(false);
  });

  test("a credential that runs out is asked for again before it is refused", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    cleanups.push(() => vi.useRealTimers());
    const server = await start();
    const plugin = await execUser({ token: "one", expirationTimestamp: new Date(Date.now() + 60_000).toISOString() });
    const cluster = clusterOf(server.kubeConfig(plugin.user));
    await cluster.json({ path: PODS });
    await plugin.set({ token: "two" });
    vi.setSystemTime(Date.now() + 50_000);
    expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer one" });
    vi.setSystemTime(Date.now() + 11_000);
    expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer two" });
    expect(await plugin.runs()).toBe(2);
    expect(server.requests).toHaveLength(3);
  });

  test("what it leaves running in the background holds up nothing", async () => {
    const server = await start();
    const script = `const child = require("node:child_process").spawn(process.execPath, ["-e", "setTimeout(() => {}, 600_000)"], { stdio: ["ignore", "inherit", "inherit"], detached: true });
      require("node:fs").appendFileSync(process.env.PIDS, child.pid + "\\n"); child.unref(); ${printing({ token: "one" })}`;
    const plugin = await noting(script);
    const exec = { ...plugin.exec, env: [{ name: "PIDS", value: path.join(directory, "pids") }] };
    cleanups.push(async () => {
      const [, background] = await plugin.pids();
      if (background !== undefined) process.kill(background);
    });
    expect(await clusterOf(server.kubeConfig({ exec })).json({ path: PODS })).toMatchObject({
      authorization: "Bearer one",
    });
  });

  test("gets the cluster where the kubeconfig says so, its CA from the file", async () => {
    const server = await start();
    const { cert } = serverCertificate();
    await file("ca.crt", cert);
    const told = path.join(directory, "told");
    const { exec } = await noting(
      `require("node:fs").writeFileSync(${JSON.stringify(told)}, process.env.KUBERNETES_EXEC_INFO); ${printing({ token: "one" })}`,
    );
    const extensions = [{ name: "client.authentication.k8s.io/exec", extension: { audience: "prod" } }];
    const kubeConfig = await load(
      server,
      { exec: { ...exec, provideClusterInfo: true } },
      {
        "certificate-authority-data": undefined,
        "certificate-authority": "ca.crt",
        "tls-server-name": "localhost",
        "disable-compression": true,
        extensions,
      },
    );
    await clusterOf(kubeConfig).json({ path: PODS });
    expect(JSON.parse(await fs.readFile(told, "utf8"))).toEqual({
      kind: "ExecCredential",
      apiVersion: "client.authentication.k8s.io/v1",
      spec: {
        interactive: false,
        cluster: {
          server: `https://127.0.0.1:${server.port}`,
          "tls-server-name": "localhost",
          "certificate-authority-data": base64(cert),
          "disable-compression": true,
          config: { audience: "prod" },
        },
      },
    });
  });
});

describe("files that rotate", () => {
  test("a client certificate: new connections within ten seconds; while its halves do not fit, the former pair", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    cleanups.push(() => vi.useRealTimers());
    const first = clientCertificate("first");
    const second = clientCertificate("second");
    const server = await start(() => true, `${first.cert}\n${second.cert}`);
    await file("client.crt", first.cert);
    await file("client.key", first.key);
    const cluster = clusterOf(await load(server, { "client-certificate": "client.crt", "client-key": "client.key" }));
    expect(await cluster.json({ path: PODS })).toMatchObject({ client: "first" });
    await file("client.crt", second.cert);
    vi.setSystemTime(Date.now() + 10_001);
    expect(await cluster.json({ path: PODS })).toMatchObject({ client: "first" });
    await file("client.key", second.key);
    vi.setSystemTime(Date.now() + 1_001);
    expect(await cluster.json({ path: PODS })).toMatchObject({ client: "second" });
  });

  test.each(["the CA's file", "the kubeconfig"])(
    "a server with a new certificate: %s is read again at once",
    async (where) => {
      const server = await start();
      const { cert } = serverCertificate();
      const old = clientCertificate("old CA");
      await file("ca.crt", old.cert);
      const inFile = { "certificate-authority-data": undefined, "certificate-authority": "ca.crt" };
      const inConfig = { "certificate-authority-data": base64(old.cert) };
      const cluster = clusterOf(await load(server, { token: "t" }, where === "the CA's file" ? inFile : inConfig));
      expect((await failure(cluster.json({ path: PODS }))).reason).toBe("TlsError");
      await file("ca.crt", cert);
      if (where === "the kubeconfig") await load(server, { token: "t" });
      // At most once a second.
      await new Promise((resolve) => setTimeout(resolve, 1_050));
      expect(await cluster.json({ path: PODS })).toMatchObject({ authorization: "Bearer t" });
    },
  );
});

describe("OIDC", () => {
  test("a provider with a CA of its own and a client secret: by Basic, else in the body", async () => {
    const seconds = Math.floor(Date.now() / 1_000);
    const forms: [string | undefined, Record<string, string>][] = [];
    const provider = await startApiServer(async (request, response) => {
      const issuer = `https://127.0.0.1:${provider.port}/realms/one`;
      if (request.url === "/realms/one/.well-known/openid-configuration")
        return sendJson(response, 200, { issuer, token_endpoint: `${issuer}/token?x=1` });
      forms.push([request.headers.authorization, Object.fromEntries(new URLSearchParams(await text(request)))]);
      if (request.headers.authorization !== undefined) return sendJson(response, 401, { error: "invalid_client" });
      return sendJson(response, 200, { id_token: jwt({ sub: "me", exp: seconds + 3_600 }), refresh_token: "r2" });
    });
    cleanups.push(() => provider.close());
    const { cert } = serverCertificate();
    const config = {
      "client-id": "a client",
      "client-secret": "s:3cret",
      "refresh-token": "r1",
      "idp-issuer-url": `https://127.0.0.1:${provider.port}/realms/one`,
      "idp-certificate-authority-data": base64(cert),
    };
    const server = await start();
    // Two clusters of one login: the refresh token is used once.
    const users = [1, 2].map(() => server.kubeConfig({ "auth-provider": { name: "oidc", config } }));
    const answers = await Promise.all(users.map((each) => clusterOf(each).json<Seen>({ path: PODS })));
    expect(answers.map(({ authorization }) => claimsOf(authorization).sub)).toEqual(["me", "me"]);
    const form = { grant_type: "refresh_token", refresh_token: "r1" };
    expect(forms).toEqual([
      [`Basic ${base64("a%20client:s%3A3cret")}`, form],
      [undefined, { ...form, client_id: "a client", client_secret: "s:3cret" }],
    ]);
  });

  test("a provider whose discovery has moved, and whose answers are compressed unasked", async () => {
    const provider = await startApiServer((request, response) => {
      const issuer = `https://127.0.0.1:${provider.port}`;
      if (request.url === "/.well-known/openid-configuration") {
        response.writeHead(302, { location: "/moved" });
        return response.end();
      }
      if (request.url === "/moved") return sendJson(response, 200, { token_endpoint: `${issuer}/token` });
      response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" });
      return response.end(gzipSync(JSON.stringify({ id_token: jwt({ sub: "me", exp: 4_000_000_000 }) })));
    });
    cleanups.push(() => provider.close());
    const config = {
      "client-id": "c",
      "refresh-token": "r-moved",
      "idp-issuer-url": `https://127.0.0.1:${provider.port}`,
      "idp-certificate-authority-data": base64(serverCertificate().cert),
    };
    const server = await start();
    const cluster = clusterOf(server.kubeConfig({ "auth-provider": { name: "oidc", config } }));
    expect(claimsOf((await cluster.json<Seen>({ path: PODS })).authorization).sub).toBe("me");
    expect(provider.requests).toEqual(["GET /.well-known/openid-configuration", "GET /moved", "POST /token"]);
  });

  test.each<[string, number, unknown, RegExp]>([
    [
      "a spent refresh token",
      400,
      { error: "invalid_grant", error_description: "Session not active" },
      /refused the refresh token \(HTTP 400, invalid_grant: Session not active\): log in again/,
    ],
    ["an error with status 200", 200, { error: "bad_grant" }, /refused the refresh token \(HTTP 200, bad_grant\)/],
    ["no answer that is right", 200, ["a"], /holds no id_token/],
    ["an answer without id_token", 200, { access_token: "a" }, /holds no id_token: log in with the scope openid/],
    ["a login page", 503, "<html>login</html>", /refused the refresh token \(HTTP 503\)/],
  ])("%s is said in words, without the token", async (_, code, body, message) => {
    const { cert } = serverCertificate();
    const provider = await startApiServer((request, response) => {
      if (request.url.includes("well-known"))
        return sendJson(response, 200, { token_endpoint: `https://127.0.0.1:${provider.port}/token` });
      return sendJson(response, code, body);
    });
    cleanups.push(() => provider.close());
    const server = await start();
    const config = {
      "client-id": "c",
      "refresh-token": "refresh-token-0001",
      "idp-issuer-url": `https://127.0.0.1:${provider.port}`,
      "idp-certificate-authority-data": base64(cert),
    };
    const error = await failure(
      clusterOf(server.kubeConfig({ "auth-provider": { name: "oidc", config } })).json({ path: PODS }),
    );
    expect(error).toMatchObject({ reason: "CredentialsError", message: expect.stringMatching(message) });
    expect(error.message).not.toMatch(/refresh-token-0001/);
    expect(server.requests).toEqual([]);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

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
  await expect.poll(() => pids()).toHaveLength(1);
  // A second one, begun by the second wait, would have come as far by now as the first had when it was seen.
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  await giveUp();
  expect(await pids()).toHaveLength(1);
});

describe("TLS", () => {
  test("a server with another CA is a TlsError that names the field", async () => {
    const server = await start();
    const { cert } = clientCertificate("other CA");
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
    expect((await failure(clusterOf(server.kubeConfig({ token: "a" })).json({ path: PODS }))).reason).toBe("TlsError");
  });

  test("without a CA in the kubeconfig the machine's count, as in Go: SSL_CERT_FILE", async () => {
    const server = await start();
    const caFile = path.join(directory, "machine.crt");
    await fs.writeFile(caFile, serverCertificate().cert);
    const kubeConfig = kubeConfigObject({ server: `https://127.0.0.1:${server.port}` }, { token: "a" });
    const script = `
      import { Cluster, loadKubeConfig } from ${JSON.stringify(new URL("../../../src/engine/transport/index.ts", import.meta.url).href)};
      const cluster = new Cluster({ kubeConfig: loadKubeConfig(${JSON.stringify(kubeConfig)}), retry: { maxAttempts: 1 } });
      await cluster.json({ path: "/x" }).then(() => console.log("trusted"), (error) => console.log(error.reason));
      await cluster.close();`;
    const ask = async (env: NodeJS.ProcessEnv) => {
      const options = { env: { PATH: process.env.PATH, ...env } };
      return (
        await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], options)
      ).stdout.trim();
    };
    expect(await Promise.all([ask({ SSL_CERT_FILE: caFile }), ask({})])).toEqual(["trusted", "TlsError"]);
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
