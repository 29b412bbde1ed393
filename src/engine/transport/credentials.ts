import { createHash } from "node:crypto";
import type { RequestOptions } from "node:https";
import type { KubeConfig, User } from "@kubernetes/client-node";
import { ConnectionError } from "./connection-failure.ts";
import { reloadKubeConfig } from "./kube-config.ts";
import { keepRefreshToken, oidcExpiry, passOnRefreshToken, repairOidcIssuer } from "./oidc.ts";

/** What `tls.connect` needs to know both sides. */
export interface TlsMaterial {
  ca?: string | Buffer;
  cert?: string | Buffer;
  key?: string | Buffer;
  pfx?: string | Buffer;
  passphrase?: string;
  servername?: string;
  rejectUnauthorized?: boolean;
}

/** One reading of the kubeconfig's user and cluster. */
export interface Credential {
  /** Authorization, impersonation. */
  readonly headers: Record<string, string>;
  readonly tls: TlsMaterial;
  /** Equal for equal `tls`: whoever holds connections opens new ones when it changes. */
  readonly tlsFingerprint: string;
  /** When to read again at the latest, in milliseconds since the epoch. */
  readonly readAgainAt: number;
}

/** Reading costs file reads and, with an exec plugin whose token has run out, a process: once in so many milliseconds is enough. */
const MAX_AGE_MS = 10_000;
/** An exec plugin may ask a person to log in, but a hanging one must not stop the engine without a word. */
const READ_TIMEOUT_MS = 60_000;
/** A user whose fresh credentials are refused too must not start an exec plugin with every request. */
const MIN_RENEWAL_MS = 1_000;

/**
 * Credentials as `KubeConfig` makes them: client certificates, tokens, token files (re-read every minute), exec plugins, OIDC,
 * basic, impersonation. This adds: one reading for concurrent requests, and `renew` for a 401.
 */
export class Credentials {
  #kubeConfig: KubeConfig;
  #current: Promise<Credential> | null = null;
  /** The same without its time limit. */
  #underWay: Promise<Credential> | null = null;
  #readAgainAt = 0;
  #renewedAt = Number.NEGATIVE_INFINITY;

  constructor(kubeConfig: KubeConfig) {
    this.#kubeConfig = kubeConfig;
    repairOidcIssuer(kubeConfig);
  }

  /** Throws `ConnectionError` `CredentialsError`: plugin failed, file unreadable … */
  get(): Promise<Credential> {
    if (this.#current === null || Date.now() >= this.#readAgainAt) return this.#read();
    return this.#current;
  }

  /** After a 401: reads anew past every cache, but only once for all the requests that were refused with `refused`. */
  async renew(refused: Credential): Promise<Credential> {
    const current = await this.get();
    // Equal, not the same: one that was merely read again in the meantime is refused, too.
    if (!isEqual(current, refused)) return current;
    // Not `current`: another request that was refused may have begun a reading in this very moment.
    if (performance.now() - this.#renewedAt < MIN_RENEWAL_MS) return this.get();
    this.#renewedAt = performance.now();
    this.#kubeConfig = withoutCaches(this.#kubeConfig);
    repairOidcIssuer(this.#kubeConfig);
    this.#underWay = null;
    return this.#read();
  }

  #read(): Promise<Credential> {
    // A plugin that hangs is waited for again, not started again: nobody would ever end the many.
    const underWay = this.#underWay ?? readCredential(this.#kubeConfig);
    this.#underWay = underWay;
    const over = () => {
      if (this.#underWay === underWay) this.#underWay = null;
    };
    underWay.then(over, over);
    const reading = withTimeout(underWay, userName(this.#kubeConfig));
    this.#current = reading;
    // While it is read, nobody reads it again.
    this.#readAgainAt = Number.POSITIVE_INFINITY;
    reading.then(
      ({ readAgainAt }) => {
        if (this.#current === reading) this.#readAgainAt = readAgainAt;
      },
      () => {
        if (this.#current === reading) this.#current = null;
      },
    );
    return reading;
  }
}

async function withTimeout(reading: Promise<Credential>, user: string): Promise<Credential> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new ConnectionError(
          "CredentialsError",
          `the credentials of user ${user} were not had within ${READ_TIMEOUT_MS} ms`,
        ),
      );
    }, READ_TIMEOUT_MS);
    timer.unref();
  });
  try {
    return await Promise.race([reading, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

async function readCredential(kubeConfig: KubeConfig): Promise<Credential> {
  const options: RequestOptions = {};
  const restore = keepRefreshToken(kubeConfig);
  try {
    // Also makes an https.Agent, once, which stays unused and so opens nothing. `applySecurityAuthentication` would make an
    // undici Agent with each call.
    await kubeConfig.applyToHTTPSOptions(options);
  } catch (error) {
    throw new ConnectionError(
      "CredentialsError",
      `the credentials of user ${userName(kubeConfig)} cannot be had: ${describe(error, kubeConfig.getCurrentUser())}`,
    );
  } finally {
    restore();
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    // A token file often ends in a newline, which no header may hold.
    if (typeof value === "string") headers[name.toLowerCase()] = value.trim();
  }
  if (typeof options.auth === "string") headers.authorization = `Basic ${Buffer.from(options.auth).toString("base64")}`;
  const tls: TlsMaterial = {};
  for (const name of ["ca", "cert", "key", "pfx", "passphrase", "servername", "rejectUnauthorized"] as const) {
    const value = options[name];
    if (value !== undefined && value !== null && value !== "") Object.assign(tls, { [name]: value });
  }
  const soon = Date.now() + MAX_AGE_MS;
  const expiry = oidcExpiry(kubeConfig, headers.authorization);
  const readAgainAt = Math.max(soon, (expiry ?? 0) - MAX_AGE_MS);
  return { headers, tls, tlsFingerprint: fingerprint(tls), readAgainAt };
}

function isEqual(a: Credential, b: Credential): boolean {
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

/**
 * The same cluster and user with authenticators that remember nothing; from its files where `loadKubeConfig` read it, since a
 * login tool may have rewritten them.
 */
function withoutCaches(kubeConfig: KubeConfig): KubeConfig {
  const reloaded = reloadKubeConfig(kubeConfig);
  if (reloaded !== null) {
    passOnRefreshToken(kubeConfig, reloaded);
    return reloaded;
  }
  // By its own constructor: a host may bring another copy of client-node.
  const fresh = Reflect.construct(kubeConfig.constructor as new () => KubeConfig, []);
  fresh.loadFromOptions({
    clusters: kubeConfig.getClusters(),
    contexts: kubeConfig.getContexts(),
    users: kubeConfig.getUsers(),
    currentContext: kubeConfig.getCurrentContext(),
  });
  const custom: unknown = Reflect.get(kubeConfig, "custom_authenticators");
  if (Array.isArray(custom)) for (const authenticator of custom) fresh.addAuthenticator(authenticator);
  return fresh;
}

function userName(kubeConfig: KubeConfig): string {
  return JSON.stringify(kubeConfig.getCurrentUser()?.name ?? "");
}

/** What a plugin or identity provider said, without what may be a secret in it. */
function describe(error: unknown, user: User | null): string {
  // JSON.parse quotes its input: the credential that a plugin printed.
  if (error instanceof SyntaxError) return "the exec plugin did not print valid JSON";
  const message = error instanceof Error ? error.message : String(error);
  // A plugin may print megabytes; the end of what is kept may be half a secret, and is cut off below.
  let text = message.slice(0, 4_000).replace(/\s+/g, " ").trim();
  for (const secret of secretsOf(user)) text = text.replaceAll(secret, REDACTED);
  text = text.replace(SECRET_BY_NAME, `$1${REDACTED}`).replace(SECRET_BY_FORM, REDACTED);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

const REDACTED = "[redacted]";
/** JWTs, and long words that are no path. */
const SECRET_BY_FORM =
  /[A-Za-z0-9+/_=-]{8,}\.[A-Za-z0-9+/_.=-]{8,}\.[A-Za-z0-9+/_=-]{8,}|(?<![/\w.-])[A-Za-z0-9+_=-]{40,}/g;
/** `password=x`, `"refresh_token": "x"`, `--client-secret x`, `Authorization: Bearer x`; not `token expired`. */
const SECRET_BY_NAME =
  /((?:token|secret|passw(?:or)?d|passphrase|[-_]key|apikey|authorization)["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?|--[\w-]*(?:token|secret|password|key)\s+|bearer\s+(?=\S{8}))[^\s"',;&]{4,}/gi;

/** What the kubeconfig itself gives to plugin or provider; a shorter text may be an ordinary word. */
function secretsOf(user: User | null): string[] {
  const { token, password, exec, authProvider } = (user ?? {}) as {
    token?: unknown;
    password?: unknown;
    exec?: { env?: unknown };
    authProvider?: { config?: unknown };
  };
  const env = Array.isArray(exec?.env) ? exec.env.map((each: { value?: unknown } | null) => each?.value) : [];
  const config = authProvider?.config;
  const ofProvider = typeof config === "object" && config !== null ? Object.values(config) : [];
  return [token, password, ...env, ...ofProvider]
    .filter((each): each is string => typeof each === "string" && each.length >= 8)
    .sort((a, b) => b.length - a.length);
}
