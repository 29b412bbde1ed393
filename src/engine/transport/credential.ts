import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { KubeCluster, KubeUser } from "./kube-config.ts";
import { readableCas, secureContext } from "./secure-context.ts";

/** What `tls.connect` needs to know both sides. */
export interface TlsMaterial {
  ca?: string | Buffer;
  cert?: string | Buffer;
  key?: string | Buffer;
  servername?: string;
  rejectUnauthorized?: boolean;
}

/** One reading of the kubeconfig's user and cluster. */
export interface Credential {
  /** Authorization, impersonation. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly tls: TlsMaterial;
  /** Equal for equal `tls`: whoever holds connections opens new ones when it changes. */
  readonly tlsFingerprint: string;
  /** When to read again at the latest, in milliseconds since the epoch. */
  readonly readAgainAt: number;
}

/** What a login gives. */
export interface LoginResult {
  authorization?: string | undefined;
  cert?: string | undefined;
  key?: string | undefined;
  expiresAt?: number;
}

/** Files rotate on disk: tokens, client certificates, CAs. Reading them once in so many milliseconds is enough. */
const MAX_AGE_MS = 10_000;
/** A login may give what has run out already. */
const MIN_AGE_MS = 1_000;

export async function readCredential(
  cluster: KubeCluster | null,
  user: KubeUser | null,
  login: LoginResult,
): Promise<Credential> {
  const authorization = login.authorization ?? (user && (await ownAuthorization(user)));
  const headers = {
    ...(authorization ? { authorization: headerValue("the token", authorization) } : {}),
    ...(user && impersonation(user)),
  };
  const tls: TlsMaterial = {};
  const pair = user?.certData || user?.certFile ? user : null;
  const [ca, cert, key] = await Promise.all([
    bytesOf(cluster?.caData, cluster?.caFile),
    pair ? bytesOf(pair.certData, pair.certFile) : login.cert,
    pair ? bytesOf(pair.keyData, pair.keyFile) : login.key,
  ]);
  if (ca !== undefined) tls.ca = readableCas(ca);
  if (cert !== undefined) tls.cert = cert;
  if (key !== undefined) tls.key = key;
  if (cluster?.tlsServerName) tls.servername = cluster.tlsServerName;
  // Said in any case: NODE_TLS_REJECT_UNAUTHORIZED of the host's environment is not followed.
  tls.rejectUnauthorized = !cluster?.skipTLSVerify;
  const now = Date.now();
  const hasFiles = [cluster?.caFile, user?.certFile, user?.keyFile, tokenFileOf(user)].some(Boolean);
  const expiresAt = Math.max(now + MIN_AGE_MS, login.expiresAt ?? Number.POSITIVE_INFINITY);
  const readAgainAt = hasFiles ? Math.min(now + MAX_AGE_MS, expiresAt) : expiresAt;
  return { headers, tls, tlsFingerprint: fingerprint(tls), readAgainAt };
}

async function ownAuthorization(user: KubeUser): Promise<string | undefined> {
  const { username, password = "", token } = user;
  if (username) return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  const file = tokenFileOf(user);
  if (!file) return token ? `Bearer ${token.trim()}` : undefined;
  try {
    // A token file often ends in a newline, which no header may hold.
    const text = (await readFile(file, "utf8")).trim();
    if (text === "") throw new Error(`the token file ${file} is empty`);
    return `Bearer ${text}`;
  } catch (error) {
    if (token) return `Bearer ${token}`;
    throw error;
  }
}

/** Also as client-node names the pod's service account. */
function tokenFileOf(user: KubeUser | null): string | undefined {
  if (user?.tokenFile) return user.tokenFile;
  const { config } = (user?.authProvider ?? {}) as { config?: { tokenFile?: unknown } };
  return typeof config?.tokenFile === "string" ? config.tokenFile : undefined;
}

/** client-go `transport.ImpersonationConfig`. Each group and each value is a header of its own. */
function impersonation(user: KubeUser): Record<string, string | string[]> {
  const { impersonateUser, impersonateUid, impersonateGroups, impersonateExtra } = user;
  if (!impersonateUser) return {};
  const headers: Record<string, string | string[]> = { "impersonate-user": headerValue("as", impersonateUser) };
  if (impersonateUid) headers["impersonate-uid"] = headerValue("as-uid", impersonateUid);
  if (impersonateGroups?.length)
    headers["impersonate-group"] = impersonateGroups.map((each) => headerValue("as-groups", each));
  for (const [key, values] of Object.entries(impersonateExtra ?? {})) {
    const name = `impersonate-extra-${headerKey(key)}`;
    // Keys that differ in case are one key.
    headers[name] = [...(headers[name] ?? []), ...values.map((each) => headerValue("as-user-extra", each))];
  }
  return headers;
}

/**
 * The bytes of UTF-8, as Go sends them; Node writes one byte for each character. What no header may hold is refused here, since
 * HTTP/2 stacks leave out such a header without a word: the request would go out as another user.
 */
function headerValue(field: string, text: string): string {
  if (/^\s|\s$|(?!\t)\p{Cc}/u.test(text))
    throw new Error(
      `${field} holds a line break, another control character, or white space at an end: no HTTP header may`,
    );
  return Buffer.from(text).toString("latin1");
}

/** What no header name may hold, and `%`, is percent-encoded; the API server decodes it. */
function headerKey(key: string): string {
  const bytes = [...Buffer.from(key.toLowerCase())];
  return bytes
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[a-z0-9!#$&'*+.^_`|~-]/.test(char) ? char : `%${byte.toString(16).padStart(2, "0")}`;
    })
    .join("");
}

async function bytesOf(data: string | undefined | null, file: string | undefined | null): Promise<Buffer | undefined> {
  if (data) return Buffer.from(data, "base64");
  return file ? readFile(file) : undefined;
}

/** Certificate, key and CA are whole and fit together. */
export function isConsistent({ ca, cert, key }: TlsMaterial): boolean {
  try {
    secureContext({ ...(ca === undefined ? {} : { ca }), ...(cert && key ? { cert, key } : {}) });
    return true;
  } catch {
    return false;
  }
}

export function isEqual(a: Credential, b: Credential): boolean {
  return a.tlsFingerprint === b.tlsFingerprint && a.headers.authorization === b.headers.authorization;
}

function fingerprint(tls: TlsMaterial): string {
  const hash = createHash("sha256");
  for (const [name, value] of Object.entries(tls).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const bytes = Buffer.isBuffer(value) ? value : Buffer.from(String(value));
    hash.update(`${name}:${bytes.length}:`).update(bytes);
  }
  return hash.digest("base64");
}
