import { X509Certificate } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createSecureContext } from "node:tls";
import { KubeConfig, loadYaml, type User } from "@kubernetes/client-node";

/** A kubeconfig that cannot be used. */
export class KubeConfigError extends Error {
  override readonly name = "KubeConfigError";
  /** Where: `path`, `current-context`, `clusters[prod].cluster.proxy-url` … */
  readonly field: string;
  /** What stood there; never key or token. */
  readonly got: string;
  /** What to do. */
  readonly hint: string;
  constructor(field: string, got: string, hint: string, options?: ErrorOptions) {
    super(`kubeconfig: ${field}: got ${got}; ${hint}`, options);
    this.field = field;
    this.got = got;
    this.hint = hint;
  }
}

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
const sources = new WeakMap<KubeConfig, () => KubeConfig>();

/**
 * Reads and checks a kubeconfig: the file given, otherwise `$KUBECONFIG` (several files are merged, the first wins), otherwise
 * `~/.kube/config`, otherwise the pod's service account. `tokenFile`s are read again as they rotate.
 *
 * @throws KubeConfigError
 */
export function loadKubeConfig(file?: string): KubeConfig {
  const load = () => {
    try {
      const kubeConfig = file === undefined ? loadDefault() : loadFile(file);
      checkKubeConfig(kubeConfig);
      return kubeConfig;
    } catch (cause) {
      if (cause instanceof KubeConfigError) throw cause;
      // A name that is an object, and the like.
      const hint = "some value in it has a type that it must not have; `kubectl config view` names it";
      throw new KubeConfigError("path", describe(file ?? process.env.KUBECONFIG), hint, { cause });
    }
  };
  const kubeConfig = load();
  sources.set(kubeConfig, load);
  return kubeConfig;
}

/** The same context anew from where `loadKubeConfig` read it; null if it was not read here or is no longer usable. */
export function reloadKubeConfig(kubeConfig: KubeConfig): KubeConfig | null {
  const load = sources.get(kubeConfig);
  if (load === undefined) return null;
  try {
    const fresh = load();
    fresh.setCurrentContext(kubeConfig.getCurrentContext());
    checkKubeConfig(fresh);
    // The connections of a Cluster belong to one server.
    if (fresh.getCurrentCluster()?.server !== kubeConfig.getCurrentCluster()?.server) return null;
    sources.set(fresh, load);
    return fresh;
  } catch {
    return null;
  }
}

function loadDefault(): KubeConfig {
  const fromEnv = (process.env.KUBECONFIG ?? "").split(path.delimiter).filter(Boolean);
  const [only] = fromEnv;
  if (fromEnv.length === 1 && only !== undefined) return loadFile(only);
  if (fromEnv.length > 1) return loadMerged(fromEnv);
  const home = path.join(os.homedir(), ".kube", "config");
  if (fs.existsSync(home)) return loadFile(home);
  if (fs.existsSync(`${SERVICE_ACCOUNT}/token`) && process.env.KUBERNETES_SERVICE_HOST) {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromCluster();
    return kubeConfig;
  }
  throw new KubeConfigError(
    "path",
    "none",
    `set KUBECONFIG, write ${home}, or run inside a pod with a service account`,
  );
}

/** As kubectl: files that do not exist are passed over, the first to set a name or the current context wins. */
function loadMerged(files: string[]): KubeConfig {
  const [first, ...others] = files.filter((file) => fs.existsSync(file)).map(loadFile);
  if (first === undefined)
    throw new KubeConfigError("KUBECONFIG", files.join(path.delimiter), "none of these files exists");
  for (const other of others) {
    for (const cluster of other.getClusters()) if (first.getCluster(cluster.name) === null) first.addCluster(cluster);
    for (const user of other.getUsers()) if (first.getUser(user.name) === null) first.addUser(user);
    for (const context of other.getContexts())
      if (first.getContextObject(context.name) === null) first.addContext(context);
    if (!first.getCurrentContext() && other.getCurrentContext()) first.setCurrentContext(other.getCurrentContext());
  }
  return first;
}

function loadFile(file: string): KubeConfig {
  let text: string;
  try {
    text = fs.readFileSync(file, "utf8");
  } catch (cause) {
    throw new KubeConfigError(
      "path",
      JSON.stringify(file),
      `the file cannot be read (${codeOf(cause)}): check the path and its permissions`,
      { cause },
    );
  }
  if (text.trim() === "")
    throw new KubeConfigError(
      "path",
      `${JSON.stringify(file)}, which is empty`,
      "write a kubeconfig there, e.g. with `kubectl config view --raw --flatten`",
    );
  let parsed: unknown;
  try {
    parsed = loadYaml(text);
  } catch (cause) {
    // The parser's message quotes the lines around the fault, which may hold a key.
    throw new KubeConfigError(
      "path",
      `${JSON.stringify(file)}, which is no YAML${lineOf(cause)}`,
      "mend its syntax; `kubectl config view --kubeconfig …` reads it too",
    );
  }
  if (!isRecord(parsed) || !Array.isArray(parsed.clusters)) {
    throw new KubeConfigError(
      "clusters",
      isRecord(parsed) ? describe(parsed.clusters) : describe(parsed),
      `${file} is no kubeconfig: expected a list of clusters`,
    );
  }
  checkTexts("clusters", "cluster", parsed.clusters);
  checkTexts("users", "user", parsed.users);
  const kubeConfig = new KubeConfig();
  try {
    kubeConfig.loadFromString(text);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new KubeConfigError(message.split(" ")[0] ?? "clusters", message, `complete this entry in ${file}`, {
      cause,
    });
  }
  const directory = path.dirname(path.resolve(file));
  kubeConfig.makePathsAbsolute(directory);
  followTokenFiles(kubeConfig, parsed, directory);
  return kubeConfig;
}

const TEXTS: Record<string, readonly string[]> = {
  cluster: ["server", "certificate-authority", "certificate-authority-data", "tls-server-name", "proxy-url"],
  user: [
    "token",
    "tokenFile",
    "username",
    "password",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
  ],
};

/** As kubectl does, and client-node does not: a password like `1234` has to be quoted. */
function checkTexts(list: string, member: string, entries: unknown): void {
  for (const entry of Array.isArray(entries) ? entries : []) {
    const values = isRecord(entry) ? entry[member] : undefined;
    if (!isRecord(values)) continue;
    const name = isRecord(entry) && typeof entry.name === "string" ? entry.name : "?";
    for (const key of TEXTS[member] ?? []) {
      const value = values[key] ?? "";
      if (typeof value !== "string")
        throw new KubeConfigError(
          `${list}[${name}].${member}.${key}`,
          describe(value),
          "expected a text: put it in quotes",
        );
    }
  }
}

/** client-node 2.0.1 knows no `tokenFile`, kubeconfig's name for a rotating token; its in-cluster authenticator reads such files. */
function followTokenFiles(kubeConfig: KubeConfig, parsed: Record<string, unknown>, directory: string): void {
  const entries = Array.isArray(parsed.users) ? parsed.users : [];
  for (const entry of entries) {
    if (!isRecord(entry) || !isRecord(entry.user) || typeof entry.user.tokenFile !== "string") continue;
    const user = kubeConfig.getUser(String(entry.name)) as (User & { token?: string; authProvider?: unknown }) | null;
    if (user === null) continue;
    user.authProvider = {
      name: "tokenFile",
      config: { tokenFile: path.resolve(directory, entry.user.tokenFile) },
    };
    // tokenFile takes precedence over token, as in client-go; client-node would let the token win.
    delete user.token;
  }
}

/**
 * That the current context leads to a cluster and user that can be used.
 *
 * @throws KubeConfigError
 */
export function checkKubeConfig(kubeConfig: KubeConfig): void {
  const contextName = kubeConfig.getCurrentContext();
  const context = kubeConfig.getContextObject(contextName);
  if (context === null) {
    const known = kubeConfig.getContexts().map((each) => each.name);
    throw new KubeConfigError(
      "current-context",
      describe(contextName),
      `choose one of: ${known.join(", ") || "(there is no context)"}`,
    );
  }
  const cluster = kubeConfig.getCluster(context.cluster);
  if (cluster === null) {
    throw new KubeConfigError(
      `contexts[${contextName}].context.cluster`,
      describe(context.cluster),
      "no cluster has this name",
    );
  }
  const at = `clusters[${cluster.name}].cluster`;
  const server = parseUrl(cluster.server);
  if (server === null || !["https:", "http:"].includes(server.protocol)) {
    throw new KubeConfigError(`${at}.server`, describe(cluster.server), "expected a URL such as https://host:6443");
  }
  if (server.protocol === "http:" && !cluster.skipTLSVerify) {
    throw new KubeConfigError(
      `${at}.server`,
      describe(cluster.server),
      "use https, or set insecure-skip-tls-verify: true to talk plain HTTP",
    );
  }
  if (cluster.proxyUrl) {
    const proxy = parseUrl(cluster.proxyUrl);
    if (proxy === null || !/^(https?|socks(4a?|5h?)?):$/.test(proxy.protocol) || proxy.hostname === "") {
      const got = proxy === null ? "a text that is no URL" : describe(`${proxy.protocol}//${proxy.host}`);
      throw new KubeConfigError(
        `${at}.proxy-url`,
        got,
        "expected http://, https://, socks4:// or socks5:// with host and port",
      );
    }
  }
  checkBytes(`${at}.certificate-authority`, cluster.caFile, cluster.caData, (ca) => new X509Certificate(ca));
  if (context.user) checkUser(kubeConfig, contextName, context.user);
}

function checkUser(kubeConfig: KubeConfig, contextName: string, name: string): void {
  const user = kubeConfig.getUser(name);
  if (user === null)
    throw new KubeConfigError(`contexts[${contextName}].context.user`, describe(name), "no user has this name");
  const at = `users[${name}].user`;
  const cert = checkBytes(`${at}.client-certificate`, user.certFile, user.certData, (bytes) =>
    createSecureContext({ cert: bytes }),
  );
  const key = checkBytes(`${at}.client-key`, user.keyFile, user.keyData, (bytes) =>
    createSecureContext({ key: bytes }),
  );
  if (cert === null || key === null) return;
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    throw new KubeConfigError(
      `${at}.client-key-data`,
      "a key of another certificate",
      "take certificate and key from the same source",
      { cause },
    );
  }
}

function checkBytes(
  field: string,
  file: string | undefined,
  data: string | undefined,
  use: (bytes: Buffer) => unknown,
): Buffer | null {
  if (!file && !data) return null;
  let bytes: Buffer;
  try {
    bytes = file ? fs.readFileSync(file) : Buffer.from(data ?? "", "base64");
  } catch (cause) {
    throw new KubeConfigError(
      field,
      describe(file),
      `the file cannot be read (${codeOf(cause)}): check the path and its permissions`,
      { cause },
    );
  }
  try {
    use(bytes);
  } catch (cause) {
    const where = file ? field : `${field}-data`;
    throw new KubeConfigError(
      where,
      `${file ? describe(file) : `${bytes.length} bytes`} (${codeOf(cause)})`,
      file ? "expected PEM" : "expected PEM in base64",
      { cause },
    );
  }
  return bytes;
}

function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  return value === undefined || value === null ? "nothing" : `a ${Array.isArray(value) ? "list" : typeof value}`;
}

function codeOf(cause: unknown): string {
  const code = (cause as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "unreadable";
}

function lineOf(cause: unknown): string {
  const line = (cause as { mark?: { line?: unknown } } | null)?.mark?.line;
  return typeof line === "number" ? ` in line ${line + 1}` : "";
}
