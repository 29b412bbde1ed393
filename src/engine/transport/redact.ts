import type { KubeUser } from "./kube-config.ts";

const REDACTED = "[redacted]";
const JWT = /\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?/g;
/** What has the form of a token, and long words that are no path. */
const SECRET_BY_FORM =
  /[A-Za-z0-9+/_=-]{8,}\.[A-Za-z0-9+/_.=-]{8,}\.[A-Za-z0-9+/_=-]{8,}|(?<![/\w.-])[A-Za-z0-9+_=-]{40,}/g;
/** `password=x`, `"refresh_token": "x"`, `--client-secret x`, `Authorization: Bearer x`; not `token expired`. */
const SECRET_BY_NAME =
  /((?:token|secret|passw(?:or)?d|passphrase|[-_]key|apikey|authorization)["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?|--[\w-]*(?:token|secret|password|key)\s+|bearer\s+(?=\S{8}))[^\s"',;&]{4,}/gi;

/** What a plugin shows to a person while it runs: a device code and its URL stay, tokens and the user's own secrets go. */
export function withoutSecrets(text: string, user: KubeUser | null): string {
  let clean = text;
  for (const secret of secretsOf(user)) clean = clean.replaceAll(secret, REDACTED);
  return clean.replace(SECRET_BY_NAME, `$1${REDACTED}`).replace(JWT, REDACTED);
}

/** What a plugin or identity provider said, in one line for an error, without what may be a secret in it. */
export function excerptWithoutSecrets(error: unknown, user: KubeUser | null): string {
  const message = error instanceof Error ? error.message : String(error);
  // A plugin may print megabytes; the end of what is kept may be half a secret, and is cut off below.
  const line = message.slice(0, 4_000).replace(/\s+/g, " ").trim();
  const text = withoutSecrets(line, user).replace(SECRET_BY_FORM, REDACTED);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

const PUBLIC = new Set(["idp-issuer-url", "client-id", "idp-certificate-authority", "tokenFile"]);

/** What the kubeconfig itself gives to plugin or provider; a shorter text may be an ordinary word. */
function secretsOf(user: KubeUser | null): string[] {
  const { token, password, exec, authProvider } = (user ?? {}) as {
    token?: unknown;
    password?: unknown;
    exec?: { env?: unknown };
    authProvider?: { config?: unknown };
  };
  const env = Array.isArray(exec?.env) ? exec.env.map((each: { value?: unknown } | null) => each?.value) : [];
  const config = authProvider?.config;
  const ofProvider = Object.entries(config ?? {}).map(([name, value]) => (PUBLIC.has(name) ? undefined : value));
  return [token, password, ...env, ...ofProvider]
    .filter((each): each is string => typeof each === "string" && each.length >= 8)
    .sort((a, b) => b.length - a.length);
}
