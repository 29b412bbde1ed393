import { createPrivateKey, X509Certificate } from "node:crypto";
import fs from "node:fs";
import { type KubeCluster, type KubeConfig, type KubeUser, withoutZone } from "./kube-config.ts";
import { codeOf, describe, KubeConfigError } from "./kube-config-error.ts";
import { readableCas } from "./secure-context.ts";

/**
 * That the current context leads to a cluster and user that can be used. Nothing else is looked at, as kubectl does not: an
 * unfinished entry beside it has no effect.
 *
 * @throws KubeConfigError
 */
export function checkKubeConfig(kubeConfig: KubeConfig): void {
  if (typeof kubeConfig?.getCurrentContext !== "function")
    throw new KubeConfigError("kubeConfig", describe(kubeConfig), "load it: loadKubeConfig(path, text or object)");
  const contextName = kubeConfig.getCurrentContext();
  const context = kubeConfig.getContextObject(contextName);
  if (context === null) {
    const known = kubeConfig.getContexts().map((each) => each.name);
    throw new KubeConfigError(
      "current-context",
      describe(contextName || undefined),
      `choose one of: ${known.join(", ") || "(there is no context)"}`,
    );
  }
  const clusters = kubeConfig.getClusters();
  const index = clusters.findIndex(({ name }) => name === context.cluster);
  const cluster = clusters[index];
  if (cluster === undefined) {
    throw new KubeConfigError(
      `contexts[${contextName}].context.cluster`,
      describe(context.cluster || undefined),
      "no cluster has this name",
    );
  }
  if (!cluster.server)
    throw new KubeConfigError(
      `clusters[${index}].cluster.server`,
      "nothing",
      `the server of ${describe(cluster.name)} is missing`,
    );
  checkCluster(cluster, `clusters[${cluster.name}].cluster`);
  const user = kubeConfig.getUsers().find(({ name }) => name === (context.user ?? ""));
  if (user === undefined) {
    if (!context.user) return;
    throw new KubeConfigError(`contexts[${contextName}].context.user`, describe(context.user), "no user has this name");
  }
  checkUser(user, `users[${user.name}].user`);
  checkPlainHttp(cluster, user);
}

/** kubectl leaves the credentials out, so that another user acts. Without any there is nothing to protect (`kubectl proxy`). */
function checkPlainHttp({ name, server, skipTLSVerify }: KubeCluster, user: KubeUser): void {
  if (skipTLSVerify || new URL(withoutZone(server)).protocol !== "http:") return;
  if (!hasCredentials(user)) return;
  throw new KubeConfigError(
    `clusters[${name}].cluster.server`,
    describe(server),
    "the user's credentials would go in the clear: use https, or set insecure-skip-tls-verify: true to send them",
  );
}

function hasCredentials({ token, tokenFile, username, certData, certFile, exec, authProvider }: KubeUser): boolean {
  return [token, tokenFile, username, certData, certFile, exec, authProvider].some(Boolean);
}

function checkCluster(cluster: KubeCluster, at: string): void {
  const text = withoutZone(cluster.server);
  const server = URL.canParse(text) ? new URL(text) : null;
  if (server === null || !["https:", "http:"].includes(server.protocol)) {
    throw new KubeConfigError(`${at}.server`, describe(cluster.server), "expected a URL such as https://host:6443");
  }
  if (server.username !== "" || server.password !== "")
    throw new KubeConfigError(
      `${at}.server`,
      describe(`${server.protocol}//…@${server.host}`),
      "write username and password of the URL in the user's entry",
    );
  if (server.protocol === "https:" && cluster.skipTLSVerify && (cluster.caFile || cluster.caData))
    throw new KubeConfigError(
      `${at}.insecure-skip-tls-verify`,
      "true beside a certificate-authority",
      "keep one of them: a CA that is not asked protects nothing",
    );
  if (cluster.proxyUrl) checkProxyUrl(`${at}.proxy-url`, cluster.proxyUrl);
  checkBytes(
    `${at}.certificate-authority`,
    cluster.caFile,
    cluster.caData,
    (ca) => new X509Certificate(readableCas(ca)),
  );
}

/** @throws KubeConfigError, without the password of the URL */
export function checkProxyUrl(field: string, text: string): void {
  const proxy = URL.canParse(text) ? new URL(text) : null;
  if (proxy !== null && !isDecodable(proxy.username + proxy.password))
    throw new KubeConfigError(
      field,
      describe(`${proxy.protocol}//…@${proxy.host}`),
      "write a percent sign in its credentials as %25",
    );
  if (proxy !== null && /^(https?|socks(4a?|5h?)?):$/.test(proxy.protocol) && proxy.hostname !== "") return;
  const got = proxy === null ? "a text that is no URL" : describe(`${proxy.protocol}//${proxy.host}`);
  throw new KubeConfigError(field, got, "expected http://, https://, socks4:// or socks5:// with host and port");
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** Names of the providers that kubectl has had, and what it says of them since 1.26. */
const REMOVED_PROVIDERS: Record<string, string> = {
  gcp: "kubectl has removed it: use the exec plugin gke-gcloud-auth-plugin (`gcloud container clusters get-credentials`)",
  azure: "kubectl has removed it: use the exec plugin kubelogin (`kubelogin convert-kubeconfig`)",
  openstack: "kubectl has removed it: use the exec plugin client-keystone-auth",
};

function checkUser(user: KubeUser, at: string): void {
  const { token, tokenFile, username, password, impersonateUser } = user;
  if ((token || tokenFile) && (username || password))
    throw new KubeConfigError(at, "a token and a password", "both are sent as Authorization: keep one of them");
  if (password && !username) throw new KubeConfigError(`${at}.username`, "nothing", "a password needs it");
  const extra = Object.keys(user.impersonateExtra ?? {});
  if (!impersonateUser && (user.impersonateUid || user.impersonateGroups?.length || extra.length > 0))
    throw new KubeConfigError(
      `${at}.as`,
      "nothing",
      "as-uid, as-groups and as-user-extra need it: name the user to impersonate",
    );
  const provider = (user.authProvider ?? null) as { name?: unknown } | null;
  const removed = typeof provider?.name === "string" ? REMOVED_PROVIDERS[provider.name] : undefined;
  if (removed !== undefined) throw new KubeConfigError(`${at}.auth-provider.name`, describe(provider?.name), removed);
  if (user.exec) checkExec(user.exec, `${at}.exec`);
  if (user.exec && user.authProvider)
    throw new KubeConfigError(at, "exec and auth-provider", "both log in: keep one of them");
  checkPair(user, at);
}

/** Those that kubectl takes, and one that it took until 1.23. */
const EXEC_VERSIONS = ["v1", "v1beta1", "v1alpha1"].map((each) => `client.authentication.k8s.io/${each}`);

/** @param exec also client-node's, as it stands in the file */
function checkExec(exec: object, at: string): void {
  const { apiVersion, command, env, interactiveMode } = exec as Record<string, unknown>;
  if (typeof command !== "string" || command === "")
    throw new KubeConfigError(`${at}.command`, describe(command), "name the plugin's program");
  if (apiVersion && !EXEC_VERSIONS.includes(String(apiVersion)))
    throw new KubeConfigError(`${at}.apiVersion`, describe(apiVersion), `expected one of: ${EXEC_VERSIONS.join(", ")}`);
  if (Array.isArray(env) && env.some((each: { name?: unknown } | null) => !each?.name))
    throw new KubeConfigError(`${at}.env`, "a variable without a name", "name it");
  if (interactiveMode === "Always")
    throw new KubeConfigError(
      `${at}.interactiveMode`,
      '"Always"',
      "there is no terminal here: log in with the plugin beforehand and set IfAvailable, or take other credentials",
    );
  if (interactiveMode && interactiveMode !== "Never" && interactiveMode !== "IfAvailable")
    throw new KubeConfigError(`${at}.interactiveMode`, describe(interactiveMode), "expected Never or IfAvailable");
}

function checkPair(user: KubeUser, at: string): void {
  const certificate = checkBytes(
    `${at}.client-certificate`,
    user.certFile,
    user.certData,
    (pem) => new X509Certificate(pem),
  );
  // kubectl does not look at a key without a certificate.
  if (certificate === null && hasCredentials(user)) return;
  const key = checkBytes(`${at}.client-key`, user.keyFile, user.keyData, createPrivateKey);
  if (certificate === null) {
    if (key === null) return;
    throw new KubeConfigError(`${at}.client-certificate`, "nothing", "a client key needs its certificate");
  }
  if (key === null)
    throw new KubeConfigError(`${at}.client-key`, "nothing", "a client certificate needs its key, as file or data");
  if (!certificate.checkPrivateKey(key))
    throw new KubeConfigError(
      `${at}.client-key-data`,
      "a key of another certificate",
      "take certificate and key from the same source",
    );
}

/** @throws KubeConfigError that names `field` */
export function readNamedFile(field: string, file: string): Buffer {
  try {
    return fs.readFileSync(file);
  } catch (cause) {
    throw new KubeConfigError(
      field,
      JSON.stringify(file),
      `the file cannot be read (${codeOf(cause)}): check the path and its permissions`,
      { cause },
    );
  }
}

function checkBytes<T>(
  field: string,
  file: string | undefined | null,
  data: string | undefined | null,
  parse: (bytes: Buffer) => T,
): T | null {
  if (!file && !data) return null;
  if (file && data)
    throw new KubeConfigError(field, `${describe(file)} and ${field.split(".").at(-1)}-data`, "keep one of them");
  const bytes = file ? readNamedFile(field, file) : Buffer.from(data ?? "", "base64");
  try {
    return parse(bytes);
  } catch (cause) {
    const isEncrypted = bytes.includes("ENCRYPTED");
    const hint = isEncrypted ? "take its password away: `openssl pkey -in … -out …`" : "expected PEM";
    throw new KubeConfigError(
      file ? field : `${field}-data`,
      `${file ? describe(file) : `${bytes.length} bytes`} (${isEncrypted ? "encrypted" : codeOf(cause)})`,
      file || isEncrypted ? hint : `${hint} in base64`,
      { cause },
    );
  }
}
