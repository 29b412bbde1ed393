import type { KubeConfig } from "@kubernetes/client-node";

interface OidcProvider {
  name?: unknown;
  config?: Record<string, unknown>;
}

/**
 * client-node 2.0.1 hands the issuer to openid-client 6 as a string, which that refuses: no token that has run out is ever
 * refreshed. As a URL it is accepted, and reads as the same text everywhere else.
 */
export function repairOidcIssuer(kubeConfig: KubeConfig): void {
  const config = providerOf(kubeConfig)?.config;
  const issuer = config?.["idp-issuer-url"];
  if (config !== undefined && typeof issuer === "string" && URL.canParse(issuer))
    config["idp-issuer-url"] = new URL(issuer);
}

/**
 * Until when an OIDC token may be used, in milliseconds since the epoch; null for other users. client-node takes the seconds
 * that a refreshed token is valid for the time when it ends, so it would ask the identity provider with every reading.
 */
export function oidcExpiry(kubeConfig: KubeConfig, authorization: string | undefined): number | null {
  if (providerOf(kubeConfig) === null || authorization === undefined) return null;
  return expiryOf(authorization.replace(/^Bearer /, ""));
}

function expiryOf(token: unknown): number | null {
  const payload = String(token).split(".")[1] ?? "";
  try {
    const { exp } = JSON.parse(Buffer.from(payload, "base64url").toString("utf8")) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1_000 : null;
  } catch {
    return null;
  }
}

/**
 * Call it before a reading and what it returns after it. A provider need not give a new refresh token with each token (RFC 6749, 6);
 * client-node 2.0.1 then forgets the one that it has, and sends no token at all once the next has run out: the server takes that
 * for `system:anonymous` and answers 403.
 */
export function keepRefreshToken(kubeConfig: KubeConfig): () => void {
  const config = providerOf(kubeConfig)?.config;
  const token = config?.["refresh-token"];
  return () => {
    if (config !== undefined && token !== undefined) config["refresh-token"] ??= token;
  };
}

/**
 * client-node keeps refreshed tokens in memory only. Where `known` has refreshed since the file of `reloaded` was written, the
 * refresh token of the file may be spent.
 */
export function passOnRefreshToken(known: KubeConfig, reloaded: KubeConfig): void {
  const from = providerOf(known)?.config;
  const to = providerOf(reloaded)?.config;
  if (from?.["refresh-token"] === undefined || to === undefined) return;
  if ((expiryOf(from["id-token"]) ?? 0) > (expiryOf(to["id-token"]) ?? 0)) to["refresh-token"] = from["refresh-token"];
}

function providerOf(kubeConfig: KubeConfig): OidcProvider | null {
  const provider = kubeConfig.getCurrentUser()?.authProvider as OidcProvider | null | undefined;
  return provider?.name === "oidc" ? provider : null;
}
