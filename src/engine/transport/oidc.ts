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
  const payload = authorization.replace(/^Bearer /, "").split(".")[1] ?? "";
  try {
    const { exp } = JSON.parse(Buffer.from(payload, "base64url").toString("utf8")) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1_000 : null;
  } catch {
    return null;
  }
}

function providerOf(kubeConfig: KubeConfig): OidcProvider | null {
  const provider = kubeConfig.getCurrentUser()?.authProvider as OidcProvider | null | undefined;
  return provider?.name === "oidc" ? provider : null;
}
