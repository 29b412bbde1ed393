import fs from "node:fs";
import { LRUCache } from "lru-cache";
import { asError } from "./as-error.ts";
import { ConnectionPool } from "./connection-pool.ts";
import { createConnector } from "./connector.ts";
import { decoded } from "./content-encoding.ts";
import { readAll } from "./exchange.ts";
import { bounded } from "./linked-abort.ts";
import { proxyFromEnvironment } from "./proxy-from-env.ts";
import { RequestCounter } from "./request-counter.ts";

interface Tokens {
  idToken: string | undefined;
  refreshToken: string | undefined;
}

/** kubectl's margin: a token is renewed so long before it runs out. */
const EXPIRY_MARGIN_MS = 10_000;
const REQUEST_TIMEOUT_MS = 20_000;
const MAX_REDIRECTS = 10;

/**
 * Providers with rotating refresh tokens (Keycloak, Dex, Okta) take each of them once, and some revoke all of them after a second
 * use. So what a refresh gave is kept for all clusters of this process that began with the same tokens.
 */
const sessions = new LRUCache<string, OidcSession>({ max: 100 });

/** The tokens of one login at an identity provider (kubectl's `auth-provider: oidc`). New ones are kept in memory, not in the file. */
export class OidcSession {
  readonly #config: Readonly<Record<string, unknown>>;
  #tokens: Tokens;
  #refreshing: Promise<string> | null = null;

  private constructor(config: Readonly<Record<string, unknown>>) {
    this.#config = config;
    this.#tokens = { idToken: textOf(config["id-token"]), refreshToken: textOf(config["refresh-token"]) };
  }

  static of(config: Readonly<Record<string, unknown>>): OidcSession {
    const key = JSON.stringify(
      ["idp-issuer-url", "client-id", "client-secret", "id-token", "refresh-token"].map((name) => config[name] ?? null),
    );
    const known = sessions.get(key) ?? new OidcSession(config);
    sessions.set(key, known);
    return known;
  }

  /** A token that is valid now. @throws Error, without tokens in it */
  async read(): Promise<{ token: string; expiresAt: number }> {
    const { idToken } = this.#tokens;
    const token =
      idToken !== undefined && Date.now() < (expiryOf(idToken) ?? 0) - EXPIRY_MARGIN_MS
        ? idToken
        : await this.#refreshOnce();
    return { token, expiresAt: (expiryOf(token) ?? Number.POSITIVE_INFINITY) - EXPIRY_MARGIN_MS };
  }

  /** The token was refused, though it may not have run out: the next reading asks for another where it can. */
  forget(): void {
    if (this.#tokens.refreshToken !== undefined) this.#tokens = { ...this.#tokens, idToken: undefined };
  }

  #refreshOnce(): Promise<string> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  async #refresh(): Promise<string> {
    const { refreshToken } = this.#tokens;
    const issuer = textOf(this.#config["idp-issuer-url"]);
    const state = this.#tokens.idToken === undefined ? "there is no OIDC token" : "the OIDC token has run out";
    if (refreshToken === undefined) throw new Error(`${state} and there is no refresh token: log in again`);
    if (issuer === undefined || !URL.canParse(issuer)) throw new Error(`${state} and idp-issuer-url is no URL`);
    const discovery = await this.#ask(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`, null);
    const endpoint = textOf(discovery.fields.token_endpoint);
    if (endpoint === undefined || !URL.canParse(endpoint))
      throw new Error(`${issuer} does not say where its token_endpoint is (HTTP ${discovery.status})`);
    const { status, fields } = await this.#grant(endpoint, refreshToken);
    const idToken = textOf(fields.id_token);
    if (idToken === undefined) {
      const why = [textOf(fields.error), textOf(fields.error_description)].filter(Boolean).join(": ");
      throw new Error(
        status === 200 && why === ""
          ? "the identity provider's answer holds no id_token: log in with the scope openid, and let the provider give one at refresh"
          : `the identity provider refused the refresh token (HTTP ${status}${why === "" ? "" : `, ${why}`}): log in again`,
      );
    }
    // A provider need not give a new refresh token with each token (RFC 6749, 6).
    this.#tokens = { idToken, refreshToken: textOf(fields.refresh_token) ?? refreshToken };
    return idToken;
  }

  /** With a secret by Basic first, then in the body, as golang.org/x/oauth2 finds out which of both a provider takes. */
  async #grant(endpoint: string, refreshToken: string): Promise<Answer> {
    const [id, secret] = [textOf(this.#config["client-id"]) ?? "", textOf(this.#config["client-secret"])];
    const form = { grant_type: "refresh_token", refresh_token: refreshToken };
    if (secret === undefined) return this.#ask(endpoint, { form: { ...form, client_id: id } });
    const login = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`;
    const authorization = `Basic ${Buffer.from(login).toString("base64")}`;
    const answer = await this.#ask(endpoint, { form, authorization });
    // The refresh token is spent only by a request that was let in.
    if (answer.status < 400 || textOf(answer.fields.error) === "invalid_grant") return answer;
    return this.#ask(endpoint, { form: { ...form, client_id: id, client_secret: secret } });
  }

  #ask(url: string, post: { form: Record<string, string>; authorization?: string } | null) {
    const file = textOf(this.#config["idp-certificate-authority"]);
    const data = textOf(this.#config["idp-certificate-authority-data"]);
    const ca =
      data !== undefined ? Buffer.from(data, "base64") : file !== undefined ? fs.readFileSync(file) : undefined;
    return ask(new URL(url), post, ca);
  }
}

interface Answer {
  status: number;
  /** Of an answer that is no JSON object: none. */
  fields: Record<string, unknown>;
}

async function ask(
  url: URL,
  post: { form: Record<string, string>; authorization?: string } | null,
  ca: Buffer | undefined,
  redirects = MAX_REDIRECTS,
): Promise<Answer> {
  const pool = new ConnectionPool({
    origin: url.origin,
    connect: createConnector({
      tls: ca === undefined ? {} : { ca },
      proxyUrl: proxyFromEnvironment(url, process.env) ?? undefined,
      connectTimeoutMs: REQUEST_TIMEOUT_MS,
    }),
    requests: new RequestCounter(),
    maxStreams: 1,
    maxHttp1Connections: 1,
    streamWindowBytes: 64 * 1024,
    pingIntervalMs: REQUEST_TIMEOUT_MS,
    pingTimeoutMs: REQUEST_TIMEOUT_MS,
    idleTimeoutMs: 1_000,
  });
  const request = {
    method: post === null ? "GET" : "POST",
    target: url.pathname + url.search,
    headers: {
      accept: "application/json",
      ...(post === null ? {} : { "content-type": "application/x-www-form-urlencoded" }),
      ...(post?.authorization === undefined ? {} : { authorization: post.authorization }),
    },
    ...(post === null ? {} : { body: new URLSearchParams(post.form).toString() }),
    sendTimeoutMs: REQUEST_TIMEOUT_MS,
    explain: asError,
  };
  const late = () => new Error(`no answer within ${REQUEST_TIMEOUT_MS} ms`);
  let answer: Answer & { location: string | undefined };
  try {
    answer = await bounded({ ms: REQUEST_TIMEOUT_MS, late }, async (signal) => {
      const incoming = await pool.request({ ...request, signal });
      const { status, headers, body } = decoded(incoming, { method: request.method, path: url.pathname });
      const fields = parseObject((await readAll(body, 1024 * 1024)).toString("utf8"));
      return { status, fields, location: textOf(headers.location) };
    });
  } catch (error) {
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    throw new Error(
      `the identity provider ${url.origin} cannot be asked: ${cause instanceof Error ? cause.message : cause}`,
    );
  } finally {
    await pool.destroy(new Error("the identity provider has answered"));
  }
  const { status, location = "" } = answer;
  const next = status >= 300 && status < 400 && URL.canParse(location, url.href) ? new URL(location, url) : null;
  // Discovery may have moved. A refresh token is sent nowhere else, and nothing is asked without TLS that was asked with it.
  if (next === null || post !== null || redirects === 0 || (url.protocol === "https:" && next.protocol !== "https:"))
    return answer;
  return ask(next, post, ca, redirects - 1);
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** When a JWT runs out, in milliseconds since the epoch; null for a text that is none. */
function expiryOf(token: string): number | null {
  const payload = token.split(".")[1] ?? "";
  try {
    const { exp } = JSON.parse(Buffer.from(payload, "base64url").toString("utf8")) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1_000 : null;
  } catch {
    return null;
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
