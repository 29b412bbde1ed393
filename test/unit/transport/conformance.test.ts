/** The table of kubeconfigs against a real server; where kubectl is on the machine, it is run on the same files and compared. */
import { execFile, execFileSync } from "node:child_process";
import { createPrivateKey } from "node:crypto";
import fs from "node:fs/promises";
import http from "node:http";
import type { Http2ServerRequest } from "node:http2";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Cluster, loadKubeConfig } from "../../../src/engine/transport/index.ts";
import {
  type ApiServer,
  base64,
  clientCertificate,
  sendJson,
  serverCertificate,
  startApiServer,
} from "./api-server.ts";
import { type Row, type Seen, TABLE } from "./conformance-table.ts";

const KUBECTL = (() => {
  try {
    execFileSync("kubectl", ["version", "--client"], { stdio: "ignore" });
    return "kubectl";
  } catch {
    return null;
  }
})();

let server: ApiServer;
let plain: http.Server;
let proxy: http.Server;
let root = "";
let seen: Seen[] = [];
let tunnels = 0;
const values: Record<string, string> = {};
const LOCKED = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" } as const;
/** A comment, and a block that is no certificate. */
const BROKEN = "# a comment\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), "conformance-"));
  const client = clientCertificate("agent");
  const other = clientCertificate("other");
  vi.useFakeTimers({ toFake: ["Date"], now: new Date("2010-01-01") });
  const old = clientCertificate("old");
  vi.useRealTimers();
  const { cert } = serverCertificate();
  server = await startApiServer(
    (request, response) => {
      if (request.url.includes("/version")) return sendJson(response, 200, { gitVersion: "v1.32.0" });
      seen.push(seenIn(request));
      return sendJson(response, 200, {});
    },
    { requestCert: true, ca: client.cert },
  );
  plain = http.createServer((request, response) => {
    if (request.url !== "/version") seen.push({ path: "/x" });
    response.setHeader("content-type", "application/json").end("{}");
  });
  const passOn: http.RequestListener = (request, response) => {
    tunnels += 1;
    const upstream = http.get(request.url ?? "", (answer) => answer.pipe(response.writeHead(answer.statusCode ?? 0)));
    upstream.on("error", () => response.destroy());
  };
  proxy = http.createServer(passOn).on("connect", (_, socket: net.Socket) => {
    tunnels += 1;
    const upstream = net.connect(server.port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      upstream.pipe(socket).pipe(upstream);
    });
    upstream.on("error", () => socket.destroy());
    socket.on("error", () => upstream.destroy());
  });
  const portOf = async (each: http.Server) => {
    await new Promise<void>((resolve) => each.listen(0, "127.0.0.1", resolve));
    return (each.address() as AddressInfo).port;
  };
  Object.assign(values, {
    SERVER: `https://127.0.0.1:${server.port}`,
    PLAIN: `http://127.0.0.1:${await portOf(plain)}`,
    PROXY: `http://127.0.0.1:${await portOf(proxy)}`,
    CERTLINES: inLines(base64(client.cert)),
    CALINES: inLines(base64(cert)),
    BUNDLE: base64(`${BROKEN}${other.cert}${BROKEN}${cert}`),
    CERT: base64(client.cert),
    OTHERKEY: base64(other.key),
    OLDCERT: base64(old.cert),
    OLDKEY: base64(old.key),
    LOCKEDKEY: base64(createPrivateKey(client.key).export(LOCKED).toString()),
    PORT: String(server.port),
    KEY: base64(client.key),
    CA: base64(cert),
    LEAF: base64(cert.slice(0, cert.indexOf("-----END CERTIFICATE-----") + 26)),
  });
  await writePlugins(client);
  for (const [name, text] of Object.entries({
    "ca.crt": cert,
    "client.crt": client.cert,
    "client.key": client.key,
    token: " from-file\n",
  }))
    await fs.writeFile(path.join(root, name), text);
  vi.stubEnv("PATH", `${path.join(root, "path")}:${process.env.PATH}`);
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await server.close();
  plain.close();
  proxy.closeAllConnections();
  proxy.close();
  await fs.rm(root, { recursive: true });
});

/** Programs that print a credential that tells how they were called. */
async function writePlugins(client: { cert: string; key: string }): Promise<void> {
  await fs.mkdir(path.join(root, "path"));
  const credential = `#!${process.execPath}
const { apiVersion, spec } = JSON.parse(process.env.KUBERNETES_EXEC_INFO);
if (require("node:fs").fstatSync(0).isFIFO()) throw new Error("stdin is an open pipe");
const words = [require("node:path").basename(process.argv[1]), ...process.argv.slice(2)];
if (process.env.AWS_PROFILE) words.push("AWS_PROFILE=" + process.env.AWS_PROFILE);
if (spec.cluster) words.push("server=" + spec.cluster.server);
const status = process.env.CERT
  ? { clientCertificateData: ${JSON.stringify(client.cert)}, clientKeyData: ${JSON.stringify(client.key)} }
  : { token: words.join(" ") };
console.log(JSON.stringify({ kind: "ExecCredential", apiVersion, status }));
`;
  const names = ["aws", "aws-iam-authenticator", "gke-gcloud-auth-plugin", "kubelogin", "tsh", "doctl", "oci"];
  for (const name of names) await fs.writeFile(path.join(root, "path", name), credential, { mode: 0o755 });
  await fs.writeFile(path.join(root, "path", "fails"), "#!/bin/sh\necho 'please run `login` first' >&2\nexit 3\n", {
    mode: 0o755,
  });
  await fs.writeFile(path.join(root, "path", "prints"), '#!/bin/sh\nprintf %s "$PRINT"\n', { mode: 0o755 });
  await fs.mkdir(path.join(root, "bin"));
  await fs.writeFile(path.join(root, "bin", "here"), credential, { mode: 0o755 });
}

function seenIn(request: Http2ServerRequest): Seen {
  const { headers } = request;
  const socket = (request.stream?.session?.socket ?? request.socket) as unknown as TLSSocket & { servername?: unknown };
  const client = socket.getPeerCertificate().subject?.CN;
  const impersonate = Object.entries(headers).filter(([name]) => name.startsWith("impersonate-"));
  return {
    path: request.url.replace(/\?.*/, ""),
    ...(headers.authorization === undefined ? {} : { authorization: headers.authorization }),
    ...(typeof client === "string" ? { client } : {}),
    ...(typeof socket.servername === "string" ? { sni: socket.servername } : {}),
    ...(impersonate.length === 0
      ? {}
      : { impersonate: Object.fromEntries(impersonate.map(([name, value]) => [name, String(value)])) }),
  };
}

function inLines(text: string): string {
  return text.replaceAll(/(.{64})/g, "$1\n      ");
}

function fill(text: string): string {
  return text.replaceAll(
    /\$(SERVER|PLAIN|PROXY|PORT|CERTLINES|CALINES|BUNDLE|CERT|OTHERKEY|OLDCERT|OLDKEY|LOCKEDKEY|KEY|CA|LEAF|DIR)/g,
    (_, name: string) => values[name] ?? root,
  );
}

/** `KUBECONFIG` for the row's files, which are written. */
async function write(row: Row): Promise<string> {
  const isNamed = typeof row.files === "object" && !("contexts" in row.files);
  const files = isNamed ? (row.files as Record<string, string>) : { config: row.files };
  for (const [name, content] of Object.entries(files)) {
    const text = fill(typeof content === "string" ? content : JSON.stringify(content));
    await fs.writeFile(path.join(root, name), row.encode?.(text) ?? text, { mode: 0o755 });
  }
  return (row.order ?? ["config"]).map((name) => path.join(root, name)).join(path.delimiter);
}

async function ask(act: () => Promise<unknown>): Promise<{ sees: Seen | undefined; error: string }> {
  seen = [];
  tunnels = 0;
  const error = await act().then(
    () => "",
    (caught: Error) => caught.message,
  );
  const [sees] = seen;
  return { sees: sees && { path: "/x", ...sees, ...(tunnels > 0 ? { proxied: true } : {}) }, error };
}

async function withUs(kubeconfig: string, context: string | undefined): Promise<void> {
  const env = { KUBECONFIG: kubeconfig, HOME: root };
  const cluster = new Cluster({ kubeConfig: loadKubeConfig(undefined, { env, context }), retry: { maxAttempts: 1 } });
  try {
    await cluster.json({ path: "/x" });
  } finally {
    await cluster.close();
  }
}

function withKubectl(kubeconfig: string, context: string | undefined): Promise<void> {
  const args = ["get", "--raw", "/x", "--request-timeout=5s", ...(context === undefined ? [] : ["--context", context])];
  const env = { PATH: process.env.PATH, HOME: root, KUBECONFIG: kubeconfig };
  return new Promise((resolve, reject) => {
    const child = execFile("kubectl", args, { env }, (error, _, stderr) =>
      error === null ? resolve() : reject(new Error(stderr)),
    );
    child.stdin?.end();
  });
}

const rows = Object.entries(TABLE).flatMap(([group, each]) =>
  each.map((row) => [`${group}: ${row.name}`, row] as const),
);

test("the table has no row twice, and each says one outcome", () => {
  expect(rows.length).toBeGreaterThan(100);
  expect(new Set(rows.map(([name]) => name)).size).toBe(rows.length);
  for (const [name, { sees, refused }] of rows)
    expect([name, sees === undefined]).toEqual([name, refused !== undefined]);
});

describe("a kubeconfig", () => {
  test.each(rows)("%s", async (_, row) => {
    const kubeconfig = await write(row);
    const expected = row.sees && {
      path: "/x",
      ...row.sees,
      ...(row.sees.authorization && { authorization: fill(row.sees.authorization) }),
    };
    const ours = await ask(() => withUs(kubeconfig, row.context));
    expect(ours.sees).toEqual(expected);
    if (row.refused !== undefined) expect(ours.error).toMatch(row.refused);
    else expect(ours.error).toBe("");
    if (KUBECTL === null) return;
    const theirs = await ask(() => withKubectl(kubeconfig, row.context));
    if (row.kubectl === undefined) expect(theirs.sees).toEqual(expected);
    else expect(theirs.sees).not.toEqual(expected);
  });
});
